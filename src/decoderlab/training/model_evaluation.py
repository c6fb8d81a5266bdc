"""Scores of a model on a split of its task, and what Lightning needs for them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from decoderlab.common.errors import ConfigError
from decoderlab.common.process import one_at_a_time, without_trainer_variables
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import changed_metrics
from decoderlab.config.run_sections import PRECISIONS
from decoderlab.data.task import Task
from decoderlab.records.checkpoints import load_checkpoint_of, recorded_sha256
from decoderlab.training.module import EncoderDecoder


@one_at_a_time
def evaluate(model: EncoderDecoder, task: Task, split: str, config: RunConfig) -> dict[str, float]:
    """Return the metrics of a model on one split of its task.

    Args:
        model: with the weights to evaluate.
        task: with its data.
        split: `train`, `validation` or `test`.
        config: of the run; accelerator and precision are taken from it.

    Returns:
        Each score by its name.

    Raises:
        ConfigError: if the run was trained on a GPU, and there is none here.
    """
    if config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError(
            "trainer.accelerator of the run is 'gpu', but torch sees none here; evaluate it on a "
            "machine with a GPU, or in Python: pl.Trainer(accelerator='cpu').test(run.module, "
            "datamodule=run.task), with run = load_run(RUN)"
        )
    with quiet(), without_trainer_variables():
        trainer = pl.Trainer(
            accelerator=config.trainer.accelerator,
            devices=1,
            plugins=[LightningEnvironment()],  # alone, also in a job of many tasks
            precision=PRECISIONS[config.training.precision],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.test(model, dataloaders=task.evaluation_batches(split), verbose=False)
    return model.scores


def signatures_of(task: Task, config: RunConfig, split: str) -> dict[str, str]:
    """Return how scores on a split are computed, where their names alone do not say it.

    Args:
        task: with its data.
        config: of the run.
        split: see `Task.signatures`.
    """
    return task.signatures(split) | changed_metrics(config.task.to_dict())


def met_limit(model: EncoderDecoder) -> float | None:
    """Return the share of outputs that met the limit of length in the last evaluation.

    None where there is no limit to meet: values, and targets without an end.
    """
    if model.writes_values or not (model.task is None or model.task.append_eos):
        return None
    met = sum(model.met_limit(generated) for _, generated, _ in model.predictions)
    return met / max(len(model.predictions), 1)


def load_best(model: EncoderDecoder, path: Path, sha256: str | None = None) -> None:
    """Load the weights of the step chosen on validation.

    Args:
        model: to load them into.
        path: of the checkpoint.
        sha256: of the checkpoint; None where it is known beside the checkpoint alone.

    Raises:
        Invalid: if the checkpoint is damaged, or of another model; nothing is loaded then.
    """
    checkpoint = load_checkpoint_of(model, path, sha256 or recorded_sha256(path))
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
