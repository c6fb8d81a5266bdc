"""The file in which Optuna keeps what a search has tried, whatever happened to it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from filelock import FileLock, Timeout

from decoderlab.common.bounded_reading import LINE_BYTES, MIB, check_bytes, opened, read_json
from decoderlab.common.errors import Invalid, Unreadable
from decoderlab.common.progress import say
from decoderlab.records.run_folder import (
    PIECE,
    sealed,
    set_aside,
    unshare,
    write_atomic,
    write_json,
)

JOURNAL = "optuna.journal"
JOURNAL_BYTES = 256 * MIB
SAY_AFTER_SECONDS = 2.0


@contextlib.contextmanager
def held(lock: FileLock) -> Iterator[None]:
    """Hold the lock of a search, which ends with its process; say so where that takes long."""
    try:
        lock.acquire(timeout=SAY_AFTER_SECONDS)
    except Timeout:
        say(f"another launch is using the search of {Path(lock.lock_file).parent}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def journaled(lock: FileLock, path: Path) -> Iterator[None]:
    """Hold the lock of a search while its journal is written, and seal what stands in it then."""
    with held(lock):
        yield
        seal(path)


def seal(path: Path) -> None:
    """Write the sha256 of a journal beside it; what is added later does not change that."""
    with opened(path, JOURNAL_BYTES) as file:
        size = os.fstat(file.fileno()).st_size
        write_json(_seal(path), sealed({"bytes": size, "sha256_of_bytes": _sha256(file, size)}))


def _seal(path: Path) -> Path:
    return path.with_name(f"{path.name}.seal.json")


def _sha256(file: BinaryIO, length: int) -> str:
    return hashlib.sha256(file.read(length)).hexdigest()


def _check_seal(path: Path) -> None:
    """Raise Invalid for a journal that does not begin as it was sealed."""
    if not os.path.lexists(path):
        return
    with opened(path, JOURNAL_BYTES) as file:
        if not os.fstat(file.fileno()).st_size:
            return
        record = read_json(_seal(path))
        if sealed(record) != record or not isinstance(record.get("bytes"), int):
            raise Invalid(_seal(path), "does not agree with its own sha256")
        if _sha256(file, record["bytes"]) != record["sha256_of_bytes"]:
            raise Invalid(path, "does not begin as it was written: it was changed")


def open_journal(path: Path) -> Any:
    """Return Optuna's storage in a file; called with the lock of the search held.

    What a process that died has left is put right: its lock is removed, and a line that it did not
    end is cut off. A file that is damaged, or edited, is put aside: trials depend on their number
    and on the results before them, so that a new search asks for the same ones, whose runs are
    there already.

    Raises:
        Unreadable: for a journal that cannot be read now.
    """
    link = path.with_name(f"{path.name}.lock")
    if os.path.lexists(link):
        if link.is_dir() and not link.is_symlink():
            set_aside(link)
        else:
            link.unlink()
        say(f"{link} was left by a process that has ended; removed")
    try:
        _cut_torn_line(path)
        _check_seal(path)
        unshare(path)  # trials are added to it
        return _opened(path)
    except (Unreadable, OSError):  # it may be whole
        raise
    except Exception as error:  # whatever Optuna makes of a line that is not one of its own
        aside = path.with_name(f"{path.name}.damaged")
        say(
            f"{path} is damaged ({type(error).__name__}: {error}); it is kept as {aside.name}, and "
            "the search starts again and reuses the results of its runs"
        )
        if os.path.lexists(aside) and aside.is_dir() != path.is_dir():
            set_aside(aside)
        path.replace(aside)
        return _opened(path)


def _opened(path: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if os.path.lexists(path):
        with opened(path, JOURNAL_BYTES) as file:
            while line := file.readline(LINE_BYTES + 1):
                check_bytes(path, len(line), LINE_BYTES)
                json.loads(line)  # Optuna itself passes over a damaged last line
    # Everything is done with our own lock held, which no dead process can leave behind.
    unlocked: Any = _Unlocked()
    storage = JournalStorage(JournalFileBackend(str(path), lock_obj=unlocked))
    for study in storage.get_all_studies():
        storage.get_all_trials(study._study_id, deepcopy=False)
    return storage


class _Unlocked:
    """Optuna's lock, where there is another."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _cut_torn_line(path: Path) -> None:
    """Cut off what follows the last line of a journal."""
    if not os.path.lexists(path):
        return
    with opened(path, JOURNAL_BYTES) as file:
        size = file.seek(0, os.SEEK_END)
        start = file.seek(max(size - LINE_BYTES, 0))
        last = file.read(LINE_BYTES).rfind(b"\n") + 1
        if start + last == size:
            return
        if start and not last:
            raise Invalid(path, f"ends in a line of more than {LINE_BYTES:,} bytes")
        say(f"the last line of {path} was cut off by a process that died; it is dropped")
        file.seek(0)
        write_atomic(path, lambda copy: _copy_bytes(file, copy, start + last))


def _copy_bytes(source: BinaryIO, target: IO[bytes], length: int) -> None:
    """Copy the next `length` bytes of a file, piece by piece."""
    while piece := source.read(min(length, PIECE)):
        target.write(piece)
        length -= len(piece)
