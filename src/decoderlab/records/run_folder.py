"""Run folders: records are written atomically; a crash leaves the old or the new version."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, TextIO

from filelock import FileLock, Timeout

from decoderlab.common.bounded_reading import LINES_BYTES, opened, parse_json, read_json, unreadable
from decoderlab.common.errors import Invalid, LaunchError, Missing, Unreadable
from decoderlab.common.process import host_name, is_alive
from decoderlab.common.progress import say
from decoderlab.config.run_identity import digest_of
from decoderlab.records.run_result import RunResult

STATUSES = ("PLANNED", "RUNNING", "FINISHED", "FAILED", "INTERRUPTED", "DIVERGED")
# What else a status says.
STATUS_FIELDS = {"reason": str, "at": int | float, "started": int | float, "host": str, "pid": int}
PIECE = 2**20  # bytes that are held in memory at a time
TERMINAL = ("FINISHED", "FAILED", "DIVERGED")
# What `write_atomic` calls a file until it is complete.
INCOMPLETE = re.compile(r"\..+\.(?P<host>[^.]+)\.(?P<pid>[0-9]{1,10})\.tmp", re.DOTALL)
ASIDE = re.compile(r"\.aside-[0-9]+$")  # of `set_aside`
HASH = re.compile(r"(step|best)-[0-9]{1,18}\.ckpt\.sha256")


def write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside the old file, flush it to the disk, then replace the old file by it.

    The temporary file lies in the same folder: a rename from another file system is a copy. What
    has its name already, such as a link to elsewhere, is not written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{host_name()}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.replace(temporary, path)
        except IsADirectoryError:
            set_aside(path)
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def left_by(path: Path) -> str | None:
    """Return the machine of the process that has left a file incomplete.

    None for a file that is no such, or whose process may still be at it. Which processes are there
    is known of this machine alone.
    """
    name = INCOMPLETE.fullmatch(path.name)
    if name is None or not is_file_or_link(path):
        return None
    ours = name["host"] == host_name()
    return None if ours and is_alive(int(name["pid"])) else name["host"]


def is_litter(path: Path) -> bool:
    """Whether a dead process of this machine has left a file incomplete: it can be deleted."""
    return left_by(path) == host_name()


def is_file_or_link(path: Path) -> bool:
    """Whether a file or a link has a path, and no folder, pipe or device."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def set_aside(path: Path) -> Path:
    """Rename a file or folder that is in the way, and return its new path.

    A link, which holds nothing, is removed.
    """
    if path.is_symlink():
        path.unlink()
        return path
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.aside-{number}")):
        number += 1
    os.rename(path, aside)
    return aside


def make_way(path: Path, *, folder: bool = False, link: bool = True) -> Path | None:
    """Set aside what is not a file, or not a folder, as it should be; return its new path.

    Args:
        path: where it belongs.
        folder: whether a folder belongs there.
        link: whether a link to such a one will do; not where it would be written through.
    """
    right = (path.is_dir() if folder else path.is_file()) and (link or not path.is_symlink())
    return None if right or not os.path.lexists(path) else set_aside(path)


def unshare(path: Path, *, lock: bool = False) -> None:
    """Give a file that has another name elsewhere, a hard link, a copy of its own.

    What is added to it, or cut off, would change the other: a backup, or what a stranger has linked
    to it.

    Args:
        path: of the file; nothing is done where it is none.
        lock: whether it is a lock, which is then made anew, empty, unless somebody holds it.
    """
    if path.is_symlink() or not path.is_file() or path.stat().st_nlink < 2:
        return
    with path.open("rb") as file:
        if not lock:
            write_atomic(path, lambda copy: shutil.copyfileobj(file, copy))
        elif not _is_flocked(file, alone=True) and _is_at(path, file):
            path.unlink()


def _is_flocked(file: BinaryIO, *, alone: bool = False) -> bool:
    """Whether somebody holds the lock of a file; if not, it is held here until the file is closed.

    Args:
        file: opened.
        alone: whether others that look, who share it, count as well.

    Raises:
        OSError: on a file system without locks.
    """
    import fcntl  # not on every system

    try:
        fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _is_at(path: Path, file: BinaryIO) -> bool:
    """Whether an open file is still the one of that path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def file_lock(path: Path) -> FileLock:
    """Return the lock of a path, at which there is a file of this folder alone, or nothing yet."""
    make_way(path, link=False)
    unshare(path, lock=True)
    return FileLock(path)


@contextmanager
def lock_held(path: Path) -> Iterator[None]:
    """Hold a lock that is a file and no link; it ends with its process.

    Raises:
        LaunchError: where it cannot be had: a file system without locks, or to read alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = file_lock(path)
        try:
            lock.acquire(timeout=2)
        except Timeout:
            say(f"another process writes to {path.parent}; waiting for it")
            lock.acquire()
    except OSError as error:
        raise LaunchError(
            f"{path} cannot be locked ({error.strerror}), so that another process could write at "
            "the same time; fix that, or copy the outputs to a folder that can be written"
        ) from error
    try:
        yield
    finally:
        lock.release()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomic(path, lambda file: file.write(text.encode()))


