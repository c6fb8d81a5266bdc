"""Reading archives from untrusted files: NumPy's arrays and torch's checkpoints."""

from __future__ import annotations

import math
import pickletools
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from decoderlab.common.bounded_reading import MIB, check_bytes, opened
from decoderlab.common.errors import Invalid

ARRAYS_BYTES = 256 * MIB
MEMBERS = 4096
PICKLE_BYTES = 64 * MIB
MAX_OPERATIONS = 1_000_000  # of a pickle: a tensor takes about 30, and a million some seconds
BROKEN = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, KeyError, NotImplementedError)
BROKEN += (SyntaxError, OverflowError, MemoryError, RuntimeError)  # a header that is no Python; ...
# Other ways of a pickle to name code than that which torch writes.
OTHER_IMPORTS = ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX")
# What a checkpoint of tensors and plain values is built from; see `torch.save`.
HARMLESS = re.compile(
    r"(collections (OrderedDict|Counter)|_codecs encode|(builtins|__builtin__) (set|complex)"
    r"|torch\._utils _rebuild_(tensor|tensor_v2|parameter|parameter_with_state|sparse_tensor)"
    r"|torch\.serialization _get_layout|torch (Size|device|[A-Z][A-Za-z0-9]*Storage)"
    r"|torch ((u?int|float|bfloat|complex)\d+|bool|strided))"
)


def read_arrays(path: Path, limit: int = ARRAYS_BYTES) -> dict[str, np.ndarray]:
    """Return the arrays of an `.npz` file; their declared sizes are summed up before any is read.

    Args:
        path: of the file.
        limit: in bytes, of the file and of all arrays together.

    Raises:
        Missing: if nothing is there.
        Invalid: if it cannot be read, is not an archive of arrays, holds objects, or declares more.
    """
    with opened(path, limit) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = _members(path, archive)
                declared = 0
                for member in members:
                    with archive.open(member) as stream:
                        declared += _declared_bytes(path, member, stream)
                    check_bytes(path, declared, limit)
                return {
                    member.filename.removesuffix(".npy"): _array(archive, member)
                    for member in members
                }
        except BROKEN as error:
            reason = str(error) or type(error).__name__
            raise Invalid(path, f"is not an archive of arrays: {reason:.200}") from error


def _members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = archive.infolist()
    if len(members) > MEMBERS or len({member.filename for member in members}) < len(members):
        raise Invalid(path, f"holds {len(members)} members, or several of the same name")
    return members


def _declared_bytes(path: Path, member: zipfile.ZipInfo, stream: IO[bytes]) -> int:
    """Return how large an array would be, from its header alone."""
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"{member.filename} is of version {version}")
    shape, _, kind = read(stream)
    if kind.hasobject or any(size < 0 for size in shape):
        raise Invalid(path, f"holds {member.filename}, which is not an array of numbers or texts")
    return math.prod(shape) * kind.itemsize


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def check_checkpoint(path: Path, limit: int) -> None:
    """Raise Invalid unless a file is an archive of tensors as torch writes it; nothing is loaded.

    Args:
        path: of the file.
        limit: in bytes, of the file.

    Raises:
        Missing: if nothing is there.
        Invalid: if it cannot be read, is larger, compressed, or names anything but tensors.
    """
    with opened(path, limit) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = _members(path, archive)
                if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                    raise Invalid(path, "is compressed, which no checkpoint is")
                check_bytes(path, sum(member.file_size for member in members), limit)
                pickles = [member for member in members if member.filename.endswith("data.pkl")]
                if len(pickles) != 1:
                    raise Invalid(path, "is not a checkpoint: it needs one data.pkl")
                check_bytes(path, pickles[0].file_size, PICKLE_BYTES)
                content = archive.read(pickles[0])
        except BROKEN as error:
            reason = str(error) or type(error).__name__
            raise Invalid(path, f"is not a checkpoint: {reason:.200}") from error
    named = _globals(path, content)
    if foreign := sorted(name for name in named if not HARMLESS.fullmatch(name)):
        shown = ", ".join(name.replace(" ", ".") for name in foreign[:3])
        raise Invalid(
            path,
            f"names {shown:.200}, which no checkpoint of tensors needs; nothing of it was run",
            "do not use this file unless you know who wrote it",
        )


def _globals(path: Path, content: bytes) -> set[str]:
    """Return what a pickle would import, as `module name`, without running it."""
    named: set[str] = set()
    try:
        for number, (code, argument, _) in enumerate(pickletools.genops(content)):
            if number >= MAX_OPERATIONS:
                raise Invalid(
                    path, f"is not a checkpoint: its pickle has over {MAX_OPERATIONS:,} steps"
                )
            if code.name == "GLOBAL":
                named.add(str(argument))
            elif code.name in OTHER_IMPORTS or code.name.startswith("EXT"):
                named.add(code.name)  # torch does not write it
    except (ValueError, TypeError, IndexError) as error:
        raise Invalid(path, f"is not a checkpoint: its pickle is damaged ({error})") from error
    return named
