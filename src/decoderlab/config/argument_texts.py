"""What the docstrings of classes say of their arguments, read from the source: nothing is imported.

A class is found by its dotted name, wherever it is imported from: in this package, in a folder of
a user's own classes, or in another package. Base classes are asked too, and the class that an entry
such as "see `Head`." names.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from decoderlab.config.code_identity import PACKAGE
from decoderlab.config.definitions import STATEMENTS, Definition, Package

_SECTION = re.compile(r"^(?:Args|Attributes):\n", re.MULTILINE)
_ENTRY = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: \(.*?\))? ?: (.*)")
# An entry that says no more than where the argument is described.
ELSEWHERE = re.compile(r"see `(\w+)`\.?")


def arguments_in(docstring: str | None) -> dict[str, str]:
    r"""Return what a docstring says of each argument.

    Args:
        docstring: with Google's sections; None for none.

    Example:
        >>> arguments_in("A part.\n\nArgs:\n    size, rate: numbers,\n        above 0.")
        {'size': 'numbers, above 0.', 'rate': 'numbers, above 0.'}
    """
    entries: list[str] = []
    for section in _SECTION.split(inspect.cleandoc(docstring or ""))[1:]:
        for line in section.splitlines():
            if line and not line.startswith("    "):
                break
            if line[4:5].strip():
                entries.append(line.strip())
            elif entries:
                entries[-1] = f"{entries[-1]} {line.strip()}".rstrip()
    matches = [match for entry in entries if (match := _ENTRY.fullmatch(entry)) is not None]
    named = [(match[1].split(", "), match[2]) for match in matches]
    return {name.lstrip("*"): text for names, text in named for name in names}


class ArgumentTexts:
    """The docstrings of classes, by their dotted names.

    Args:
        folder: of a user's own classes; None for none.

    Example:
        >>> ArgumentTexts().of("decoderlab.tasks.EchoTask")["data_seed"]
        'seed of the data alone, so that the runs of all seeds share them.'
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._folder = None if folder is None else Path(folder)
        self._known: dict[str, dict[str, str]] = {}

    def summary(self, target: str) -> str:
        """Return the first line of the docstring of a class; empty without one."""
        docstrings = (text for *_, text in self._docstrings(target))
        return inspect.cleandoc(next(filter(None, docstrings), "")).partition("\n")[0]

    def of(self, target: str) -> dict[str, str]:
        """Return what is said of each argument of a class; {} for a class that is not there.

        Args:
            target: the dotted name.
        """
        if target in self._known:
            return self._known[target]
        texts = self._known[target] = {}
        for package, definition, docstring in self._docstrings(target):
            for name, text in arguments_in(docstring).items():
                if (other := ELSEWHERE.fullmatch(text)) is not None:
                    there = _dotted(package, definition.module, other[1])
                    text = self.of(there).get(name, "") if there else ""
                if text:
                    texts.setdefault(name, text)
        return texts

    def _docstrings(self, target: str) -> Iterator[tuple[Package, Definition, str]]:
        """Yield the docstrings of a class and of its base classes, that nearest first."""
        todo, seen = [target], set()
        while todo:
            if (name := todo.pop(0)) in seen or (known := self._definition(name)) is None:
                continue
            seen.add(name)
            package, definition = known
            scope = package.module(definition.module)
            for node in scope.defined.get(definition.name, []):
                if isinstance(node, ast.ClassDef):
                    yield package, definition, ast.get_docstring(node) or ""
                    for base in map(ast.unparse, node.bases):
                        there = _dotted(package, definition.module, base)
                        if there.partition(".")[0] in (package.name, PACKAGE.name):
                            todo.append(there)
            for text in _set_below(scope.defined[STATEMENTS], definition.name):
                yield package, definition, text

    def _definition(self, target: str) -> tuple[Package, Definition] | None:
        """Return where a dotted name is defined, if that is known without importing anything."""
        first, names = target.partition(".")[0], [target]
        root = PACKAGE if first == PACKAGE.name else self._folder
        if root is not None and root == self._folder:  # its modules are at the top of the path
            names.append(f"{root.name}.{target}")
        for name in names:
            if root is not None and (known := _followed(root, name)) is not None:
                return known
        root = _installed(first)
        return None if root is None else _followed(root, target)


def _followed(root: Path, name: str) -> tuple[Package, Definition] | None:
    package = _package(root)
    try:
        reference = package.follow(name)
    except (RecursionError, SyntaxError, ValueError, OSError):  # it cannot be imported either
        return None
    return (package, reference) if isinstance(reference, Definition) else None


class _OnDemand(dict[str, Path]):
    """The files of a large package, by the names of their modules, looked for when asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._above = root.parent

    def __contains__(self, name: object) -> bool:
        return self._file(str(name)) is not None

    def __missing__(self, name: str) -> Path:
        if (path := self._file(name)) is None:
            raise KeyError(name)
        return path

    def _file(self, name: str) -> Path | None:
        path = self._above.joinpath(*name.split("."))
        files = (path / "__init__.py", path.with_suffix(".py"))
        return next((file for file in files if file.is_file()), None)


@cache
def _package(root: Path) -> Package:
    return Package(root) if root == PACKAGE else _Large(root)


class _Large(Package):
    """A package of which a few modules are asked for, whatever their number."""

    def __init__(self, root: Path) -> None:
        super().__init__(root / "nothing")
        self.name, self.paths = root.name, _OnDemand(root)


@cache
def _installed(name: str) -> Path | None:
    """Return the folder of a package that is installed, or None."""
    try:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except (ImportError, ValueError):
        return None
    folders = (spec.submodule_search_locations if spec is not None else None) or ()
    return next(map(Path, folders), None)


def _dotted(package: Package, module: str, name: str) -> str:
    """Return the dotted name of what a module calls `name`; else of what the package calls so."""
    scope, (first, _, rest) = package.module(module), name.partition(".")
    if first in scope.imports:
        return f"{scope.imports[first]}.{rest}".rstrip(".")
    if first in scope.defined:
        return f"{module}.{name}"
    begin = re.compile(rb"^class %s\b" % name.encode(), re.MULTILINE)
    paths = package.paths.items()
    return next((f"{at}.{name}" for at, path in paths if begin.search(path.read_bytes())), "")


def _set_below(statements: Iterable[ast.stmt], name: str) -> Iterator[str]:
    """Yield a docstring that a module sets itself, as torch does: `Adam.__doc__ = ...`."""
    for node in statements:
        if isinstance(node, ast.Assign):
            if [ast.unparse(target) for target in node.targets] == [f"{name}.__doc__"]:
                parts = (getattr(part, "value", None) for part in ast.walk(node.value))
                yield "".join(text for text in parts if isinstance(text, str))
