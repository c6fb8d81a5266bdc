"""Of classes from outside, which edits beside them make their runs others."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from decoderlab.common import process
from decoderlab.config import code_identity

MINE = """
from typing import TYPE_CHECKING

import helper
from pack import first
from pack.inner.deep import value
from stars import *

if TYPE_CHECKING:
    from for_types import Kind


class Mine:
    def forward(self):
        import quick
        from lazy import late

        return late * quick.factor
"""
FILES = {
    "mine.py": MINE,
    "helper.py": "import further\n",
    "further.py": "import helper\n",
    "lazy.py": "late = 1\n",
    "quick.abi3.so": "compiled",
    "slow.so": "compiled",
    "for_types.py": "Kind = int\n",
    "pack/__init__.py": "",
    "pack/first.py": "from . import second\nfrom .inner import third as other\n",
    "pack/second.py": "",
    "pack/unused.py": "",
    "pack/inner/__init__.py": "",
    "pack/inner/deep.py": "from ..outer import value\n",
    "pack/inner/third.py": "",
    "pack/outer.py": "value = 1\n",
    "stars/__init__.py": "__all__ = ['shining']\n",
    "stars/shining.py": "",
    "another.py": "import helper\n\n\nclass Another:\n    pass\n",
    "another_helper.py": "",
    "notes.txt": "",
    "python2.py": "print 3\n",
}
USED = {
    *(
        "quick.abi3.so",
        "for_types.py",
        "mine.py",
        "helper.py",
        "further.py",
        "lazy.py",
        "pack/__init__.py",
        "pack/first.py",
    ),
    *("pack/second.py", "pack/inner/__init__.py", "pack/inner/deep.py", "pack/inner/third.py"),
    *("pack/outer.py", "stars/__init__.py", "stars/shining.py"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """Write the plug-ins of a folder that is given as --config-dir."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(process, "user_config_dir", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    names = {name.split("/")[0].removesuffix(".py") for name in FILES} | {"plugins", "plain"}
    forget(names)
    yield tmp_path
    forget(names)


def forget(names: set[str]) -> None:
    for module in [module for module in sys.modules if module.split(".")[0] in names]:
        del sys.modules[module]


def code(module: str = "mine", name: str = "Mine") -> str | None:
    mine = getattr(importlib.import_module(module), name)
    return code_identity._code_in(code_identity._foreign_files(mine, process.user_config_dir))


@pytest.mark.parametrize("name", FILES)
def test_what_a_class_imports_counts_and_nothing_else(folder, name):
    before = code()
    path = folder / name
    path.write_text(path.read_text() + "ADDED = 1\n")
    assert (code() != before) is (name in USED)


@pytest.mark.parametrize("name", ["mine.py", "helper.py", "pack/outer.py"])
def test_a_comment_counts_nowhere(folder, name):
    before = code()
    path = folder / name
    path.write_text(path.read_text() + "# Said.\n")
    assert code() == before


def test_new_plugins_and_edits_of_others_leave_a_class_as_it_is(folder):
    before, other = code(), code("another", "Another")
    (folder / "new.py").write_text("from mine import Mine\n")
    (folder / "another_helper.py").write_text("ADDED = 1\n")
    assert (code(), code("another", "Another")) == (before, other)
    (folder / "further.py").write_text("import helper\n\nADDED = 1\n")  # of both
    assert code() != before
    assert code("another", "Another") != other


