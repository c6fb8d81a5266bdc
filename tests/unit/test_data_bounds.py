"""Data files of anybody's: nothing blocks, fills the memory or starts a program."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from decoderlab.data.reading import lines_of
from decoderlab.tasks import TSVTask


@pytest.mark.parametrize("kind", ["pipe", "folder", "sparse", "device", "line", "missing"])
@pytest.mark.fault(12, 19)
def test_data_of_a_user_are_read_within_bounds(tmp_path, kind):
    path = tmp_path / "data.tsv"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(40 * 2**30)
    elif kind == "line":
        with path.open("wb") as file:
            file.truncate(64 * 2**20)
    elif kind == "device":
        path = Path("/dev/zero")
    with pytest.raises(ValueError, match="cannot be read|more than"):
        list(lines_of("path", path, "a file"))


@pytest.mark.parametrize("name", ["pipe.png", "program.eps", "bomb.png"])
@pytest.mark.fault(19)
def test_images_of_a_user_start_no_program(tmp_path, name, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    if name == "pipe.png":
        os.mkfifo(tmp_path / name)
    elif name == "program.eps":
        (tmp_path / name).write_text(
            "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
        )
    else:
        with (tmp_path / name).open("wb") as file:
            file.truncate(2**30)
    path = tmp_path / "data.tsv"
    path.write_text(f"source\ttarget\n{name}\ta\n" * 2)
    task = TSVTask(path=str(path), sources="images", source_size=8, tokens="word")
    with pytest.raises(ValueError, match="cannot be read"):
        task.examples()
