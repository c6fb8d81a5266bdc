"""Where settings become objects, and nowhere else."""

from __future__ import annotations

import traceback
from copy import deepcopy
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from decoderlab.common import require
from decoderlab.common.errors import ConfigError
from decoderlab.common.part_building import build, call, find_target, taken_by
from decoderlab.common.randomness import generators_kept, seed_process, stream_seed
from decoderlab.config.code_identity import foreign_code, own_name
from decoderlab.config.encoder_start import EncoderStart
from decoderlab.config.lightning_settings import WATCHES, check_callback
from decoderlab.config.named_files import files_in
from decoderlab.config.run_config import PartSettings, RunConfig
from decoderlab.config.run_identity import sorted_json, targets_in
from decoderlab.config.secret_settings import from_environment
from decoderlab.contract import Objective, Space, TokenSpace, ValueSpace
from decoderlab.data.alignment import Alignment
from decoderlab.data.task import Task
from decoderlab.data.task_data import TaskData
from decoderlab.generation.coverage_penalty import refuse_unseen
from decoderlab.layers.drawn_weights import initialise, watched
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.objective import Likelihood
from decoderlab.training.optimizers import check_optimizer, make_optimizer, make_schedule
from decoderlab.training.own_streams import key_stream

# What `EncoderDecoder` logs of training, of the updates since it logged last.
LOGGED = ("train/loss", "train/learning_rate", "train/gradient_norm")
_DATA: dict[str, TaskData] = {}


def build_task(config: RunConfig) -> Task:
    """Build the task of a config; its data are loaded once per process, settings and files.

    Images that a file names are read again each time: their own files may have changed.

    Raises:
        ConfigError: if the settings or the data are wrong.
    """
    task = construct_task(config)
    key = _data_key(config)
    data = _DATA.get(key)
    if data is None:
        try:
            with generators_kept():  # whatever a user's task draws from them is the same again
                seed_process(stream_seed(0, "data"))
                data = task.data
        except ValueError as error:
            raise ConfigError(f"task: {error}") from error
        if task.reads != "images" or not files_in(config.task.to_dict()):
            if len(_DATA) == 4:  # a sweep over many data sets must not fill the memory
                _DATA.pop(next(iter(_DATA)))
            _DATA[key] = data
    task.adopt(data.copied())
    key_stream(task)
    _check_ends(config, task, build_objective(config, task.data.target_space))
    make_schedule(config.training)
    check_optimizer(config.training)
    try:
        names = list(task.scores)
    except ValueError as error:
        raise ConfigError(f"task: {error}") from error
    for setting, metric in (
        ("evaluation.select", config.evaluation.select),
        ("study.metric", config.study.metric),
    ):
        if metric not in names:
            raise ConfigError(
                f"{setting} is {metric}, which this task does not measure; take one of "
                f"{', '.join(names)}, or null for {task.metric}."
                + require.did_you_mean(metric, names)
            )
    return task


def construct_task(config: RunConfig) -> Task:
    """Build the task of a config without its data."""
    settings = config.task.to_dict()
    metrics = settings.pop("metrics", None)
    task = _build("task", PartSettings(settings))
    if metrics is not None:
        metrics = {
            name: _build(f"task.metrics.{name}", PartSettings(metric))
            for name, metric in metrics.items()
        }
    task.adopt_settings(
        batch_size=config.training.batch_size,
        evaluation_batch_size=config.run.evaluation_batch_size,
        group_by_target_length=config.training.group_by_target_length,
        seed=config.training.seeds(config.seed).order,
        metrics=metrics,
    )
    return task


def rules_beside(config: RunConfig, task: Task) -> dict[str, dict[str, float]]:
    """Return the task's baselines, which are computed once per process, settings and files.

    Args:
        config: of the run.
        task: from `build_task`.
    """
    known = _DATA.get(_data_key(config))
    if known is None or known.fingerprint != task.data.fingerprint:
        return task.baselines()
    if not known.baselines:
        known.baselines.update(deepcopy(task.baselines()))
    return deepcopy(known.baselines)


def _data_key(config: RunConfig) -> str:
    settings = config.task.to_dict()
    classes = [find_target("task", target) for _, target in targets_in({"task": settings})]
    return sorted_json([settings, files_in(settings), [*map(foreign_code, classes)]])


def build_objective(config: RunConfig, target: TokenSpace | ValueSpace) -> Objective:
    """Build the training objective; its randomness comes from the run's seed.

    Raises:
        ConfigError: if the settings are wrong, or not for such targets.
    """
    part = config.training.objective
    weights_seed = config.training.seeds(config.seed).weights
    known = taken_by(find_target("training.objective", part.target), {"target_space": target})
    with generators_kept():
        seed_process(stream_seed(weights_seed, "init", "objective"))
        return _build("training.objective", part, **known)


