"""Training and testing of one run, and its result."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Checkpoint, ModelSummary, ProgressBar
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from decoderlab.common.disk import is_of_the_machine
from decoderlab.common.errors import ConfigError
from decoderlab.common.progress import say
from decoderlab.common.torch_settings import check_torch
from decoderlab.config.environment import environment
from decoderlab.config.lightning_settings import STRATEGIES
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_sections import PRECISIONS
from decoderlab.data.packed_outcomes import pack
from decoderlab.data.per_example import metrics_of_examples, names_of_examples, outcomes_of
from decoderlab.data.task import Task
from decoderlab.data.task_data import counts_text, data_cautions
from decoderlab.data.task_scores import prediction_record
from decoderlab.layers.equations import as_text, equations_of
from decoderlab.metrics.signature import signature
from decoderlab.records.checkpoints import AtomicCheckpointIO
from decoderlab.records.loggers import hyperparameters, make_loggers
from decoderlab.records.run_folder import RunFolder, write_json, write_text
from decoderlab.records.run_result import DataSummary, Environment, Metrics, RunResult
from decoderlab.records.tensorboard import write_summary
from decoderlab.training import cost
from decoderlab.training.assembly import build_callbacks, build_model, rules_beside
from decoderlab.training.distributed import Ranks
from decoderlab.training.interruption import Interruption
from decoderlab.training.model_evaluation import load_best, met_limit, quiet, signatures_of
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.parents import begin_with_encoder
from decoderlab.training.prepared_run import Prepared
from decoderlab.training.probes import Probes, probe
from decoderlab.training.recorder import Diverged, ProgressReport, Recorder
from decoderlab.training.resumption import newest_whole

T = TypeVar("T")


class SplitScores(NamedTuple):
    """The scores of the test split, and the seconds that they took."""

    scores: dict[str, float]
    seconds: float


def train_and_test(
    prepared: Prepared, interruption: Interruption, report: ProgressReport, ranks: Ranks
) -> RunResult | None:
    """Train a model from its last valid checkpoint on, test it, and write what it predicts.

    Args:
        prepared: from `prepare`.
        interruption: asked between two updates.
        report: called with (step, values) as training goes on.
        ranks: the processes of the run.

    Returns:
        The result, with nothing in `code_changes`; None of any rank but the first.

    Raises:
        Interrupted: by a signal, once the run's state is on the disk; in a validation at once, and
            the run goes on from the checkpoint before.
        Diverged: if a loss or score is NaN or infinite.
        ConfigError: if a run that goes on from another one has no intact checkpoint.
    """
    config, task, folder = prepared.config, prepared.task, prepared.folder
    started = time.time()
    torch.set_num_threads(config.run.threads)
    cost.reset_peak_memory()
    if not ranks.rank:
        _describe(prepared)
    model = build_model(config, task)
    recorder = Recorder(
        folder=folder,
        run_id=prepared.run_id,
        run=config.run,
        evaluation=config.evaluation,
        total_steps=prepared.total_steps,
        max_seconds=config.training.max_seconds,
        interruption=interruption,
        report=report,
        ranks=ranks,
    )
    known = (folder, prepared.run_id, model, recorder.state_key)
    begin_with_encoder(model, config, prepared.identity)
    checkpoint = ranks.broadcast(None if ranks.rank else newest_whole(*known))
    if checkpoint is None and config.training.from_run is not None:
        raise ConfigError(
            f"training.from_run: what this run has of {config.training.from_run} is not intact, "
            "see the messages before; it is not trained without it"
        )
    step = 0 if checkpoint is None else _resume(recorder, checkpoint)
    with quiet():
        loggers = make_loggers(config, folder.path, prepared.run_id, step)
        callbacks = [*build_callbacks(config, task), recorder]
        trainer = make_trainer(config, ranks, callbacks, loggers, folder.path)
    recorder.open(step)
    try:
        tested = _fit_and_test(trainer, model, task, recorder, checkpoint)
        _check_process(config.run.threads)
        if ranks.rank:
            return None
        _write_predictions(folder, task, model)
        probed = _probed(folder, task, model)
        _finish_events(config, folder, loggers)
    finally:
        recorder.close()
    return _result(prepared, model, recorder, trainer, probed, started, tested)


def _check_process(threads: int) -> None:
    """Raise ConfigError where code of the run has changed how torch computes."""
    if (number := torch.get_num_threads()) != threads:
        raise ConfigError(
            f"torch computes with {number} threads after the run, and run.threads is {threads}: a "
            "class of yours has changed it; take that out"
        )
    check_torch("after the run, and was not before it")


def _resume(recorder: Recorder, checkpoint: Path) -> int:
    """Give the recorder what a checkpoint kept; return the checkpoint's step."""
    saved = AtomicCheckpointIO().load_checkpoint(checkpoint)
    recorder.load_state_dict(saved["callbacks"][recorder.state_key])
    if not (recorder.memory["finished"] and recorder.memory.get("trained_by")):
        say(f"resuming from update {saved['global_step']}")
    return saved["global_step"]


