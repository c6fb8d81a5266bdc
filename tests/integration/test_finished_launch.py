"""A launch with nothing to do shows its report again; whatever has changed, it plans anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from decoderlab.common import process
from decoderlab.studies.execution import finished_launch, sweep
from tests.integration.cli import OWN_DECODER, forked, in_process, tiny_arguments
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


def test_templates_are_seen(there, monkeypatch):
    package = there / "package" / "decoderlab"
    package.mkdir(parents=True)
    monkeypatch.setattr(finished_launch, "PACKAGE", package)
    assert plans_anew(monkeypatch, *small_sweep())
    (package / "report.md.jinja").write_text("# {{ title }}\n")
    assert plans_anew(monkeypatch, *small_sweep())


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
