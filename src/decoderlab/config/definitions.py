"""The definitions of a package in their normal form, and which of them uses which.

The normal form is what is left of a syntax tree when all is gone that cannot change a result; the
rule stands in `code_identity`. Nothing is imported or executed here: source is only read.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Fields of syntax trees that only readers, type checkers and the compiler need.
UNSEEN = ("ctx", "kind", "simple", "type_comment", "type_params")
ANNOTATIONS = ("annotation", "returns")
# What a module does besides defining, among the names that it defines.
STATEMENTS = "*"
CODE = (".py", ".pyc", ".pyi", ".typed")


class Definition(NamedTuple):
    """A name at the top of a module."""

    module: str
    name: str


# What a name stands for: a definition, or a whole module.
Reference = Definition | str


class Normal(NamedTuple):
    """The normal form of a definition, and the definitions that it uses."""

    text: str
    uses: frozenset[Definition]


class Module:
    """The parts of a file: its definitions, its imports and its other statements.

    Args:
        name: dotted.
        path: of the file.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        # The package that relative imports start from.
        self.anchor = name if path.name == "__init__.py" else name.rpartition(".")[0]
        body = ast.parse(path.read_bytes()).body
        # A package below the top names for types what it imports when it is asked for.
        is_lazy = path.name == "__init__.py" and "." in name
        self.imports = imports(_at_import(body, types=is_lazy), self.anchor)
        self.defined: dict[str, list[ast.stmt]] = {STATEMENTS: []}
        for statement in body:
            names = _defined_by(statement)
            if not names and not isinstance(statement, ast.Import | ast.ImportFrom):
                names = [STATEMENTS]
            for key in names:
                self.defined.setdefault(key, []).append(statement)


class Package:
    """The modules in a package's folder, each read when it is needed.

    Args:
        root: the folder; its name is the package's.
        beside: dotted names, without the package's own, of modules and packages that the walk never
            enters.
    """

    def __init__(self, root: Path, beside: Sequence[str] = ()) -> None:
        self.name = root.name
        self.paths = {_dotted(path, root): path for path in sorted(root.rglob("*.py"))}
        self._beside = tuple(f"{root.name}.{name}" for name in beside)
        self._modules: dict[str, Module] = {}
        self._normal: dict[Definition, Normal] = {}

    def module(self, name: str) -> Module:
        """Return a module by its dotted name."""
        if name not in self._modules:
            self._modules[name] = Module(name, self.paths[name])
        return self._modules[name]

    def is_beside(self, module: str) -> bool:
        """Return whether a module is one that the walk never enters."""
        return any(module == name or module.startswith(f"{name}.") for name in self._beside)

    def defining(self, name: str) -> list[Definition]:
        """Return all definitions of a name that the walk may enter."""
        return [
            Definition(module, name)
            for module, path in self.paths.items()
            if not self.is_beside(module)
            and name.encode() in path.read_bytes()  # most need not be parsed
            and name in self.module(module).defined
        ]

    def follow(self, dotted: str) -> Reference | None:
        """Return what a dotted name stands for, wherever it is imported from.

        Raises:
            RecursionError: if modules import a name from each other in a circle.
        """
        parts = dotted.split(".")
        for end in range(len(parts), 0, -1):
            name, rest = ".".join(parts[:end]), parts[end:]
            if name not in self.paths:
                continue
            if not rest:
                return name
            module = self.module(name)
            if rest[0] in module.defined or rest[0] not in module.imports:
                return Definition(name, rest[0])
            return self.follow(".".join([module.imports[rest[0]], *rest[1:]]))
        return None

    def members(self, reference: Reference | None) -> list[Definition]:
        """Return the definitions that a reference stands for: of a whole module, all."""
        if reference is None or isinstance(reference, Definition):
            return [reference] if reference else []
        return [Definition(reference, name) for name in self.module(reference).defined]

    def reach(self, start: Iterable[Definition]) -> dict[Definition, Normal]:
        """Return everything that is used from a start on, with its normal form."""
        reached: dict[Definition, Normal] = {}
        todo = list(start)
        while todo:
            definition = todo.pop()
            if definition in reached or self.is_beside(definition.module):
                continue
            reached[definition] = self.normal(definition)
            # Importing a module executes it, and the packages that it lies in.
            parts = definition.module.split(".")
            modules = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
            todo += [*reached[definition].uses, *(Definition(name, STATEMENTS) for name in modules)]
        return {definition: normal for definition, normal in reached.items() if normal.text}

    def normal(self, definition: Definition) -> Normal:
        """Return the normal form of a definition; an empty text if nothing of it counts."""
        if definition not in self._normal:
            module = self.module(definition.module) if definition.module in self.paths else None
            uses: set[Definition] = set()
            texts = []
            if module is not None:
                for statement in module.defined.get(definition.name, []):
                    writer = Writer(Scope(self, module, statement))
                    texts.append(writer.write(statement))
                    uses |= writer.uses
            texts = [json.dumps(text) for text in texts if text is not None]
            self._normal[definition] = Normal("\n".join(texts), frozenset(uses))
        return self._normal[definition]

    def data_beside(self, modules: Iterable[str]) -> Iterator[Path]:
        """Yield the files that are no code and lie in the same folders as modules."""
        for folder in sorted({self.paths[name].parent for name in modules}):
            yield from (
                path
                for path in sorted(folder.iterdir())
                if path.is_file() and path.suffix not in CODE
            )


