"""Faults of folders, links, clocks and locks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import time

import pytest
from filelock import Timeout

from decoderlab.common.errors import ConfigError, LaunchError
from decoderlab.records.findings import run_findings
from decoderlab.records.run_folder import RunFolder, lock_held
from tests.conftest import run, same, weights
from tests.interrupting import interrupted


@pytest.mark.fault(46)
@pytest.mark.parametrize("status", ["INTERRUPTED", "FINISHED", "RUNNING"])
def test_the_folder_of_other_settings_is_not_gone_on_with(tiny, tmp_path, monkeypatch, status):
    mine = tiny("decoder=luong", "training.learning_rate=0.01")
    other = tiny("decoder=luong", output_dir=tmp_path / "other")
    if status == "FINISHED":
        run(other)
    else:
        interrupted(other, monkeypatch, 7)
        other.folder.set_status(status, run_id=other.run_id)
    assert mine.folder.path.name != other.folder.path.name
    shutil.copytree(other.folder.path, mine.folder.path)
    wanted = f"belongs to run {other.run_id[:12]}, .*learning_rate is 0.001, where 0.01 is given"
    with pytest.raises(ConfigError, match=wanted):
        run(mine)
    for path in sorted(other.folder.path.rglob("*")):
        if path.is_file() and path.name != ".lock":
            copy = mine.folder.path / path.relative_to(other.folder.path)
            assert copy.read_bytes() == path.read_bytes()


@pytest.mark.fault(49)
def test_the_newest_checkpoint_is_that_of_the_last_update_whatever_the_clocks_say(
    tiny, tmp_path, monkeypatch
):
    whole, broken = tiny(output_dir=tmp_path / "whole"), tiny()
    run(whole)
    interrupted(broken, monkeypatch, 11)
    newest, older = broken.folder.resume_checkpoints()
    os.utime(older, (2**31, 2**31))
    os.utime(newest, (0, 0))
    monkeypatch.setattr(time, "time", lambda: 1.0)  # and the clock has been set back
    assert run(broken) == "FINISHED"
    assert broken.folder.result().restarts == 1
    assert same(weights(whole), weights(broken))


@pytest.mark.fault(49)
@pytest.mark.filterwarnings("ignore:flock not supported")
@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK])
def test_without_locks_of_the_system_nobody_trains_beside_another(tiny, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    prepared = tiny()
    if code == errno.ENOLCK:
        with pytest.raises(LaunchError, match=os.strerror(code)):
            run(prepared)
        assert not prepared.folder.metrics.exists()
        return
    with prepared.folder.lock().acquire(timeout=1):
        assert RunFolder(prepared.folder.path).locked()
    assert not prepared.folder.locked()
    assert run(prepared) == "FINISHED"


HOLD = """
import errno, fcntl, os, sys, time
def refuse(*_, **__): raise OSError(int(sys.argv[2]), "not here")
os.link = refuse
def missing(*_): raise OSError(errno.ENOSYS, "not here")
fcntl.flock = missing
from pathlib import Path
from decoderlab.records.findings import run_findings
from decoderlab.records.run_folder import RunFolder, lock_held
lock = RunFolder(Path(sys.argv[1])).lock().acquire(timeout=1)
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.filterwarnings("ignore:flock not supported")
@pytest.mark.parametrize(
    "code", [errno.EPERM, pytest.param(errno.EOPNOTSUPP, marks=pytest.mark.slow)]
)
@pytest.mark.fault(48, 49)
def test_without_hard_links_a_lock_that_is_a_file_holds_and_ends_with_its_process(
    tiny, monkeypatch, code
):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    def missing(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    folder = tiny().folder
    command = [sys.executable, "-c", HOLD, str(folder.path), str(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        monkeypatch.setattr(os, "link", refuse)
        monkeypatch.setattr(fcntl, "flock", missing)
        assert folder.locked()
        with pytest.raises(Timeout), folder.lock().acquire(timeout=0.2):
            pass
        other.kill()
    assert not folder.locked()
    with folder.lock().acquire(timeout=5):
        assert folder.locked()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EROFS, errno.EOPNOTSUPP])
@pytest.mark.fault(49)
def test_where_no_lock_can_be_had_records_are_believed_and_nothing_is_written(
    tiny, tmp_path, monkeypatch, code
):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    prepared = tiny()
    prepared.folder.set_status("RUNNING")
    with prepared.folder.lock():
        pass
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert prepared.folder.status()["status"] == "RUNNING"
    assert [finding.what for finding in run_findings(prepared.folder)]  # and it is looked through
    path = tmp_path / "outputs/studies/s/.lock"
    with pytest.raises(LaunchError, match=rf"{path} cannot be locked \({os.strerror(code)}\)"):
        with lock_held(path):
            pytest.fail("held")


@pytest.mark.fault(49, 56)
def test_a_lock_is_no_link(tmp_path):
    path, outside = tmp_path / "study/.lock", tmp_path / "outside"
    path.parent.mkdir()
    path.symlink_to(outside)
    with lock_held(path):
        assert not path.is_symlink()
    assert not outside.exists()


@pytest.mark.fault(56)
def test_what_a_link_in_a_run_points_to_is_neither_written_nor_deleted(tiny, tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    outside.mkdir()
    prepared = tiny()
    folder = prepared.folder
    interrupted(prepared, monkeypatch, 7)
    # Checkpoints that the run is about to delete, and records that it is about to write.
    moved = [*folder.numbered("step"), *folder.numbered("best"), folder.metrics]
    moved += [folder.config, folder.status_file, folder.made_by, folder.vocabularies]
    for number, path in enumerate(moved):
        target = outside / f"{number}-{path.name}"
        path.rename(target)
        if number % 2:
            path.symlink_to(target)
        else:
            os.link(target, path)
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    assert run(prepared) == "FINISHED"
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before
    assert folder.numbered("step")[0].name == "step-000000012.ckpt"
    assert prepared.folder.result().restarts == 1
