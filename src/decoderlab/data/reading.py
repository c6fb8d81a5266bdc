"""Reading files: of packages, without importing any of their code, and of the user."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import BinaryIO

from decoderlab.common.bounded_reading import LINE_BYTES, MIB, opened
from decoderlab.common.errors import Invalid

DATA_BYTES = 16 * 1024 * MIB
# By the first two bytes of a file.
CONVERSIONS = {b"\x1f\x8b": "gunzip"} | dict.fromkeys(
    (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "iconv -f utf-16 -t utf-8"
)


def package_file(distribution: str, relative: str, extra: str = "data") -> Path:
    """Return where a file of an installed package lies, without importing the package.

    Args:
        distribution: name of the package, as pip knows it.
        relative: path of the file in it.
        extra: of decoderlab, which installs the package.

    Raises:
        ValueError: if the package or the file is not there; the message says how to get it.
    """
    try:
        path = Path(str(metadata.distribution(distribution).locate_file(relative)))
    except metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise ValueError(
            f"this task reads the package {distribution!r}, which is not installed (or lacks "
            f"{relative}); run: pip install 'decoderlab[{extra}]'"
        )
    return path


def lines_of(name: str, path: Path, wanted: str) -> Iterator[str]:
    """Yield the lines of a UTF-8 file; Windows line ends and a byte-order mark are no part of them.

    Args:
        name: of the setting, for messages.
        path: the file.
        wanted: what the file should be, for messages.

    Raises:
        ValueError: if the file cannot be read, or is not UTF-8.
    """
    try:
        with opened(path, DATA_BYTES) as file:
            yield from decoded(file, f"{name} {path}")
    except Invalid as error:
        raise ValueError(
            f"{name} {path} cannot be read ({reason_of(error)}); give {wanted}"
        ) from error


def reason_of(error: Invalid) -> str:
    """Return why a file cannot be read, for a message that says so itself."""
    return error.what.removeprefix("cannot be read: ")


def decoded(file: BinaryIO, name: str) -> Iterator[str]:
    """Yield lines of UTF-8 as texts; Windows line ends and a byte-order mark are no part of them.

    Args:
        file: the lines.
        name: what a message calls it.

    Raises:
        ValueError: if a line is not UTF-8, or longer than `LINE_BYTES`.
    """
    for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES + 1), b""), start=1):
        if len(line) > LINE_BYTES:
            raise ValueError(
                f"{name} has more than {LINE_BYTES:,} bytes in line {number}; break it into lines"
            )
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            known = CONVERSIONS.get(line[:2]) if number == 1 else None
            way = known or "iconv -f latin1 -t utf-8"
            raise ValueError(
                f"{name} is not UTF-8 (line {number}: {error.reason}); "
                f"convert it, for example: {way}"
            ) from error
