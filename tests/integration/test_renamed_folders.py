"""Run folders that were copied, renamed or exchanged by hand: none is taken for another run's."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from decoderlab.common.errors import ConfigError, EditedSource, LaunchError, Unreadable
from decoderlab.config.secret_settings import redacted
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.design.planned_and_run import standing
from decoderlab.studies.execution import job as jobs
from decoderlab.studies.execution.job import Job, bring_to_end, give_up
from decoderlab.training.code_changes import code_digest

OTHER = "f" * 64
slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.fixture
def job(planned) -> Job:
    plan = planned("decoder=repeat_vector")
    (cell,) = plan.plan.cells
    config = plan.configs[cell.run_id]
    return Job(cell, config, code_digest(config), None)


def put(path: Path, kind: str) -> None:
    path.parent.mkdir(exist_ok=True)
    if kind == "file":
        path.write_text("notes\n")
    elif kind == "link":
        (path.parent / "kept").mkdir()
        path.symlink_to("kept")
    else:
        path.mkdir()


@pytest.mark.parametrize("name", ["a-copy-of", slow("zzz")])
@pytest.mark.parametrize("kind", ["folder", "file", slow("link")])
def test_what_lies_beside_a_run_and_ends_in_its_id_is_not_taken_for_it(
    planned, tmp_path, kind, name
):
    (cell,) = planned("decoder=repeat_vector").plan.cells
    beside = tmp_path / "runs" / f"{name}-{cell.run_id[:12]}"
    put(beside, kind)
    (alone,) = planned("decoder=repeat_vector").plan.cells
    renamed = kind != "file"  # under any name it is the run's, as long as there is no other
    assert alone.folder == (f"runs/{beside.name}" if renamed else cell.folder)
    put(tmp_path / cell.folder, "folder")
    (both,) = planned("decoder=repeat_vector").plan.cells
    assert both.folder == cell.folder


@pytest.mark.parametrize("status", ["INTERRUPTED", slow("FAILED"), slow("FINISHED")])
def test_a_sweep_refuses_a_folder_with_the_records_of_another_run(planned, tmp_path, status):
    first, second = planned("decoder=repeat_vector", "seed=0,1").plan.cells
    folder = RunFolder(tmp_path / second.folder)
    folder.set_status(status, run_id=first.run_id, reason="as it was")
    before = folder.status_file.read_bytes()
    wanted = f"belongs to run {first.run_id[:12]}, not to this run, {second.run_id[:12]}.*move it"
    with pytest.raises(ConfigError, match=wanted):
        planned("decoder=repeat_vector", "seed=0,1", "study.retry=failed")
    assert folder.status_file.read_bytes() == before


@pytest.mark.parametrize("end", [bring_to_end, give_up])
@pytest.mark.parametrize("status", ["INTERRUPTED", slow("RUNNING"), slow("FAILED")])
def test_a_job_writes_nothing_into_the_folder_of_another_run(job, end, status):
    job.folder.set_status(status, run_id=OTHER)
    before = {path.name: path.read_bytes() for path in job.folder.path.iterdir()}
    with_lock = {".lock": b""} | before
    assert end(job, "no reason") == "FAILED"
    assert {path.name: path.read_bytes() for path in job.folder.path.iterdir()} == with_lock


@pytest.mark.parametrize("given", [{}, {"run_id": True}])
def test_a_run_that_is_given_up_is_still_known_by_its_id(job, given):
    own = job.cell.run_id
    job.folder.set_status("INTERRUPTED", **dict.fromkeys(given, own))
    assert give_up(job, "its process died") == "FAILED"
    record = job.folder.recorded_status()
    assert (record["run_id"], record["reason"]) == (own, "its process died")


@pytest.mark.parametrize("kind", [RuntimeError, ConfigError])
def test_an_error_before_a_run_of_a_sweep_does_not_tell_a_secret(job, monkeypatch, kind):
    monkeypatch.setenv("HOST_TOKEN", "hunter2-hunter2")

    def fails(*_):
        raise kind("403 at https://x.org/hunter2-hunter2")

    monkeypatch.setattr(jobs, "prepare_planned", fails)
    assert bring_to_end(job, lambda step, values: None) == "FAILED"
    assert "403 at https://x.org/${HOST_TOKEN}" in job.folder.recorded_status()["reason"]
    for path in job.folder.path.iterdir():
        assert b"hunter2" not in path.read_bytes()


def test_a_record_that_cannot_be_read_now_fails_no_run(job, monkeypatch):
    def fails(*_, **__):
        raise Unreadable(job.folder.made_by, "cannot be read: Input/output error")

    job.folder.set_status("INTERRUPTED", run_id=job.cell.run_id)
    monkeypatch.setattr(jobs, "execute", fails)
    with pytest.raises(LaunchError, match=r"made_by.json cannot be read: Input/output error"):
        bring_to_end(job, lambda step, values: None)
    assert job.folder.recorded_status()["status"] == "INTERRUPTED"


@pytest.mark.parametrize("what", ["our code", "the data", "a class of one's own"])
def test_what_is_edited_while_a_sweep_runs_fails_no_run(job, monkeypatch, what):
    def edited(*_):
        raise EditedSource("mine.py was edited after it was imported")

    if what == "our code":
        job = replace(job, code="other")
    elif what == "the data":
        job = replace(job, cell=replace(job.cell, run_id=OTHER))
    else:
        monkeypatch.setattr(jobs, "prepare_planned", edited)
    with pytest.raises(LaunchError, match="give the same command again"):
        bring_to_end(job, lambda step, values: None)
    assert job.folder.recorded_status()["status"] == "PLANNED"


def test_a_secret_that_begins_another_one_does_not_leave_the_rest(monkeypatch):
    monkeypatch.setenv("A_TOKEN", "hunter2")
    monkeypatch.setenv("B_TOKEN", "hunter2-and-more")
    monkeypatch.setenv("C_TOKEN", "hunter2-and-more-still")
    text = "hunter2-and-more, hunter2, hunter2-and-more-still"
    assert redacted(text) == "${B_TOKEN}, ${A_TOKEN}, ${C_TOKEN}"


@pytest.mark.parametrize(
    "status", ["FAILED", slow("DIVERGED"), slow("INTERRUPTED"), slow("FINISHED")]
)
def test_another_runs_status_is_not_that_of_a_planned_run(planned, tmp_path, status):
    """A failure of another run, which counts with the worst score, least of all."""
    plan = planned("decoder=repeat_vector", "seed=0,1").plan
    first, second = plan.cells
    RunFolder(tmp_path / first.folder).set_status(status, run_id=second.run_id)
    stands, reason, result = standing(first, plan, tmp_path)
    assert (stands, result) == ("INVALID", None)
    assert f"has the records of run {second.run_id[:12]}; expected run" in reason
    assert "copied or renamed by hand" in reason
