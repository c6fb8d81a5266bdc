"""The files that a module depends on: what it imports, and what that imports, and so on.

All that nobody installed counts: what lies in the folder of the module, and what is imported from
elsewhere on the Python path, as with a checkout that was installed in place.

Source is only read. All import statements count, in functions too: by name, relative, of packages
with their `__init__.py`, and names of a package that may be modules of it; `from package import *`
stands for all modules of it. Where an import cannot be read off the source, as with `importlib`,
`exec` or a changed `sys.path` (`COMPUTED`), any module of the folder may be meant, and all of them
count. What is compiled, such as an extension in C, counts as it is.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from importlib.machinery import all_suffixes
from importlib.util import find_spec
from pathlib import Path

from decoderlab.common.edited_sources import is_installed, is_library
from decoderlab.common.folders import files_of_module, provides

# Names by which a file can import what its import statements do not name.
COMPUTED = frozenset(
    {
        "__import__",
        "__path__",
        "exec",
        "eval",
        "find_target",
        "get_object",
        "hydra",
        "imp",
        "importlib",
        "pkgutil",
        "runpy",
        "sys.modules",
        "sys.path",
    }
)
SUFFIXES = tuple(all_suffixes())
# They import nothing themselves.
READING = ("importlib.metadata", "importlib.resources")
# The versions of these are recorded with a run, so their source need not count.
VERSIONED = ("torch", "pytorch_lightning", "hydra", "numpy", *sys.stdlib_module_names)


def modules_used(
    start: Sequence[Path],
    folder: Path,
    roots: Sequence[Path],
    *,
    but: Collection[str],
    whole: bool = True,
) -> list[Path]:
    """Return some files and all files, of nothing installed, that they depend on, sorted.

    Args:
        start: the files.
        folder: that they lie in.
        roots: folders on the Python path, inside of `folder`, that modules are imported from.
        but: first names of modules that are passed over.
        whole: whether all files of the folder count where imports are computed.
    """
    used: set[Path] = set()
    todo = [(path, folder) for path in start]
    while todo:
        path, within = todo.pop()
        if path in used or not path.is_relative_to(within):
            continue
        used.add(path)
        todo += [(each, within) for each in _packages_of(path, within)]
        computed, statements = _imports(path.read_bytes())
        if computed and whole and within == folder:
            todo += [
                (each, folder) for each in modules_in(folder, "**/*") if not is_installed(each)
            ]
        for node in statements:
            for names, level in _named(node):
                if level:
                    todo += [
                        (each, within)
                        for base in path.parents[level - 1 : level]
                        for each in _along(base, names)
                    ]
                elif names[0] not in but:
                    of = [(root, folder) for root in roots if provides(root, names[0])]
                    of = of or [(root, root) for root in _elsewhere(names[0])]
                    todo += [(each, top) for root, top in of for each in _along(root, names)]
    return sorted(used)


def _elsewhere(name: str) -> list[Path]:
    """Return the folders on the Python path that have a module which nobody installed."""
    if is_library(name):
        return []
    try:
        spec = find_spec(name)  # executes nothing, since it lies in no package
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    origin = [spec.origin] if spec.origin else []  # none of a package without an __init__.py
    files = map(Path, list(spec.submodule_search_locations or ()) or origin)
    return [file.parent for file in files if not is_installed(file) and file.exists()]


@lru_cache(1024)  # the classes of one package read the same files
def _imports(source: bytes) -> tuple[bool, list[ast.Import | ast.ImportFrom]]:
    """Return whether a file computes what it imports, and its import statements."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):  # it cannot be imported either
        return False, []
    statements = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
    return any(map(_is_computed, nodes)), statements


def _is_computed(node: ast.AST) -> bool:
    """Whether a node may import something by a name that is not written there."""
    match node:
        case ast.Import(names=aliases):
            names = [alias.name for alias in aliases]
        case ast.ImportFrom(module=str(module), names=aliases, level=0):
            names = [f"{module}.{alias.name}" for alias in aliases]
        case ast.Name(id=name):  # of importlib what is asked for counts, below
            return name in COMPUTED and name != "importlib"
        case ast.Attribute(value=ast.Name(id="importlib"), attr=attribute):
            return f"importlib.{attribute}" not in READING
        case ast.Attribute(value=ast.Name(id=name), attr=attribute):
            return f"{name}.{attribute}" in COMPUTED
        case _:
            return False
    return any(
        name.split(".")[0] in COMPUTED or name in COMPUTED
        for name in names
        if not name.startswith(READING)
    )


def _named(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[list[str], int]]:
    """Yield what a statement imports: the parts of a dotted name, and how far above it begins."""
    match node:
        case ast.Import(names=aliases):
            yield from ((alias.name.split("."), 0) for alias in aliases)
        case ast.ImportFrom(module=module, names=aliases, level=level):
            above = module.split(".") if module else []
            yield from (([*above, alias.name], level) for alias in aliases)


def _along(base: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield the files of the modules and packages that dotted names may stand for."""
    folder = base
    for name in names:
        if name == "*":
            yield from modules_in(folder, "*")
            return
        yield from files_of_module(folder, name)
        folder = folder / name
        yield from files_of_module(folder, "__init__")


def modules_in(folder: Path, pattern: str) -> list[Path]:
    """Return the modules of a folder, sources and compiled ones, sorted; no caches of Python's.

    Args:
        folder: the folder.
        pattern: of the paths, as for `Path.glob`.
    """
    return sorted(
        path
        for path in folder.glob(pattern)
        if path.name.endswith(SUFFIXES) and "__pycache__" not in path.parts and path.is_file()
    )


def _packages_of(path: Path, folder: Path) -> Iterator[Path]:
    """Yield the `__init__.py` files that are executed before a file is, up to a folder."""
    for parent in path.parents:
        if parent == folder or not parent.is_relative_to(folder):
            return
        yield from files_of_module(parent, "__init__")
