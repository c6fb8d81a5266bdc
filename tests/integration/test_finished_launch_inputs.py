"""What a launch reads is seen when it has changed: data, pictures, parents, YAMLs, variables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from decoderlab.studies.execution import sweep
from tests.integration.cli import OWN_DECODER, forked, in_process
from tests.integration.finished_launches import plans_anew, small_sweep, touch

pytestmark = pytest.mark.usefixtures("undrawn")


def written(name: str, letter: str = "b") -> str:
    """Write pairs, and return the file's name."""
    pairs = "".join(f"{'a' * n}\t{letter * n}\n" for n in range(1, 61))
    Path(name).write_text(f"source\ttarget\n{pairs}")
    return name


def own_data(*more: str) -> list[str]:
    kept = [word for word in small_sweep() if not word.startswith("task")]
    return [*kept, "task=tsv", *more]


def test_data_are_seen(there, monkeypatch):
    (there / "data").mkdir()
    given = own_data(f"task.path={written('data/words.tsv')}")
    assert plans_anew(monkeypatch, *given)
    assert not plans_anew(monkeypatch, *given)
    touch("data/words.tsv")
    assert plans_anew(monkeypatch, *given)


@pytest.mark.thinned
@pytest.mark.parametrize("beside", ["model.pth", "mine.egg-info"])
def test_data_beside_what_looks_installed_are_seen(there, monkeypatch, beside):
    Path(beside).touch()
    given = ["--config-dir", ".", *own_data(f"task.path={written('words.tsv')}")]
    assert plans_anew(monkeypatch, *given)
    assert not plans_anew(monkeypatch, *given)
    written("words.tsv", "c")
    assert in_process(monkeypatch, *given) == 2


@pytest.mark.slow
def test_data_that_this_process_has_read_before_are_seen(there, monkeypatch):
    given = own_data(f"task.path={written('words.tsv')}")
    again = [word.replace("study.name=s", "study.name=t") for word in given]
    for words in (given, again):
        assert plans_anew(monkeypatch, *words)
        assert not plans_anew(monkeypatch, *words)
    written("words.tsv", "c")
    assert in_process(monkeypatch, *again) == 2


@pytest.mark.slow
def test_data_of_a_row_that_is_the_same_run_are_seen(there, monkeypatch):
    given = own_data(f"task.path={written('a.tsv')},{written('b.tsv')}")
    assert plans_anew(monkeypatch, *given)
    assert not plans_anew(monkeypatch, *given)
    written("b.tsv", "c")
    assert plans_anew(monkeypatch, *given)


def test_data_that_change_during_the_runs_are_seen(there, monkeypatch):
    given = own_data(f"task.path={written('a.tsv')}")
    run = sweep.run_pending

    def running(*arguments):
        run(*arguments)
        written("a.tsv", "c")

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "run_pending", running)
        assert plans_anew(patch, *given)
    assert in_process(monkeypatch, *given) == 2


@pytest.mark.slow
def test_pictures_are_seen(there, monkeypatch, capfd):
    (there / "pictures").mkdir()
    for number in range(12):
        Image.new("RGB", (8, 8), (number, 0, 7)).save(f"pictures/{number}.png")
    rows = "".join(f"pictures/{number}.png\tcat {number}\n" for number in range(12))
    Path("images.tsv").write_text(f"source\ttarget\n{rows}")
    given = own_data("task.path=images.tsv", "task.sources=images", "task.source_size=8")
    given = [word for word in given if not word.startswith("encoder.")] + ["encoder=image_cnn"]
    assert plans_anew(monkeypatch, *given)
    assert not plans_anew(monkeypatch, *given)
    Path("pictures/5.png").unlink()
    assert in_process(monkeypatch, *given) == 2
    assert "pictures/5.png" in capfd.readouterr().err


