"""Completion answers in a real bash, quickly, with what the commands take."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser

from decoderlab.cli import complete
from decoderlab.common.folders import conf_dir, group_yamls
from tests.conftest import variants
from tests.integration.cli import call

ROOT = Path(__file__).parents[2]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("outputs/runs/echo-s0", "outputs/runs/echo s*", "outputs/studies/mine"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "outputs" / "studies" / "mine" / "plan.json").touch()
    (tmp_path / "my_conf" / "decoder").mkdir(parents=True)
    (tmp_path / "my_conf" / "decoder" / "of_mine.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def in_bash(*words: str) -> list[str]:
    """Return what bash is given for the last of some words, as it has cut them itself."""
    script = f"""
        source <({sys.executable} -m decoderlab.cli.complete bash)
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _decoderlab_complete
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    command = ["bash", "-c", script, "bash", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line]


RUNS = [r"outputs/runs/echo\ s\*", "outputs/runs/echo-s0"]
CASES = [
    (["decoderlab-train", "decoder", "=", "luong"], ["luong", "luong_input_feeding"]),
    (["decoderlab-train", "decoder=luong_"], ["decoder=luong_input_feeding"]),
    (["decoderlab-train", "-m", "decoder", "=", "luong,ou"], ["luong,output"]),
    (["decoderlab-train", "decoder/bridge", "="], variants("decoder/bridge")),
    (["decoderlab-train", "study", "=", "first"], ["first_look"]),
    (["decoderlab-train", "logger", "=", "[tensorboard,cs"], ["[tensorboard,csv"]),
    (["decoderlab-train", "+metric@task.metrics.b", "=", "bl"], ["bleu", "bleu_by_length"]),
    (["decoderlab-train", "training.max_st"], ["training.max_steps="]),
    (["decoderlab-train", "decoder.bridge.s"], ["decoder.bridge.source="]),
    (["decoderlab-train", "task", "=", "echo", "se"], ["seed="]),
    (["decoderlab-train", "--config-dir", "my_conf", "decoder", "=", "of"], ["of_mine"]),
    (["decoderlab-plan", "--eq"], ["--equations"]),
    (["decoderlab-check", "decoder/br"], ["decoder/bridge="]),
    (["decoderlab-check", "--source", "i"], ["images"]),
    (["decoderlab-predict", "outputs/runs/ec"], RUNS),
    (["decoderlab-export", "o"], RUNS),
    (["decoderlab-evaluate", "RUN", "--split", "v"], ["validation"]),
    (["decoderlab-report", "m"], ["mine"]),
    (["decoderlab-status", "--output-dir", "nowhere", "m"], []),
    (["decoderlab-schema", "training/o"], ["training/objective", "training/optimizer"]),
    (["decoderlab-train", "nothing.of=x"], []),
]  # fmt: skip


@pytest.mark.thinned
@pytest.mark.parametrize(("words", "offered"), CASES, ids=lambda value: " ".join(value)[:60])
def test_bash_completes(words, offered, folder):
    if not shutil.which("bash"):
        pytest.skip("there is no bash")
    assert sorted(in_bash(*words)) == sorted(offered)


def test_every_command_is_completed(folder):
    done = call("complete", "bash")
    assert done.returncode == 0
    line = next(line for line in done.stdout.splitlines() if line.startswith("complete "))
    assert sorted(line.split()[5:]) == sorted(SCRIPTS)


def options_of(name: str) -> set[str]:
    """Return the options that a command takes, its help says or its parser has."""
    text = (Path(complete.__file__).parent / f"{name}.py").read_text()
    if "with_hydra" in text:
        return set(get_args_parser()._option_string_actions)
    return set(re.findall(r"(?:^  |, )(--[a-z][a-z-]+)", call(name, "--help").stdout, re.MULTILINE))


@pytest.mark.thinned
@pytest.mark.parametrize("name", sorted(script.removeprefix("decoderlab-") for script in SCRIPTS))
def test_the_options_are_those_that_the_command_has(name):
    offered = set(complete.completions("zsh", 1, [f"decoderlab-{name}", "-"]))
    assert "--help" in offered
    taken = options_of(name)
    if name == "plan":
        taken |= {"--equations", "--diagram", "--json"}
    if name in ("train", "plan"):
        refused = {"--run", "--config-path", "--config-name", "--experimental-rerun"}
        taken = {option for option in taken if len(option) > 3 or option in ("-m", "-c")}
        taken -= refused | {"--shell-completion", "-h"}
    assert offered == taken


def test_completion_is_fast_and_imports_nothing_heavy(folder):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for words in (["decoderlab-train", "decoder.hid"], ["decoderlab-predict", "--b"]):
        done = call("complete", "--words", "zsh", "1", *words)
        assert done.stdout.splitlines()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds / 2 < 0.5
    code = (
        "import sys, decoderlab.cli.complete; print(*{name.split('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert not {"torch", "hydra", "omegaconf", "numpy", "pytorch_lightning"} & set(loaded.split())


@pytest.mark.parametrize("shell", complete.SHELLS)
def test_it_is_installed_once(shell, tmp_path, monkeypatch):
    start = tmp_path / f".{shell}rc"
    if shell != "fish":
        start.write_text("alias ll='ls -l'")
    monkeypatch.setenv("HOME", str(tmp_path))
    for _ in range(2):
        done = call("complete", "--install", shell)
        assert done.returncode == 0, done.stderr
    if shell == "fish":
        script = tmp_path / ".config" / "fish" / "conf.d" / "decoderlab.fish"
    else:
        alias, line = start.read_text().splitlines()
        assert alias == "alias ll='ls -l'"
        script = tmp_path / ".local" / "share" / "decoderlab" / f"complete.{shell}"
        assert line == f"source {script}  # decoderlab-complete"
    assert "decoderlab-train" in script.read_text()
    if shutil.which(shell):
        command = [shell, "-n", str(script)]
        assert subprocess.run(command, capture_output=True).stderr == b""


def test_what_is_offered_of_settings_exists():
    offered = complete.completions("zsh", 1, ["decoderlab-train", "training."])
    assert "training.learning_rate=" in offered
    groups = {group for group, _ in group_yamls(conf_dir())}
    chosen = {word[:-1] for word in complete.completions("zsh", 1, ["decoderlab-train", ""])}
    assert {group for group in groups - {"."} if not group.endswith("/base")} <= chosen


def test_an_unknown_shell_is_said(monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    done = call("complete", "--install")
    assert done.returncode == 2
    assert "the shell is 'tcsh'" in done.stderr
