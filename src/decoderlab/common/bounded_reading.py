"""Reading untrusted files: kind, size, depth and numbers are checked first.

Nothing here blocks (a pipe is refused, not waited for), fills the memory, or ends in another error
than `Invalid`, which names the file and what is wrong with it.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

from decoderlab.common.errors import Invalid, Missing, Unreadable

MIB = 2**20
# What a record of ours may hold at most: hundreds of times what the largest that we know holds.
MAX_RECORD_BYTES = 64 * MIB
# Of files that are read line by line, such as predictions.
LINES_BYTES = 2048 * MIB
LINE_BYTES = 16 * MIB
# Of mappings and lists in each other.
MAX_DEPTH = 64
FILE_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}
# Errors of the system's that pass, or that somebody can put right: the file may be whole.
PASSING = {
    getattr(errno, name)
    for name in (
        *("EACCES", "EAGAIN", "EBUSY", "EHOSTDOWN", "EINTR", "EIO", "EMFILE", "ENFILE", "ENOMEM"),
        *("ENOTCONN", "EPERM", "EREMOTEIO", "ESTALE", "ETIMEDOUT"),
    )
    if hasattr(errno, name)
}
LOOK = (
    "it may be whole: look at the disk, your permissions and limits, and give the same command "
    "again"
)
# Where reading a file without a size can wait for ever, or take from somebody what is read.
OF_THE_SYSTEM = ("/proc/", "/sys/", "/dev/")
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# Of a whole number: no float is as large as one of more.
DIGITS = 300
MANY_DIGITS = re.compile(rf"[0-9]{{{DIGITS + 1}}}")
Kind = TypeVar("Kind")


@contextmanager
def opened(path: Path, limit: int) -> Iterator[BinaryIO]:
    """Open a regular file of at most `limit` bytes for reading.

    Args:
        path: of the file; a link counts as what it leads to.
        limit: in bytes, of its apparent size.

    Raises:
        Missing: if nothing is there.
        Invalid: if it is no regular file, too large, or cannot be read.
    """
    try:
        _check_kind(path, os.stat(path))  # before it is opened: that alone can move a device
        # A pipe that has come here since does not block.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            now = os.fstat(file.fileno())
            _check_kind(path, now)
            if not now.st_size and os.path.realpath(path).startswith(OF_THE_SYSTEM):
                raise Invalid(path, "is made by the system as it is read, not a file of a disk")
            check_bytes(path, now.st_size, limit)
            yield file
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        # A zero byte or half a character in a path, or what the caller's block raised.
        if not isinstance(error, UnicodeEncodeError) and "null byte" not in str(error):
            raise
        raise Invalid(ascii(str(path)), "is not a path of a file") from error


def check_bytes(path: Path, size: int, limit: int) -> None:
    """Raise Invalid for a file, or what it declares, that is larger than a limit in bytes."""
    if size > limit:
        raise Invalid(path, f"has {size:,} bytes, where at most {limit:,} can be right")


def _check_kind(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next(
            (name for is_kind, name in FILE_KINDS.items() if is_kind(status.st_mode)), "special"
        )
        raise Invalid(path, f"is {kind}, not a file")


def unreadable(path: Path, error: OSError) -> Invalid:
    """Return what an error of the system's means for a file or folder that was to be read."""
    # ELOOP is a link that leads to itself; ENAMETOOLONG a name that no file can have.
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Missing(path, "is missing")
    reason = error.strerror or str(error) or errno.errorcode.get(error.errno or 0, "unknown")
    if error.errno in PASSING:
        return Unreadable(path, f"cannot be read: {reason}", LOOK)
    return Invalid(path, f"cannot be read: {reason}")


def read_bytes(path: Path, limit: int = MAX_RECORD_BYTES) -> bytes:
    """Return the contents of a file; see `opened`."""
    with opened(path, limit) as file:
        content = file.read(limit + 1)  # files of /proc have no size, and some have no end
    check_bytes(path, len(content), limit)
    return content


def read_text(path: Path, limit: int = MAX_RECORD_BYTES) -> str:
    """Return the text of a UTF-8 file; see `opened`."""
    return _text(path, read_bytes(path, limit))


def _text(path: Path, content: bytes, where: str = "") -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(path, f"{where}is not UTF-8 (byte {error.start + 1})") from error