class Scope:
    """What the names in a statement at the top of a module stand for.

    Args:
        package: that the module belongs to.
        module: that the statement lies in.
        statement: it.
    """

    def __init__(self, package: Package, module: Module, statement: ast.stmt) -> None:
        nodes = list(ast.walk(statement))
        self.package, self.module = package, module
        self._inside = imports(nodes, module.anchor)
        # Variables of its own; whether they hide a module's name is not looked into: both count.
        self.local = {name for node in nodes for name in _bound_by(node)}

    def find(self, names: Sequence[str]) -> tuple[Reference | None, list[str]]:
        """Return what a name with attributes stands for, and what is left over of it.

        Returns:
            A definition or module of the package, and the attributes behind it; for all other names
            None, and the name with its attributes, from where it is imported.
        """
        first, *rest = names
        origin = self._inside.get(first)
        if origin is None and first in self.module.defined:
            return Definition(self.module.name, first), rest
        origin = origin or self.module.imports.get(first)
        if origin is None:
            return None, list(names)
        dotted = [*origin.split("."), *rest]
        if dotted[0] != self.package.name:
            return None, dotted
        target = None
        for end in range(len(dotted) - len(rest), len(dotted) + 1):
            target = self.package.follow(".".join(dotted[:end]))
            if isinstance(target, Definition):
                return target, dotted[end:]
        return (None, dotted) if target is None else (target, [])


class Writer:
    """Writes normal forms and notes the definitions that are used.

    Args:
        scope: that names are looked up in; None for a file of anybody's, of which everything counts
            as it is written but comments and docstrings: in ours it is known what computes nothing.
    """

    def __init__(self, scope: Scope | None = None) -> None:
        self.scope = scope
        self.uses: set[Definition] = set()

    def write(self, node: Any, in_class: bool = False) -> Any:
        """Return a node as nested lists of texts; None if it does not count."""
        match node:
            case list():
                # None stands for something: the key of `**more`, an argument without a default.
                written = ["" if item is None else self.write(item, in_class) for item in node]
                return [text for text in written if text is not None]
            case ast.Constant():
                return repr(node.value)
            case ast.Name() | ast.Attribute():
                return self._name(node)
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                return None
            case ast.AST() if self.scope is None:
                return [type(node).__name__, *self._fields(node)]
            case ast.FunctionDef(name="equations" | "equation_letters"):
                return None
            case ast.Expr(value=ast.Call(func=function)) if self._is_beside(function):
                return None
            case ast.Import() | ast.ImportFrom():
                return None
            case ast.If() if for_types(node) or _as_script(node):
                return self.write(node.orelse) or None
            case ast.Raise(exc=ast.Call(func=function)):
                return ["Raise", self.write(function), self.write(node.cause)]
            case ast.AnnAssign(value=None) if not in_class:
                return None
            case ast.AnnAssign() if not in_class:
                targets = ["targets", [self.write(node.target)]]
                return ["Assign", targets, ["value", self.write(node.value)]]
            case ast.AnnAssign():
                return ["Field", _kind(node.annotation), *self._fields(node)]
            case ast.ClassDef():
                body = ["body", self.write(node.body, in_class=True)]
                return ["ClassDef", *self._fields(node, but="body"), body]
            case ast.AST():
                return [type(node).__name__, *self._fields(node)]
        return node if node is None else str(node)

    def _fields(self, node: ast.AST, but: str = "") -> list[Any]:
        """Return the fields of a node that are not empty: new fields of Python do no harm."""
        unseen = (*UNSEEN, but) if self.scope is None else (*UNSEEN, *ANNOTATIONS, but)
        pairs = [(name, getattr(node, name)) for name in node._fields if name not in unseen]
        return [[name, self.write(value)] for name, value in pairs if value not in (None, [])]

    def _name(self, node: ast.Name | ast.Attribute) -> Any:
        """Write a name with its attributes as what it stands for."""
        names = _names(node)
        if not names and isinstance(node, ast.Attribute):
            return ["Attribute", self.write(node.value), node.attr]
        base = _base(node)
        bound = isinstance(base, ast.Name) and isinstance(base.ctx, ast.Store | ast.Del)
        if self.scope is None or bound:
            return ["Name", *names]
        target, rest = self.scope.find(names)
        self.uses |= set(self.scope.package.members(target))
        local = [names[0]] if names[0] in self.scope.local else []
        if isinstance(target, Definition):
            return ["Name", *local, target.name, *rest]
        return ["Name", *local, *(rest or ["a module"])]

    def _is_beside(self, function: ast.expr) -> bool:
        """Return whether what is called lies where the walk never enters."""
        names = _names(function)
        if self.scope is None or not names:
            return False
        target = self.scope.find(names)[0]
        return isinstance(target, Definition) and self.scope.package.is_beside(target.module)


