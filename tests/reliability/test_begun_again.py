"""A run that goes on from another run begins with that one again, whatever became of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from decoderlab.records.run_folder import RunFolder
from decoderlab.training.prepared_run import Prepared, prepare
from tests.conftest import TASKS, TINY, composed, run, small
from tests.reliability.examining import flip, unfinished


@pytest.fixture(scope="module")
def child(whole, tmp_path_factory) -> Prepared:
    """A finished run that went on from another with a rate of its own."""
    (parent,) = (whole / "runs").iterdir()
    sizes = [*small("encoder", "lstm"), *small("decoder", "repeat_vector")]
    settings = [*TASKS["echo"], *TINY, *sizes, "training.max_steps=15"]
    settings += [f"training.from_run={parent}", "training.learning_rate=0.05"]
    config = composed(*settings, f"run.output_dir={tmp_path_factory.mktemp('child')}")
    prepared = prepare(config, config.hydra.runtime.choices)
    assert run(prepared) == "FINISHED"
    return prepared


def _damaged(folder: RunFolder) -> None:
    for path in folder.resume_checkpoints():
        flip(path)


def _killed_before_the_hash(folder: RunFolder) -> None:
    """As a launch leaves it that was killed, or found the disk full, as it copied the parent."""
    for path in folder.resume_checkpoints():
        path.with_name(f"{path.name}.sha256").unlink()
    folder.config.unlink()


@pytest.mark.parametrize("harm", [_damaged, _killed_before_the_hash])
def test_without_an_intact_checkpoint_a_run_begins_with_its_parent_again(
    child: Prepared, tmp_path: Path, capsys, harm: Callable[[RunFolder], None]
):
    before = child.folder.result()
    folder = RunFolder(Path(shutil.copytree(child.folder.path, tmp_path / child.folder.path.name)))
    unfinished(folder, "INTERRUPTED")
    harm(folder)
    assert run(replace(child, folder=folder)) == "FINISHED"
    said = " ".join(capsys.readouterr().err.split())
    assert "resuming from update 12" in said
    assert "from update 0" not in said
    assert "starts again from its parent" in said
    after = folder.result()
    assert (after.metrics, after.restarts) == (before.metrics, before.restarts)
