"""The growing file of a run's metrics: each checkpoint records its length and sha256."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from decoderlab.common.bounded_reading import LINES_BYTES, opened
from decoderlab.common.errors import Invalid
from decoderlab.records.run_folder import PIECE, write_atomic

EMPTY = {"bytes": 0, "sha256": hashlib.sha256().hexdigest()}


class MetricsFile:
    """Lines that are added to a file; what it held beyond a length is cut off.

    Args:
        path: of the file; made if it is not there.
        length: in bytes, that is kept; see `check_beginning`.
    """

    def __init__(self, path: Path, length: int) -> None:
        self._digest, self._length = hashlib.sha256(), 0
        write_atomic(path, lambda file: self._keep(path, length, file))
        self._path, self._file = path, path.open("ab")

    def _keep(self, path: Path, length: int, file: IO[bytes]) -> None:
        for piece in beginning(path, length):
            file.write(piece)
            self._digest.update(piece)
            self._length += len(piece)

    def write(self, record: dict[str, Any]) -> None:
        """Add a line, which is seen at once."""
        line = (json.dumps(record) + "\n").encode()
        self._file.write(line)
        self._file.flush()
        self._digest.update(line)
        self._length += len(line)

    def sync(self) -> dict[str, Any]:
        """Bring the lines to the disk; return their length and sha256, for `check_beginning`."""
        os.fsync(self._file.fileno())
        return {"bytes": self._length, "sha256": self._digest.hexdigest()}

    def in_its_place(self) -> bool:
        """Whether the file is still there; what is added to a deleted one is lost."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno()))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def check_beginning(path: Path, length: int, sha256: str) -> None:
    """Raise Invalid unless a file begins with the lines that `MetricsFile.sync` returned."""
    digest = hashlib.sha256()
    for piece in beginning(path, length):
        digest.update(piece)
    if length and digest.hexdigest() != sha256:
        raise Invalid(path, f"is not what was written: its first {length:,} bytes have changed")


def beginning(path: Path, length: int) -> Iterator[bytes]:
    """Yield the first bytes of a file in pieces; nothing is opened for none."""
    if length:
        with opened(path, LINES_BYTES) as file:
            while piece := file.read(min(length, PIECE)):
                yield piece
                length -= len(piece)
