"""The sha256 of files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from decoderlab.common.bounded_reading import MIB, opened

MAX_FILE_BYTES = 2**40  # bytes of a file whose size nothing else says, such as a checkpoint


def file_sha256(path: Path, limit: int | None = MAX_FILE_BYTES) -> str:
    """Return the sha256 of a file.

    Args:
        path: of the file.
        limit: bytes that it may have; None for a file of the user's own, of any size and kind.

    Raises:
        Invalid: for a file that is larger, or no file; with a limit alone.
        OSError: for a file that cannot be read; without a limit.
    """
    with path.open("rb") if limit is None else opened(path, limit) as file:
        return sha256_of(file)


def sha256_of(file: BinaryIO) -> str:
    """Return the sha256 of what is still to be read of a file."""
    digest = hashlib.sha256()
    while piece := file.read(MIB):
        digest.update(piece)
    return digest.hexdigest()