def has_half_characters(text: str) -> bool:
    r"""Whether a text holds lone surrogates, which UTF-8 cannot write.

    Example:
        >>> has_half_characters("\ud83d"), has_half_characters("é漢")
        (True, False)
    """
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def read_json(path: Path, kind: type[Kind] = dict, limit: int = MAX_RECORD_BYTES) -> Kind:
    """Return the value in a JSON file.

    Args:
        path: of the file.
        kind: of the value: dict or list.
        limit: in bytes.

    Raises:
        Missing: if nothing is there.
        Invalid: if it cannot be read, is no JSON, holds NaN, infinity or half a character, nests
            too deep, or is of another kind.
    """
    return _of_kind(path, parse_json(read_text(path, limit), path), kind, "holds")


def read_json_lines(
    path: Path, *, torn: bool = False, with_text: str = "", limit: int = LINES_BYTES
) -> Iterator[dict]:
    """Yield the mappings in a file of JSON lines, without holding the file in memory.

    Args:
        path: of the file.
        torn: whether the last line may be half written: without a line end it is left out.
        with_text: lines without it are left out, unread.
        limit: in bytes.

    Raises:
        Missing: if nothing is there.
        Invalid: see `read_json`; the number of the line is named.
    """
    for line in json_lines(path, torn=torn, with_text=with_text, limit=limit):
        if isinstance(line, Invalid):
            raise line
        yield line


def json_lines(
    path: Path, *, torn: bool = False, with_text: str = "", limit: int = LINES_BYTES
) -> Iterator[dict | Invalid]:
    """Yield what `read_json_lines` does, and for each damaged line the reason.

    Args:
        path: of the file.
        torn: as there.
        with_text: as there.
        limit: in bytes.

    Raises:
        Missing: if nothing is there.
        Invalid: if the file cannot be read, or a line is too long.
    """
    wanted = with_text.encode()
    with opened(path, limit) as file:
        for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES + 1), b""), start=1):
            check_bytes(path, len(line), LINE_BYTES)
            where = f"line {number} "
            if not line.endswith(b"\n"):
                if not torn:
                    yield Invalid(path, f"ends in the middle of line {number}")
                return
            if wanted not in line:
                continue
            try:
                text = _text(path, line, where)
                yield _of_kind(path, parse_json(text, path, where), dict, f"{where}holds")
            except Invalid as error:
                yield error


def parse_json(text: str, path: Path, where: str = "") -> Any:
    """Return the value of a JSON text that a file holds; see `read_json`.

    Args:
        text: to parse.
        path: of the file, for messages.
        where: in the file, for messages, with a space at its end.

    Raises:
        Invalid: if it is not JSON, or is out of bounds.
    """

    def refuse(name: str) -> NoReturn:
        raise Invalid(path, f"{where}holds {name}, which is not a number of JSON")

    def finite(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else refuse(digits[:40])

    def whole(digits: str) -> int:
        if len(digits) > DIGITS:
            raise ValueError(f"it holds a number of {len(digits):,} digits")
        return int(digits)

    count = whole if MANY_DIGITS.search(text) else None  # Python's own is quicker
    try:
        value = json.loads(text, parse_constant=refuse, parse_float=finite, parse_int=count)
        if text.count("[") + text.count("{") > MAX_DEPTH:
            _check_depth(value, path, where)
    except RecursionError:
        raise Invalid(path, f"{where}nests deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise Invalid(path, f"{where}is no JSON: {error}") from error
    if SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise Invalid(path, f"{where}holds half a character (a lone surrogate)") from error
    return value


def _check_depth(value: Any, path: Path, where: str) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise Invalid(path, f"{where}nests deeper than {MAX_DEPTH} levels")
        inner = (node.values() if isinstance(node, dict) else node for node in level)
        level = [item for items in inner for item in items if isinstance(item, dict | list)]


def _of_kind(path: Path, value: Any, kind: type[Kind], verb: str) -> Kind:
    if not isinstance(value, kind):
        wanted = {dict: "a mapping", list: "a list"}.get(kind, kind.__name__)
        names = {dict: "a mapping", list: "a list", str: "a text", type(None): "null"}
        came = names.get(type(value), f"{value!r:.40}")
        raise Invalid(path, f"{verb} {came}; expected {wanted}")
    return value
