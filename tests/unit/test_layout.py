"""The layout of the source: arrows that point one way, names that mean one thing, sizes."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "decoderlab"
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in FILES]

# From the top down: a room imports rooms below it. Rooms of one line do not know each other.
LAYERS = (
    ("cli",),
    ("studies.execution",),
    ("studies.reporting",),
    ("studies.analysis",),
    ("studies.design",),
    ("studies.statistics",),
    ("training", "testing"),
    ("records",),
    ("config",),
    ("tasks",),
    ("data",),
    ("metrics",),
    ("encoders", "decoders"),
    ("generation",),
    ("layers",),
    ("contract",),
    ("common",),
)
LEVELS = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
LINES, FUNCTION_LINES = 400, 60


def room_of(module: str) -> str:
    parts = module.split(".")[1:]
    return ".".join(parts[:2]) if parts[:1] == ["studies"] else parts[0]


def arrows() -> list[tuple[str, str]]:
    graph = grimp.build_graph("decoderlab")
    return [
        (module, imported)
        for module in sorted(graph.modules)
        for imported in sorted(graph.find_modules_directly_imported_by(module))
        # The top says what is public, and imports it when it is asked for.
        if module != "decoderlab" and imported not in ("decoderlab", "decoderlab.studies")
    ]


def test_arrows_point_down():
    wrong = [
        f"{module} -> {imported}"
        for module, imported in arrows()
        if room_of(module) != room_of(imported)
        and LEVELS[room_of(module)] >= LEVELS[room_of(imported)]
    ]
    assert not wrong


def test_no_files_import_each_other_in_a_circle():
    imports: dict[str, set[str]] = {}
    for module, imported in arrows():
        imports.setdefault(module, set()).add(imported)
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for imported in imports.get(module, ()):
                visit(imported, (*path, module))
            done.add(module)

    for module in imports:
        visit(module, ())


def test_no_two_files_have_one_name():
    stems = Counter(path.stem for path in FILES if path.stem != "__init__")
    assert [stem for stem, number in stems.items() if number > 1] == []


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert text.count("\n") <= LINES
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and _lines_of_code(node) > FUNCTION_LINES
    }
    assert not long


def _lines_of_code(function: ast.FunctionDef) -> int:
    """Return the lines of a function without its docstring."""
    first = function.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = first.end_lineno - first.lineno + 1 if documented else 0
    return function.end_lineno - function.lineno + 1 - docstring


def test_the_files_that_CONTRIBUTING_names_exist():  # noqa: N802
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`((?:src|conf|tests|docs|scripts|examples)/[\w./-]+)`", text))
    named |= {f"src/decoderlab/{name}" for name in re.findall(r"`(?!tests/)(\w+/\w+\.py)`", text)}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
