"""Scores of a model on a split of its task, and what Lightning needs for them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl

from decoderlab.config.run_config import RunConfig
from decoderlab.config.settings import PRECISIONS
from decoderlab.data.task import Task
from decoderlab.records.run_folder import AtomicCheckpointIO, RunFolder
from decoderlab.training.module import EncoderDecoder


def evaluate(model: EncoderDecoder, task: Task, split: str, config: RunConfig) -> dict[str, float]:
    """Return the metrics of a model on one split of its task.

    Args:
        model: with the weights to evaluate.
        task: with its data.
        split: `train`, `validation` or `test`.
        config: of the run; accelerator and precision are taken from it.

    Returns:
        Each score by its name.
    """
    with quiet():
        trainer = pl.Trainer(
            accelerator=config.trainer.accelerator,
            devices=1,
            precision=PRECISIONS[config.training.precision],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.test(model, dataloaders=task.evaluation_batches(split), verbose=False)
    return model.scores


def load_best(model: EncoderDecoder, folder: RunFolder, name: str) -> None:
    """Load the weights of the step chosen on validation."""
    checkpoint = AtomicCheckpointIO().load_checkpoint(folder.checkpoints / name)
    model.load_state_dict(checkpoint["state_dict"])


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what Lightning says about choices that are made on purpose here."""
    with warnings.catch_warnings():
        for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module=r"(pytorch_)?lightning")
        warnings.filterwarnings(
            "ignore", category=UserWarning, message=r".*does not have many workers"
        )
        yield