def _fit_and_test(
    trainer: pl.Trainer,
    model: EncoderDecoder,
    task: Task,
    recorder: Recorder,
    checkpoint: Path | None,
) -> SplitScores:
    """Train to the end of the budget, then test the best weights."""
    with quiet():
        if not recorder.memory["finished"]:
            trainer.fit(model, datamodule=task, ckpt_path=checkpoint, weights_only=True)
        best = recorder.memory["best"]
        load_best(model, recorder.folder.checkpoints / best["file"], best.get("sha256"))
        recorder.check()
        recorder.hold(trainer, model)
        started = time.perf_counter()
        trainer.test(model, datamodule=task, verbose=False)
        recorder.put_back(model)
    seconds = time.perf_counter() - started
    scores = model.scores
    if not all(map(math.isfinite, scores.values())):
        raise Diverged(recorder.memory["last"]["step"])
    return SplitScores(scores, seconds)


def _result(
    prepared: Prepared,
    model: EncoderDecoder,
    recorder: Recorder,
    trainer: pl.Trainer,
    probed: dict[str, Any] | None,
    started: float,
    tested: SplitScores,
) -> RunResult:
    """Return the result of a run whose model has just been tested."""
    config, task, memory = prepared.config, prepared.task, recorder.memory
    data, signatures = task.data, signatures_of(task, config, "test")
    if "chosen_after" in memory:  # the validations of the run that it goes on from are left out
        signatures |= {"selection": f"after update {memory['chosen_after']}"}
    size, search = len(data.splits["test"]), model.search.signature
    device = trainer.strategy.root_device
    return RunResult(
        run_id=prepared.run_id,
        choices=config.choices._asdict(),
        seed=config.seed,
        metrics=Metrics(
            test=tested.scores,
            validation=memory["best"]["metrics"],
            validation_last=memory["last"]["metrics"],
        ),
        signature=signature(
            "test", size, model.max_target_length, data.fingerprint, search, signatures
        ),
        signatures=signatures,
        met_limit=met_limit(model),
        scores={name: score.record() for name, score in task.scores.items()},
        selected_by=config.evaluation.select,
        best_step=memory["best"]["step"],
        best_checkpoint=f"checkpoints/{memory['best']['file']}",
        steps=memory["last"]["step"],
        examples_seen=memory["examples_seen"],
        tokens_seen=memory["tokens_seen"],
        batches_per_epoch=task.train_dataloader().batches_per_epoch,
        probes=probed,
        equations={
            "encoder": as_text(equations_of(model.get_submodule("encoder"))),
            "decoder": as_text(equations_of(model.get_submodule("decoder"))),
        },
        parameters=cost.count_parameters(model),
        flops_per_example=cost.flops_per_example(model.cpu(), data.splits["validation"]),
        train_seconds=memory["train_seconds"],
        evaluation_seconds=memory["evaluation_seconds"] + tested.seconds,
        peak_memory_bytes=cost.peak_memory(),
        restarts=memory["restarts"],
        trained_by=memory.get("trained_by"),
        started=started,
        ended=time.time(),
        data=DataSummary(
            fingerprint=data.fingerprint,
            counts=data.counts,
            baselines=_spared("rules beside", lambda: rules_beside(config, task)) or {},
        ),
        environment=Environment(**environment(device), world_size=recorder.ranks.world_size),
        code_changes=[],
        budget=config.budget,
    )


