"""Which modules of one's own were edited after they were imported.

Python keeps no note of what it has read: its cache of compiled files may be of another time, or be
switched off. So every import from now on is noted, and what has been imported is noted now.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence, Set
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from decoderlab.common.digests import file_sha256

# Folders of what is installed, wherever Python lies.
INSTALLED = frozenset({"site-packages", "dist-packages"})

_digests: dict[str, str | None] = {}  # of the files of modules, when they were imported
_libraries = {"decoderlab", "hydra_plugins", *sys.stdlib_module_names}
_begun = time.time()


class ImportNotes(MetaPathFinder):
    """Notes what file a module will be imported from; finds none itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Note its file as it is now."""
        top = fullname.partition(".")[0]
        if top not in _libraries and (spec := PathFinder.find_spec(fullname, path)) is not None:
            where = spec.origin or next(iter(spec.submodule_search_locations or ()), None)
            _note(fullname, where)
        return None


def note_imports() -> None:
    """Note imports from now on."""
    if any(isinstance(finder, ImportNotes) for finder in sys.meta_path):
        return
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in _libraries:
            _note(name, getattr(module, "__file__", None))
    sys.meta_path.insert(0, ImportNotes())


def _note(name: str, file: str | None) -> None:
    if file is not None and is_installed(Path(file)):
        _libraries.add(name.partition(".")[0])
    else:
        _digests[name] = _digest(file)


def is_installed(path: Path) -> bool:
    """Whether a file belongs to a package that somebody installed."""
    return path.is_relative_to(_site_packages()) or not INSTALLED.isdisjoint(path.parts)


@cache
def _site_packages() -> Path:
    return Path(sysconfig.get_paths()["purelib"]).resolve()


def edited(files: Set[str]) -> Iterator[str]:
    """Yield those of some files that are others than when a module was imported from them.

    Args:
        files: paths; through links too.
    """
    real = {os.path.realpath(file) for file in files}
    for name, module in list(sys.modules.items()) if real else ():
        file = getattr(module, "__file__", None)
        if file is None or name.partition(".")[0] in _libraries:
            continue
        if os.path.realpath(file) in real and _is_edited(name, file):
            yield file


def _is_edited(name: str, file: str) -> bool:
    if name in _digests:
        return _digests[name] is None or _digest(file) != _digests[name]
    try:  # its import went by no finder; a file older than our own has not been edited since
        status = os.stat(file)
    except OSError:
        return True
    return max(status.st_mtime, status.st_ctime) >= _begun


def _digest(file: str | None) -> str | None:
    try:
        return file and file_sha256(Path(file), limit=None)
    except OSError:  # a folder of a package without a file of its own
        return None
