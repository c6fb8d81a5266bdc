"""decoderlab-doctor: what it finds, what it mends, and what it leaves alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest

from decoderlab.cli.doctor import look
from decoderlab.cli.report import write_report
from decoderlab.cli.status import studies
from decoderlab.cli.status import study as study_status
from decoderlab.common.errors import Invalid
from decoderlab.records.findings import left_behind, run_findings
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.design import examination
from tests.reliability.examining import (
    contents,
    cut,
    doctor,
    events,
    flip,
    incomplete,
    run_in,
    unfinished,
)
from tests.unit.studies import STUDY


def _break_off(run: RunFolder) -> None:
    """Leave what a copy by name has brought before it broke off."""
    for path in (run.status_file, run.manifest, run.result_file, run.metrics, run.predictions):
        path.unlink()


def _leave_the_config(run: RunFolder) -> None:
    """Leave the settings alone, which a copy by name brings first."""
    for path in run.path.iterdir():
        if path != run.config:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


DAMAGE: dict[str, tuple[Callable[[RunFolder], object], str]] = {
    "result edited": (lambda run: flip(run.result_file), "result.json"),
    "result gone": (lambda run: run.result_file.unlink(), "is missing"),
    "manifest gone": (lambda run: run.manifest.unlink(), "manifest.json"),
    "status gone": (lambda run: run.status_file.unlink(), "status.json is missing"),
    "a copy broke off": (_break_off, "status.json is missing, but the run has begun"),
    "the config alone": (_leave_the_config, "status.json is missing, but the run has begun"),
    "config edited": (lambda run: run.config.write_text("a: [1"), "config.yaml"),
    "as what it was planned, gone": (lambda run: run.planned.unlink(), "planned.json is missing"),
    "predictions cut": (lambda run: cut(run.predictions, 9), "predictions.jsonl"),
    "metrics cut": (lambda run: cut(run.metrics, 9), "metrics.jsonl"),
    "weights flipped": (lambda run: flip(run.path / run.result().best_checkpoint), "best-"),
    "events cut": (lambda run: cut(events(run), 9), "is cut off"),
    "events flipped": (lambda run: flip(events(run)), "is damaged"),
    "events deleted": (lambda run: shutil.rmtree(run.events), "has no TensorBoard file"),
}


def test_where_nothing_is_wrong_nothing_is_said(capsys, outputs):
    before = contents(outputs)
    assert doctor(capsys, outputs) == (0, [])
    assert look(outputs, fix=True, as_json=False) == 0
    assert "runs: 1, studies: 1, checked: nothing wrong" in capsys.readouterr().out
    assert contents(outputs) == before


def test_a_deleted_plan_is_named_wherever_it_is_looked_for(capsys, outputs):
    path = outputs / f"studies/{STUDY.name}/plan.json"
    path.unlink()
    _, (finding, note) = doctor(capsys, outputs)
    assert finding["path"] == str(path)
    assert "was deleted" in finding["what"]
    assert "launch the study" in finding["advice"]
    assert note["note"]  # the run is one of no study
    said = "plan.json is missing.*give the command of the study"
    with pytest.raises(Invalid, match=said):
        study_status(outputs, STUDY.name)
    with pytest.raises(Invalid, match=said):
        write_report(STUDY.name, outputs, tensorboard=False)
    (table,), code, _ = studies(outputs)
    assert code == 1
    assert table.row_count == 1


def test_a_run_that_somebody_ended_since_it_was_looked_at_is_left_at_that(outputs):
    folder = run_in(outputs)
    unfinished(folder, "RUNNING")
    (finding,) = [one for one in run_findings(folder) if "RUNNING" in one.what]
    folder.set_status("FINISHED")  # by the same command, in another terminal
    finding.mend()
    assert folder.recorded_status()["status"] == "FINISHED"


@pytest.mark.fault(50, 53, 54)
@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_and_never_deleted(capsys, outputs, name):
    harm, said = DAMAGE[name]
    harm(run_in(outputs))
    before = contents(outputs)
    for fix in (False, True):
        code, (finding,) = doctor(capsys, outputs, fix=fix)
        assert code == 1
        assert said in f"{finding['path']} {finding['what']}"
        assert finding["advice"]
        assert contents(outputs) == before


@pytest.mark.usefixtures("undrawn")
@pytest.mark.fault(53)
@pytest.mark.parametrize("name", [name for name in DAMAGE if name.startswith("events")])
def test_no_table_depends_on_a_file_of_tensorboard(outputs, name):
    def tables() -> dict[str, bytes]:
        assert write_report(STUDY.name, outputs, tensorboard=False) == 0
        written = (outputs / "studies" / STUDY.name).glob("*.*")
        return {path.name: path.read_bytes() for path in written if path.suffix != ".json"}

    before = tables()
    assert {"results.csv", "report.md", "report.html", "table.tex"} <= set(before)
    DAMAGE[name][0](run_in(outputs))
    assert tables() == before


def test_killed_runs_and_litter_are_mended(capsys, outputs, dead):
    run = run_in(outputs)
    unfinished(run, "RUNNING")
    orphan = run.checkpoints / "step-000000003.ckpt.sha256"
    left = [run.path / incomplete("result.json", dead)]
    left.append(run.checkpoints / incomplete("step-000000003.ckpt", dead))
    left.append(outputs / "studies" / "s" / incomplete("plan.json", dead))
    for path in (orphan, *left):
        path.write_text("x")
    before = contents(outputs)
    code, findings = doctor(capsys, outputs)
    assert (code, len(findings)) == (1, 5)
    assert contents(outputs) == before
    assert all(finding["fixable"] for finding in findings)
    code, findings = doctor(capsys, outputs, fix=True)
    assert (code, [finding["fixed"] for finding in findings]) == (0, [True] * 5)
    assert run.recorded_status()["status"] == "INTERRUPTED"
    kept = {name for name in before if not name.endswith(".tmp") and "0003" not in name}
    assert set(contents(outputs)) == kept
    assert doctor(capsys, outputs) == (0, [])


def test_a_damaged_status_is_mended(capsys, outputs):
    run = run_in(outputs)
    unfinished(run, "RUNNING")
    run.status_file.write_text("{")
    assert doctor(capsys, outputs)[0] == 1
    assert doctor(capsys, outputs, fix=True)[0] == 0
    assert run.recorded_status()["status"] == "INTERRUPTED"


def test_a_run_that_somebody_is_at_is_left_alone(capsys, outputs, dead):
    run = run_in(outputs)
    unfinished(run, "RUNNING")
    (run.path / incomplete("metrics.jsonl", dead)).write_text("x")
    with run.lock().acquire(timeout=1):
        before = contents(outputs)
        assert doctor(capsys, outputs, fix=True) == (0, [])
        assert contents(outputs) == before


@pytest.mark.fault(50)
def test_a_checkpoint_that_cannot_be_used_is_named(capsys, outputs):
    run = run_in(outputs)
    unfinished(run, "INTERRUPTED")
    newest, older = run.resume_checkpoints()
    flip(newest)
    os.truncate(older, 0)
    before = contents(outputs)
    code, findings = doctor(capsys, outputs, fix=True)
    assert code == 1
    assert {finding["path"] for finding in findings} == {str(newest), str(older)}
    assert contents(outputs) == before


@pytest.mark.fault(55)
def test_runs_that_are_not_there_and_runs_of_no_study(capsys, outputs):
    run = run_in(outputs)
    shutil.move(run.path, run.path.with_name("echo-other-s0-000000000000"))
    code, findings = doctor(capsys, outputs)
    assert code == 1
    texts = [f"{finding['path']} {finding['what']}" for finding in findings]
    assert any("plans 1 runs, of which 1 are not there" in text for text in texts)
    assert any("but the folder is of run 000000000000" in text for text in texts)
    shutil.rmtree(outputs / "studies")
    shutil.move(next((outputs / "runs").iterdir()), run.path)
    code, (note,) = doctor(capsys, outputs)
    assert (code, note["note"], note["fixed"]) == (0, True, False)
    assert "has 1 runs that no study has planned" in note["what"]


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("plan.json", "{", "plan.json"),
        ("plan.json", '{"cells": 3}', "plan.json"),
        ("configs.jsonl", "{}\n", "configs.jsonl"),
        ("configs.jsonl", "", "lacks the configs of 1 of 1 runs"),
    ],
)
def test_a_damaged_study_is_named(capsys, outputs, file, text, said):
    (outputs / "studies" / "s" / file).write_text(text)
    code, findings = doctor(capsys, outputs, fix=True)
    assert code == 1
    assert any(said in f"{finding['path']} {finding['what']}" for finding in findings)


def test_space_is_looked_at_and_a_folder_is_wanted(capsys, outputs, monkeypatch, tmp_path):
    monkeypatch.setattr(examination, "LEAST_FREE", 2**62)
    code, (finding,) = doctor(capsys, outputs)
    assert (code, "MiB free" in finding["what"]) == (1, True)
    with pytest.raises(ValueError, match="is not a folder; give one as run.output_dir"):
        look(tmp_path / "none", fix=False, as_json=False)
    (tmp_path / "empty").mkdir()
    monkeypatch.undo()
    assert doctor(capsys, tmp_path / "empty") == (0, [])


def test_what_a_person_has_named_so_was_not_set_aside(tmp_path):
    for name in ("notes.aside-x", "checkpoints.aside-1", "a.aside-2.txt"):
        (tmp_path / name).mkdir()
    assert [finding.path.name for finding in left_behind(tmp_path)] == ["checkpoints.aside-1"]
