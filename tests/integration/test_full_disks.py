"""Full disks: each costs what it must, and is said."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from tensorboard.summary.writer.record_writer import RecordWriter

from decoderlab.common import disk
from decoderlab.common.bounded_reading import read_json_lines
from decoderlab.records.checkpoints import recorded_sha256, verify
from decoderlab.training.recorder import Recorder
from tests.conftest import run, same
from tests.integration.cli import call, command, forked, in_process
from tests.integration.disturbed import records, runs, weights
from tests.integration.long_runs import settings

pytestmark = pytest.mark.usefixtures("undrawn")

MEGABYTE = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Fill a file system but for some bytes; return the file that takes the room."""
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(max(shutil.disk_usage(folder).free - leave, 0)))
    return ballast


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "leave_kib", [0, 60, pytest.param(8, marks=SLOW), pytest.param(40, marks=SLOW)]
)
@pytest.mark.fault(42, 43)
def test_a_run_on_a_full_disk_says_so_and_goes_on_later(
    monkeypatch, capfd, small_disk, tmp_path, leave_kib
):
    ballast = fill(small_disk, leave_kib * 1024)
    given = ("logger=tensorboard", "encoder.hidden_size=64")
    assert in_process(monkeypatch, *settings(small_disk / "o", *given)) == 1
    error = capfd.readouterr().err
    assert "the disk is full" in error
    assert "MB free, about " in error
    assert "Traceback" not in error
    ballast.unlink()
    assert in_process(monkeypatch, *settings(small_disk / "o", *given)) == 0
    assert in_process(monkeypatch, *settings(tmp_path / "whole", *given)) == 0
    (one,), (other,) = runs(small_disk / "o"), runs(tmp_path / "whole")
    assert one.result().metrics == other.result().metrics
    assert not list(small_disk.rglob(".*.tmp"))


@pytest.mark.fault(42)
def test_a_disk_that_is_full_at_a_checkpoint_leaves_the_one_before(
    monkeypatch, capfd, small_disk, tmp_path
):
    real = Recorder.on_train_batch_end

    def filling(self, trainer, *args):
        if trainer.global_step == 9:  # whose checkpoints are of updates 5, 10 and 12
            fill(small_disk, 4096)  # for lines of the log, not for weights
        real(self, trainer, *args)

    given = ("encoder.hidden_size=64",)
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_train_batch_end", filling)
        assert in_process(patch, *settings(small_disk / "o", *given)) == 1
    assert "the disk is full" in capfd.readouterr().err
    (one,) = runs(small_disk / "o")
    (before,) = one.resume_checkpoints()
    assert before.name == "step-000000005.ckpt"
    verify(before, recorded_sha256(before), 10**9)
    (small_disk / "ballast").unlink()
    assert in_process(monkeypatch, *settings(small_disk / "o", *given)) == 0
    assert in_process(monkeypatch, *settings(tmp_path / "whole", *given)) == 0
    (other,) = runs(tmp_path / "whole")
    assert one.result().restarts == 1
    assert records(one) == records(other)
    assert same(weights(one), weights(other))


@pytest.mark.parametrize(
    ("logger", "owner", "name"),
    [
        ("csv", ExperimentWriter, "save"),
        ("tensorboard", RecordWriter, "write"),
        ("tensorboard", RecordWriter, "flush"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.fault(43)
def test_a_disk_that_is_full_at_a_loggers_file_costs_no_record(
    tiny, tmp_path, monkeypatch, logger, owner, name
):
    prepared, whole = tiny(f"logger={logger}"), tiny(output_dir=tmp_path / "whole")
    real, end = getattr(owner, name), Recorder.on_train_batch_end

    def write(*given, **named):
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*given, **named)

    def filling(self, trainer, *args):
        full.extend([True] * (trainer.global_step == 7))
        end(self, trainer, *args)

    full: list[bool] = []
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, write)
        patch.setattr(Recorder, "on_train_batch_end", filling)
        assert run(prepared) == "INTERRUPTED"
    assert "the disk is full" in prepared.folder.status()["reason"]
    steps = [line["step"] for line in read_json_lines(prepared.folder.metrics)]
    assert steps == sorted(steps)
    newest = prepared.folder.resume_checkpoints()[0]
    verify(newest, recorded_sha256(newest), 10**9)
    assert run(prepared) == run(whole) == "FINISHED"
    assert prepared.folder.result().restarts == 1
    assert records(prepared.folder) == records(whole.folder)
    assert same(weights(prepared.folder), weights(whole.folder))


@pytest.mark.fault(42)
def test_torchs_own_words_for_a_full_disk_are_understood(tiny, monkeypatch):
    prepared, real = tiny(), torch.save

    def fails(checkpoint, file):
        error = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704")
        error.__context__ = OSError(28, "No space left on device")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fails)
        assert run(prepared) == "INTERRUPTED"
    assert "the disk is full" in prepared.folder.status()["reason"]
    assert run(prepared) == "FINISHED"
    monkeypatch.setattr(torch, "save", real)
    # Without the system's error beneath it, what is free decides.
    error = RuntimeError("PytorchStreamWriter failed writing file data/0")
    assert not disk.is_full(error, prepared.folder.path)
    monkeypatch.setattr(disk, "free_bytes", lambda path: 1000)
    assert disk.is_full(error, prepared.folder.path)
    assert not disk.is_full(ValueError("PytorchStreamWriter failed"), prepared.folder.path)


