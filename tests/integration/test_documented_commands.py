"""Every command in the README and the pages is run by a test, or is in a table with its reason."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import TINY, small
from tests.drawing import no_drawing
from tests.integration.cli import forked, in_process
from tests.integration.test_packaging import commands, write_plugin

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name != "settings.md"),
    *sorted((ROOT / "examples").rglob("*.md")),
]
# What no test runs, by how it begins, and why.
NOT_RUN = {
    "make ablation": "the environment is made already; first_look runs as a study, in small",
    "make .venv/installed": "the environment is made already",
    "make test": "that is what runs this",
    "pip install": "the environment is made already",
    "ray start": "a cluster of machines; tests/integration/test_launchers.py starts Ray",
    "optuna-dashboard": "a server that never ends; test_other_loggers.py asks it for its pages",
    "tensorboard": "a server that never ends; test_tensorboard.py opens it",
    "decoderlab-report first_look --serve": "a server; test_tensorboard.py opens it",
    "eval": "of the shell that you are in; test_complete.py sources the same script",
    "decoderlab-complete --install": "it writes into your home; test_complete.py gives it another",
    "decoderlab-status first_look --watch": "run without --watch, which waits for other terminals",
    "decoderlab-status pair --watch": "run without --watch, which waits for other terminals",
}


def documented() -> list[tuple[str, str]]:
    """Return the commands in the code blocks of all pages, each with its page."""
    found = []
    for page in PAGES:
        blocks = re.findall(r"```(?:bash|sh|console)\n(.*?)```", page.read_text(), re.DOTALL)
        for line in "".join(blocks).replace("\\\n", " ").splitlines():
            if command := line.split(" # ")[0].split("   (")[0].strip():
                found.append((page.relative_to(ROOT).as_posix(), command))
    return found


def kind_of(page: str, command: str) -> str:
    """Return how a command is tested."""
    if any(command.startswith(begin) for begin in NOT_RUN):
        return "not run"
    if "decoderlab-train" in command:
        if page in ("README.md", "docs/keras.md") or page.startswith("docs/guide/"):
            return "in small"  # test_packaging.py
        if page == "docs/scaling.md" or page.startswith("docs/studies/"):
            return "planned"  # test_packaging.py, and below
    return "on shared runs"


COMMANDS = documented()
SHARED = sorted(
    {command for page, command in COMMANDS if kind_of(page, command) == "on shared runs"}
)
STUDIES = sorted(
    {
        command
        for page, command in COMMANDS
        if page.startswith("docs/studies/")
        and kind_of(page, command) == "planned"
        and not re.fullmatch(r"decoderlab-train study=\w+", command)  # test_configs.py
    }
)


def test_there_are_commands_and_every_reason_is_of_one_that_stands_there():
    kinds = [kind_of(page, command) for page, command in COMMANDS]
    assert {"not run", "in small", "planned", "on shared runs"} == set(kinds)
    stand = [command for _, command in COMMANDS]
    assert not [begin for begin in NOT_RUN if not any(line.startswith(begin) for line in stand)]
    assert not [line for line in SHARED if not re.search(r"\b(decoderlab-\w+|python) ", line + " ")]
    counted = {" ".join(line.split()) for line in commands((ROOT / "README.md").read_text())}
    assert counted >= {
        " ".join(command.removeprefix(".venv/bin/").split())
        for page, command in COMMANDS
        if page == "README.md" and kind_of(page, command) == "in small"
    }


@pytest.mark.thinned
@pytest.mark.parametrize("line", STUDIES)
def test_the_studies_of_the_pages_plan(line, monkeypatch, tmp_path):
    monkeypatch.setattr("decoderlab.common.process.plan_only", True)
    given = shlex.split(line)[1:]
    fewer = ["seed=0"] if "budget.match" not in line else ["seed=0", "task=echo"]
    assert in_process(monkeypatch, *given, *fewer, f"run.output_dir={tmp_path / 'outputs'}") == 0
    assert not list(tmp_path.iterdir())


# What makes a run quick, and what a run that goes on from it has too.
QUICK = [word for word in TINY if not word.startswith(("task.", "training.max", "run.log"))]
SIZES = [*small("encoder", "lstm")[1:], *small("decoder", "luong")[1:]]
ECHO = ["task.num_train=100", "task.num_validation=10", "task.num_test=10"]
IMAGES = ["task.sources=images", "task.source_size=8", "task.tokens=word", "encoder=image_cnn"]
FILES = ["task=translation_files", "task.source_path=source.txt", "task.target_path=target.txt"]
RUNS = {
    "RUN": ["task=tsv", "task.path=pairs.tsv", "decoder=luong", *SIZES],
    "SEED1": ["task=tsv", "task.path=pairs.tsv", "decoder=luong", *SIZES, "seed=1"],
    "images": ["task=tsv", "task.path=images.tsv", *IMAGES, "encoder.num_layers=1"],
    "files": [*FILES, *SIZES],
    "echo": ["task=echo", "decoder=luong", *ECHO, *SIZES],
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Return a folder with what the pages name: files, a plug-in, studies; and its runs."""
    folder = tmp_path_factory.mktemp("documented")
    pairs = "".join(f"abc{n}\tcba{n}\n" for n in range(60))
    (folder / "pairs.tsv").write_text(f"source\ttarget\n{pairs}")
    (folder / "new_pairs.tsv").write_text("source\ttarget\nabc1\tcba1\nno tab\n")
    (folder / "FILE").write_text("source\ttarget\nabc1\tcba1\nabc2\tcba2\n")
    (folder / "sources.txt").write_text("abc1\nabc2\nabc3\n")
    (folder / "source.txt").write_text("".join(f"a b {n}\n" for n in range(60)))
    (folder / "target.txt").write_text("".join(f"{n} b a\n" for n in range(60)))
    drawings = "".join(f"{n}.png\tcat {n}\n" for n in range(12))
    (folder / "images.tsv").write_text(f"source\ttarget\n{drawings}")
    for n, name in enumerate([*map(str, range(12)), "cat", "dog"]):
        Image.new("RGB", (8, 8), (n, 0, 7)).save(folder / f"{name}.png")
    write_plugin(folder / "my_conf")
    (folder / "my_conf" / "study").mkdir()
    (folder / "my_conf" / "study" / "mine.yaml").write_text("# @package _global_\nseed: 3\n")
    runs = {}
    with no_drawing(), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        for name, settings in RUNS.items():
            given = [*QUICK, *settings, "training.max_steps=4", f"run.output_dir={name}"]
            assert in_process(monkeypatch, *given) == 0
            (runs[name],) = (folder / name / "runs").iterdir()
        for name in ("first_look", "first_look_gru"):
            given = [*QUICK, "task=echo", *ECHO, *SIZES, "training.max_steps=2"]
            given += ["encoder=gru"] if name.endswith("gru") else []
            sweep = ["-m", "decoder=luong,repeat_vector", "seed=0", "hydra/launcher=basic"]
            assert in_process(monkeypatch, *sweep, *given, f"study.name={name}") == 0
    return folder, runs


