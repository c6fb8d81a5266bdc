"""Where our configs lie, and a user's own classes."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import all_suffixes
from pathlib import Path

from decoderlab.common import process
from decoderlab.common.digests import file_sha256
from decoderlab.common.edited_sources import forget
from decoderlab.common.errors import ConfigError

# Of each folder of `own_folder`, the modules that were imported from it: their files and digests.
_IMPORTED: dict[str, dict[str, tuple[Path, str]]] = {}


def conf_dir() -> Path:
    """Return the folder of our configs: inside the wheel, or at the top of the checkout."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


# Folders of configs whose YAMLs are no settings of runs.
NO_GROUPS = ("claim",)


def group_yamls(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the YAMLs of a folder of configs in order, each with its group.

    Args:
        folder: ours, or a user's own.
    """
    for path in sorted(folder.rglob("*.yaml")):
        group = path.parent.relative_to(folder).as_posix()
        if group not in NO_GROUPS:
            yield group, path


def check_own_folder(name: str, folder: object) -> str:
    """Return the path of a user's own folder.

    Args:
        name: of the argument or option, for the message.
        folder: what was given.

    Raises:
        ConfigError: for anything but the path of a folder that is there.
    """
    if not isinstance(folder, str | os.PathLike):
        there = f"of the type {type(folder).__name__}"
    elif not os.path.isdir(folder):
        there = "not a folder" if os.path.lexists(folder) else "missing"
    else:
        return os.fsdecode(folder)
    shown = os.fsdecode(folder) if isinstance(folder, os.PathLike) else folder
    raise ConfigError(
        f"{name} is {shown!r:.200}, which is {there}; give the folder of your YAMLs and classes, "
        "such as examples/plugins"
    )


def add_to_path(config_dir: str | None) -> str | None:
    """Put the user's own folder, if given, on the Python path; return it as absolute."""
    if config_dir is None:
        return None
    folder = os.path.abspath(config_dir)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return folder


@contextmanager
def own_folder(config_dir: str | Path | None) -> Iterator[None]:
    """Compose configs and import classes from a folder of the user's own, as `--config-dir` does.

    Afterwards the Python path is as before. What was imported stays, so that objects of these
    classes can be pickled; it is imported anew when another folder has a module of that name, or
    the files have changed, as they do in a notebook.

    Args:
        config_dir: the folder; None for none, or for that of a command line.

    Raises:
        ConfigError: if there is no such folder.
    """
    if config_dir is None:
        yield
        return
    given = check_own_folder("config_dir", config_dir)
    before, path, folder = process.user_config_dir, list(sys.path), os.path.abspath(given)
    _forget_stale(Path(folder))
    modules, begun = set(sys.modules), time.time()
    process.user_config_dir = add_to_path(given)
    try:
        yield
    finally:
        process.user_config_dir = before
        if folder not in path:
            with suppress(ValueError):  # code of the user's may have taken it out
                sys.path.remove(folder)
        known = _IMPORTED.setdefault(folder, {})
        for name in set(sys.modules) - modules:
            if (file := _file_in(Path(folder), name)) is not None:
                # Of a file that was saved meanwhile nobody knows which text was imported.
                saved = not file.is_file() or file.stat().st_mtime >= begun
                known[name] = (file, "" if saved else _digest(file))


def folder_of(module: str) -> str | None:
    """Return the folder given as `config_dir` that a module was imported from; None of others."""
    return next((folder for folder, known in _IMPORTED.items() if module in known), None)


def _forget_stale(folder: Path) -> None:
    """Forget modules imported from such folders that differ from what this folder has now."""
    importlib.invalidate_caches()
    known = _IMPORTED.get(str(folder), {})
    # Those imported by somebody else, nobody knows from which text.
    stale = [name for name in sys.modules if name not in known and _file_in(folder, name)]
    for other, known in _IMPORTED.items():
        changed = any(_digest(file) != digest for file, digest in known.values())
        for name in list(known):
            hidden = Path(other) != folder and provides(folder, name.partition(".")[0])
            if changed or hidden:
                stale.append(name)
                del known[name]
    forget(stale)


def provides(folder: Path, name: str) -> bool:
    """Return whether a folder on the Python path has a module or package.

    Args:
        folder: on the path.
        name: of the module, the first one of a dotted name.
    """
    return (folder / name).is_dir() or any(files_of_module(folder, name))


def files_of_module(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files by which a folder has a module: its source, and what is compiled.

    Args:
        folder: on the path, or of a package.
        name: of the module; `__init__` for that of the package.
    """
    files = (folder / f"{name}{suffix}" for suffix in all_suffixes())
    return (file for file in files if file.is_file())


def _file_in(folder: Path, name: str) -> Path | None:
    """Return the file of an imported module if the folder provides it; else None.

    The virtual environment may lie below the folder too.
    """
    source = getattr(sys.modules.get(name), "__file__", None)
    if source is None or not Path(source).is_relative_to(folder):
        return None
    first = Path(source).relative_to(folder).parts[0]
    return Path(source) if first.removesuffix(".py") == name.partition(".")[0] else None


def _digest(file: Path) -> str:
    try:
        return file_sha256(file, limit=None)
    except OSError:
        return ""