@pytest.mark.parametrize(
    ("line", "whole"),
    [
        ("import importlib", True),
        ("import importlib.util as tools", True),
        ("from importlib import import_module", True),
        ("from sys import path", True),
        ("import sys\nsys.path.append('x')", True),
        ("made = __import__('json')", True),
        ("exec('x = 1')", True),
        ("from hydra.utils import get_class", True),
        ("from importlib.metadata import version", False),
        ("from importlib import resources", False),
        ("import sys\nprint(sys.version)", False),
        ("class Model:\n    def run(self):\n        self.eval()", False),
    ],
)
def test_where_imports_are_computed_any_file_may_be_meant(folder, line, whole):
    (folder / "helper.py").write_text(f"def late():\n    pass\n\n\n{line}\n")
    module = folder / "plain.py"
    module.write_text(
        "import json\n\n\nclass Plain:\n    def forward(self):\n        import helper\n"
    )
    before = code("plain", "Plain")
    (folder / "pack/unused.py").write_text("ADDED = 1\n")
    assert (code("plain", "Plain") != before) is whole


def test_a_class_in_a_folder_without_init_counts_with_what_it_imports(folder):
    (folder / "plugins").mkdir()
    (folder / "plugins/spaced.py").write_text(
        "import helper\nfrom plugins import near\n\n\nclass Mine:\n    pass\n"
    )
    (folder / "plugins/near.py").touch()
    first = code("plugins.spaced")
    assert first is not None
    (folder / "plugins/near.py").write_text("ADDED = 1\n")
    second = code("plugins.spaced")
    (folder / "helper.py").write_text("ADDED = 1\n")
    assert len({first, second, code("plugins.spaced")}) == 3


@pytest.mark.parametrize(
    ("edit", "same"),
    [
        (lambda folder: (folder / "further.py").write_text("ADDED = 1\n"), False),
        (lambda folder: (folder / "another_helper.py").write_text("ADDED = 1\n"), True),
    ],
)
def test_outside_of_config_dir_a_module_counts_with_what_it_imports(
    folder, monkeypatch, edit: Callable, same
):
    monkeypatch.setattr(process, "user_config_dir", None)
    before = code()
    edit(folder)
    assert (code() == before) is same


def test_outside_of_config_dir_a_package_counts_whole(folder, monkeypatch):
    monkeypatch.setattr(process, "user_config_dir", None)
    (folder / "pack/first.py").write_text("import helper\n\n\nclass Mine:\n    pass\n")
    first = code("pack.first")
    (folder / "pack/unused.py").write_text("ADDED = 1\n")
    second = code("pack.first")
    (folder / "further.py").write_text("ADDED = 1\n")
    assert len({first, second, code("pack.first")}) == 3


@pytest.mark.parametrize("given", [True, False], ids=["config_dir", "none"])
@pytest.mark.parametrize("spaced", [True, False], ids=["no __init__", "a package"])
@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("mylib/layers.py", True),
        ("mylib/near.py", True),
        ("beside.py", True),
        ("mylib/unused.py", False),
        ("unused.py", False),
    ],
)
def test_what_is_imported_from_elsewhere_on_the_path_counts(
    folder, tmp_path, monkeypatch, file, counts, spaced, given
):
    library = tmp_path / "library"
    (library / "mylib").mkdir(parents=True)
    if not spaced:
        (library / "mylib" / "__init__.py").touch()
    for name in ("beside", "unused", "mylib/unused"):
        (library / f"{name}.py").touch()
    (library / "mylib/layers.py").write_text("from .near import near\nimport beside\n")
    (library / "mylib/near.py").write_text("near = 1\n")
    if not given:
        monkeypatch.setattr(process, "user_config_dir", None)
    monkeypatch.syspath_prepend(str(library))
    for name in ("mylib", "mylib.layers", "mylib.near", "beside"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (folder / "further.py").write_text("from mylib.layers import near\n")
    before = code()
    (library / file).write_text("ADDED = 1\n")
    assert (code() != before) is counts


def test_of_ours_counts_what_the_imported_modules_take(folder):
    (folder / "further.py").write_text("from decoderlab.decoders import FeedforwardDecoder\n")
    (folder / "another.py").write_text("from decoderlab.decoders import TransformerDecoder\n")
    classes = frozenset([importlib.import_module("mine").Mine])
    reached = code_identity.code_of(classes)
    assert "FeedforwardDecoder" in reached
    assert "TransformerDecoder" not in reached
