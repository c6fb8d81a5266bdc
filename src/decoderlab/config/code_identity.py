"""The code that a run's result depends on, definition by definition, whatever file it lies in.

The rule:

* The walk starts from the classes that the run's config names as `_target_`, and from `ROOTS`: what
  builds a task, trains, selects and tests, and the sections of the config that say how. A class
  from outside this package counts by its own source (`foreign_code`), and what that imports of ours
  is started from as well.
* It follows every name to the function, class or constant of this package that the name stands for,
  through imports and re-exports, and goes on from there. What only types need (`TYPE_CHECKING`) is
  not followed. What a module does besides defining (a call, a loop) counts as soon as anything of
  that module does, and so do files beside it that are not Python.
* It never enters `BESIDE`: what plans, launches, shows, stores and checks. A statement that only
  calls something there (`say(...)`) does not count either.
* Of a definition the syntax tree counts, without comments, docstrings and annotations (the names of
  a class's fields stay), without the arguments of `raise X(...)`, which are a message, and without
  methods called `equations`, which are only shown. Constants, default arguments and decorators
  count, and so do the names of private helpers.
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
import sysconfig
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path

from decoderlab.common import process
from decoderlab.config.definitions import STATEMENTS, Package, Writer, imports

PACKAGE = Path(__file__).parents[1]
# Where the walk starts for every run, beside the classes of its config. The last two are sections
# of the config: optimizer, schedule and search are theirs, and who uses them gets them ready-made.
ROOTS = ("build_task", "train_and_test", "Training", "Evaluation")
# Modules, and packages with all that is in them, that no result depends on.
BESIDE = (
    "cli",
    "studies",
    "testing",
    "records",
    "common.folders",
    "common.process",
    "common.progress",
    "config.code_identity",
    "config.definitions",
    "config.environment",
    "config.messages",
    "layers.equations",
    "training.code_changes",
    "training.interruption",
)
# Their versions are recorded, so their source need not count.
VERSIONED = ("torch", "pytorch_lightning", "hydra", "numpy", *sys.stdlib_module_names)


def own_name(target: Callable) -> str | None:
    """Return the name that a class of this package has wherever it lies; None for any other.

    Example:
        >>> from decoderlab.decoders import RecurrentDecoder
        >>> own_name(RecurrentDecoder), own_name(dict)
        ('RecurrentDecoder', None)
    """
    module = getattr(target, "__module__", None) or ""
    return target.__qualname__ if module.split(".")[0] == PACKAGE.name else None


@cache
def code_of(targets: frozenset[Callable]) -> dict[str, str]:
    """Return the definitions of this package that a run depends on, each with its digest.

    Args:
        targets: the classes that the run's config names.
    """
    names: set[str] = set()
    for target in targets:
        if own_name(target):
            names.add(f"{target.__module__}.{target.__qualname__}")
        else:
            names |= {name for path in _foreign_files(target) for name in _ours_in(path)}
    return definitions(frozenset(names), PACKAGE)


@cache
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
        chosen = [reached[used].text for used in normal.uses if len(texts[used.name]) > 1]
        title = "statements of modules" if definition.name == STATEMENTS else definition.name
        digests[title].add(_digest("\n".join([normal.text, *sorted(chosen)]).encode()))
    for path in source.data_beside({definition.module for definition in reached}):
        digests[path.name].add(_digest(path.read_bytes()))
    return {name: "+".join(sorted(parts)) for name, parts in sorted(digests.items())}


@cache
def foreign_code(target: Callable) -> str | None:
    """Return the sha256 of the source of a class from outside this package.

    It covers the Python files of the whole `--config-dir` that the class lies in, else those of
    its package, else its one file; comments, docstrings, annotations and messages do not count in
    them, as in ours. Installed packages count byte by byte. None for a class of ours or of
    `VERSIONED`, or one without a file.
    """
    files = _foreign_files(target)
    if not files:
        return None
    installed = files[0].is_relative_to(Path(sysconfig.get_paths()["purelib"]).resolve())
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + (path.read_bytes() if installed else _normal(path)))
    return digest.hexdigest()


def _foreign_files(target: Callable) -> list[Path]:
    module = inspect.getmodule(target)
    name = module.__name__.split(".")[0] if module else PACKAGE.name
    source = getattr(sys.modules.get(name), "__file__", None)
    if name in (PACKAGE.name, *VERSIONED) or source is None:
        return []
    source = Path(source).resolve()
    own = process.user_config_dir and Path(process.user_config_dir).resolve()
    if own and source.is_relative_to(own):
        return sorted(own.rglob("*.py"))
    return sorted(source.parent.rglob("*.py")) if source.name == "__init__.py" else [source]


def _normal(path: Path) -> bytes:
    """Return the normal form of a file in which names and imports stay as they are."""
    source = path.read_bytes()
    try:
        return json.dumps(Writer().write(ast.parse(source))).encode()
    except (SyntaxError, ValueError):  # a file that nothing imports may hold anything
        return source


def _ours_in(path: Path) -> list[str]:
    """Return the dotted names of this package that a file imports."""
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
    except (SyntaxError, ValueError):
        return []
    return [name for name in imports(nodes).values() if name.split(".")[0] == PACKAGE.name]


@cache
def _package(root: Path) -> Package:
    return Package(root, BESIDE)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