def in_bash(folder: Path, command: str) -> subprocess.CompletedProcess:
    """Run a command as a person does, with the commands of this environment."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done


def run(folder: Path, command: str, monkeypatch) -> subprocess.CompletedProcess:
    """Run a command in a folder: a plain one of those that are asked often in a fork."""
    name, *arguments = shlex.split(command)
    name = name.removeprefix("decoderlab-")
    if name not in ("check", "doctor", "evaluate", "plan") or set(command) & set("|<>&;$*"):
        return in_bash(folder, command)
    monkeypatch.chdir(folder)
    done = forked(name, *arguments)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done


def made_runnable(command: str, folder: Path, runs: dict[str, Path]) -> str:
    """Return a documented command with the runs, files and studies that stand here for its own."""
    run = "RUN"
    for words, other in (("dog.png", "images"), ("target.txt", "files"), ("task=echo", "echo")):
        run = other if words in command else run
    for placeholder, path in (("RUN", runs[run]), ("SEED0", runs["RUN"]), ("SEED1", runs["SEED1"])):
        command = command.replace(f"outputs/runs/{placeholder}", str(path))
    command = command.replace("/new/folder/", f"{folder}/")
    if "--compare" in command:
        command = re.sub(r"context_routes(_matched)?", stand_in, command)
    if "decoderlab-train" in command:
        settings = [*QUICK, *SIZES, *(ECHO if run == "echo" else [])]
        steps = "training.max_steps=6" if run == "echo" else "training.max_steps=4"
        command = re.sub(r" training\.max_steps=\d+", "", command)
        command += f" {shlex.join([*settings, steps, 'run.output_dir=more'])}"
    return command


def stand_in(study: re.Match[str]) -> str:
    """Return a small study that stands for one of hours."""
    return "first_look_gru" if study[1] else "first_look"


@pytest.mark.slow
@pytest.mark.parametrize("command", SHARED)
def test_the_command_runs(command, workplace, monkeypatch):
    folder, runs = workplace
    shutil.rmtree(folder / "exported", ignore_errors=True)
    if "export" in command:
        pytest.importorskip("onnxruntime")
    if "exported/run.py" in command:
        in_bash(folder, f"decoderlab-export {runs['RUN']} --to exported")
    done = run(folder, made_runnable(command, folder, runs), monkeypatch)
    if "--json" in command and ">" not in command:
        assert done.stdout.lstrip()[0] in "{["
