"""A launch with nothing to do shows its report again; whatever has changed, it plans anew."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from decoderlab.studies.execution import finished_launch
from decoderlab.studies.reporting import build as reporting
from tests.integration.cli import in_process
from tests.integration.finished_launches import of_a_run, plans_anew, small_sweep, touch
from tests.integration.test_tuning import tuned

pytestmark = pytest.mark.usefixtures("undrawn")


def test_the_report_of_a_finished_launch_is_shown_again(there, monkeypatch, capfd):
    assert plans_anew(monkeypatch, *small_sweep())
    first = capfd.readouterr()
    files = {path: path.read_bytes() for path in there.rglob("*") if path.is_file()}
    assert not plans_anew(monkeypatch, *small_sweep())
    again = capfd.readouterr()
    assert again.out == first.out
    assert "exact match" in again.out
    said, lines = again.err.splitlines(), first.err.splitlines()
    assert said[0].startswith("study s: 2 runs planned, 2 finished before; nothing has changed")
    assert said[1:] == lines[lines.index("writing the report") + 1 :]
    assert {path: path.read_bytes() for path in there.rglob("*") if path.is_file()} == files


CHANGES: dict[str, Callable[[], object]] = {
    "a result": lambda: touch(of_a_run("result.json")),
    "a config": lambda: touch(of_a_run("config.yaml")),
    "a status": lambda: Path(of_a_run("status.json")).unlink(),
    "a checkpoint": lambda: Path(of_a_run("checkpoints/best-*.ckpt")).unlink(),
    "a file more": lambda: Path(of_a_run("result.json")).with_name("note.txt").write_text("mine"),
    "the table": lambda: Path("o/studies/s/results.csv").write_text("mine"),
    "the page": lambda: Path("o/studies/s/report.html").unlink(),
    "the plan": lambda: os.truncate("o/studies/s/configs.jsonl", 0),
    "the note": lambda: os.truncate("o/studies/s/launch.json", 100),
    "a note of another version": lambda: Path("o/studies/s/launch.json").write_text("{}"),
}


@pytest.mark.thinned
@pytest.mark.parametrize("what", CHANGES)
def test_whatever_changes_is_seen(there, monkeypatch, what):
    assert plans_anew(monkeypatch, *small_sweep())
    CHANGES[what]()
    assert plans_anew(monkeypatch, *small_sweep())
    assert not plans_anew(monkeypatch, *small_sweep())


@pytest.mark.thinned
@pytest.mark.parametrize(
    "more",
    [
        "seed=0,1,2",
        "study.minimum_effect=0.1",
        "study.question=why",
        "study.baseline=repeat_vector",
    ],
)
def test_what_is_asked_for_is_seen(there, monkeypatch, more):
    assert plans_anew(monkeypatch, *small_sweep())
    rest = [word for word in small_sweep() if word.split("=")[0] != more.split("=")[0]]
    assert plans_anew(monkeypatch, *rest, more)


def test_code_is_seen(there, monkeypatch):
    package = there / "package" / "decoderlab"
    package.mkdir(parents=True)
    (package / "model.py").write_text("WIDTH = 1\n")
    monkeypatch.setattr(finished_launch, "PACKAGE", package)
    assert plans_anew(monkeypatch, *small_sweep())
    assert not plans_anew(monkeypatch, *small_sweep())
    (package / "model.py").write_text("WIDTH = 2\n")
    assert plans_anew(monkeypatch, *small_sweep())
    (package / "another.py").write_text("")
    assert plans_anew(monkeypatch, *small_sweep())
    assert not plans_anew(monkeypatch, *small_sweep())


@pytest.mark.slow
def test_what_is_installed_is_seen(there, monkeypatch):
    (there / "site" / "torch-2.10.dist-info").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [*sys.path, str(there / "site")])
    assert plans_anew(monkeypatch, *small_sweep())
    (there / "site" / "torch-2.10.dist-info").rename(there / "site" / "torch-2.11.dist-info")
    assert plans_anew(monkeypatch, *small_sweep())


def test_a_run_that_has_become_a_link_is_seen(there, monkeypatch, capfd):
    assert plans_anew(monkeypatch, *small_sweep())
    Path("o/runs").rename("elsewhere")
    Path("o/runs").symlink_to(there / "elsewhere")
    assert in_process(monkeypatch, *small_sweep()) == 2
    assert "link" in capfd.readouterr().err


def test_a_link_in_a_run_is_seen(there, monkeypatch):
    assert plans_anew(monkeypatch, *small_sweep())
    Path(of_a_run("result.json")).with_name("more").symlink_to("/etc")
    assert in_process(monkeypatch, *small_sweep()) == 2


@pytest.mark.slow
def test_a_run_beside_those_of_the_study_is_seen(there, monkeypatch, capfd):
    assert in_process(monkeypatch, *small_sweep("seed=0,1,2")) == 0
    left = Path("o/runs").resolve().parent / "left"
    left.mkdir()
    (third,) = Path("o/runs").glob("*-s2-*")
    shutil.move(third, left)
    shutil.rmtree("o/studies")
    assert plans_anew(monkeypatch, *small_sweep())
    assert not plans_anew(monkeypatch, *small_sweep())
    shutil.copytree(left / third.name, third)
    assert in_process(monkeypatch, *small_sweep()) == 1
    assert "in no plan of it" in capfd.readouterr().err


@pytest.mark.slow
def test_what_a_sweeper_is_asked_to_sweep_is_seen(there, monkeypatch):
    (there / "conf" / "study").mkdir(parents=True)
    yaml = (
        "# @package _global_\ndefaults: [adhoc@study, _self_]\nstudy: {name: s}\n"
        "hydra: {mode: MULTIRUN, sweeper: {params: {decoder: '${oc.env:DECODERS}'}}}\n"
    )
    (there / "conf" / "study" / "mine.yaml").write_text(yaml)
    given = ["--config-dir", "conf", *small_sweep("study=mine")]
    given = [word for word in given if not word.startswith("decoder.")]
    for decoders in ("repeat_vector", "repeat_vector,every_input"):
        monkeypatch.setenv("DECODERS", decoders)
        assert plans_anew(monkeypatch, *given)


def test_a_cache_that_a_first_launch_makes_does_not_make_the_next_plan_anew(there, monkeypatch):
    build = reporting.build_report

    def building(*given):
        with contextlib.suppress(OSError):
            Path("cache.json").read_text()
        Path("cache.json").write_text("{}")
        return build(*given)

    with monkeypatch.context() as patch:
        patch.setattr(reporting, "build_report", building)
        assert plans_anew(patch, *small_sweep())
    assert not plans_anew(monkeypatch, *small_sweep())


def test_templates_are_seen(there, monkeypatch):
    package = there / "package" / "decoderlab"
    package.mkdir(parents=True)
    monkeypatch.setattr(finished_launch, "PACKAGE", package)
    assert plans_anew(monkeypatch, *small_sweep())
    (package / "report.md.jinja").write_text("# {{ title }}\n")
    assert plans_anew(monkeypatch, *small_sweep())


@pytest.mark.slow
def test_the_python_path_is_seen(there, monkeypatch):
    assert plans_anew(monkeypatch, *small_sweep())
    (there / "more").mkdir()
    monkeypatch.setattr(sys, "path", [str(there / "more"), *sys.path])
    assert plans_anew(monkeypatch, *small_sweep())


def test_a_launch_that_asks_for_the_time_plans_anew(there, monkeypatch):
    given = [word for word in small_sweep() if not word.startswith("study.name")]
    given.append("study.name=n${now:%H%M%S}")
    assert plans_anew(monkeypatch, *given)
    time.sleep(1.1)
    assert plans_anew(monkeypatch, *given)


def test_what_is_said_of_pending_runs_alone_is_not_said_again(there, monkeypatch, capfd):
    given = [*small_sweep(), "evaluation.every_steps=100"]
    assert plans_anew(monkeypatch, *given)
    assert "note: 2 runs are validated once" in capfd.readouterr().err
    assert not plans_anew(monkeypatch, *given)
    assert "note:" not in capfd.readouterr().err


def test_a_report_that_is_not_complete_is_made_again(there, monkeypatch):
    broken = small_sweep("training.learning_rate=1e30", "training.gradient_clip_norm=null")
    assert in_process(monkeypatch, *broken) == 1
    assert not Path("o/studies/s/launch.json").exists()


@pytest.mark.slow
def test_what_changes_while_the_report_is_made_is_seen(there, monkeypatch):
    build = reporting.build_report

    def changing(*given):
        report = build(*given)
        touch(of_a_run("result.json"))
        return report

    with monkeypatch.context() as patch:
        patch.setattr(reporting, "build_report", changing)
        assert plans_anew(patch, *small_sweep())
    assert plans_anew(monkeypatch, *small_sweep())
    assert not plans_anew(monkeypatch, *small_sweep())


def test_runs_of_tuning_are_seen(there, monkeypatch, capfd):
    given = tuned(Path("o"), trials=2, seeds="[100]")
    assert plans_anew(monkeypatch, *given)
    assert not plans_anew(monkeypatch, *given)
    assert "s, echo: test" in capfd.readouterr().out
    (trial, *_) = json.loads(Path("o/studies/s/tuning/plan.json").read_text())["cells"]
    touch(f"o/{trial['folder']}/result.json")
    assert plans_anew(monkeypatch, *given)


WITH_TORCH = """
import sys
from decoderlab.cli import train
sys.argv = ["decoderlab-train", *sys.argv[1:]]
try:
    train.main()
finally:
    print("torch" in sys.modules)
"""


def test_nothing_heavy_is_imported_where_there_is_nothing_to_do(there):
    command = [sys.executable, "-c", WITH_TORCH, *small_sweep()]
    for imported in (True, False):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(f"{imported}\n")
    assert "nothing has changed" in done.stderr
