"""Which modules of one's own may run other code than their files hold.

Python keeps no note of what it has read: its cache of compiled files may be of another time, or be
switched off. So every import from now on is noted; of what was imported before, a file that is
older than the process is as it was read.

A module that is executed again with another text leaves objects of the old one in whoever took them
(`from helper import scale`), and a reload that fails leaves all of them. So every text counts that
was executed since a module's import; after a new import under an old name, with another text, those
are not known that were there before.
"""

from __future__ import annotations

import operator
import os
import sys
import sysconfig
import time
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from decoderlab.common import process

# Folders of what is installed, wherever Python lies.
INSTALLED = frozenset({"site-packages", "dist-packages"})

Texts = frozenset[bytes] | None  # None: nobody knows

_texts: dict[str, Texts] = {}  # of each module, all that was executed since its import
# Of a module that was imported again: those that were there before, and its texts until then.
_older: dict[str, tuple[set[str], Texts]] = {}
# Of a module that was forgotten, and is not imported again yet: those that stayed.
_stayed: dict[str, set[str]] = {}
_libraries = {"decoderlab", "hydra_plugins", *sys.stdlib_module_names}


class NotedSource(SourceFileLoader):
    """Imports a module from its source, whatever cache there is, and notes the text.

    Args:
        fullname, path: as of `SourceFileLoader`.
        again: whether the module is there already, to be executed once more.
    """

    def __init__(self, fullname: str, path: str, again: bool = False) -> None:
        super().__init__(fullname, path)
        self.again = again

    def get_code(self, fullname: str) -> CodeType | None:
        """Compile the source."""
        self.source = self.get_data(self.path)
        if self.again and (before := _texts.get(fullname)) is not None:
            _texts[fullname] = before | {self.source}  # also if it fails
        return self.source_to_code(self.source, self.path)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the source and note it."""
        if self.again:
            super().exec_module(module)
            return
        name = self.name
        older = _stayed[name] if name in _stayed else _executed()
        with _as_in_every_process(self.path, name):
            super().exec_module(module)
        _stayed.pop(name, None)
        for modules in (*(modules for modules, _ in _older.values()), *_stayed.values()):
            modules.discard(name)
        text = frozenset([self.source])
        if (before := _texts.get(name, text)) != text:
            _older[name] = older, before
        _texts[name] = text


def _executed() -> set[str]:
    """Return the modules that are not just being imported."""
    return {
        name
        for name, module in list(sys.modules.items())
        if name in _texts and not getattr(getattr(module, "__spec__", None), "_initializing", False)
    }


@contextmanager
def _as_in_every_process(path: str, name: str) -> Iterator[None]:
    """Let what a module makes at its top have values, and draw the same ones in every process.

    The same, where it is of `--config-dir`: of others it is not known that they are part of a run.
    """
    folder = process.user_config_dir
    if folder is None or not Path(path).absolute().is_relative_to(Path(folder).absolute()):
        torch = sys.modules.get("torch")  # or it is just being imported, by whoever imports this
        device = getattr(torch, "device", None)
        with nullcontext() if device is None else device("cpu"):
            yield
        return
    import torch  # which draws otherwise where it is imported by the module itself

    from decoderlab.common.randomness import generators_kept, seed_process, stream_seed

    with generators_kept(), torch.device("cpu"):
        seed_process(stream_seed(0, "init", "module", name))
        yield


def forget(names: Collection[str]) -> None:
    """Take modules out, so that they are imported anew; those that stay may have what they took."""
    for name in names:
        sys.modules.pop(name, None)
    staying = _executed()
    _stayed.update((name, set(staying)) for name in names)


class ImportNotes(MetaPathFinder):
    """Finds modules of one's own, so that they are imported by `NotedSource`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return None for anything but a source that nobody installed."""
        if is_library(fullname) or (spec := PathFinder.find_spec(fullname, path)) is None:
            return None
        if spec.origin is not None and is_installed(Path(spec.origin)):
            _libraries.add(fullname.partition(".")[0])
            return None
        if type(spec.loader) is SourceFileLoader:
            spec.loader = NotedSource(fullname, spec.loader.path, again=target is not None)
        return spec


def note_imports() -> None:
    """Note imports from now on, behind the finders that are in front of Python's own."""
    if any(isinstance(finder, ImportNotes) for finder in sys.meta_path):
        return
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if is_library(name) or file is None:
            continue
        if is_installed(Path(file)):
            _libraries.add(name.partition(".")[0])
        else:
            _texts[name] = _text_of_old(file)
    known = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else 0
    sys.meta_path.insert(known, ImportNotes())


def is_library(name: str) -> bool:
    """Whether a module is of Python, of this package, or known as installed."""
    return name.partition(".")[0] in _libraries


def _process_start() -> float:
    """Return when this process began, in seconds since the epoch; at the latest, if not known."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        # They are rounded down; in one tick nobody has imported anything.
        since_boot = (ticks + 1) / os.sysconf("SC_CLK_TCK")
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot
    except (OSError, AttributeError, IndexError, ValueError):  # not Linux
        age = time.process_time()
    return time.time() - age


_begun = _process_start()


def _text_of_old(file: str) -> Texts:
    """Return what a file holds, unless it may have been written since this process began."""
    try:
        status = os.stat(file)
        if max(status.st_mtime, status.st_ctime) >= _begun:
            return None
        return frozenset([Path(file).read_bytes()])
    except OSError:
        return None


def is_installed(path: Path) -> bool:
    """Whether a file belongs to a package that somebody installed."""
    return path.is_relative_to(_site_packages()) or not INSTALLED.isdisjoint(path.parts)


@cache
def _site_packages() -> Path:
    return Path(sysconfig.get_paths()["purelib"]).resolve()


def edited(files: Set[str], same: Callable[[bytes, bytes], bool] = operator.eq) -> Iterator[str]:
    """Yield those of some files that modules may have been imported from with another text.

    Args:
        files: paths; through links too.
        same: whether two texts are alike enough.
    """
    real = {os.path.realpath(file) for file in files}
    covered = {
        name: file
        for name, module in (list(sys.modules.items()) if real else ())
        if (file := getattr(module, "__file__", None)) is not None
        and not is_library(name)
        and os.path.realpath(file) in real
    }

    def holds(file: str, texts: Texts) -> bool:
        try:
            now = Path(file).read_bytes() if os.path.isfile(file) else None  # a pipe has no end
        except OSError:
            now = None
        return now is not None and texts is not None and all(same(text, now) for text in texts)

    stale: set[str] = set()
    for name in covered.keys() & _older.keys():
        modules, texts = _older[name]
        if not holds(covered[name], texts):
            stale |= modules
    for name, file in covered.items():
        # Of an import by somebody else's finder it is known only where the file is old.
        texts = _texts[name] if name in _texts else _text_of_old(file)
        if name in stale or not holds(file, texts):
            yield file
