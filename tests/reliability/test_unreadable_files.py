"""Files that cannot be read now: nothing is taken for damaged, given up or deleted."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from decoderlab.common.errors import Unreadable
from tests.conftest import run
from tests.reliability.test_checkpoint_faults import found

ERRORS = ("EIO", "ESTALE", "EMFILE", "EACCES", "ENOMEM")


def unreadable(monkeypatch, ending: str, name: str) -> None:
    """Let the system refuse to open files of an ending."""
    real = os.open

    def opens(path, *arguments, **options):
        if os.fspath(path).endswith(ending):
            raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", opens)


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize(
    "ending", ["-000000011.ckpt", ".sha256", "metrics.jsonl", "best-000000010.ckpt"]
)
def test_a_checkpoint_that_cannot_be_read_now_is_not_given_up(single, monkeypatch, name, ending):
    before = {path: path.read_bytes() for path in single.folder.checkpoints.iterdir()}
    with monkeypatch.context() as patch:
        unreadable(patch, ending, name)
        with pytest.raises(Unreadable, match="cannot be read: .*it may be whole: .*delete that"):
            found(single)
    assert {path: path.read_bytes() for path in single.folder.checkpoints.iterdir()} == before
    assert found(single).name == "step-000000011.ckpt"


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EIO, "Input/output error")])
def test_what_torch_cannot_load_for_want_of_memory_is_not_given_up(single, monkeypatch, error):
    def loads(*_, **__):
        raise error

    monkeypatch.setattr(torch, "load", loads)
    with pytest.raises(Unreadable, match="cannot be read: "):
        found(single)


def test_a_run_whose_checkpoints_cannot_be_read_now_goes_on_later(single, monkeypatch):
    with monkeypatch.context() as patch:
        unreadable(patch, "-000000011.ckpt", "EIO")
        assert run(single) == "INTERRUPTED"
    assert "Input/output error; it may be whole" in single.folder.status()["reason"]
    assert single.folder.resume_checkpoints()[0].name == "step-000000011.ckpt"
    assert run(single) == "FINISHED"
    assert single.folder.result().restarts == 1


def test_a_finished_run_that_cannot_be_read_now_is_not_repaired(single, monkeypatch):
    assert run(single) == "FINISHED"
    before = single.folder.manifest.read_bytes()
    with monkeypatch.context() as patch:
        unreadable(patch, "result.json", "EIO")
        with pytest.raises(Unreadable, match=r"result.json cannot be read: Input/output error"):
            run(single)
    assert single.folder.manifest.read_bytes() == before
    assert run(single) == "FINISHED"
