"""Which settings name files, and what these count as: their contents, whatever they are called.

The rule, for each text among the settings of a class, also in lists and mappings:

* It may name a file or folder if its key says so (`path`, `file`, `weights`, `checkpoint`,
  `vectors` and what ends in `_path` or `_file`; `paths` and `files` alike), or if it looks like a
  path: with a separator (`data/words`, `~/words`) or a suffix (`words.txt`). A bare word under
  another key, such as `lstm` or `test`, names nothing, even where a file of that name lies in the
  current folder.
* `_target_` and `monitor` name no file. Keys that say where something is written or kept
  (`WRITTEN`) count as text: what lies there changes as runs go on.
* A regular file counts by its sha256. A folder counts by the names and contents of all files in
  it, of which there may be so many (`MOST_FILES`, `MOST_BYTES`). Links are followed; a folder that
  several names lead to is read once, and its other names count.
* What does not exist, or is a pipe or a device, counts as text.

Whether a text may name a file is decided by the text alone, so that records can be compared where
the file is gone.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from decoderlab.common.bounded_reading import MIB
from decoderlab.common.digests import file_sha256
from decoderlab.common.errors import ConfigError, Invalid

NAMING = ("path", "paths", "file", "files", "weights", "checkpoint", "vectors")
ENDINGS = ("_path", "_paths", "_file", "_files")
WRITTEN = (
    "cache_dir",
    "default_root_dir",
    "dirpath",
    "download_dir",
    "log_dir",
    "log_file",
    "log_path",
    "output_dir",
    "output_file",
    "output_path",
    "save_dir",
    "save_path",
)
NO_FILES = ("_target_", "monitor", *WRITTEN)
SUFFIX = re.compile(r"[^.]\.(?=\w*[A-Za-z])\w{1,10}$")
# Of a folder.
MOST_FILES = 10_000
MOST_BYTES = 10 * 1024 * MIB


def is_path(key: str) -> bool:
    """Whether a task's setting of this name is a file of its data: `path`, or `..._path`."""
    return key == "path" or key.endswith("_path")


def may_name_file(key: str, value: Any) -> bool:
    """Whether a setting may name a file or folder, by the rule of this module.

    Example:
        >>> may_name_file("vectors", "glove"), may_name_file("table", "data/glove")
        (True, True)
        >>> may_name_file("cell", "lstm"), may_name_file("split_at", "/"), may_name_file("p", "0.5")
        (False, False, False)
    """
    if not isinstance(value, str) or key in NO_FILES or not value.strip():
        return False
    if key in NAMING or key.endswith(ENDINGS):
        return True
    has_separator = "/" in value or os.sep in value
    return (has_separator and bool(value.strip("./~ \\"))) or SUFFIX.search(value) is not None


def with_contents(name: str, value: Any, key: str = "") -> Any:
    """Return a setting in which all that names files or folders is their sha256.

    Args:
        name: of the setting, for messages.
        value: with mappings and lists inside.
        key: that the value, or the list that it is in, stands under.

    Raises:
        ConfigError: for a file that cannot be read, or a folder of more files than the rule allows.
    """
    if isinstance(value, Mapping):
        return {
            inner: with_contents(f"{name}.{inner}", item, inner) for inner, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [with_contents(f"{name}[{at}]", item, key) for at, item in enumerate(value)]
    return (may_name_file(key, value) and _contents(name, value)) or value


def files_in(value: Any, key: str = "") -> list[list[Any]]:
    """Return the state of each file that settings name: another state may be other contents."""
    if isinstance(value, Mapping):
        return [state for inner, item in value.items() for state in files_in(item, inner)]
    if isinstance(value, list | tuple):
        return [state for item in value for state in files_in(item, key)]
    if not may_name_file(key, value):
        return []
    path = Path(os.path.expanduser(value))
    try:
        try:
            files = _files_below(value, path) if path.is_dir() else [path]
        except ConfigError:  # a task may read a folder of any size
            files = [path]
        states = [(file, file.stat()) for file in files]
    except OSError:  # not there, or whoever reads it says what is the matter
        return []
    return [[str(file), state.st_ino, state.st_size, state.st_mtime_ns] for file, state in states]


def _contents(name: str, text: str) -> str | None:
    """Return the sha256 of the file or folder that a text names; None where there is none."""
    path = Path(os.path.expanduser(text))
    try:
        if os.path.isfile(path):
            return file_sha256(path)
        if not os.path.isdir(path):
            return None
        files = _files_below(name, path)
        if sum(file.stat().st_size for file in files if file.is_file()) > MOST_BYTES:
            raise _too_large(name, path)
        digest = hashlib.sha256()
        for file in files:
            content = file_sha256(file) if file.is_file() else _folder_known(file, path)
            digest.update(
                os.fsencode(file.relative_to(path)) + b"\0" + os.fsencode(content) + b"\0"
            )
        return digest.hexdigest()
    except (OSError, Invalid) as error:
        raise ConfigError(
            f"{name} is {text!r}, whose contents are part of the run's id but cannot be read "
            f"({error}); give a file that can be read"
        ) from error


def _folder_known(path: Path, folder: Path) -> str:
    """Return what a further name of a folder counts as: where that lies, seen from the first."""
    return "\0" + os.path.relpath(os.path.realpath(path), os.path.realpath(folder))


def _files_below(name: str, folder: Path) -> list[Path]:
    """Return the regular files in a folder, and further names of its folders, sorted."""
    files = []
    for index, (path, counts) in enumerate(_walk(folder)):
        if index == MOST_FILES:
            raise _too_large(name, folder)
        if counts:
            files.append(path)
    return sorted(files)


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yield all that lies below a folder, and whether it is a file, or a folder entered before."""
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        if (real := os.path.realpath(parent)) in seen:
            folders.clear()
            yield Path(parent), True
            continue
        seen.add(real)
        folders.sort()
        yield from ((Path(parent, name), False) for name in folders)
        yield from ((path, path.is_file()) for path in (Path(parent, name) for name in files))


def _too_large(name: str, folder: Path) -> ConfigError:
    return ConfigError(
        f"{name} names the folder {folder}, which holds more than {MOST_FILES:,} files and folders "
        f"or {MOST_BYTES // (1024 * MIB)} GiB; its contents would be part of the run's id: name a "
        "smaller folder, or the files themselves"
    )
