"""Several commands at once on the same records, and temporary files on another file system."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from decoderlab.studies.design.plan_file import read_plan
from tests.conftest import same
from tests.integration.cli import command, in_process, tiny_arguments
from tests.integration.disturbed import records, runs, weights
from tests.integration.test_tuning import tuned

pytestmark = pytest.mark.usefixtures("undrawn")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.fault(47)
def test_two_predictions_at_once_do_not_disturb_each_other_or_the_run(monkeypatch, tmp_path):
    assert in_process(monkeypatch, *tiny_arguments(tmp_path)) == 0
    (run,) = runs(tmp_path)
    before = contents(run.path)
    recorded = [json.loads(line) for line in run.predictions.read_text().splitlines()]
    lines = "".join(f"{one['source']}\n" for one in recorded)
    (tmp_path / "lines").write_text(lines)
    asked = []
    for _ in range(2):
        with (tmp_path / "lines").open() as stdin:
            predict = command("predict", str(run.path))
            asked.append(Popen(predict, stdin=stdin, stdout=PIPE, text=True))
    answers = [process.communicate(timeout=120)[0].splitlines() for process in asked]
    assert [process.returncode for process in asked] == [0, 0], answers
    assert answers == [[one["prediction"] for one in recorded]] * 2
    assert contents(run.path) == before


@pytest.mark.slow
@pytest.mark.fault(47)
def test_two_launches_of_a_tuning_share_its_trials(begin, monkeypatch, tmp_path):
    given = {"sampler": "tpe", "trials": 3}
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    assert in_process(monkeypatch, *tuned(whole, **given)) == 0
    both = [begin(*tuned(shared, **given)) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert read_plan(shared, "s").tuning == read_plan(whole, "s").tuning
    names = [[run.path.name for run in runs(folder)] for folder in (whole, shared)]
    assert names[0] == names[1]
    assert all(run.result().restarts == 0 for run in runs(shared))


def other_disk(folder: Path) -> Path:
    """Return a folder on another file system."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == folder.stat().st_dev:
        pytest.skip("there is no other file system here")
    return Path(tempfile.mkdtemp(dir=memory))


@pytest.mark.fault(44)
def test_temporary_files_may_lie_on_another_file_system(monkeypatch, tmp_path):
    """A rename from there would be a copy, which is not whole when the disk is full."""
    here, there = tmp_path / "here", other_disk(tmp_path)
    try:
        assert in_process(monkeypatch, *tiny_arguments(here)) == 0
        monkeypatch.setenv("TMPDIR", str(there))
        monkeypatch.setattr(tempfile, "tempdir", None)  # read anew
        assert tempfile.gettempdir() == str(there)
        replace = os.replace

        def within(source, target) -> None:
            assert os.stat(source).st_dev == os.stat(Path(target).parent).st_dev
            replace(source, target)

        monkeypatch.setattr(os, "replace", within)
        assert in_process(monkeypatch, *tiny_arguments(tmp_path / "other")) == 0
        (run,), (reference,) = runs(tmp_path / "other"), runs(here)
        assert run.result().metrics == reference.result().metrics
        assert records(run) == records(reference)
        assert same(weights(run), weights(reference))
        assert not list(there.rglob("*"))
    finally:
        there.rmdir()
