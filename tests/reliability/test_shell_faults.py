"""What the shell that a command is given in can get wrong: its folder, output and variables."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from decoderlab.cli import complete, evaluate, export, predict
from decoderlab.cli.app import guarded
from decoderlab.common.disk import is_full
from decoderlab.common.progress import output
from tests.integration.cli import forked, tiny_arguments
from tests.integration.disturbed import runs


def closed_pipe() -> int:
    """Return a pipe whose reader has ended, as `head` does."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def closed_terminal() -> int:
    """Return a terminal whose window was closed."""
    window, terminal = pty.openpty()
    os.close(window)
    return terminal


DEAF: dict[str, Callable[[], int]] = {
    "pipe": closed_pipe,
    "terminal": closed_terminal,
    "full": lambda: os.open("/dev/full", os.O_WRONLY),
    "to read": lambda: os.open(os.devnull, os.O_RDONLY),
}
TALK = """
import os, sys
from decoderlab.common import process
process.open_streams()
process.open_streams()
for _ in range(3):
    print("said", file=sys.stderr)
    sys.stderr.flush()
os.write(2, b"by C")
with process.printing_to_anybody():
    print("x" * 100_000, flush=True)
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
@pytest.mark.parametrize("deaf", DEAF)
def test_nothing_ends_because_its_messages_are_not_read(deaf):
    stream = DEAF[deaf]()
    try:
        words = [sys.executable, "-c", TALK]
        ended = subprocess.run(words, stdout=subprocess.PIPE, stderr=stream, check=False)
    finally:
        os.close(stream)
    assert ended.returncode == 0
    assert len(ended.stdout) == 100_001


@pytest.mark.parametrize("deaf", ["pipe", "terminal"])
def test_a_run_goes_on_printing_to_nobody(deaf):
    stream = DEAF[deaf]()
    try:
        words = [sys.executable, "-c", TALK]
        ended = subprocess.run(words, stdout=stream, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(stream)
    assert (ended.returncode, ended.stderr) == (0, b"said\nsaid\nsaid\nby C")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
@pytest.mark.parametrize("deaf", DEAF)
@pytest.mark.parametrize("sweep", [False, True])
@pytest.mark.usefixtures("undrawn")
def test_a_run_is_finished_whoever_reads_of_it(tmp_path, deaf, sweep):
    more = ("-m", "hydra/launcher=basic", "study.name=s") if sweep else ()
    stream = DEAF[deaf]()
    try:
        ended = forked("train", *tiny_arguments(tmp_path, *more), stderr=stream)
    finally:
        os.close(stream)
    assert [run.status()["status"] for run in runs(tmp_path)] == ["FINISHED"]
    assert ended.returncode == 0


def test_a_table_that_nobody_reads_ends_a_command_as_it_ends_others(capfd):
    writing = closed_pipe()
    before = os.dup(1)
    os.dup2(writing, 1)
    try:
        console = output()
        console.file = open(1, "w", closefd=False)  # noqa: SIM115
        with pytest.raises(BrokenPipeError):
            console.print("a table")
    finally:
        os.dup2(before, 1)
        os.close(before)
        os.close(writing)


@pytest.mark.fault(16)
@pytest.mark.parametrize("entry", [predict, evaluate, export])
def test_a_folder_of_classes_is_not_imported_from_without_trust(
    tmp_path, monkeypatch, capsys, entry
):
    for name in ("torch", "onnx", "pandas", "my_plugin"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('executed')")
    path = list(sys.path)
    monkeypatch.setattr(sys, "argv", ["x", "run", "--config-dir", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 2
    assert "give --trust too if the run is yours" in capsys.readouterr().err
    assert sys.path == path


def test_completion_needs_a_home(monkeypatch, capsys):
    def homeless(_: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(homeless))
    monkeypatch.setattr(sys, "argv", ["decoderlab-complete", "--install", "bash"])
    with pytest.raises(SystemExit) as ended:
        complete.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: there is no home folder; set HOME to the folder of yours\n"
    )


@pytest.mark.fault(42)
@pytest.mark.parametrize("number", [27, 28, 122])
def test_a_full_disk_is_known_in_what_other_languages_say(number):
    error = RuntimeError(f"Error while serializing: I/O error: no room (os error {number})")
    assert is_full(error)
    assert not is_full(RuntimeError("(os error 2)"))


@pytest.mark.fault(45)
def test_a_permission_is_missed_in_words(capsys):
    def refuse() -> int:
        raise PermissionError(13, "Permission denied", "outputs/runs")

    assert guarded(refuse) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: outputs/runs: Permission denied; give yourself the permission")


def test_a_folder_that_was_deleted_is_said_before_anything_is_loaded(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert guarded(lambda: 1 // 0) == 2
    assert "the folder that you are in was deleted; change to another" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="of Linux")
def test_an_output_that_takes_no_more_is_not_taken_for_the_disk(monkeypatch, capsys):
    def tell() -> int:
        print("x" * 10)  # noqa: T201
        return 0

    with open(os.open("/dev/full", os.O_WRONLY), "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert guarded(tell) == 1
        monkeypatch.undo()
    said = capsys.readouterr().err
    assert "standard output cannot be written: No space left on device" in said
    assert "free" not in said


def test_a_path_that_no_file_can_have_is_a_setting_that_is_wrong(capsys):
    assert guarded(lambda: len(os.listdir("a" * 5000))) == 2
    said = capsys.readouterr().err
    assert "File name too long: 'aaa" in said
    assert len(said) < 200


def test_a_variable_that_torch_refuses_is_no_mistake_of_ours(tmp_path):
    command = "from decoderlab.cli.predict import main; main()"
    words = [sys.executable, "-c", command, str(tmp_path)]
    environment = os.environ | {"TORCH_LOGS": "junk"}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "a library cannot be loaded: ValueError: Invalid log settings: junk" in ended.stderr
    assert "check what you have set: " in ended.stderr
    assert "TORCH_LOGS" in ended.stderr


def test_a_variable_that_matplotlib_refuses_is_no_mistake_of_ours():
    code = "import sys; from decoderlab.cli.app import guarded; "
    code += "sys.exit(guarded(lambda: bool(__import__('matplotlib'))))"
    environment = os.environ | {"MPLBACKEND": "junk"}
    words = [sys.executable, "-c", code]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "a library cannot be loaded: ValueError: Key backend: 'junk'" in ended.stderr
    assert "MPLBACKEND" in ended.stderr
