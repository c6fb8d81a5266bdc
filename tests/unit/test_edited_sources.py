"""A class whose file was edited after it was imported is refused; one that was not never is."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

import pytest

from decoderlab.common import edited_sources
from decoderlab.common.errors import ConfigError
from decoderlab.config.code_identity import code_of, foreign_code

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
        {"mine": MINE, "beside": BESIDE}[file].replace("1", "2") + "#"
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
    (folder / "mine.py").write_text(MINE.replace("SIZE\n\n", "SIZE as SIZE\n\n"))
    with refused("mine"):
        foreign_code(mine)


def test_another_processes_cache_is_no_edit(folder, monkeypatch):
    """As where classes were used outside of a container, edited, and used in it."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    importlib.import_module("mine")
    assert list((folder / "__pycache__").iterdir())
    for name in ("mine", "beside"):
        monkeypatch.delitem(sys.modules, name)
    (folder / "mine.py").write_text(MINE + "# more\n")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert foreign_code(importlib.import_module("mine").Mine)


@pytest.mark.parametrize("file", ["mine", "beside"])
def test_what_is_imported_again_is_what_counts(folder, monkeypatch, file):
    """Of a helper that is reloaded, as notebooks do, the class stays the same object."""
    monkeypatch.syspath_prepend(str(folder))
    module = importlib.import_module("mine")
    codes = [foreign_code(module.Mine)]
    for more in ("MORE = 2\n", "MORE = 3\n"):
        with (folder / f"{file}.py").open("a") as source:
            source.write(more)
        with refused(file):
            foreign_code(module.Mine)
        importlib.invalidate_caches()
        importlib.reload(sys.modules[file])
        codes.append(foreign_code(module.Mine))
        assert "FeedforwardDecoder" not in code_of(frozenset([module.Mine]))
    assert len(set(codes)) == 3
    with (folder / "beside.py").open("a") as source:
        source.write("from decoderlab.decoders import FeedforwardDecoder\n")
    importlib.reload(sys.modules["beside"])
    assert "FeedforwardDecoder" in code_of(frozenset([module.Mine]))


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
    monkeypatch.delitem(edited_sources._digests, "mine", raising=False)
    spec.loader.exec_module(module)
    if older:
        assert foreign_code(module.Mine)
    else:
        with refused("mine"):
            foreign_code(module.Mine)
