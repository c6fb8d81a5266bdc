"""The code that a run's result depends on, definition by definition, whatever file it lies in.

The rule:

* The walk starts from the classes that the run's config names as `_target_`, and from `ROOTS`: what
  builds a task, trains, selects and tests, and the sections of the config that say how. A class
  from outside this package counts by its own module and the modules that this imports beside it
  (`foreign_code`); the walk also starts from what these import of this package.
* It follows every name to the function, class or constant of this package that the name stands for,
  through imports and re-exports, and goes on from there. What only types need (`TYPE_CHECKING`) is
  not followed, but in a package below the top, which names there what it imports when it is asked
  for. As soon as one definition of a module counts, so do its other statements (a call, a loop) and
  the files in its folder that are not Python.
* It never enters `UNCOUNTED`: what plans, launches, shows, stores and checks, and what looks at a
  model after its test: data of figures (`probes`, `step_probe`) and what it costs (`cost`). A
  budget that is solved from a cost stands in the config, as a width or a number of updates; which
  examples were right counts (`per_example.pack`). A statement that only calls something there
  (`say(...)`) does not count either.
* Of a definition of ours the syntax tree counts, without comments, docstrings and annotations (the
  names of a class's fields stay), without the arguments of `raise X(...)`, which are a message, and
  without methods called `equations` or `equation_letters`, which are only shown. Constants, default
  arguments and decorators count, and so do the names of private helpers.
* The names of files and modules do not count: an imported name is written as the definition it
  stands for. So a file may be renamed, split or merged, and a definition may move to any file.
  A definition with a new name is another definition.

A module that is used as an object (`getattr(module, name)`) counts whole. Versions of Python and of
packages stand beside the code in `made_by.json`.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path

from decoderlab.common import process
from decoderlab.common.edited_sources import edited, is_installed
from decoderlab.common.errors import ConfigError, EditedSource
from decoderlab.common.folders import folder_of
from decoderlab.config.definitions import STATEMENTS, Package, Writer, imports
from decoderlab.config.foreign_modules import VERSIONED, modules_in, modules_used
from decoderlab.config.given_methods import refuse_given

PACKAGE = Path(__file__).parents[1]
# Where the walk starts for every run, beside the classes of its config. The last two are sections
# of the config: optimizer, schedule and search are theirs, and who uses them gets them ready-made.
ROOTS = ("build_task", "train_and_test", "Training", "Evaluation")
# Modules, and packages with all that is in them, that no result depends on.
UNCOUNTED = (
    "cli",
    "studies",
    "testing",
    "records",
    "common.bounded_archives",
    "common.bounded_reading",
    "common.bounded_yaml",
    "common.digests",
    "common.edited_sources",
    "common.errors",
    "common.escapes",
    "common.folders",
    "common.lean_imports",
    "common.meta_device",
    "common.safe_names",
    "common.process",
    "common.progress",
    "common.torch_settings",
    "config.bounds",
    "config.code_identity",
    "config.definitions",
    "config.environment",
    "config.foreign_modules",
    "config.given_methods",
    "config.messages",
    "layers.equations",
    "training.code_changes",
    "training.cost",
    "training.interruption",
    "training.optimizer_states",
    "training.probes",
    "training.resumption",
    "training.step_probe",
)
_looked_at: dict[Callable, str | None] | None = None


def own_name(target: Callable) -> str | None:
    """Return the name that a class of this package has wherever it lies; None for any other.

    Example:
        >>> from decoderlab.decoders import RecurrentDecoder
        >>> own_name(RecurrentDecoder), own_name(dict)
        ('RecurrentDecoder', None)
    """
    module = getattr(target, "__module__", None) or ""
    return target.__qualname__ if module.split(".")[0] == PACKAGE.name else None


def code_of(targets: frozenset[Callable]) -> dict[str, str]:
    """Return the definitions of this package that a run depends on, each with its digest.

    Args:
        targets: the classes that the run's config names.
    """
    own = _folder_of(*targets)
    names: set[str] = set()
    for target in targets:
        if own_name(target):
            names.add(f"{target.__module__}.{target.__qualname__}")
        else:
            names |= {
                name for path in _foreign_files(target, own) for name in _ours_in(path.read_bytes())
            }
    return definitions(frozenset(names), PACKAGE)


@cache
@process.without_collection()
def definitions(names: frozenset[str], package: Path) -> dict[str, str]:
    """Return the definitions that a run depends on, each with its digest.

    Args:
        names: dotted names of the classes to start from, beside `ROOTS`.
        package: the folder of the package.

    Raises:
        ValueError: if one of `ROOTS` is not defined exactly once.
    """
    source = _package(package)
    start = [
        definition for name in sorted(names) for definition in source.members(source.follow(name))
    ]
    for name in ROOTS:
        defining = source.defining(name)
        if len(defining) != 1:
            raise ValueError(
                f"ROOTS in code_identity.py names {name}, which is defined {len(defining)} "
                "times; it must be exactly once: if it was renamed, write the new name there"
            )
        start += defining
    reached = source.reach(start)
    texts = defaultdict(set)
    for definition, normal in reached.items():
        texts[definition.name].add(normal.text)
    digests = defaultdict(set)
    for definition, normal in reached.items():
        # Of several definitions with the same name it matters which of them is used.
        chosen = [
            reached[used].text
            for used in normal.uses
            if used in reached and len(texts[used.name]) > 1
        ]
        title = "statements of modules" if definition.name == STATEMENTS else definition.name
        digests[title].add(_digest("\n".join([normal.text, *sorted(chosen)]).encode()))
    for path in source.data_beside({definition.module for definition in reached}):
        digests[path.name].add(_digest(path.read_bytes()))
    return {name: "+".join(sorted(parts)) for name, parts in sorted(digests.items())}


@contextmanager
def looking_once() -> Iterator[None]:
    """Look at the code of each class once in what follows, which names runs and trains none.

    Thousands of runs have the same classes; each run looks at its own when it begins.
    """
    global _looked_at
    before, _looked_at = _looked_at, {}
    try:
        yield
    finally:
        _looked_at = before


def foreign_code(target: Callable) -> str | None:
    """Return the sha256 of the source of a class from outside this package.

    It covers the class's own module and all that this imports from the same `--config-dir`, or from
    the folder that its module is imported from, see `foreign_modules`; of a package outside of
    `--config-dir`, every module of it too. All that is written in them counts but comments and
    docstrings. What lies beside them and is not Python counts where a setting names it. Installed
    packages count whole and byte by byte. None for a class of ours or of `VERSIONED`.

    Raises:
        ConfigError: for a class without a file, whose file was edited since it was imported
            (EditedSource), or that was given a method from elsewhere: no id would tell what is
            computed.
    """
    if _looked_at is not None and target in _looked_at:
        return _looked_at[target]
    files = _foreign_files(target, _folder_of(target))
    _refuse_edited(files)
    refuse_given(target, files)
    code = _code_in(files)
    if _looked_at is not None:
        _looked_at[target] = code
    return code


def _folder_of(*targets: Callable) -> str | None:
    """Return the folder of the user's own classes: today's, or that which these came from."""
    given = (folder_of(getattr(target, "__module__", None) or "") for target in targets)
    return process.user_config_dir or next(filter(None, given), None)


def _code_in(files: Sequence[Path]) -> str | None:
    """Nothing is kept of what may be edited: in a notebook it is, beside a class that stays."""
    if not files:
        return None
    if is_installed(files[0]):
        return _code_of_installed(tuple(files))
    return _joined((path.name.encode() + _normal(path.read_bytes())) for path in files)


@cache
def _code_of_installed(files: tuple[Path, ...]) -> str:
    return _joined(path.name.encode() + path.read_bytes() for path in files)


def _joined(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _foreign_files(target: Callable, config_dir: str | None) -> list[Path]:
    module = inspect.getmodule(target)
    name = module.__name__ if module else PACKAGE.name
    top = name.split(".")[0]
    if top in (PACKAGE.name, *VERSIONED):
        return []
    source = getattr(module, "__file__", None)
    if source is None:
        raise ConfigError(
            f"{name}.{getattr(target, '__qualname__', target)} stands in no file, so that no id of "
            "a run could cover its code; write it into a file of a folder, and give that as "
            "config_dir (--config-dir)"
        )
    imported, source = Path(source).absolute(), Path(source).resolve()
    package = _package_of(top)
    if is_installed(source):
        return _all_of_installed(package) if package else [source]
    if config_dir:  # where a link stands, its neighbours are what it imports
        own = Path(config_dir)
        for path, folder in ((imported, own.absolute()), (source, own.resolve())):
            if path.is_relative_to(folder):
                roots = (folder, _root_of(path, name))
                return modules_used([path], folder, roots, but=(PACKAGE.name,))
    start, root = modules_in(package, "**/*") if package else [source], _root_of(source, name)
    return modules_used(start, root, (root,), but=(PACKAGE.name, *VERSIONED), whole=False)


@cache
def _all_of_installed(package: Path) -> list[Path]:
    return modules_in(package, "**/*")


def _refuse_edited(files: Sequence[Path]) -> None:
    """Raise EditedSource where a file, of nothing installed, was edited since it was imported."""
    own = frozenset(map(str, files)) if files and not is_installed(files[0]) else frozenset()
    for file in edited(own, _are_alike):
        raise EditedSource(
            f"{file} was edited after it was imported, so that other code may run than the id "
            "says; restart Python and import decoderlab first, or give the folder as config_dir, "
            "which imports it anew"
        )


def _are_alike(text: bytes, other: bytes) -> bool:
    return text == other or _normal(text) == _normal(other)


def _root_of(path: Path, module: str) -> Path:
    """Return the folder on the Python path that a module was imported from."""
    depth = len(module.split(".")) - (path.name != "__init__.py")
    return path.parents[min(depth, len(path.parents) - 1)]


def _package_of(name: str) -> Path | None:
    """Return the folder of a package that is imported; None of a single module, or of folders."""
    source = getattr(sys.modules.get(name), "__file__", None)
    path = None if source is None else Path(source).resolve()
    return path.parent if path and path.name == "__init__.py" else None


@lru_cache(1024)  # the classes of one package read the same files
def _normal(source: bytes) -> bytes:
    """Return the normal form of a file in which names and imports stay as they are."""
    try:
        return json.dumps(Writer().write(ast.parse(source))).encode()
    except (SyntaxError, ValueError):  # a file that nothing imports may hold anything
        return source


@lru_cache(1024)
def _ours_in(source: bytes) -> list[str]:
    """Return the dotted names of this package that a file imports."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return []
    return [name for name in imports(nodes).values() if name.split(".")[0] == PACKAGE.name]


@cache
def _package(root: Path) -> Package:
    return Package(root, UNCOUNTED)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