def test_a_run_to_go_on_from_is_seen(there, monkeypatch, capfd):
    single = [word for word in small_sweep() if word not in ("-m", "seed=0,1", "study.name=s")]
    assert in_process(monkeypatch, *single) == 0
    Path("parent").symlink_to(min(Path("o/runs").iterdir()))
    given = [word for word in small_sweep() if "max_steps" not in word]
    given += ["training.from_run=parent", "training.max_steps=20"]
    assert plans_anew(monkeypatch, *given)
    assert not plans_anew(monkeypatch, *given)
    Path("parent").unlink()
    assert in_process(monkeypatch, *given) == 2
    assert "training.from_run" in capfd.readouterr().err


@pytest.mark.slow
def test_where_home_is_is_seen(there, monkeypatch):
    for home in ("first", "second"):
        (there / home).mkdir()
        written(f"{home}/words.tsv", home[0])
    given = own_data("task.path='~/words.tsv'")
    monkeypatch.setenv("HOME", str(there / "first"))
    assert plans_anew(monkeypatch, *given)
    assert not plans_anew(monkeypatch, *given)
    monkeypatch.setenv("HOME", str(there / "second"))
    assert in_process(monkeypatch, *given) == 2


def test_yamls_of_ones_own_are_seen(there, monkeypatch):
    conf = there / "conf"
    (conf / "training").mkdir(parents=True)
    (conf / "study").mkdir()
    yaml = "defaults: [adhoc@study, _self_]\nstudy: {name: s}\nhydra: {mode: MULTIRUN}\n"
    (conf / "study" / "mine.yaml").write_text(f"# @package _global_\n{yaml}")
    given = ["--config-dir", str(conf), *small_sweep("study=mine")]
    assert plans_anew(monkeypatch, *given)
    assert not plans_anew(monkeypatch, *given)
    (conf / "study" / "mine.yaml").write_text(f"# @package _global_\n# mine\n{yaml}")
    assert plans_anew(monkeypatch, *given)


@pytest.mark.slow
def test_yamls_behind_a_link_are_seen(there, monkeypatch):
    (there / "shared" / "training").mkdir(parents=True)
    (there / "conf").mkdir()
    (there / "conf" / "training").symlink_to(there / "shared" / "training")
    monkeypatch.setenv("DECAY", "0.3")
    given = ["--config-dir", "conf", *small_sweep("training=mine")]
    codes = []
    for decay in ("0.1", "0.2", "${oc.decode:${oc.env:DECAY}}"):
        yaml = f"defaults: [default, _self_]\nweight_decay: {decay}\n"
        (there / "shared" / "training" / "mine.yaml").write_text(yaml)
        codes.append(forked("train", *given).returncode)
    assert codes == [0, 2, 2], "the runs are others"
    again = [*given, "study.name=other"]
    assert [forked("train", *again).returncode for _ in range(2)] == [0, 0]
    assert not Path("o/studies/other/launch.json").exists()


@pytest.mark.slow
def test_what_lies_beside_ones_own_yamls_may_be_anything(there, monkeypatch):
    (there / "conf").mkdir()
    os.mkfifo(there / "conf" / "notes.yaml")
    (there / "conf" / "round").symlink_to(there / "conf")
    given = ["--config-dir", "conf", *small_sweep()]
    assert plans_anew(monkeypatch, *given)
    assert not plans_anew(monkeypatch, *given)


def test_a_launch_with_a_class_of_ones_own_plans_anew(there, monkeypatch):
    conf = there / "conf"
    (conf / "decoder").mkdir(parents=True)
    (conf / "own.py").write_text(OWN_DECODER)
    (conf / "decoder" / "own.yaml").write_text("_target_: own.Own\n")
    shape = [word for word in small_sweep() if not word.startswith("decoder.")]
    given = ["--config-dir", str(conf), *shape, "decoder=own"]
    assert plans_anew(monkeypatch, *given)
    assert not Path("o/studies/s/launch.json").exists()
    assert plans_anew(monkeypatch, *given)


@pytest.mark.slow
def test_a_launch_that_asks_the_environment_plans_anew(there, monkeypatch):
    given = small_sweep("study.question=${oc.env:WHY}")
    for why in ("which", "which of them"):
        monkeypatch.setenv("WHY", why)
        assert plans_anew(monkeypatch, *given)
        assert why in Path("o/studies/s/report.md").read_text().splitlines()
    assert not Path("o/studies/s/launch.json").exists()
