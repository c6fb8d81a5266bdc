"""Docstrings of public definitions name the errors that are raised, and every argument."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import decoderlab
from decoderlab import contract

PACKAGE = Path(decoderlab.__file__).parent
# The checks of the battery raise `Seen` and `Skipped` alone: the docstring of `failures` has that.
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "testing"]
CONSTRUCTORS = ("__init__", "__post_init__")
# Python's own protocols, of which everybody knows the error.
PROTOCOLS = {"AttributeError", "NotImplementedError", "StopIteration"}


def raised(node: ast.AST, caught: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the names of the exceptions that a function raises itself and does not catch."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef() | ast.ClassDef() | ast.Lambda():
                continue
            case ast.Raise(exc=ast.Call(func=ast.Name(id=name)) | ast.Name(id=name)):
                if name[:1].isupper() and name not in caught:
                    yield name
            case ast.Try():
                types = [each.type for each in child.handlers if each.type is not None]
                names = {sub.id for each in types for sub in ast.walk(each) if hasattr(sub, "id")}
                for statement in child.body:
                    yield from raised(ast.Module([statement], []), caught | names)
                rest = [*child.handlers, *child.orelse, *child.finalbody]
                yield from raised(ast.Module(rest, []), caught)
                continue
        yield from raised(child, caught)


def definitions(tree: ast.AST, owner: ast.ClassDef | None = None) -> Iterator[tuple[str, str, set]]:
    """Yield each public function or class: its name, its docstring, and what it raises."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from definitions(node, node)
        elif isinstance(node, ast.FunctionDef):
            constructor = owner is not None and node.name in CONSTRUCTORS
            if constructor or not node.name.startswith("_"):
                described = owner if constructor else node
                prefix = f"{owner.name}." if owner else ""
                yield f"{prefix}{node.name}", ast.get_docstring(described) or "", {*raised(node)}


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_errors_are_documented(path):
    missing = [
        f"{name} raises {error}"
        for name, docstring, errors in definitions(ast.parse(path.read_text()))
        for error in sorted(errors - PROTOCOLS)
        if not re.search(rf"\b{error}\b", docstring)
    ]
    assert not missing


def test_an_error_that_is_caught_is_not_raised():
    source = """
def caught():
    try:
        raise KeyError(1)
    except KeyError:
        raise ValueError(2) from None

class Part:
    '''Raises: TypeError.'''
    def __init__(self):
        raise TypeError
    def _private(self):
        raise OSError
"""
    found = {
        name: (docstring, errors) for name, docstring, errors in definitions(ast.parse(source))
    }
    assert found == {
        "caught": ("", {"ValueError"}),
        "Part.__init__": ("Raises: TypeError.", {"TypeError"}),
    }


def public() -> Iterator[tuple[str, object]]:
    """Yield what users import: the names of `decoderlab`, the contract, and their methods."""
    names = {name: getattr(decoderlab, name) for name in decoderlab.__all__}
    own = {name: value for name, value in vars(contract).items() if not name.startswith("_")}
    names |= {name: value for name, value in own.items() if inspect.getmodule(value) is contract}
    for name, value in names.items():
        yield name, value
        if inspect.isclass(value):
            for method, member in vars(value).items():
                function = getattr(member, "__func__", member)
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield f"{name}.{method}", function


PUBLIC = list(public())


@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_every_argument_of_a_public_name_is_documented(name, value):
    docstring = inspect.getdoc(value) or ""
    assert docstring, f"{name} has no docstring"
    try:
        parameters = inspect.signature(value).parameters
    except ValueError:
        return
    given = [key for key in parameters if key not in ("self", "cls", "args", "kwargs")]
    assert [key for key in given if not re.search(rf"\b{key}\b", docstring)] == []