@pytest.mark.parametrize(("files", "left", "said"), [(40, 0, True), (40, 1, False), (0, 0, False)])
def test_a_disk_that_takes_no_more_files_is_not_called_short_of_bytes(
    tmp_path, monkeypatch, files, left, said
):
    """Some file systems make files as they are needed, and count none."""
    found = SimpleNamespace(f_files=files, f_favail=left, f_frsize=1024)
    found.f_blocks = found.f_bfree = found.f_bavail = 10**6
    monkeypatch.setattr(os, "statvfs", lambda path: found)
    message = disk.full_message(tmp_path / "not" / "there", 1e6)
    assert ("there can be no more files" in message) == said
    assert ("MB are needed" in message) != said


@pytest.mark.slow
@pytest.mark.fault(42)
def test_a_limit_on_the_size_of_files_counts_as_a_full_disk(tmp_path):
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    arguments = settings(tmp_path, "encoder.hidden_size=64")
    done = subprocess.run(
        command("train", *arguments), capture_output=True, text=True, preexec_fn=limited
    )
    assert done.returncode == 1, done.stderr
    assert "the disk is full" in done.stderr
    assert forked("train", *arguments).returncode == 0


@pytest.mark.slow
@pytest.mark.fault(42)
def test_a_sweep_begins_nothing_below_the_floor_and_goes_on_later(small_disk, monkeypatch):
    more = ("run.min_free_megabytes=0.5", "seed=0,1", "study.name=s", "hydra.launcher.jobs=1")
    given = ["-m", *settings(small_disk / "o"), *more]
    # Above what a run needs, below it in the midst of the sweep.
    monkeypatch.setattr(disk, "RECORD_BYTES", 1000)
    ballast = fill(small_disk, 100_000)
    refused = call("train", *given)
    assert refused.returncode == 1
    assert "no more runs are started: the disk is full" in refused.stderr
    assert not (small_disk / "o" / "runs").exists()
    ballast.unlink()
    done = call("train", *given)
    assert done.returncode == 0, done.stderr
    assert len(list(small_disk.glob("o/runs/*/result.json"))) == 2


def test_a_full_disk_at_the_report_is_one_line(small_disk, monkeypatch, capfd):
    from decoderlab.studies.execution import sweep

    monkeypatch.setattr(sweep, "run_pending", lambda *_: fill(small_disk, 0))
    given = ["-m", *settings(small_disk / "o"), "study.name=s"]
    assert in_process(monkeypatch, *given, "hydra/launcher=basic") == 1
    error = capfd.readouterr().err
    assert f"error: the disk is full: {small_disk}" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "words",
    [
        ["report", "--output-dir", "/full/outputs"],
        ["run.output_dir=/full/outputs", "x" * 5000, "a=\0", "~nobody-x/y"],
        ["RUN", "--picture", "/full/a.png"],
    ],
)
def test_the_disk_that_is_named_is_the_fullest_of_those_of_the_command(
    tmp_path, monkeypatch, words
):
    full = tmp_path / "full"
    full.mkdir()
    free = {full: 1000}
    monkeypatch.setattr(disk, "free_bytes", lambda path: free.get(path, 10**9))
    assert disk.fullest([word.replace("/full", str(full)) for word in words]) == full
    assert disk.fullest(["--json"]) == Path()
