"""What the shell that a command is given in can get wrong: its folder, output and variables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from decoderlab.cli.app import guarded


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
    command = "from decoderlab.cli.status import main; main()"
    words = [sys.executable, "-c", command, "--output-dir", str(tmp_path)]
    environment = os.environ | {"TORCH_LOGS": "junk"}
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "a library cannot be loaded: ValueError: Invalid log settings: junk" in ended.stderr
    assert "check what you have set: " in ended.stderr
    assert "TORCH_LOGS" in ended.stderr