def imports(nodes: Iterable[ast.AST], anchor: str = "") -> dict[str, str]:
    """Return the names that import statements bind, each with the dotted name it stands for.

    Args:
        nodes: all statements; those that do not import are passed over.
        anchor: the package that relative imports start from.

    Example:
        >>> nodes = ast.parse("import a.b, c.d as e; from f.g import h as i; from . import j").body
        >>> imports(nodes, "k")
        {'a': 'a', 'e': 'c.d', 'i': 'f.g.h', 'j': 'k.j'}
    """
    bound = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            above = anchor.split(".")[: len(anchor.split(".")) + 1 - node.level]
            origin = [*(above if node.level else []), *filter(None, [node.module])]
            bound |= {
                alias.asname or alias.name: ".".join([*origin, alias.name]) for alias in node.names
            }
    return bound


def _at_import(body: Iterable[ast.stmt], types: bool = False) -> Iterator[ast.stmt]:
    """Yield all statements that importing a module may execute; those for types if asked."""
    for node in body:
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        blocks = []
        if isinstance(node, ast.If) and for_types(node) and not types:
            blocks = [node.orelse]
        if not blocks:
            inner = [getattr(node, name, []) for name in ("body", "orelse", "finalbody")]
            blocks = [*inner, *(handler.body for handler in getattr(node, "handlers", []))]
        for block in blocks:
            yield from _at_import(block, types)


def _defined_by(statement: ast.stmt) -> list[str]:
    """Return the names that a statement at the top of a module defines, if it does only that."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            parts = [part for target in targets for part in getattr(target, "elts", [target])]
        case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            parts = [target]
        case _:
            return []
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    return names if len(names) == len(parts) else []


def _bound_by(node: ast.AST) -> list[str]:
    """Return the names that a node binds in a function."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            return [name]
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
            return [name]
    return []


def _base(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node


def _names(node: ast.expr) -> list[str]:
    """Return `a.b.c` as a list; empty for anything else."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def for_types(node: ast.If) -> bool:
    """Whether a condition holds for type checkers alone."""
    return _names(node.test)[-1:] == ["TYPE_CHECKING"]


def _as_script(node: ast.If) -> bool:
    return isinstance(node.test, ast.Compare) and _names(node.test.left) == ["__name__"]


def _kind(annotation: ast.expr) -> str:
    """Return what an annotation does to a dataclass, beside giving a type."""
    text = ast.unparse(annotation)
    return next((kind for kind in ("ClassVar", "InitVar", "KW_ONLY") if kind in text), "field")


def _dotted(path: Path, root: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
