"""Run folders: records that are either the old or the new version, whenever the power fails."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch
from filelock import FileLock, Timeout
from pytorch_lightning.plugins.io import CheckpointIO

from decoderlab.config.run_identity import canonical
from decoderlab.records.run_result import RunResult

STATUSES = ("PLANNED", "RUNNING", "FINISHED", "FAILED", "INTERRUPTED", "DIVERGED")

TERMINAL = ("FINISHED", "FAILED", "DIVERGED")


def write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside the old file, flush it to the disk, then replace the old file by it.

    The temporary file lies in the same folder: a rename from another file system is a copy.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomic(path, lambda file: file.write(text.encode()))


def write_json(path: Path, record: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(record, indent=2, allow_nan=False) + "\n")


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with its own sha256 in it."""
    content = {key: value for key, value in record.items() if key != "sha256"}
    return content | {"sha256": hashlib.sha256(canonical(content).encode()).hexdigest()}


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Invalid(Exception):
    """A record or checkpoint that is damaged. The message has its path."""


class RunFolder:
    """The folder of one run.

    Args:
        path: `outputs/runs/<slug>-<first 12 digits of the run id>`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.status_file = path / "status.json"
        self.result_file = path / "result.json"
        self.metrics = path / "metrics.jsonl"
        self.predictions = path / "predictions.jsonl"
        self.probes = path / "probes.npz"
        self.vocabularies = path / "vocabularies.json"
        self.checkpoints = path / "checkpoints"
        self.traceback = path / "traceback.txt"
        self.made_by = path / "made_by.json"
        self.log = path / "log.txt"
        self.events = path / "tensorboard"

    def set_status(self, status: str, **details: Any) -> None:
        """Record what the run is doing, and who does it."""
        if status not in STATUSES:
            raise ValueError(f"status is {status!r}; it must be one of {', '.join(STATUSES)}")
        who = {"pid": os.getpid(), "host": socket.gethostname()}
        write_json(self.status_file, {"status": status, "at": time.time(), **who, **details})

    def status(self) -> dict[str, Any]:
        """Return what the run is doing; PLANNED for a run that has not begun.

        A run that says RUNNING while nobody holds its lock was killed: it counts as INTERRUPTED.
        """
        record = self.recorded_status()
        if record["status"] == "RUNNING" and not self.locked():
            # It may have ended between the two looks.
            again = self.recorded_status()
            if again != record:
                return again
            return record | {"status": "INTERRUPTED", "reason": "the process was killed"}
        return record

    def recorded_status(self) -> dict[str, Any]:
        """Return the last status as it was written, true or not."""
        try:
            record = json.loads(self.status_file.read_text())
            if record["status"] in STATUSES:
                return record
        except (FileNotFoundError, NotADirectoryError):
            return {"status": "PLANNED"}
        except (ValueError, KeyError, TypeError):
            pass
        return {"status": "INTERRUPTED", "reason": f"{self.status_file} is damaged"}

    def write_result(self, result: RunResult) -> None:
        """Write the result of a finished run, with a hash that shows whether it was changed."""
        write_json(self.result_file, sealed(result.to_dict()))

    def result(self) -> RunResult | None:
        """Return the result of a finished run, None where there is none.

        Raises:
            Invalid: if the file is damaged, or of an unknown version.
        """
        try:
            record = json.loads(self.result_file.read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise Invalid(f"{self.result_file} is not JSON: {error}") from error
        if not isinstance(record, dict) or sealed(record) != record:
            raise Invalid(f"{self.result_file} does not agree with its own sha256")
        try:
            return RunResult.from_dict(record)
        except ValueError as error:
            raise Invalid(f"{self.result_file}: {error}") from error

    def finished(self) -> bool:
        """Whether the run is finished and its result is whole."""
        try:
            return self.status()["status"] == "FINISHED" and self.result() is not None
        except Invalid:
            return False

    def lock(self) -> FileLock:
        """Return the lock that whoever trains this run holds; it ends with its process."""
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / ".lock")

    def locked(self) -> bool:
        """Whether some process holds the lock."""
        if not (self.path / ".lock").exists():
            return False
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            with lock:
                return False
        except Timeout:
            return True

    def has_work(self) -> bool:
        """Whether there is a result, or a checkpoint to go on from."""
        return self.result_file.exists() or bool(self.resume_checkpoints())

    def last_metrics(self) -> dict[str, Any]:
        """Return the last line of the metrics, which says how far training is; {} without any."""
        try:
            with self.metrics.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(file.tell() - 4096, 0))
                whole = file.read().split(b"\n")[:-1]  # the last line may be half written
            return json.loads(whole[-1])
        except (OSError, IndexError, ValueError):
            return {}

    def resume_checkpoints(self) -> list[Path]:
        """Return the checkpoints to resume from, newest first; damaged ones among them."""
        return sorted(self.checkpoints.glob("step-*.ckpt"), reverse=True)


class AtomicCheckpointIO(CheckpointIO):
    """Checkpoints that are whole or not there, each with its sha256 beside it."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Write the checkpoint, then its hash; without the hash it counts as damaged."""
        path = Path(path)
        write_atomic(path, lambda file: torch.save(checkpoint, file))
        write_text(hash_file(path), file_sha256(path) + "\n")

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: Any = True) -> Any:
        """Read a checkpoint that agrees with its hash; nothing in it is executed."""
        path = Path(path)
        verify(path)
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint and its hash."""
        Path(path).unlink(missing_ok=True)
        hash_file(Path(path)).unlink(missing_ok=True)


def hash_file(path: Path) -> Path:
    """Return where the sha256 of a checkpoint lies."""
    return path.with_suffix(path.suffix + ".sha256")


def verify(path: Path) -> None:
    """Raise Invalid unless a checkpoint is there and agrees with its sha256."""
    try:
        expected = hash_file(path).read_text().strip()
        actual = file_sha256(path)
    except OSError as error:
        raise Invalid(f"{path} or its sha256 cannot be read: {error.strerror}") from error
    if actual != expected:
        raise Invalid(f"{path} does not agree with its sha256; it is damaged")
