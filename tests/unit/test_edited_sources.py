"""A class whose file was edited after it was imported is refused; one that was not never is."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

from decoderlab.common import edited_sources
from decoderlab.common.errors import ConfigError
from decoderlab.common.folders import own_folder
from decoderlab.config.code_identity import foreign_code

BESIDE = "SIZE = 1\n"
MINE = "from beside import SIZE\n\n\nclass Mine:\n    def value(self):\n        return SIZE\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with two modules that nobody has imported yet."""
    own = tmp_path / "own"
    own.mkdir()
    for name in ("mine", "beside"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (own / "beside.py").write_text(BESIDE)
    (own / "mine.py").write_text(MINE)
    return own


def as_it_is(folder: Path) -> Path:
    return folder


def through_a_link(folder: Path) -> Path:
    link = folder.with_name("link")
    link.symlink_to(folder)
    return link


def by_a_roundabout_way(folder: Path) -> Path:
    return folder / ".." / folder.name


def refused(file: str) -> pytest.RaisesExc:
    return pytest.raises(ConfigError, match=f"{file}.py was edited after it was imported")


@pytest.mark.parametrize("file", ["mine", "beside"])
@pytest.mark.parametrize("path", [as_it_is, through_a_link, by_a_roundabout_way])
@pytest.mark.parametrize("cached", [True, False])
def test_what_was_edited_since_it_was_imported_is_refused(folder, monkeypatch, cached, path, file):
    monkeypatch.setattr(sys, "dont_write_bytecode", not cached)
    monkeypatch.syspath_prepend(str(path(folder)))
    mine = importlib.import_module("mine").Mine
    assert foreign_code(mine)
    before = (folder / f"{file}.py").stat()
    (folder / f"{file}.py").write_text(
        {"mine": MINE.replace("return SIZE", "return +SIZE"), "beside": BESIDE.replace("1", "2")}[
            file
        ]
    )
    os.utime(folder / f"{file}.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    with refused(file):
        foreign_code(mine)


def test_a_link_that_leads_elsewhere_is_an_edit(folder, monkeypatch):
    link = through_a_link(folder)
    monkeypatch.syspath_prepend(str(link))
    mine = importlib.import_module("mine").Mine
    other = folder.with_name("other")
    folder.rename(other)
    folder.mkdir()
    (folder / "beside.py").write_text(BESIDE)
    (folder / "mine.py").write_text(MINE.replace("return SIZE", "return +SIZE"))
    with refused("mine"):
        foreign_code(mine)


def test_another_processes_cache_is_no_edit(folder, monkeypatch):
    """As where classes were used outside of a container, edited, and used in it."""
    monkeypatch.syspath_prepend(str(folder))
    assert py_compile.compile(str(folder / "mine.py"))
    (folder / "mine.py").write_text(MINE + "# more\n")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert foreign_code(importlib.import_module("mine").Mine)


@pytest.mark.parametrize("file", ["mine", "beside"])
@pytest.mark.parametrize("text", ["MORE = 2\n", "MORE = 1 / 0\n", "MORE =\n"])
def test_a_reload_of_another_text_leaves_nothing_known(folder, monkeypatch, file, text):
    """Who took a name keeps the old one; a reload that fails leaves all of them."""
    monkeypatch.syspath_prepend(str(folder))
    mine = importlib.import_module("mine").Mine
    before = (folder / f"{file}.py").read_text()
    with (folder / f"{file}.py").open("a") as source:
        source.write(text)
    with contextlib.suppress(ZeroDivisionError, SyntaxError):
        importlib.reload(sys.modules[file])
    with refused(file):
        foreign_code(mine)
    (folder / f"{file}.py").write_text(before)
    with refused(file):
        foreign_code(mine)


@pytest.mark.parametrize("file", ["mine", "beside"])
def test_a_reload_of_the_same_text_changes_nothing(folder, monkeypatch, file):
    monkeypatch.syspath_prepend(str(folder))
    module = importlib.import_module("mine")
    code = foreign_code(module.Mine)
    importlib.reload(sys.modules[file])
    assert foreign_code(module.Mine) == code


def test_who_stays_while_what_it_took_is_imported_anew_is_refused(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    module = importlib.import_module("mine")
    (folder / "beside.py").write_text(BESIDE.replace("1", "2"))
    monkeypatch.delitem(sys.modules, "beside")
    importlib.import_module("beside")
    with refused("mine"):
        foreign_code(module.Mine)
    importlib.reload(module)  # of the same text, it takes the new one
    with refused("mine"):
        foreign_code(module.Mine)
    monkeypatch.delitem(sys.modules, "mine")
    module = importlib.import_module("mine")
    assert (module.Mine().value(), bool(foreign_code(module.Mine))) == (2, True)


@pytest.mark.parametrize("names", [("kept", "changed"), ("changed", "kept")])
def test_what_a_folder_imports_anew_is_known_in_any_order(tmp_path, names):
    (tmp_path / "kept.py").write_text("KEPT = 1\n")
    lines = "".join(f"from {name} import {name.upper()}\n" for name in names)
    (tmp_path / "outer.py").write_text(f"{lines}\n\nclass Mine:\n    value = CHANGED + KEPT\n")
    codes = []
    for number in (1, 2, 1):
        (tmp_path / "changed.py").write_text(f"CHANGED = {number}\n")
        with own_folder(tmp_path):
            kind = importlib.import_module("outer").Mine
            codes.append(foreign_code(kind))
        assert kind.value == number + 1
    assert codes[0] == codes[2] != codes[1]


def test_after_a_failed_import_the_mended_file_is_read(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    (folder / "mine.py").write_text(MINE + "1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("mine")
    (folder / "mine.py").write_text(MINE)
    assert foreign_code(importlib.import_module("mine").Mine)


def test_an_edit_of_the_same_length_in_the_same_moment_is_read(folder, monkeypatch):
    """Python's own cache cannot tell them apart."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    values = []
    for text in ("1", "2"):
        (folder / "beside.py").write_text(BESIDE.replace("1", text))
        os.utime(folder / "beside.py", (10**9, 10**9))
        for name in ("mine", "beside"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        values.append(importlib.import_module("mine").Mine().value())
    assert values == [1, 2]


def in_a_new_process(folder: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("new", [True, False])
def test_of_what_was_imported_before_us_only_an_old_file_is_known(folder, new):
    """Nothing tells whether a file was written before its import or after it."""
    # Later than the tick of the clock in which the process began, which is as exact as it is known.
    later = "import time\ntime.sleep(0.05)\n"
    writes = f"{later}open('beside.py', 'w').write({BESIDE!r})\n" if new else ""
    found = in_a_new_process(
        folder,
        f"{writes}import mine\nfrom decoderlab.config.code_identity import foreign_code\n"
        "print(foreign_code(mine.Mine) is not None)",
    )
    assert ("beside.py was edited after it was imported" in found) == new
    assert found.endswith("True\n") == (not new)


@pytest.mark.parametrize("kind", ["mine.Mine", "Sub", "decoderlab.decoders.RecurrentDecoder"])
def test_a_method_of_a_notebook_is_refused(folder, kind):
    code = (
        "import decoderlab.decoders, mine\n"
        "from decoderlab.config.code_identity import foreign_code\n"
        "class Sub(mine.Mine): pass\n"
        "Sub.__module__ = 'mine'\n"
        f"foreign_code({kind})\n"
        "def value(self): return 2\n"
        f"for kind in {kind}.__mro__[:2]: setattr(kind, 'value', value); break\n"
        f"foreign_code({kind})"
    )
    assert "was set to a function of __main__, which no id of a run covers" in in_a_new_process(
        folder, code
    )


@pytest.mark.parametrize(
    "given",
    [
        "functools.wraps(mine.Mine.value)(lambda self: 2)",  # which takes over module and name
        "mine.around(functools.wraps(mine.Mine.value)(lambda self: 2))",
        "mine.around(lambda self: 2)",
        "property(functools.wraps(mine.Mine.value)(lambda self: 2))",
        "functools.lru_cache(lambda self: 2)",
        "functools.partial(lambda number, self: 2, 1)",
        "functools.partialmethod(lambda self, number: 2, 1)",
        "functools.partial(mine.Mine.value, key=lambda self: 2)",
        "functools.cached_property(lambda self: 2)",
        "functools.singledispatchmethod(lambda self: 2)",
        "property(None, lambda self, number: 2)",
        "mine.closing(lambda self: 2)",
        "mine.closing([functools.partial(lambda self: 2)])",
        "mine.closing({'key': type('Called', (), {'__call__': lambda self: 2})()})",
        "mine.closing(type('Called', (), {'value': lambda self: 2}))",
        "mine.closing(type('Helper', (), {'value': lambda self: 2})())",  # is called by name
        "mine.closing([lambda self: 2, *((str(n),) for n in range(10**5))])",
        "type('Descriptor', (), {'__get__': lambda self, *_: lambda: 2})()",
        "torch.distributions.utils.lazy_property(lambda self: 2)",
    ],
)
def test_a_function_of_a_notebook_is_found_behind_what_wraps_it(folder, given):
    with (folder / "mine.py").open("a") as file:
        file.write(
            "\n\ndef around(function):\n    def inner(self):\n        return function(self)\n\n"
            "    inner.__wrapped__ = function\n    return inner\n\n\n"
            "def closing(held):\n    return lambda self: held\n"
        )
    code = (
        "import decoderlab.decoders, functools, mine, torch\n"
        "from unittest.mock import Mock\n"
        "from decoderlab.config.code_identity import foreign_code\n"
        "mine.Mine.value = mine.around(mine.Mine.value)\n"
        "mine.Mine.odd = mine.closing([Mock(spec=len), Mock(spec=mine.closing), torch.nn.LSTM])\n"
        "foreign_code(mine.Mine)\n"
        "print('covered')\n"
        f"mine.Mine.value = {given}\n"
        "foreign_code(mine.Mine)"
    )
    said = in_a_new_process(folder, code)
    assert said.startswith("covered")
    assert "mine.Mine.value was set to a function of __main__, which no id of a run" in said


def test_methods_that_python_makes_are_the_classes_own(folder, monkeypatch):
    (folder / "mine.py").write_text(
        "import functools\nfrom dataclasses import dataclass\nfrom typing import NamedTuple\n"
        "from beside import decorated\n\n\nclass Mine(NamedTuple):\n    size: int = 1\n\n\n"
        "@dataclass\nclass Other(Mine):\n    width: int = 1\n\n    @decorated\n"
        "    def value(self):\n        return 1\n\n    @functools.cached_property\n"
        "    def more(self):\n        return 2\n"
    )
    (folder / "beside.py").write_text(
        "def decorated(function):\n    def inner(self):\n        return function(self)\n\n"
        "    return inner\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    module = importlib.import_module("mine")
    assert foreign_code(module.Mine)
    assert foreign_code(module.Other)


@pytest.mark.parametrize("again", [True, False], ids=["reloaded", "edited"])
@pytest.mark.parametrize("file", ["mine", "beside"])
def test_a_comment_is_no_edit(folder, monkeypatch, file, again):
    monkeypatch.syspath_prepend(str(folder))
    mine = importlib.import_module("mine").Mine
    code = foreign_code(mine)
    with (folder / f"{file}.py").open("a") as source:
        source.write("# more\n")
    if again:
        importlib.reload(sys.modules[file])
    assert foreign_code(mine) == code


def test_a_file_that_only_was_touched_is_no_edit(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    mine = importlib.import_module("mine").Mine
    (folder / "mine.py").write_text(MINE)
    (folder / "mine.py").chmod(0o600)
    assert foreign_code(mine)


@pytest.mark.parametrize("older", [True, False])
def test_of_an_import_without_a_finder_only_an_old_file_is_known(folder, monkeypatch, older):
    monkeypatch.setattr(edited_sources, "_begun", float("inf") if older else 0.0)
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location("mine", folder / "mine.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mine", module)
    monkeypatch.delitem(edited_sources._texts, "mine", raising=False)
    spec.loader.exec_module(module)
    if older:
        assert foreign_code(module.Mine)
    else:
        with refused("mine"):
            foreign_code(module.Mine)