def write_json(path: Path, record: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(record, indent=2, allow_nan=False) + "\n")


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with its own sha256 in it."""
    content = {key: value for key, value in record.items() if key != "sha256"}
    return content | {"sha256": digest_of(content)}


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
        self.manifest = path / "manifest.json"
        self.made_by = path / "made_by.json"
        self.planned = path / "planned.json"
        self.log = path / "log.txt"
        self.events = path / "tensorboard"

    def set_status(self, status: str, **details: Any) -> None:
        """Record the status of the run, and the process that works on it.

        Raises:
            ValueError: for an unknown status.
        """
        if status not in STATUSES:
            raise ValueError(f"status is {status!r}; it must be one of {', '.join(STATUSES)}")
        who = {"pid": os.getpid(), "host": socket.gethostname()}
        write_json(self.status_file, {"status": status, "at": time.time(), **who, **details})

    def status(self) -> dict[str, Any]:
        """Return the status of the run; PLANNED for a run that has not begun.

        A run that says RUNNING while nobody holds its lock was killed: it counts as INTERRUPTED.
        """
        record = self.recorded_status(lenient=True)
        if record["status"] == "RUNNING" and not self.locked():
            # It may have ended between the two looks.
            again = self.recorded_status(lenient=True)
            if again != record:
                return again
            return record | {"status": "INTERRUPTED", "reason": "the process was killed"}
        return record

    def recorded_status(self, *, lenient: bool = False) -> dict[str, Any]:
        """Return the status as it was last written, even if its process was killed since.

        A file that is damaged counts as INTERRUPTED.

        Args:
            lenient: for whoever only shows it: a file that cannot be read now counts as damaged.

        Raises:
            Unreadable: if it cannot be read now, unless `lenient`.
        """
        try:
            record = read_json(self.status_file)
            for name, kinds in STATUS_FIELDS.items():
                if name in record and not isinstance(record[name], kinds):
                    raise Invalid(self.status_file, f"has {name}: {record[name]!r:.40}")
            if record.get("status") in STATUSES:
                return record
        except Missing:
            return {"status": "PLANNED"}
        except Invalid as error:
            if isinstance(error, Unreadable) and not lenient:
                raise
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
            record = read_json(self.result_file)
        except Missing:
            return None
        if sealed(record) != record:
            raise Invalid(self.result_file, "does not agree with its own sha256")
        try:
            return RunResult.from_dict(record)
        except ValueError as error:
            raise Invalid(self.result_file, f"is damaged: {error}") from error

    def lock(self) -> FileLock:
        """Return the lock that whoever trains this run holds; it ends with its process."""
        self.path.mkdir(parents=True, exist_ok=True)
        return file_lock(self.path / ".lock")

    def locked(self, unknown: bool = True) -> bool:
        """Whether some process holds the lock, which is a file and no link.

        Args:
            unknown: what is returned where that cannot be known: a file system without locks or to
                read alone, a lock that is not ours to read. What a record says is then believed.
        """
        path = self.path / ".lock"
        if path.is_symlink() or not path.is_file():
            return False
        try:
            if path.stat().st_nlink > 1:  # which some versions of filelock would empty
                with path.open("rb") as file:
                    return _is_flocked(file)
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True
        except PermissionError:  # somebody else's: to read it will do
            with suppress(OSError), path.open("rb") as file:
                return _is_flocked(file)
        except OSError:
            pass
        return unknown

    def open_log(self) -> TextIO:
        """Open the file of what a process prints, to add to it."""
        make_way(self.log, link=False)
        unshare(self.log)
        return self.log.open("a")

    def has_work(self) -> bool:
        """Whether there is a result, or a checkpoint to go on from."""
        return self.result_file.exists() or bool(self.resume_checkpoints())

    def last_metrics(self) -> dict[str, Any]:
        """Return the last line of the metrics, which says how far training is; {} without any."""
        try:
            with opened(self.metrics, LINES_BYTES) as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(file.tell() - 4096, 0))
                whole = file.read(4096).split(b"\n")[:-1]  # the last line may be half written
            record = parse_json(whole[-1].decode(), self.metrics)
        except (Invalid, IndexError, UnicodeDecodeError):
            return {}
        numbers = isinstance(record, dict) and all(
            isinstance(value, int | float) for value in record.values()
        )
        return record if numbers else {}

    def resume_checkpoints(self) -> list[Path]:
        """Return the checkpoints to resume from, newest first; damaged ones among them."""
        return self.numbered("step")

    def lost_hashes(self) -> list[Path]:
        """Return what says the sha256 of a checkpoint that is not there."""
        if self.checkpoints.is_symlink():
            return []
        return [
            path
            for path in sorted(self.checkpoints.glob("*.ckpt.sha256"))
            if HASH.fullmatch(path.name)
            and is_file_or_link(path)
            and not os.path.lexists(path.with_suffix(""))
        ]

    def numbered(self, kind: str) -> list[Path]:
        """Return the checkpoints of a kind, `step` or `best`, highest update first.

        What only looks like one, such as a folder or `step-abc.ckpt`, is none of them.

        Raises:
            Unreadable: if they cannot be listed now.
        """
        by_number = {}
        try:
            for name in os.listdir(self.checkpoints):
                number = re.fullmatch(rf"{kind}-([0-9]{{1,18}})\.ckpt", name)
                if number and (path := self.checkpoints / name).is_file():
                    by_number[int(number[1]), name] = path
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:  # there may be some
            raise unreadable(self.checkpoints, error) from error
        return [by_number[key] for key in sorted(by_number, reverse=True)]
