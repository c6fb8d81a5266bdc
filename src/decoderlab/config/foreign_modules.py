"""The Python files that a module depends on in a folder: what it imports there, and so on.

Source is only read. All import statements count, in functions too, but for what only types need
(`TYPE_CHECKING`): by name, relative, of packages with their `__init__.py`, and names of a package
that may be modules of it; `from package import *` stands for all modules of it. Where an import
cannot be read off the source, as with `importlib`, `exec` or a changed `sys.path` (`COMPUTED`), any
file of the folder may be meant, and all of them count.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from decoderlab.config.definitions import for_types

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
# They import nothing themselves.
READING = ("importlib.metadata", "importlib.resources")


def modules_used(
    start: Sequence[Path],
    folder: Path,
    roots: Sequence[Path],
    *,
    but: Collection[str],
    whole: bool = True,
) -> list[Path]:
    """Return some files and all files of a folder that they depend on, sorted.

    Args:
        start: the files.
        folder: nothing outside of it is looked at.
        roots: folders on the Python path, inside of `folder`, that modules are imported from.
        but: first names of modules that are passed over.
        whole: whether all files of the folder count where imports are computed.
    """
    used: set[Path] = set()
    todo = list(start)
    while todo:
        path = todo.pop()
        if path in used or not path.is_relative_to(folder):
            continue
        used.add(path)
        todo += _packages_of(path, folder)
        computed, statements = _imports(path.read_bytes())
        if whole and computed:
            return sorted(folder.rglob("*.py"))
        for node in statements:
            for base, names in _imported(node, path, roots, but):
                todo += _along(base, names)
    return sorted(used)


@lru_cache(1024)  # the classes of one package read the same files
def _imports(source: bytes) -> tuple[bool, list[ast.Import | ast.ImportFrom]]:
    """Return whether a file computes what it imports, and its import statements."""
    try:
        nodes = list(_executed(ast.parse(source)))
    except (SyntaxError, ValueError):  # it cannot be imported either
        return False, []
    statements = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
    return any(map(_is_computed, nodes)), statements


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a tree, but for those that only types need."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.If) and for_types(node):
            todo += node.orelse
        else:
            todo += ast.iter_child_nodes(node)


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


def _imported(
    node: ast.Import | ast.ImportFrom, path: Path, roots: Sequence[Path], but: Collection[str]
) -> Iterator[tuple[Path, list[str]]]:
    """Yield what a statement imports: the folder that it starts from, and the names from there."""
    match node:
        case ast.Import(names=aliases):
            named, level = [alias.name.split(".") for alias in aliases], 0
        case ast.ImportFrom(module=module, names=aliases, level=level):
            above = module.split(".") if module else []
            named = [[*above, alias.name] for alias in aliases]
    if level:
        bases = path.parents[level - 1 : level]
    else:
        bases, named = roots, [names for names in named if names[0] not in but]
    yield from ((base, names) for base in bases for names in named)


def _along(base: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield the files of the modules and packages that dotted names may stand for."""
    folder = base
    for name in names:
        if name == "*":
            yield from folder.glob("*.py")
            return
        yield from (path for path in (folder / f"{name}.py",) if path.is_file())
        folder = folder / name
        yield from (path for path in (folder / "__init__.py",) if path.is_file())


def _packages_of(path: Path, folder: Path) -> Iterator[Path]:
    """Yield the `__init__.py` files that are executed before a file is, up to a folder."""
    for parent in path.parents:
        if parent == folder or not parent.is_relative_to(folder):
            return
        if (parent / "__init__.py").is_file():
            yield parent / "__init__.py"
