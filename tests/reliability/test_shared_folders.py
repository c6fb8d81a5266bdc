"""Faults of folders that others have written, of clocks that are wrong, and of names of folders."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest

from decoderlab.common.process import host_name
from decoderlab.records import run_folder
from decoderlab.records.findings import run_findings
from decoderlab.records.manifest import write_manifest
from decoderlab.records.run_folder import RunFolder, lock_held, write_text
from decoderlab.studies.design.planned_and_run import ended_otherwise
from tests.conftest import run
from tests.integration.cli import forked, in_process, tiny_arguments
from tests.integration.disturbed import runs
from tests.permissions import bound_by_permissions
from tests.reliability.examining import doctor, unfinished

NOBODY = 65534
SWEEP = ("-m", "study.name=s", "hydra/launcher=basic")

pytestmark = pytest.mark.usefixtures("undrawn")


def failed(folder: RunFolder, at: float | None) -> None:
    unfinished(folder, "FAILED")
    record = json.loads(folder.status_file.read_text()) | {"reason": "no GPU"}
    record = {key: value for key, value in record.items() if key != "at"}
    folder.status_file.write_text(json.dumps(record if at is None else record | {"at": at}))


@pytest.mark.slow
@pytest.mark.fault(49)
@pytest.mark.parametrize("on_failure", ["continue", "stop"])
def test_a_failed_run_is_tried_again_whatever_the_clock_said(monkeypatch, tmp_path, on_failure):
    given = [*SWEEP, *tiny_arguments(tmp_path), "seed=0,1,2,3", f"study.on_failure={on_failure}"]
    assert in_process(monkeypatch, *given) == 0
    hour = 3600.0
    times = (None, 0.0, time.time() + hour, 253370764800.0)  # the year 9999
    for folder, at in zip(runs(tmp_path), times, strict=True):
        failed(folder, at)
    assert in_process(monkeypatch, *given) == 1
    assert in_process(monkeypatch, *given, "study.retry=failed") == 0
    assert {folder.status()["status"] for folder in runs(tmp_path)} == {"FINISHED"}


def given_to_nobody(path: Path, mode: int) -> None:
    os.chown(path, NOBODY, NOBODY)
    path.chmod(mode)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
@pytest.mark.fault(45, 48)
@pytest.mark.parametrize("mode", [0o644, 0o600])
@pytest.mark.parametrize("whole", [False, True])
def test_a_sweep_does_not_wait_for_a_lock_that_it_can_never_have(
    monkeypatch, tmp_path, mode, whole
):
    given = [*SWEEP, *tiny_arguments(tmp_path)]
    assert in_process(monkeypatch, *given) == 0
    (folder,) = runs(tmp_path)
    unfinished(folder, "RUNNING")
    given_to_nobody(folder.path / ".lock", mode)
    if whole:
        given_to_nobody(folder.path, 0o755)
    with bound_by_permissions():
        assert folder.locked() == (mode == 0o600)
        done = forked("train", *given)
    assert done.returncode == 1
    assert "Permission denied" in done.stderr
    assert "waiting for" not in done.stderr
    assert "internal error" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
@pytest.mark.fault(48)
def test_a_lock_of_somebody_else_is_seen_while_it_is_held(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.lock():
        given_to_nobody(tmp_path / ".lock", 0o644)
        with bound_by_permissions():
            assert folder.locked(unknown=False)
    with bound_by_permissions():
        assert not folder.locked()


@pytest.mark.fault(48)
def test_who_waits_for_a_study_says_so(tmp_path, monkeypatch):
    said, path = [], tmp_path / ".lock"
    held = RunFolder(tmp_path).lock()
    held.acquire()

    def tell(text: str) -> None:
        said.append(text)
        held.release()

    monkeypatch.setattr(run_folder, "say", tell)
    with lock_held(path):
        assert said == [f"another process writes to {tmp_path}; waiting for it"]


@pytest.mark.slow
@pytest.mark.fault(17)
@pytest.mark.parametrize("name", [b"${seed}", b"${oc.env:HOME}", rb"a\b", b"%41", b"a'b", b"\xff"])
def test_a_sweep_runs_in_a_folder_of_any_name(monkeypatch, tmp_path, name):
    here = os.path.join(os.fsencode(tmp_path), name)
    os.makedirs(here)
    monkeypatch.chdir(here)
    # Not below a fork: the launcher is told the folder in which the sweep was given.
    assert in_process(monkeypatch, *SWEEP, *tiny_arguments(Path("outputs"))) == 0
    assert [one.status()["status"] for one in runs(Path(os.fsdecode(here), "outputs"))] == [
        "FINISHED"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
@pytest.mark.fault(45)
@pytest.mark.parametrize("name", ["", "runs", "studies", "studies/s", "checkpoints", "tensorboard"])
def test_what_cannot_be_looked_into_is_not_called_right(capsys, outputs, name):
    (one,) = (outputs / "runs").iterdir()
    path = one / name if name in ("checkpoints", "tensorboard") else outputs / name
    given_to_nobody(path, 0o700)
    with bound_by_permissions():
        code, findings = doctor(capsys, outputs)
    assert code == 1
    said = [each["what"] for each in findings if each["path"] == str(path)]
    assert any("cannot be read: Permission denied" in what for what in said), findings


@pytest.mark.fault(46)
def test_whose_a_killed_run_was_is_still_known_after_it_was_mended(tiny):
    prepared = tiny()
    run(prepared)
    unfinished(prepared.folder, "RUNNING")
    prepared.folder.set_status("RUNNING", run_id=prepared.run_id)
    for finding in run_findings(prepared.folder):
        if finding.mend is not None:
            finding.mend()
    record = prepared.folder.recorded_status()
    assert (record["status"], record["run_id"]) == ("INTERRUPTED", prepared.run_id)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_a_limit_of_the_system_is_no_failure_of_the_run(tiny, monkeypatch, code):
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code), "events.out")

    prepared = tiny()
    with monkeypatch.context() as patch:
        patch.setattr("decoderlab.training.run_lifecycle.train_and_test", refuse)
        assert run(prepared) == "INTERRUPTED"
    assert "ulimit -n" in prepared.folder.status()["reason"]
    assert run(prepared) == "FINISHED"


@pytest.mark.fault(54)
def test_a_run_that_ends_while_it_is_looked_at_is_not_called_damaged(tiny, monkeypatch):
    prepared = tiny()
    run(prepared)
    assert ended_otherwise(prepared.folder, "INTERRUPTED") is None  # it was when it was asked
    prepared.folder.set_status("RUNNING")
    write_manifest(prepared.folder, prepared.identity, prepared.folder.result())
    assert "its manifest.json is intact" in ended_otherwise(prepared.folder, "INTERRUPTED")


@pytest.mark.fault(56)
@pytest.mark.parametrize("kind", ["link", "hard link", "file"])
def test_nothing_is_written_through_the_name_of_an_incomplete_file(tmp_path, kind):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    folder.mkdir()
    outside.write_text("precious")
    planted = folder / f".report.md.{host_name()}.{os.getpid()}.tmp"
    match kind:
        case "link":
            planted.symlink_to(outside)
        case "hard link":
            planted.hardlink_to(outside)
        case _:
            planted.write_text("left by a process of this id")
    write_text(folder / "report.md", "new")
    assert outside.read_text() == "precious"
    assert (folder / "report.md").read_text() == "new"
    assert not (folder / "report.md").is_symlink()
    assert [path.name for path in folder.iterdir()] == ["report.md"]
