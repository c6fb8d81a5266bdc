"""A folder of one's own classes: what is imported from it, and what is left as it was."""

from __future__ import annotations

import importlib
import pickle
import sys
from pathlib import Path

import pytest

from decoderlab.common import folders, process
from decoderlab.common.errors import ConfigError
from decoderlab.common.folders import folder_of, own_folder


def write_module(folder: Path, who: str, name: str = "its_own") -> Path:
    """Write a module that knows its folder, and a class in it."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{name}.py").write_text(f"WHO = {who!r}\n\n\nclass Mine:\n    pass\n")
    return folder


@pytest.fixture(autouse=True)
def _modules(monkeypatch):
    monkeypatch.setattr(folders, "_IMPORTED", {})
    yield
    sys.modules.pop("its_own", None)


def who_within(folder: Path) -> str:
    with own_folder(folder):
        assert process.user_config_dir == sys.path[0] == str(folder)
        return importlib.import_module("its_own").WHO


def test_each_folder_has_its_own_modules_and_all_is_restored(tmp_path):
    path, before = list(sys.path), process.user_config_dir
    first, second = (write_module(tmp_path / name, name) for name in ("first", "second"))
    assert [who_within(folder) for folder in (first, second, first)] == ["first", "second", "first"]
    with pytest.raises(KeyError), own_folder(first):
        raise KeyError
    assert (sys.path, process.user_config_dir) == (path, before)


def test_a_folder_that_was_on_the_path_stays_there(tmp_path, monkeypatch):
    folder = write_module(tmp_path / "first", "first")
    monkeypatch.syspath_prepend(folder)
    path = list(sys.path)
    with own_folder(folder):
        assert sys.path == path
    assert sys.path == path


def test_what_changed_is_imported_anew_and_what_did_not_is_kept(tmp_path):
    folder = write_module(tmp_path / "first", "first")
    assert who_within(folder) == "first"
    made = importlib.import_module("its_own").Mine()
    assert who_within(folder) == "first"
    assert type(pickle.loads(pickle.dumps(made))) is type(made)
    write_module(folder, "edited by hand")
    assert who_within(folder) == "edited by hand"


def test_what_is_saved_while_it_is_used_is_imported_anew(tmp_path):
    folder = write_module(tmp_path / "first", "first")
    with own_folder(folder):
        assert importlib.import_module("its_own").WHO == "first"
        write_module(folder, "saved meanwhile")
    assert who_within(folder) == "saved meanwhile"


def test_what_was_imported_before_is_imported_anew(tmp_path, monkeypatch):
    folder = write_module(tmp_path / "first", "first")
    monkeypatch.syspath_prepend(folder)
    assert importlib.import_module("its_own").WHO == "first"
    write_module(folder, "edited")
    with own_folder(folder):
        assert importlib.import_module("its_own").WHO == "edited"


def test_it_is_known_which_folder_a_module_came_from(tmp_path):
    folder = write_module(tmp_path / "first", "first")
    assert who_within(folder) == "first"
    assert folder_of("its_own") == str(folder)
    assert folder_of("torch") is None


def test_another_folder_forgets_only_what_it_hides(tmp_path):
    assert who_within(write_module(tmp_path / "first", "first")) == "first"
    kept = sys.modules["its_own"]
    with own_folder(write_module(tmp_path / "second", "second", "another")):
        pass
    assert sys.modules["its_own"] is kept


def test_an_environment_below_the_folder_is_not_the_users_own(tmp_path, monkeypatch):
    library = write_module(tmp_path / "venv/lib", "installed")
    monkeypatch.syspath_prepend(library)
    with own_folder(tmp_path):
        kept = importlib.import_module("its_own")
    write_module(library, "installed anew")
    with own_folder(tmp_path):
        assert sys.modules["its_own"] is kept


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", "config_dir is 'nowhere', which is missing; give the folder of your YAMLs"),
        (__file__, "which is not a folder"),
        (Path("nowhere"), "config_dir is 'nowhere', which is missing"),
        (3, "config_dir is 3, which is of the type int"),
        ("a\0b", "which is missing"),
    ],
)
def test_what_is_no_folder_is_refused(given, message):
    path = list(sys.path)
    with pytest.raises(ConfigError, match=message), own_folder(given):
        pass
    assert sys.path == path