def build_networks(
    config: RunConfig, source: Space, target: Space, alignment: Alignment | None = None
) -> tuple[nn.Module, nn.Module]:
    """Build encoder and decoder; the encoder's sizes flow into the decoder.

    Args:
        config: of the run.
        source: what the encoder is to read.
        target: what the decoder is to write.
        alignment: of their vocabularies; None where there are none, or nobody knows.

    Raises:
        ConfigError: if the settings contradict each other.
    """
    if isinstance(target, ValueSpace):
        _check_values(config)
    weights_seed = config.training.seeds(config.seed).weights
    with generators_kept():
        # For what a class draws itself: another encoder leaves the decoder's draws as they are.
        # The CPU's alone: nobody would restore the generators of other devices.
        seed_process(stream_seed(weights_seed, "init", "encoder"))
        settings, start = EncoderStart.split(config.encoder.to_dict())
        encoder = _build("encoder", PartSettings(settings), source_space=source)
        if start.frozen:
            encoder.requires_grad_(False)
        seed_process(stream_seed(weights_seed, "init", "decoder"))
        sizes = {"target_space": target, "encoder_shape": encoder.shape}
        ids = None
        if alignment is not None:
            ids = alignment.target_ids.to(torch.get_default_device())
        offered = {"source_space": source, "alignment": ids}
        sizes |= taken_by(find_target("decoder", config.decoder.target), offered)
        decoder = _build("decoder", config.decoder, **sizes)
    penalty = config.evaluation.coverage_penalty
    call("evaluation", refuse_unseen, decoder=decoder, factor=penalty)
    if hasattr(decoder, "training_loss"):
        _check_own_objective(config)
    _check_whole_outputs(config, decoder)
    return _of_their_own(config, encoder, decoder)


def _of_their_own(
    config: RunConfig, encoder: nn.Module, decoder: nn.Module
) -> tuple[nn.Module, nn.Module]:
    """Return networks that share no memory with a user's modules, such as vectors read once.

    What is trained in place would be there for the next run of this process.
    """
    settings = {"encoder": config.encoder.to_dict(), "decoder": config.decoder.to_dict()}
    classes = [find_target(group, target) for group, target in targets_in(settings)]
    if all(own_name(kind) is not None for kind in classes):
        return encoder, decoder
    try:
        return deepcopy((encoder, decoder))
    except Exception as error:  # whatever somebody's attribute raises
        raise ConfigError(
            "encoder, decoder: a module of a class of yours cannot be copied, so that it may share "
            f"what it trains with other runs ({type(error).__name__}: {error}); keep there what "
            "copy.deepcopy can copy"
        ) from error


def build_model(config: RunConfig, task: Task) -> EncoderDecoder:
    """Build the LightningModule with its initial weights.

    Args:
        config: of the run.
        task: from `build_task`.
    """
    data = task.data
    source, target = data.source_space, data.target_space
    with watched() as drawn:
        encoder, decoder = build_networks(config, source, target, data.alignment)
        objective = build_objective(config, target)
    training = config.training
    steps = config.total_steps(task.train_dataloader().batches_per_epoch)
    model = EncoderDecoder(
        encoder=encoder,
        decoder=decoder,
        target_space=target,
        max_target_length=config.evaluation.max_length or data.max_target_length,
        task=task,
        seed=config.seed,
        # No lambda, which could not be pickled.
        make_optimizer=partial(make_optimizer, training, total_steps=steps),
        gradient_clip_norm=training.gradient_clip_norm,
        objective=objective,
        search=config.evaluation.search(config.seed),
        validation_search=config.evaluation.validation_search(config.seed),
    )
    scheme = training.initial_weights
    if not isinstance(scheme, str):
        scheme = _build("training.initial_weights", scheme)
    initialise(model, drawn, training.seeds(config.seed).weights, training.uniform_range, scheme)
    return model.double() if training.precision == "float64" else model


