"""The one place where settings become objects."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from decoderlab.common import require
from decoderlab.common.randomness import stream_seed
from decoderlab.config.resolution import ConfigError, call, canonical, find_target
from decoderlab.config.settings import Evaluation, Training
from decoderlab.contract import Space, ValueSpace
from decoderlab.data.task import Task
from decoderlab.data.task_data import TaskData
from decoderlab.layers.initialisation import initialise
from decoderlab.training.module import EncoderDecoder

_DATA: dict[str, TaskData] = {}


def build_task(config: Mapping[str, Any]) -> Task:
    """Build the task of a resolved config; its data are loaded once per process and settings.

    Raises:
        ConfigError: if the settings or the data are wrong.
    """
    task = construct_task(config)
    key = canonical(config["task"])
    if key not in _DATA:
        if len(_DATA) == 4:  # a sweep over many data sets must not fill the memory
            _DATA.pop(next(iter(_DATA)))
        try:
            _DATA[key] = task.data
        except ValueError as error:
            raise ConfigError(f"task: {error}") from error
    task.adopt(_DATA[key])
    try:
        with_it = list(task.scores)
    except ValueError as error:
        raise ConfigError(f"task: {error}") from error
    for name in ("evaluation.select", "study.metric"):
        group, key = name.split(".")
        if config[group][key] not in with_it:
            raise ConfigError(
                f"{name} is {config[group][key]}, which this task does not measure; take one of "
                f"{', '.join(with_it)}, or null for {task.metric}."
                + require.did_you_mean(config[group][key], with_it)
            )
    return task


def construct_task(config: Mapping[str, Any]) -> Task:
    """Build the task of a resolved config without its data."""
    settings = dict(config["task"])
    metrics = settings.pop("metrics", None)
    task = _build("task", settings)
    if metrics is not None:
        task.metrics = {name: _build(f"task.metrics.{name}", metrics[name]) for name in metrics}
    task.batch_size = config["training"]["batch_size"]
    task.evaluation_batch_size = config["run"]["evaluation_batch_size"]
    task.seed = config["seed"]
    return task


def build_networks(
    config: Mapping[str, Any], source: Space, target: Space
) -> tuple[nn.Module, nn.Module]:
    """Build encoder and decoder; the encoder's sizes flow into the decoder.

    Args:
        config: from `config.resolve`.
        source: what the encoder is to read.
        target: what the decoder is to write.

    Raises:
        ConfigError: if the settings contradict each other.
    """
    if isinstance(target, ValueSpace):
        _check_values(config)
    encoder = _build("encoder", config["encoder"], source_space=source)
    decoder = _build("decoder", config["decoder"], target_space=target, encoder_shape=encoder.shape)
    return encoder, decoder


def build_model(config: Mapping[str, Any], task: Task) -> EncoderDecoder:
    """Build the LightningModule with its initial weights.

    Args:
        config: from `config.resolve`.
        task: from `build_task`.
    """
    data = task.data
    source, target = data.source_space, data.target_space
    with torch.random.fork_rng(devices=[]):
        # For the weights of modules that only draw them when they are built; see `initialise`.
        torch.manual_seed(stream_seed(config["seed"], "init"))
        encoder, decoder = build_networks(config, source, target)
    training = Training(**config["training"])
    steps = training.total_steps(task.train_dataloader().batches_per_epoch)
    model = EncoderDecoder(
        encoder=encoder,
        decoder=decoder,
        target_space=target,
        max_target_length=data.max_target_length,
        metrics=task.measure(),
        seed=config["seed"],
        make_optimizer=lambda parameters: training.make_optimizer(parameters, steps),
        gradient_clip_norm=training.gradient_clip_norm,
        label_smoothing=training.label_smoothing,
        search=Evaluation(**config["evaluation"]).search(config["seed"]),
    )
    initialise(model, config["seed"], training.uniform_range, training.initial_weights)
    return model.double() if training.precision == "float64" else model


def _check_values(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for settings that are about tokens."""
    for name, neutral in (
        ("evaluation.beam_width", 1),
        ("evaluation.temperature", None),
        ("training.label_smoothing", 0),
    ):
        group, key = name.split(".")
        if config[group][key] != neutral:
            raise ConfigError(
                f"{name} is {config[group][key]}, but the targets are real values, of which there "
                f"is no list; leave it at {'null' if neutral is None else neutral}"
            )


def _build(group: str, settings: Mapping[str, Any], **injected: Any) -> Any:
    settings = dict(settings)
    target = find_target(group, settings.pop("_target_"))
    try:
        return call(group, target, **settings, **injected)
    except ConfigError:
        raise
    except Exception as error:  # a mistake in somebody's class: its author wants the place
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigError(
            f"{group}: {target.__name__} cannot be built: {type(error).__name__}: {error} "
            f"({place.filename}, line {place.lineno})"
        ) from error
