"""Names stay names: nothing is read or written outside the folder that a name is a name in."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from decoderlab.cli.status import study as status_of
from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.common.safe_names import check_name, inside, refuse_links_out
from decoderlab.records.run_folder import sealed
from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.design.plan_file import job_digest, read_job, read_plan
from decoderlab.studies.execution.launchers import train_study_cell
from decoderlab.studies.reporting.build import build_report
from tests.unit.studies import study, write

NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "a/./b",
    "a//b",
    "/etc/passwd",
    "/",
    "~/x",
    "~root",
    "a\\b",
    "..\\x",
    "C:\\x",
    "C:x",
    "a\0b",
    "a\nb",
    "a\rb",
    "a\x1b[31m",
    "a\x7f",
    "a\x85b",
    "a\u2028b",
    "a\udcffb",
    "-rf",
    "a/-rf",
    " a",
    "a ",
    "a/ b",
    "x" * 256,
    "\N{LATIN SMALL LETTER E WITH ACUTE}" * 128,
    "x/" * 2000 + "x",
    None,
    1,
    ["a"],
    {"a": "b"},
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:30])
@pytest.mark.fault(17)
def test_what_is_no_name_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="the name is "):
        inside(tmp_path, name, setting="the name")


@pytest.mark.parametrize(
    "name",
    ["a", "runs/echo-lstm-s0-123", "CON", "nul.txt", "...a", "a..b", "é", "echo max=9", "x" * 255],
)
def test_plain_names_are_taken(tmp_path, name):
    assert inside(tmp_path, name) == tmp_path / name
    assert check_name(name) == name


def test_a_root_may_be_a_link_and_links_within_it_are_links_within_it(tmp_path):
    (tmp_path / "disk" / "studies" / "s").mkdir(parents=True)
    (tmp_path / "outputs").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "studies" / "twin").symlink_to("s")
    inside(tmp_path / "outputs", "studies", "s")
    inside(tmp_path / "outputs", "studies", "twin")
    refuse_links_out(tmp_path / "outputs")
    refuse_links_out(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("studies", "elsewhere"),
        ("studies/s", "elsewhere"),
        ("studies/s/figures", "elsewhere"),
        ("studies/s/report.md", "elsewhere/file"),
        ("studies/s/deep/er", "elsewhere"),
        ("studies/s/lock", "not there"),
    ],
)
@pytest.mark.fault(17, 56)
def test_links_that_lead_out_are_refused(tmp_path, link, target):
    root = tmp_path / "outputs"
    (tmp_path / "elsewhere").mkdir()
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(tmp_path / target)
    with pytest.raises(ConfigError, match="leads out of"):
        inside(root, link, "file")
    with pytest.raises(ConfigError, match="leads out of"):
        refuse_links_out(root)
    os.unlink(root / link)
    (root / link).symlink_to(Path("..", "..", "..", "..", "..", "..", "elsewhere"))
    with pytest.raises(ConfigError, match="leads out of"):
        refuse_links_out(root)


def test_a_link_to_itself_is_refused_or_harmless(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    refuse_links_out(tmp_path)
    assert inside(tmp_path, "loop") == tmp_path / "loop"


def stranger(root: Path, change) -> Path:
    """Write a study of two runs, its plan changed as a stranger would; return its folder."""
    plan = study(root, {"a": [0.5], "b": [0.6]}, baseline=None)
    write(plan, root)
    file = root / "studies" / "s" / "plan.json"
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(sealed(record)))
    rewrite(file.with_name("configs.jsonl"), lambda line: line["cell"].update(cells(record, line)))
    return file.parent


def cells(plan: dict, line: dict) -> dict:
    """Return the cell of a run as a plan has it."""
    return next(cell for cell in plan["cells"] if cell["run_id"] == line["run_id"])


def rewrite(configs: Path, change) -> None:
    """Change every line of the configs of a study, and seal it anew."""
    lines = [json.loads(line) for line in configs.read_text().splitlines()]
    for line in lines:
        change(line)
    configs.write_text("".join(json.dumps(sealed(line)) + "\n" for line in lines))


def renamed(name: str):
    return lambda record: record["study"].update(name=name)


def moved(folder: object):
    return lambda record: record["cells"][0].update(folder=folder)


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "change",
    [
        *map(
            renamed,
            ["ELSEWHERE/x", "../../elsewhere/x", "..", "", "other", "s/../../x", "s\n", None],
        ),
        *map(
            moved,
            ["ELSEWHERE", "../elsewhere", "runs/../../elsewhere", "", "\0", "runs\\x", None, 5],
        ),
    ],
)
@pytest.mark.fault(17)
def test_a_plan_that_names_another_place_writes_and_reads_nothing_there(tmp_path, change):
    root, elsewhere = tmp_path / "outputs", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "status.json").write_text('{"status": "FINISHED"}')

    def absolute(record: dict) -> None:
        change(record)
        text = json.dumps(record).replace("ELSEWHERE", str(elsewhere))
        record.clear()
        record.update(json.loads(text))

    stranger(root, absolute)
    before = snapshot(tmp_path)
    with pytest.raises((ConfigError, Invalid)):
        build_report(read_plan(root, "s"), root)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "metric", ["../../../elsewhere/x", "/tmp/x", "a/b", "x) <img src=y>", "a\\b", "..", "-x"]
)
def test_a_metric_names_no_file_elsewhere(tmp_path, metric):
    root = tmp_path / "outputs"
    folder = stranger(root, lambda record: record["study"].update(metric=metric))
    before = {*snapshot(tmp_path)}
    with contextlib.suppress(ConfigError, Invalid, KeyError, ValueError):
        build_report(read_plan(root, "s"), root)
    new = {*snapshot(tmp_path)} - before
    assert all(Path(name).is_relative_to(folder) for name in new)
    assert all(re.fullmatch(r"[\w.]+", Path(name).name) for name in new)


@pytest.mark.parametrize(
    "link", ["figures", "report.md", "results.csv", "tensorboard", ".lock", "deep/er"]
)
def test_a_study_with_a_link_that_leads_out_is_not_reported(tmp_path, link):
    root, elsewhere = tmp_path / "outputs", tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = stranger(root, lambda record: None)
    (folder / link).unlink(missing_ok=True)
    (folder / link).parent.mkdir(exist_ok=True)
    (folder / link).symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="leads out of"):
        build_report(read_plan(root, "s"), root)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    "link", ["runs/s0", "runs/s0/.lock", "runs/s0/result.json", "runs/s0/checkpoints"]
)
def test_a_run_behind_a_link_that_leads_out_is_a_row_that_says_so(tmp_path, link):
    root, elsewhere = tmp_path / "outputs", tmp_path / "elsewhere"
    folder = stranger(root, lambda record: None)
    if link == "runs/s0":
        shutil.move(root / link, elsewhere)
    else:
        elsewhere.mkdir()
        if (root / link).is_dir():
            shutil.rmtree(root / link)
        (root / link).unlink(missing_ok=True)
    (root / link).symlink_to(elsewhere)
    before = snapshot(elsewhere)
    row, other = read_rows(read_plan(root, folder.name), root)
    assert row.status == "INVALID"
    assert "leads out of" in row.reason
    assert "leads out of" not in other.reason
    _, code, _ = status_of(root, "s")
    assert code == 1
    assert snapshot(elsewhere) == before


@pytest.mark.fault(56)
def test_a_run_goes_into_no_folder_behind_a_link(tiny, tmp_path):
    prepared = tiny()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    prepared.folder.path.mkdir(parents=True)
    (prepared.folder.path / "checkpoints").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="leads out of"):
        tiny()
    assert list(elsewhere.iterdir()) == []


def test_a_job_is_what_was_planned(tmp_path, monkeypatch):
    plan = study(tmp_path, {"a": [0.5]}, baseline=None)
    write(plan, tmp_path)
    file = tmp_path / "studies" / "s" / "plan.json"
    cell, config = read_job(file, plan.cells[0].run_id)
    reference = {"run_id": cell.run_id, "plan": str(file), "code": "x", "before": None}
    reference |= {
        "cwd": str(tmp_path),
        "config_dir": None,
        "launcher": 0,
        "planned": job_digest(cell, config),
    }
    configs = file.with_name("configs.jsonl")
    text = configs.read_text()
    rewrite(configs, lambda line: line["config"]["task"].update(_target_="os.system"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="was changed after the study was launched"):
        train_study_cell(reference)
    configs.write_text(text)
    assert job_digest(*read_job(file, cell.run_id)) == reference["planned"]
