"""Free space on the disk: whether an error means that there is none, and its message."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from decoderlab.common.errors import Unreadable, lacks_memory

# No space, no quota, and a file larger than the shell's `ulimit -f` allows.
FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What a disk, or a file system behind a network, answers for a while.
OF_THE_STORAGE = {
    getattr(errno, name)
    for name in ("EIO", "ESTALE", "ENOTCONN", "EHOSTDOWN", "EREMOTEIO", "ETIMEDOUT", "EBUSY")
    if hasattr(errno, name)
}
LOOK = "look at the disk and your permissions, and give the same command again"
# What torch says when it cannot write to a file that it has opened itself.
TORCH_FULL = re.compile(r"unexpected pos|PytorchStreamWriter failed|iostream error")
# What safetensors and ONNX say, which are not written in Python.
OTHERS_FULL = re.compile(rf"\(os error ({'|'.join(map(str, FULL_ERRORS))})\)")
MEGABYTE = 1e6
# Of a run, per trained parameter: three checkpoints of weights and two moments, two of weights.
BYTES_PER_PARAMETER = 3 * 12 + 2 * 4
RECORD_BYTES = 2 * MEGABYTE


def room_for(num_parameters: int) -> float:
    """Return about how many bytes a run needs for its checkpoints and records.

    Args:
        num_parameters: trained parameters.
    """
    return BYTES_PER_PARAMETER * num_parameters + RECORD_BYTES


def free_bytes(path: Path) -> int:
    """Return the room on the disk that a path lies on, or will lie on."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def lacks_files(path: Path) -> bool:
    """Whether a file system has room for bytes, and none for another file: no inode is left."""
    there = next(
        folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists()
    )
    try:
        system = os.statvfs(there)
    except (OSError, AttributeError):  # not on every system
        return False
    return system.f_files > 0 and system.f_favail == 0


def is_full(error: BaseException, path: Path | None = None) -> bool:
    """Whether an error means that a disk is full, even where another error has replaced it.

    Args:
        error: as it was raised.
        path: what was written to, where that is known.
    """
    causes = list(_chain(error))
    if any(isinstance(cause, OSError) and cause.errno in FULL_ERRORS for cause in causes):
        return True
    if any(OTHERS_FULL.search(str(cause)) for cause in causes):
        return True
    torchs = any(
        isinstance(cause, RuntimeError) and TORCH_FULL.search(str(cause)) for cause in causes
    )
    return torchs and path is not None and free_bytes(path) < RECORD_BYTES


def passing_error(error: BaseException, folder: Path) -> str | None:
    """Return what to say of an error that passes, or that somebody can put right; None for others.

    The run that met it has not failed: the same command goes on with it.

    Args:
        error: as it was raised.
        folder: of the run; a permission that is missing elsewhere is the run's own affair.
    """
    for cause in _chain(error):
        if isinstance(cause, Unreadable):
            return str(cause)
        if not isinstance(cause, OSError):
            continue
        if cause.errno in (errno.EMFILE, errno.ENFILE):
            return f"{cause}; raise the limit of open files (ulimit -n), and run again"
        named = [Path(os.fsdecode(name)).absolute() for name in _names(cause)]
        inside = any(name.is_relative_to(folder.absolute()) for name in named)
        if cause.errno in OF_THE_STORAGE or (isinstance(cause, PermissionError) and inside):
            return f"{cause}; {LOOK}"
    return None


def is_of_the_machine(error: BaseException) -> bool:
    """Whether an error says that memory, disk, open files or storage fail, whoever met it."""
    passing = {*OF_THE_STORAGE, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
    numbers = {cause.errno for cause in _chain(error) if isinstance(cause, OSError)}
    return bool(numbers & passing) or lacks_memory(error) or is_full(error)


def _names(error: OSError) -> list[str | bytes]:
    return [name for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]


def fullest(words: Sequence[str]) -> Path:
    """Return the folder with the least space, of the working directory and those that words name.

    A write that fails says that a disk is full, not which.

    Args:
        words: of a command line.
    """
    named = [Path(os.path.expanduser(word.partition("=")[2] or word)) for word in words]
    folders = {Path(), *named, *(path.parent for path in named)}
    return min(filter(os.path.isdir, sorted(folders)), key=free_bytes, default=Path())


def full_message(path: Path, needed: float) -> str:
    """Return what to do about a full disk.

    Args:
        path: what was written to.
        needed: bytes, about.
    """
    if lacks_files(path):
        return (
            f"the disk is full: there can be no more files where {path.absolute()} is (df -i); "
            "what was written before is intact: delete some files there, and give the same command "
            "again"
        )
    return (
        f"the disk is full: {path.absolute()} has {megabytes(free_bytes(path))} free, about "
        f"{megabytes(needed)} are needed (or a quota or limit of yours is reached); what was "
        "written before is intact: free some space, and give the same command again"
    )


def megabytes(number: float) -> str:
    """Return a number of bytes in readable units.

    Example:
        >>> megabytes(1_234_567), megabytes(0)
        ('1.2 MB', '0.0 MB')
    """
    return f"{number / MEGABYTE:,.1f} MB"


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
