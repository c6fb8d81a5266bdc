"""Which settings name files, and that these count in a run's id by what they hold."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from decoderlab.common.errors import ConfigError
from decoderlab.config import named_files
from decoderlab.config.composition import compose_config
from decoderlab.config.named_files import WRITTEN, files_in, may_name_file, with_contents
from decoderlab.config.part_settings import PartSettings
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import departure, difference, identity, run_id
from decoderlab.studies.design.study_cell_settings import contradiction
from tests.conftest import composed

CONFIG = RunConfig.from_composed(composed("task=echo", "decoder=luong"))


def given(where: str, **settings: Any) -> RunConfig:
    """Return a config in which a class is given further settings."""
    group, _, part = where.partition(".")
    if where == "task.metrics":
        own = CONFIG.task.to_dict()
        name = next(iter(own["metrics"]))
        return replace(
            CONFIG,
            task=PartSettings(own | {"metrics": {name: own["metrics"][name] | settings}}),
        )
    if where == "callbacks":
        part = {"_target_": "pytorch_lightning.callbacks.Timer", **settings}
        return replace(CONFIG, callbacks=PartSettings({"mine": part}))
    if group == "training":
        old = getattr(CONFIG.training, part)
        new = PartSettings(old.to_dict() | settings)
        return replace(CONFIG, training=replace(CONFIG.training, **{part: new}))
    return replace(CONFIG, **{group: PartSettings(getattr(CONFIG, group).to_dict() | settings)})


WHERE = (
    "task",
    "task.metrics",
    "encoder",
    "decoder",
    "training.optimizer",
    "training.schedule",
    "training.objective",
    "callbacks",
)
# How a file is named: a function from its path to settings.
SHAPES = {
    "a path": lambda path: {"words_path": path},
    "another key": lambda path: {"words": path},
    "in a list": lambda path: {"words": ["none", path]},
    "in a mapping": lambda path: {"tables": {"de": {"words": path}}},
    "in a mapping in a list": lambda path: {"tables": [{"words_file": path}]},
    "from home": lambda path: {"words": f"~/{path.rpartition('/')[2]}"},
}


@pytest.mark.parametrize(
    ("where", "shape"),
    # A path of a task is its data, see below.
    [pair for pair in product(WHERE, SHAPES) if pair != ("task", "a path")],
)
def test_a_file_counts_by_its_contents(tmp_path, monkeypatch, where, shape):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, text in (("here.txt", "a"), ("moved.txt", "a"), ("other.txt", "b")):
        (tmp_path / name).write_text(text)
    here, moved, other, gone = (
        given(where, **SHAPES[shape](str(tmp_path / f"{name}.txt")))
        for name in ("here", "moved", "other", "gone")
    )
    ids = [run_id(config, "data") for config in (here, moved, other, gone)]
    assert ids[0] == ids[1]
    assert len({*ids}) == 3
    # Records are compared without reading a file: it may be gone.
    known = identity(here, "data")
    shutil.rmtree(tmp_path)
    assert departure(known, moved.scientific()) is None
    assert departure(known, given(where, words_file=3).scientific()) is not None


def test_data_of_a_task_count_by_their_fingerprint_alone(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    first = identity(given("task", source_path=str(tmp_path / "a.txt")), "data")
    assert first["task"] == identity(CONFIG, "data")["task"]


def test_the_contents_of_two_identities_are_told_apart(tmp_path):
    identities = []
    for text in ("a", "b", "a"):
        (tmp_path / text).write_text(text)
        config = given("encoder", weights=str(tmp_path / text))
        identities.append(identity(config, "data")["encoder"])
    assert difference("encoder", identities[0], identities[2]) is None
    assert "encoder.weights is" in str(difference("encoder", *identities[:2]))


@pytest.mark.parametrize(
    ("key", "value", "may"),
    [
        ("path", "words", True),
        ("weights_path", "words", True),
        ("words_file", "words", True),
        ("files", "words", True),
        ("weights", "words", True),
        ("checkpoint", "last", True),
        ("vectors", "glove", True),
        ("words", "data/words", True),
        ("words", "~/words", True),
        ("words", "./words", True),
        ("words", "words.txt", True),
        ("words", "archive.tar.gz", True),
        ("words", "words", False),
        ("cell", "lstm", False),
        ("split", "test", False),
        ("split_at", "/", False),
        ("split_at", ".", False),
        ("split_at", " ", False),
        ("split_at", "...", False),
        ("version", "1.5", False),
        ("path", "", False),
        ("path", None, False),
        ("path", 3, False),
        ("_target_", "package.module.Class", False),
        ("monitor", "validation/loss", False),
        *((key, "outputs/mine", False) for key in WRITTEN),
    ],
)
def test_what_may_name_a_file(key, value, may):
    assert may_name_file(key, value) is may


def leaves(value: Any) -> Iterator[str]:
    """Yield all texts in settings."""
    if isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from leaves(item)
    elif isinstance(value, str):
        yield value


def test_files_that_happen_to_have_the_names_of_settings_count_in_no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = run_id(CONFIG, "data")
    names = {text for text in leaves(CONFIG.scientific()) if "/" not in text}
    assert len(names) > 10
    for name in (*names, "concat", "test"):
        (tmp_path / name).write_text("accident")
    assert run_id(CONFIG, "data") == before
    for word in ("concat", "test"):
        with_word = given("decoder", combination=word)
        assert identity(with_word, "data")["decoder"]["combination"] == word


def test_what_does_not_exist_or_is_no_regular_file_counts_as_text(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "broken.txt").symlink_to("nowhere")
    for name in ("pipe.txt", "broken.txt", "absent.txt", "x" * 300 + ".txt"):
        path = str(tmp_path / name)
        assert with_contents("encoder", {"words": path}) == {"words": path}


# What is done to a folder, and whether it is the same one then.
FOLDER_EDITS = {
    "nothing": (lambda folder: None, True),
    "an empty folder": (lambda folder: (folder / "empty").mkdir(), True),
    "contents": (lambda folder: (folder / "in/a.txt").write_text("b"), False),
    "a new file": (lambda folder: (folder / "in/new").touch(), False),
    "a file less": (lambda folder: (folder / "in/a.txt").unlink(), False),
    "a new name": (lambda folder: (folder / "in/a.txt").rename(folder / "in/b.txt"), False),
    "a file moved": (lambda folder: (folder / "in/a.txt").rename(folder / "a.txt"), False),
    "a further name": (lambda folder: (folder / "link").symlink_to(folder / "in"), False),
    "a folder elsewhere": (lambda folder: (folder / "link").symlink_to(folder.parent / "o"), False),
}


@pytest.mark.parametrize("edit", FOLDER_EDITS)
def test_a_folder_counts_by_the_names_and_contents_of_its_files(tmp_path, edit):
    folder = tmp_path / "here"
    (folder / "in").mkdir(parents=True)
    (folder / "in/a.txt").write_text("a")
    (tmp_path / "o").mkdir()
    (tmp_path / "o/b.txt").touch()
    (folder / "in/circle").symlink_to(folder)
    before = run_id(given("encoder", tables=str(folder)), "data")
    change, same = FOLDER_EDITS[edit]
    change(folder)
    assert (run_id(given("encoder", tables=str(folder)), "data") == before) is same
    if same:
        shutil.copytree(folder, tmp_path / "moved", symlinks=True)
        moved = given("encoder", tables=str(tmp_path / "moved"))
        (tmp_path / "moved/in/circle").unlink()
        (tmp_path / "moved/in/circle").symlink_to(tmp_path / "moved")
        assert run_id(moved, "data") == before


@pytest.mark.fault(12)
def test_a_folder_that_is_too_large_is_refused(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    config = given("decoder", tables=str(tmp_path) + "/")
    assert run_id(config, "data")
    monkeypatch.setattr(named_files, "MOST_BYTES", 2)
    with pytest.raises(ConfigError, match=r"decoder.tables names the folder .*; its contents"):
        run_id(config, "data")
    monkeypatch.setattr(named_files, "MOST_BYTES", 3)
    assert run_id(config, "data")
    monkeypatch.setattr(named_files, "MOST_FILES", 2)
    with pytest.raises(ConfigError, match="more than 2 files and folders"):
        run_id(config, "data")
    with pytest.raises(ConfigError, match="decoder.table_path names the folder /,"):
        run_id(given("decoder", table_path="/"), "data")


def test_what_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.txt").touch()

    def refused(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(named_files, "file_sha256", refused)
    with pytest.raises(ConfigError, match=r"callbacks.mine.words\[0\] is .*Permission denied"):
        run_id(given("callbacks", words=[str(tmp_path / "a.txt")]), "data")


def test_the_state_of_each_file_that_settings_name(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    for name in ("a.txt", "b.txt", "folder/c"):
        (tmp_path / name).write_text("a")
    first, second = str(tmp_path / "a.txt"), str(tmp_path / "b.txt")
    settings = {
        "path": first,
        "of": {"corpora": [second, "nothing.txt"]},
        "tables": f"{tmp_path}/folder",
    }
    states = files_in(settings)
    assert [Path(state[0]).name for state in states] == ["a.txt", "b.txt", "c"]
    assert files_in(settings) == states
    (tmp_path / "folder/c").write_text("longer")
    assert files_in(settings)[:2] == states[:2]
    assert files_in(settings)[2] != states[2]
    monkeypatch.setattr(named_files, "MOST_FILES", 0)  # a task may read a folder of any size
    assert [Path(state[0]).name for state in files_in(settings)] == ["a.txt", "b.txt", "folder"]


@pytest.mark.parametrize(
    ("key", "text", "known", "same"),
    [
        ("weights_path", "here.pt", "/elsewhere/here.pt", True),
        ("vectors", "~/glove.txt", "/home/me/glove.txt", True),
        ("initial", "data/a", "/data/a", True),
        ("kind", "sum", "mean", False),
        ("xpath", "sum", "mean", False),
    ],
)
def test_a_plan_may_name_a_file_otherwise_than_its_config(key, text, known, same):
    cell = {"factors": {}, "overrides": [f"encoder.{key}={text}"]}
    settings = compose_config([])
    config = {"encoder": {"_target_": "decoderlab.encoders.RecurrentEncoder", key: known}}
    mismatch = contradiction(cell, settings.study, settings.budget, config, ())
    assert (mismatch is None) is same, mismatch


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="a file of Linux")
def test_what_the_system_makes_as_it_is_read_has_no_contents_that_count():
    with pytest.raises(ConfigError, match=r"encoder.vectors is '/proc/self/environ'.*the system"):
        with_contents("encoder", {"vectors": "/proc/self/environ"})
