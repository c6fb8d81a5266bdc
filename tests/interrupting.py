"""Runs that a signal interrupts."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from decoderlab.training.interruption import Interrupted
from decoderlab.training.prepared_run import Prepared, prepare
from decoderlab.training.recorder import Recorder
from tests.conftest import TASKS, TINY, composed, run, small


def interrupt_at(monkeypatch, step: int) -> None:
    """Let a signal come during one update."""
    real = Recorder.on_train_batch_end

    def wrapped(self, trainer, *args):
        if trainer.global_step == step:
            signal.raise_signal(signal.SIGTERM)
        real(self, trainer, *args)

    monkeypatch.setattr(Recorder, "on_train_batch_end", wrapped)


def interrupted(prepared, monkeypatch, step: int) -> None:
    """Run until a signal comes during one update."""
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(Interrupted):
            run(prepared)


def broken_off_run(folder: Path, step: int, *settings: str) -> Prepared:
    """Return a run below a folder that a signal ended during one update."""
    sizes = [*small("encoder", "lstm"), *small("decoder", "repeat_vector")]
    config = composed(*TASKS["echo"], *TINY, *sizes, f"run.output_dir={folder}", *settings)
    prepared = prepare(config, config.hydra.runtime.choices)
    with pytest.MonkeyPatch.context() as patch:
        interrupted(prepared, patch, step)
    return prepared
