"""A launch with nothing to do shows its report again; whatever has changed, it plans anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from decoderlab.common import process
from decoderlab.studies.execution import finished_launch, sweep
from tests.integration.cli import OWN_DECODER, in_process, tiny_arguments
from tests.integration.test_tuning import tuned

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def there(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """Return a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    process.user_config_dir = None


def small_sweep(*more: str) -> list[str]:
    return [
        "-m",
        *tiny_arguments(Path("o"), "seed=0,1", "study.name=s"),
        "hydra/launcher=basic",
        *more,
    ]


def plans_anew(monkeypatch, *arguments: str) -> bool:
    """Launch, and return whether anything was planned; exit code and standard error are checked."""
    planned = []
    with monkeypatch.context() as patch:
        make_plan = sweep.make_plan
        patch.setattr(sweep, "make_plan", lambda *given: planned.append(1) or make_plan(*given))
        assert in_process(patch, *arguments) == 0
    return bool(planned)


def test_the_report_of_a_finished_launch_is_shown_again(there, monkeypatch, capfd):
    assert plans_anew(monkeypatch, *small_sweep())
    first = capfd.readouterr()
    files = {path: path.read_bytes() for path in there.rglob("*") if path.is_file()}
    assert not plans_anew(monkeypatch, *small_sweep())
    again = capfd.readouterr()
    assert again.out == first.out
    assert "exact match" in again.out
    said, lines = again.err.splitlines(), first.err.splitlines()
    assert said[0].startswith("study s: 2 runs planned, all finished before; nothing has changed")
    assert said[1:] == lines[lines.index("writing the report") + 1 :]
    assert {path: path.read_bytes() for path in there.rglob("*") if path.is_file()} == files


def touch(path: str) -> None:
    """Write a file's own contents, at its own time."""
    before = os.stat(path)
    Path(path).write_bytes(Path(path).read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def of_a_run(name: str) -> str:
    return str(min(Path("o/runs").glob(f"*/{name}")))


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


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_changes_is_seen(there, monkeypatch, what):
    assert plans_anew(monkeypatch, *small_sweep())
    CHANGES[what]()
    assert plans_anew(monkeypatch, *small_sweep())
    assert not plans_anew(monkeypatch, *small_sweep())


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


def test_what_is_installed_is_seen(there, monkeypatch):
    (there / "site" / "torch-2.10.dist-info").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [*sys.path, str(there / "site")])
    assert plans_anew(monkeypatch, *small_sweep())
    (there / "site" / "torch-2.10.dist-info").rename(there / "site" / "torch-2.11.dist-info")
    assert plans_anew(monkeypatch, *small_sweep())


def test_data_are_seen(there, monkeypatch):
    words = ["source\ttarget\n", *(f"{'a' * n}\t{'b' * n}\n" for n in range(1, 61))]
    (there / "data").mkdir()
    (there / "data" / "words.tsv").write_text("".join(words))
    own = ("task=tsv", "task.path=data/words.tsv")
    given = [word for word in small_sweep(*own) if not word.startswith("task") or word in own]
    assert plans_anew(monkeypatch, *given)
    assert not plans_anew(monkeypatch, *given)
    touch("data/words.tsv")
    assert plans_anew(monkeypatch, *given)


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


def test_a_launch_that_asks_the_environment_plans_anew(there, monkeypatch):
    given = small_sweep("study.question=${oc.env:WHY}")
    for why in ("which", "which of them"):
        monkeypatch.setenv("WHY", why)
        assert plans_anew(monkeypatch, *given)
        assert why in Path("o/studies/s/report.md").read_text().splitlines()
    assert not Path("o/studies/s/launch.json").exists()


def test_a_report_that_is_not_complete_is_made_again(there, monkeypatch):
    broken = small_sweep("training.learning_rate=1e30", "training.gradient_clip_norm=null")
    assert in_process(monkeypatch, *broken) == 1
    assert not Path("o/studies/s/launch.json").exists()


def test_what_changes_while_the_report_is_made_is_seen(there, monkeypatch):
    build = sweep.build_report

    def changing(*given):
        report = build(*given)
        touch(of_a_run("result.json"))
        return report

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "build_report", changing)
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


WITHOUT_TORCH = """
import sys
from decoderlab.cli import train
sys.argv = ["decoderlab-train", *sys.argv[1:]]
try:
    train.main()
finally:
    assert "torch" not in sys.modules
"""


def test_nothing_heavy_is_imported_where_there_is_nothing_to_do(there, monkeypatch):
    command = [sys.executable, "-c", WITHOUT_TORCH, *small_sweep()]
    launched = [sys.executable, "-m", "decoderlab.cli.train", *small_sweep()]
    assert subprocess.run(launched, capture_output=True, timeout=300).returncode == 0
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert "nothing has changed" in again.stderr
