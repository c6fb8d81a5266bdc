"""Ways to damage a file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path


def flip(path: Path, other: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_a_line(path: Path, other: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def to_folder(path: Path, other: Path) -> None:
    path.unlink()
    (path / "inner").mkdir(parents=True)


def to_pipe(path: Path, other: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_sparse(path: Path, other: Path) -> None:
    os.truncate(path, 40 * 2**30)


def to_device(path: Path, other: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


HARMS: dict[str, Callable[[Path, Path], object]] = {
    "truncate": truncate,
    "empty": lambda path, other: path.write_bytes(b""),
    "flip": flip,
    "lose a line": lose_a_line,
    "delete": lambda path, other: path.unlink(),
    "folder": to_folder,
    "pipe": to_pipe,
    "device": to_device,
    "sparse": to_sparse,
    "other run": lambda path, other: shutil.copy(other, path),
    "list": lambda path, other: path.write_text("[1, 2]\n"),
    "NaN": lambda path, other: path.write_text('{"a": NaN}\n'),
    "deep": lambda path, other: path.write_text("[" * 100_000),
    "not UTF-8": lambda path, other: path.write_bytes(b"\xff\xfe\n"),
}


SAME_IN_BOTH = ("vocabularies.json", "made_by.json")
