"""A machine that loses its power leaves files that are old or new, and the same command goes on."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from decoderlab.records import run_folder
from decoderlab.records.run_folder import RunFolder
from tests.conftest import same
from tests.integration.cli import in_process, tiny_arguments
from tests.integration.disturbed import records, runs, weights
from tests.integration.power import Disk

pytestmark = pytest.mark.usefixtures("undrawn")

APPENDED = {"metrics.jsonl"}  # a line at a time; the last one may be torn
UNPROMISED = {"log.txt", ".lock"}  # nobody reads them to go on


def arguments(output_dir: Path) -> list[str]:
    more = ("seed=0,1", "study.name=s", "hydra/launcher=basic")
    return ["-m", *tiny_arguments(output_dir, *more)]


class Outages:
    """States that a disk may be left in, one for each of the moments at which it could be."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.chance = root, random.Random(seed)
        self.states: list[dict[Path, bytes]] = []
        self.torn: list[str] = []

    def look(self, disk: Disk) -> None:
        state = disk.left(self.chance)
        self.states.append(state)
        for path, content in state.items():
            if path.name in UNPROMISED or path.name.endswith(".tmp"):
                continue
            versions = disk.versions[path]
            if path.name in APPENDED:
                right = not versions or any(map(content.startswith, versions))
            else:
                right = content in versions
            if not right:
                self.torn.append(f"{path.relative_to(self.root)}: {content[:60]!r}")


@pytest.fixture
def recorded(tmp_path, monkeypatch, capfd):
    """A sweep whose every moment was looked at: its folder, and what the looks brought."""

    def record(seed: int) -> Outages:
        root = tmp_path / "whole"
        root.mkdir()
        outages = Outages(root, seed)
        disk = Disk(root, outages.look)
        with monkeypatch.context() as patch:
            disk.watch(patch)
            assert in_process(patch, *arguments(root)) == 0
        disk.close()
        return outages

    return record


def restored(state: dict[Path, bytes], root: Path, onto: Path) -> Path:
    """Write what an outage left, at another place."""
    onto.mkdir()
    for path, content in state.items():
        there = onto / path.relative_to(root)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(content)
    return onto


def check_goes_on(state: dict[Path, bytes], outages: Outages, onto: Path, monkeypatch) -> None:
    output_dir = restored(state, outages.root, onto)
    assert in_process(monkeypatch, *arguments(output_dir)) == 0
    assert [run.path.name for run in runs(output_dir)] == [
        run.path.name for run in runs(outages.root)
    ]
    for run in runs(output_dir):
        whole = RunFolder(outages.root / "runs" / run.path.name)
        assert run.status()["status"] == "FINISHED"
        assert run.result().metrics == whole.result().metrics
        assert records(run) == records(whole)
        assert run.predictions.read_bytes() == whole.predictions.read_bytes()
        assert same(weights(run), weights(whole))
    plans = [root / "studies" / "s" / "plan.json" for root in (output_dir, outages.root)]
    (one, other) = [json.loads(plan.read_text())["cells"] for plan in plans]
    assert [cell["run_id"] for cell in one] == [cell["run_id"] for cell in other]


@pytest.mark.slow
@pytest.mark.fault(35, 36)
def test_every_file_is_old_or_new_and_the_command_goes_on(recorded, tmp_path, monkeypatch, capfd):
    outages = recorded(seed=0)
    assert len(outages.states) > 100
    assert outages.torn == []
    middle = len(outages.states) // 2
    check_goes_on(outages.states[middle], outages, tmp_path / "again", monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.fault(35)
def test_the_command_goes_on_from_many_outages(recorded, tmp_path, monkeypatch, capfd, seed):
    outages = recorded(seed)
    assert outages.torn == []
    for number in random.Random(seed).sample(range(len(outages.states)), 20):
        folder = tmp_path / f"again{number}"
        check_goes_on(outages.states[number], outages, folder, monkeypatch)


def test_a_write_that_is_not_synced_is_noticed(recorded, monkeypatch, capfd):
    def careless(path, write):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        with temporary.open("wb") as file:
            write(file)
        run_folder.os.replace(temporary, path)

    monkeypatch.setattr(run_folder, "write_atomic", careless)
    torn = recorded(seed=0).torn
    assert any("status.json" in what for what in torn)
    assert any(".ckpt" in what for what in torn)
