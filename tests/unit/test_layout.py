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
    ("usage",),
    ("studies.execution",),
    ("studies.claims",),
    ("studies.reporting",),
    ("studies.analysis",),
    ("studies.design",),
    ("studies.power", "studies.models_and_datasets"),
    ("studies.statistics",),
    ("studies.attainable", "studies.worst_score"),
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
# Words that say nothing of what a thing is.
VAGUE = {
    "one",
    "ones",
    "found",
    "told",
    "place",
    "places",
    "settled",
    "stepped",
    "drift",
    "canonical",
}


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


# What may be left out at the end of a word without making it another word.
ENDING = re.compile("(ition|ings?|ions?|ers?|ors?|ed|es|s|e)$")


def core(stem: str) -> str:
    """Return the stem of a file without the endings of its words: planning, plans: plan."""
    return " ".join(map(_core, stem.split("_")))


def _core(word: str) -> str:
    shorter = ENDING.sub("", word)
    if shorter != word and len(shorter) > 2:
        return _core(shorter)
    return word[:-1] if word[-1:] == word[-2:-1] else word


def test_no_two_files_are_told_apart_by_an_ending_alone():
    alike: dict[str, list[str]] = {}
    for stem in {path.stem for path in FILES if path.stem != "__init__"}:
        alike.setdefault(core(stem), []).append(stem)
    assert [stems for stems in alike.values() if len(stems) > 1] == []


@pytest.mark.parametrize(
    "stems",
    [
        ("plan", "planning"),
        ("predict", "predicting", "predictor", "prediction"),
        ("export", "exporting", "exporter"),
        ("launch", "launchers"),
        ("compose", "composition", "composer"),
        ("check", "checks"),
        ("bridge", "bridges"),
        ("cell_check", "cell_checks"),
    ],
)
def test_endings_are_left_out(stems):
    assert len(set(map(core, stems))) == 1


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


def test_files_of_tests_are_short():
    tests = ROOT / "tests"
    lines = {path: path.read_text().count("\n") for path in tests.rglob("*.py")}
    assert [str(path.relative_to(tests)) for path in lines if lines[path] > LINES] == []


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_names_say_what_a_thing_is(path):
    nodes = list(ast.walk(ast.parse(path.read_text())))
    assert not {name for node in nodes for name in _given(node) if name.lstrip("_") in VAGUE}


# What an import inside a function may be for: help and errors of a command wait for none of these,
# which take a second or more, and some are extras that need not be installed.
HEAVY = ("torch", "pandas", "matplotlib", "scipy", "statsmodels", "pytorch_lightning")


def test_imports_inside_functions_are_of_what_takes_long():
    graph = grimp.build_graph("decoderlab", include_external_packages=True)
    heavy = {name for name in HEAVY if name in graph.modules}
    light = []
    for path, name in zip(FILES, NAMES, strict=True):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                light += [
                    f"{name}: {module}"
                    for node in ast.walk(function)
                    if isinstance(node, ast.ImportFrom)
                    for module in _modules(node)
                    if module in graph.modules and not heavy & _behind(graph, module)
                ]
    assert light == []


def _modules(node: ast.ImportFrom) -> list[str]:
    """Return the modules of ours that a line imports, or imports names from."""
    names = [f"{node.module}.{alias.name}" for alias in node.names] + [str(node.module)]
    return [name for name in names if name.startswith("decoderlab.")]


def _behind(graph: grimp.ImportGraph, module: str) -> set[str]:
    """Return what is imported when a module is, and with it the packages that it is in."""
    parts = module.split(".")
    packages = {".".join(parts[:number]) for number in range(2, len(parts) + 1)}
    return set().union(*map(graph.find_upstream_modules, packages))


def _given(node: ast.AST) -> list[str]:
    """Return the name that a piece of source gives to something, if it does."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            return [name]
        case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
            return [name]
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
    return []


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


def test_no_two_definitions_have_one_name():
    """Of what other files may import; every command has its `main`."""
    files: dict[str, set[str]] = {}
    for path, name in zip(FILES, NAMES, strict=True):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                files.setdefault(node.name, set()).add(name)
    del files["main"]
    assert {name: where for name, where in files.items() if len(where) > 1} == {}
