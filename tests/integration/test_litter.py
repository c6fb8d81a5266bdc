"""What killed processes leave, and processes that outlive their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decoderlab.common import process
from decoderlab.records.held_folder import tidy_semaphores, tidy_shared
from tests.conftest import run
from tests.integration.cli import in_process, wait_for
from tests.integration.disturbed import runs
from tests.integration.long_runs import has_checkpoint, long, settings, started

pytestmark = pytest.mark.usefixtures("undrawn")


def test_what_killed_processes_leave_is_removed(tiny, tmp_path):
    prepared = tiny()
    run(prepared)
    folder, dead = prepared.folder, _dead_pid()
    litter = [
        folder.checkpoints / f".step-000000005.ckpt.{process.host_name()}.{dead}.tmp",
        folder.path / f".status.json.{process.host_name()}.{dead}.tmp",
        folder.checkpoints / "step-000000099.ckpt.sha256",
    ]
    for path in litter:
        path.write_bytes(b"x")
    kept = sorted(folder.checkpoints.glob("[!.]*.ckpt*"))
    assert run(prepared) == "FINISHED"
    assert not any(path.exists() for path in litter)
    assert sorted(folder.checkpoints.iterdir()) == [path for path in kept if path != litter[2]]


def test_in_a_shared_folder_only_what_is_surely_dead_is_removed(tmp_path):
    host, dead = process.host_name(), _dead_pid()
    theirs = [f".plan.json.elsewhere.{dead}.tmp", f".plan.json.{host}.{os.getpid()}.tmp"]
    others = ["plan.json", ".tmp", ".x.tmp", ".plan.json.12x.tmp"]
    for name in (*theirs, *others, f".plan.json.{host}.{dead}.tmp"):
        (tmp_path / name).write_text("x")
    tidy_shared(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*theirs, *others])


def test_semaphores_of_dead_processes_are_removed(tmp_path):
    names = [f"sem.loky-{pid}-abc" for pid in (os.getpid(), _dead_pid())] + ["sem.mp-1", "other"]
    for name in names:
        (tmp_path / name).write_text("x")
    tidy_semaphores(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([names[0], *names[2:]])


def _dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@pytest.mark.slow
def test_a_killed_group_leaves_nothing_after_the_next_launch(begin, monkeypatch, tmp_path):
    given = ["-m", *settings(tmp_path), "seed=0,1", "study.name=s"]
    killed = begin(*given, "training.max_steps=1000000")
    wait_for(lambda: has_checkpoint(tmp_path), killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    left = list(Path("/dev/shm").glob(f"sem.loky-{killed.pid}-*"))
    assert left
    other = (f"run.output_dir={tmp_path / 'other'}", "hydra.launcher.jobs=1")
    assert in_process(monkeypatch, *given, *other) == 0
    assert not any(path.exists() for path in left)


@pytest.mark.slow
@pytest.mark.parametrize("stuck", [False, True])
def test_workers_end_within_two_seconds_of_their_parent(begin, tmp_path, stuck):
    given = ["-m", *long(tmp_path), "seed=0,1", "study.name=s", "hydra.launcher.jobs=2"]
    parent = begin(*given)
    wait_for(lambda: len(started(tmp_path)) == 2, parent)
    pids = [one.status()["pid"] for one in runs(tmp_path)]
    if stuck:  # while they are stopped they get no signal but one
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
    parent.kill()
    killed = time.monotonic()
    if stuck:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    parent.communicate(timeout=60)
    while any(process.is_alive(pid) for pid in pids):
        assert time.monotonic() < killed + 5, "a worker outlives its parent"
        time.sleep(0.05)
    assert all(one.status()["status"] == "INTERRUPTED" for one in runs(tmp_path))


@pytest.mark.slow
def test_workers_that_are_still_starting_end_with_their_parent(begin, tmp_path):
    parent = begin("-m", *long(tmp_path), "seed=0,1", "study.name=s")

    def workers() -> list[int]:
        listed = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        named = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in listed}
        return [pid for pid, line in named.items() if b"LokyProcess" in line]

    wait_for(workers, parent)
    pids = workers()
    parent.kill()
    killed = time.monotonic()
    parent.communicate(timeout=60)
    while any(process.is_alive(pid) for pid in pids):
        assert time.monotonic() < killed + 5, "a worker outlives its parent"
        time.sleep(0.05)