def make_trainer(
    config: RunConfig,
    ranks: Ranks,
    callbacks: Sequence[pl.Callback],
    loggers: Sequence[Logger],
    root: Path,
) -> pl.Trainer:
    """Return a Trainer that leaves records, progress and checkpoints to the recorder.

    Args:
        config: of the run.
        ranks: its processes.
        callbacks: the recorder last.
        loggers: none, or some.
        root: its folder.
    """
    trainer = config.trainer
    alone = ranks.world_size == 1
    # Where it is off it is not set, which would import torch's compiler.
    usual = False if torch.are_deterministic_algorithms_enabled() else None
    free = {"deterministic": usual, "benchmark": False} | trainer.further.to_dict()
    return pl.Trainer(
        **free,
        accelerator=trainer.accelerator,
        devices=trainer.devices,
        num_nodes=trainer.num_nodes,
        strategy=_strategy(trainer.strategy, alone),
        precision=PRECISIONS[config.training.precision],
        # The stream of batches is endless; the recorder says when the budget is used up.
        max_epochs=-1,
        val_check_interval=config.evaluation.every_steps * trainer.accumulated,  # in batches
        check_val_every_n_epoch=None,
        log_every_n_steps=config.run.log_every_steps,
        num_sanity_val_steps=0,
        logger=list(loggers) or False,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        enable_model_summary=any(isinstance(callback, ModelSummary) for callback in callbacks),
        callbacks=list(callbacks),
        # Alone, it says so: Lightning would take a cluster's job for one of many processes.
        plugins=[AtomicCheckpointIO(), ranks.environment or LightningEnvironment()],
        default_root_dir=root,
    )


def _strategy(chosen: str, alone: bool) -> str:
    """Return Lightning's name of a strategy: of those that only exchange gradients, none alone."""
    if chosen not in STRATEGIES:
        return chosen
    return "auto" if alone else chosen.replace("auto", "ddp")


def _finish_events(config: RunConfig, folder: RunFolder, loggers: Sequence[Logger]) -> None:
    """Add to TensorBoard's events what only a finished run has."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            shown = config.run.num_samples
            write_summary(logger.experiment, hyperparameters(config), folder.predictions, shown)
            logger.finalize("success")


def _describe(prepared: Prepared) -> None:
    """Write what is needed to use the run later, before anything can go wrong."""
    counts = prepared.task.data.counts
    say(f"data: {counts_text(counts)}")
    for caution in data_cautions(counts):
        say(f"note: {caution}")
    config = OmegaConf.create(prepared.config.to_dict())
    write_text(prepared.folder.config, OmegaConf.to_yaml(config))
    write_json(prepared.folder.vocabularies, prepared.task.data.record())


# What `result.json` has for the data of figures where these cannot be computed.
NO_PICTURES = {"by_position": {"number": [], "free": [], "forced": []}, "summary_influence": []}


def _probed(folder: RunFolder, task: Task, model: EncoderDecoder) -> dict[str, Any] | None:
    """Write what the report's pictures show; the scores stand without it, if it cannot be had.

    Which examples are right is added here: verdicts depend on it, so it counts as code of the run,
    which pictures do not.
    """
    correct = [right for _, _, right in sorted(model.predictions, key=lambda record: record[0])]
    known: dict[str, Any] = {}
    if not model.writes_values:
        known["correct"] = pack(np.array(correct, dtype=bool))
    if outcomes := _outcomes(task, model):
        known["outcomes"] = outcomes
    probes = _spared("pictures of", lambda: probe(model, task))
    if probes is None and not known:
        return None
    probes = probes or Probes(NO_PICTURES, {})
    probes.write(folder.probes)
    return known | probes.counts


def _outcomes(task: Task, model: EncoderDecoder) -> dict[str, str]:
    """Return the packed outcomes of the test examples, by score; without those not to be had."""
    predictions = [(row, generated) for row, generated, _ in model.predictions]
    packed = {}
    for metric in metrics_of_examples(task):
        ask = partial(outcomes_of, metric, task, "test", predictions, model.scores)
        made = _spared(f"outcomes of examples by {', '.join(names_of_examples(metric))} of", ask)
        packed |= {name: pack(outcomes) for name, outcomes in (made or {}).items()}
    return packed


def _spared(what: str, make: Callable[[], T]) -> T | None:
    """Return what `make` returns; None, said in a line, if somebody's module or task fails."""
    try:
        return make()
    except Exception as error:  # whatever it does
        if is_of_the_machine(error):  # where it does not fail, the same run has it all
            raise
        say(f"no {what} this run: {type(error).__name__}: {error}")
        return None


def _write_predictions(folder: RunFolder, task: Task, model: EncoderDecoder) -> None:
    lines = []
    for row, prediction, correct in sorted(model.predictions, key=lambda record: record[0]):
        record = prediction_record(task, "test", row, prediction, correct)
        if model.met_limit(prediction):
            record["met_limit"] = True
        if model.search.oracle_length:
            record["length_given"] = True
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    write_text(folder.predictions, "".join(lines))
