"""Files that cannot be read now: nothing is taken for damaged, given up or deleted."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from decoderlab.common.errors import ConfigError, LaunchError, Unreadable
from decoderlab.records import findings
from decoderlab.records.planned_as import note_planned, planned_as
from decoderlab.studies.design.plan_file import as_planned, plan_file, read_configs, read_plan
from decoderlab.studies.design.planned_and_run import note_all_planned
from decoderlab.studies.execution import job as jobs
from tests.conftest import run
from tests.reliability.test_checkpoint_faults import found

ERRORS = ("EIO", "ESTALE", "EMFILE", "EACCES", "ENOMEM")


def unreadable(monkeypatch, ending: str, name: str) -> None:
    """Let the system refuse to open files of an ending."""
    real = os.open

    def opens(path, *arguments, **options):
        if os.fspath(path).endswith(ending):
            raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", opens)


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize(
    "ending", ["-000000011.ckpt", ".sha256", "metrics.jsonl", "best-000000010.ckpt"]
)
def test_a_checkpoint_that_cannot_be_read_now_is_not_given_up(single, monkeypatch, name, ending):
    before = {path: path.read_bytes() for path in single.folder.checkpoints.iterdir()}
    with monkeypatch.context() as patch:
        unreadable(patch, ending, name)
        with pytest.raises(Unreadable, match="cannot be read: .*it may be whole: .*delete that"):
            found(single)
    assert {path: path.read_bytes() for path in single.folder.checkpoints.iterdir()} == before
    assert found(single).name == "step-000000011.ckpt"


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "Input/output error")])
def test_what_torch_cannot_load_for_want_of_memory_is_not_given_up(single, monkeypatch, error):
    def loads(*_, **__):
        raise error

    monkeypatch.setattr(torch, "load", loads)
    with pytest.raises(Unreadable, match="cannot be read: "):
        found(single)


def test_a_run_whose_checkpoints_cannot_be_read_now_goes_on_later(single, monkeypatch):
    with monkeypatch.context() as patch:
        unreadable(patch, "-000000011.ckpt", "EIO")
        assert run(single) == "INTERRUPTED"
    assert "Input/output error; it may be whole" in single.folder.status()["reason"]
    assert single.folder.resume_checkpoints()[0].name == "step-000000011.ckpt"
    assert run(single) == "FINISHED"
    assert single.folder.result().restarts == 1


def test_a_finished_run_that_cannot_be_read_now_is_not_repaired(single, monkeypatch):
    assert run(single) == "FINISHED"
    before = single.folder.manifest.read_bytes()
    with monkeypatch.context() as patch:
        unreadable(patch, "result.json", "EIO")
        with pytest.raises(Unreadable, match=r"result.json cannot be read: Input/output error"):
            run(single)
    assert single.folder.manifest.read_bytes() == before
    assert run(single) == "FINISHED"


def system_error(name: str, path: object = None) -> OSError:
    number = getattr(errno, name)
    return OSError(number, os.strerror(number), *([] if path is None else [os.fspath(path)]))


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "DIVERGED"])
def test_a_run_whose_status_cannot_be_read_now_is_neither_trained_nor_marked(
    single, monkeypatch, status
):
    assert run(single) == "FINISHED"
    shutil.rmtree(single.folder.checkpoints)  # which is no damage of a finished run
    if status != "FINISHED":
        single.folder.manifest.unlink()
        single.folder.set_status(status, run_id=single.run_id)
    before = {path: path.read_bytes() for path in single.folder.path.iterdir() if path.is_file()}
    with monkeypatch.context() as patch:
        unreadable(patch, "status.json", "EIO")
        with pytest.raises(Unreadable, match="status.json cannot be read: Input/output error"):
            run(single, retry=False)
        (finding,) = findings.run_findings(single.folder)
        assert (finding.path, finding.mend) == (single.folder.status_file, None)
        with pytest.raises(Unreadable):
            findings._interrupted(single.folder)
    after = {path: path.read_bytes() for path in single.folder.path.iterdir() if path.is_file()}
    assert after == before
    assert run(single, retry=False) == status


@pytest.mark.parametrize(
    ("name", "call"), [("EIO", "replace"), ("ESTALE", "fsync"), ("EACCES", "open")]
)
def test_a_run_that_cannot_write_for_a_moment_has_not_failed(single, monkeypatch, name, call):
    """Whatever it writes first after an update: metrics, a checkpoint, or its hash."""
    real, refused = getattr(os, call), []

    def refuse(*arguments, **options):
        written = str(arguments[-1])
        if call == "fsync":
            written = os.readlink(f"/proc/self/fd/{arguments[0]}")
        elif call == "open":
            written = str(arguments[0])
        if "step-000000012" in written and not refused:
            refused.append(written)
            raise system_error(name, written)
        return real(*arguments, **options)

    if call == "open":
        monkeypatch.setattr("pathlib.io.open", refuse)
        real = open
    else:
        monkeypatch.setattr(os, call, refuse)
    assert run(single) == "INTERRUPTED"
    assert refused
    assert "give the same command again" in single.folder.status()["reason"]
    assert run(single) == "FINISHED"


@pytest.mark.parametrize("name", ["EIO", "EACCES"])
def test_checkpoints_that_cannot_be_listed_now_are_not_written_over(single, monkeypatch, name):
    before = {path: path.read_bytes() for path in single.folder.checkpoints.iterdir()}
    metrics = single.folder.metrics.read_bytes()

    def refuse(where=".", *_):
        if os.fspath(where) == str(single.folder.checkpoints):
            raise system_error(name, where)
        return listed(where)

    with monkeypatch.context() as patch:
        for call in ("listdir", "scandir"):
            listed = getattr(os, call)
            patch.setattr(os, call, refuse)
        with pytest.raises((Unreadable, OSError), match="checkpoints"):
            run(single)
    assert {path: path.read_bytes() for path in single.folder.checkpoints.iterdir()} == before
    assert single.folder.metrics.read_bytes() == metrics
    assert run(single) == "FINISHED"
    assert single.folder.result().restarts == 1


def _chained(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


# What a run of a sweep meets before or after its training, and whether it passes.
MET = {
    "a parent": (_chained(ConfigError("no run"), Unreadable("manifest.json", "is away")), True),
    "data": (_chained(ConfigError("data"), system_error("EIO", "data.tsv")), True),
    "the storage": (system_error("ESTALE"), True),
    "files": (system_error("EMFILE", "data.tsv"), True),
    "own records": (system_error("EACCES", "run/config.yaml"), True),
    "other data": (ConfigError("data"), False),
    "no permission elsewhere": (system_error("EACCES", "/weights.pt"), False),
    "no file": (system_error("ENOENT", "weights.pt"), False),
}


@pytest.mark.parametrize("met", MET)
def test_a_run_of_a_sweep_fails_by_no_error_that_passes(single, monkeypatch, tmp_path, met):
    error, passes = MET[met]
    if isinstance(error, OSError) and error.filename:
        error.filename = error.filename.replace("run/", f"{single.folder.path}/")

    def prepare_planned(*_):
        raise error

    monkeypatch.setattr(jobs, "prepare_planned", prepare_planned)
    cell = SimpleNamespace(
        folder=single.folder.path, run_id=single.run_id, title="a run", parameters=10
    )
    job = jobs.Job(cell, single.config, "code", None)
    before = single.folder.status()
    if passes:
        with pytest.raises(LaunchError):
            jobs.bring_to_end(job, report=lambda step, values: None)
        assert single.folder.status() == before
    else:
        assert jobs.bring_to_end(job, report=lambda step, values: None) == "FAILED"


def test_nothing_is_given_up_whose_status_cannot_be_read_now(single, monkeypatch):
    cell = SimpleNamespace(folder=single.folder.path, run_id=single.run_id, title="a run")
    job = jobs.Job(cell, single.config, "code", None)
    before = single.folder.status_file.read_bytes()
    with monkeypatch.context() as patch:
        unreadable(patch, "status.json", "EIO")
        assert jobs.give_up(job, "took too long") == "INTERRUPTED"
    assert single.folder.status_file.read_bytes() == before


@pytest.mark.parametrize("ending", ["s/plan.json", "s/configs.jsonl"])
def test_a_plan_that_cannot_be_read_now_is_not_replaced(outputs, monkeypatch, ending):
    plan, configs = read_plan(outputs, "s"), read_configs(plan_file(outputs, "s"))
    before = {path: path.read_bytes() for path in outputs.rglob("*.json*")}
    amended = replace(plan, study=replace(plan.study, question="another"))
    with monkeypatch.context() as patch:
        unreadable(patch, ending, "EIO")
        with pytest.raises(Unreadable, match="cannot be read: Input/output error"):
            amended.write(outputs, configs)
    assert {path: path.read_bytes() for path in before} == before
    amended.write(outputs, configs)
    assert plan_file(outputs, "s").with_name("plan-001.json").exists()
    assert not read_plan(outputs, "s").damage


def test_what_other_studies_planned_is_not_forgotten_because_it_cannot_be_read_now(
    outputs, monkeypatch
):
    plan = read_plan(outputs, "s")
    (cell,) = plan.cells
    folder, planned = cell.run_folder(outputs), as_planned(cell, plan.study, plan.budget)
    with monkeypatch.context() as patch:
        unreadable(patch, "planned.json", "EIO")
        with pytest.raises(Unreadable, match="cannot be read: Input/output error"):
            note_planned(folder, "another", planned)
        note_all_planned(plan, outputs, {cell.run_id})  # a run that is finished stops no sweep
    note_planned(folder, "another", planned)
    assert planned_as(folder) == {"s": planned, "another": planned}