def build_callbacks(config: RunConfig, task: Task) -> list[pl.Callback]:
    """Build the further callbacks of a run.

    Args:
        config: of the run.
        task: whose scores they may monitor.

    Raises:
        ConfigError: if one cannot be built, or monitors a score that the task does not have.
    """
    callbacks = []
    for name, settings in config.callbacks.items():
        given = from_environment(f"callbacks.{name}", settings.to_dict())
        given.pop(WATCHES, None)
        stage, _, score = str(given.get("monitor") or "").partition("/")
        if f"{stage}/{score}" in LOGGED:
            raise ConfigError(
                f"callbacks.{name}.monitor is {given['monitor']!r}, which is of the updates since "
                "it was last logged, so that run.log_every_steps would change the result; give a "
                f"score of validation, such as validation/{next(iter(task.scores))}"
            )
        if stage == "validation" and score not in task.scores:
            raise ConfigError(
                f"callbacks.{name}.monitor is {given['monitor']!r}, but validation of this task "
                f"measures {', '.join(task.scores)}.{require.did_you_mean(score, task.scores)}"
            )
        if given.get("mode", "") is None:
            if stage != "validation":
                raise ConfigError(
                    f"callbacks.{name}.mode is null, but the direction is not known of "
                    f"{given.get('monitor')!r}; give callbacks.{name}.mode=min or max"
                )
            given["mode"] = task.scores[score].better
        check_callback(f"callbacks.{name}", find_target(f"callbacks.{name}", settings.target))
        callback = _build(f"callbacks.{name}", PartSettings(given))
        if not isinstance(callback, pl.Callback):
            raise ConfigError(
                f"callbacks.{name}: {settings.target} is not a callback; extend "
                "pytorch_lightning.Callback"
            )
        check_callback(f"callbacks.{name}", type(callback))
        callbacks.append(callback)
    return callbacks


def _check_values(config: RunConfig) -> None:
    """Raise ConfigError for settings that are about tokens."""
    for name, value, neutral in (
        ("evaluation.beam_width", config.evaluation.beam_width, 1),
        ("evaluation.temperature", config.evaluation.temperature, None),
        ("evaluation.exact_steps", config.evaluation.exact_steps, None),
        ("evaluation.max_length", config.evaluation.max_length, None),
        ("evaluation.validate_greedily", config.evaluation.validate_greedily, False),
    ):
        if value != neutral:
            raise ConfigError(
                f"{name} is {value}, but the targets are real values, of which there "
                f"is no list, and which have no end; leave it at "
                f"{'null' if neutral is None else str(neutral).lower()}"
            )


def _check_ends(config: RunConfig, task: Task, objective: Objective) -> None:
    """Raise ConfigError for settings of an end that targets do not have, or that is not learnt."""
    given = config.evaluation.oracle_length
    unlearnt = getattr(objective, "without_eos", False)
    for name, value in (
        ("evaluation.oracle_length", given),
        ("training.objective.without_eos", unlearnt),
    ):
        if value and not task.append_eos:
            raise ConfigError(
                f"{name} is true, but the targets of this task have no end token; leave it at false"
            )
    if unlearnt and not given:
        raise ConfigError(
            "training.objective.without_eos is true, so that no output would ever end by itself, "
            "but evaluation.oracle_length is false; give evaluation.oracle_length=true too, or "
            "leave without_eos at false"
        )


def _check_own_objective(config: RunConfig) -> None:
    """Raise ConfigError for an objective beside that of the decoder."""
    objective = config.training.objective
    settings = objective.arguments()
    plain = find_target("training.objective", objective.target) is Likelihood
    if not plain or any(settings.values()):
        raise ConfigError(
            f"training.objective is {objective.target} with {settings}, but the decoder "
            f"{config.decoder.target} brings an objective of its own, so that this one would have "
            "no effect; leave training.objective as it is"
        )


def _check_whole_outputs(config: RunConfig, decoder: Any) -> None:
    """Raise ConfigError for what does not go with an objective that draws whole outputs."""
    objective = config.training.objective.target
    if not hasattr(find_target("training.objective", objective), "sequence_loss"):
        return
    what = f"training.objective is {objective}, which shows the decoder outputs that it drew, but "
    if getattr(getattr(decoder, "feedback", None), "samples", False):
        raise ConfigError(
            f"{what}decoder.feedback makes training see others; take "
            "decoder/feedback=teacher_forcing, or training/objective=likelihood"
        )
    if getattr(decoder, "with_further_loss", None) is not None:
        raise ConfigError(
            f"{what}decoder.attention.coverage_loss is about the target's; leave it at 0, or take "
            "training/objective=likelihood"
        )


def _build(group: str, settings: PartSettings, **injected: Any) -> Any:
    try:
        return build(group, settings.to_dict(), **injected)
    except ConfigError:
        raise
    except Exception as error:  # a mistake in somebody's class: its author wants the line
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise ConfigError(
            f"{group}: {settings.target} cannot be built: {type(error).__name__}: {error} "
            f"({last.filename}, line {last.lineno})"
        ) from error
