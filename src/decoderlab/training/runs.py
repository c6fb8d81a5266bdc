"""One run: prepared without writing anything, then trained, tested and recorded."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGTERM
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from filelock import BaseFileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import nn

from decoderlab.common.progress import say
from decoderlab.config.environment import environment
from decoderlab.config.resolution import BUILT, ConfigError, resolve, run_id
from decoderlab.config.settings import PRECISIONS, Evaluation, Run, Training
from decoderlab.data.scoring import prediction_record
from decoderlab.data.task import Task
from decoderlab.data.task_data import counts_text
from decoderlab.layers.equations import as_text, count, equations_of
from decoderlab.metrics.signature import signature
from decoderlab.records.run_folder import (
    AtomicCheckpointIO,
    Invalid,
    RunFolder,
    sealed,
    verify,
    write_json,
    write_text,
)
from decoderlab.records.tensorboard import write_summary
from decoderlab.training import cost
from decoderlab.training.assembly import build_model, build_networks, build_task
from decoderlab.training.code_changes import drift, sign
from decoderlab.training.distributed import Ranks, check_ranks
from decoderlab.training.interruption import Interrupted, Interruption
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.probes import probe
from decoderlab.training.recorder import Diverged, Recorder

Report = Callable[[int, dict[str, float]], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Prepared:
    """A run that was checked and can begin.

    Args:
        config: resolved, with the `choices` of config groups that it was composed of.
        run_id: sha256 of the scientific config and the data.
        task: with its data.
        folder: where its records are or will be.
        networks: encoder and decoder on the meta device, for their sizes.
    """

    config: dict[str, Any]
    run_id: str
    task: Task
    folder: RunFolder
    networks: tuple[nn.Module, nn.Module]

    @property
    def num_parameters(self) -> int:
        """Trained parameters."""
        return count(*self.networks)

    @property
    def title(self) -> str:
        """What a person calls this run."""
        choices = self.config["choices"]
        names = [choices[group] for group in BUILT]
        return " · ".join([*names, f"seed {self.config['seed']}"])


def prepare(config: DictConfig | Mapping[str, Any], choices: Mapping[str, str]) -> Prepared:
    """Check a config to the last setting and build everything once, without writing anything.

    Args:
        config: as composed by Hydra.
        choices: the chosen option of each config group; for names only.

    Raises:
        ConfigError: if the run cannot work.
    """
    resolved = resolve_chosen(config, choices)
    for name in ("factors", "variants", "seeds", "tuning"):
        if resolved["study"][name] is not None:
            raise ConfigError(
                f"study.{name} is given, which makes a sweep, but this is one run; give -m, or put "
                "hydra: {mode: MULTIRUN} into the study's YAML"
            )
    return prepare_resolved(resolved)


def resolve_chosen(
    config: DictConfig | Mapping[str, Any], choices: Mapping[str, str]
) -> dict[str, Any]:
    """Return a resolved config with the names it was composed of; see `prepare`."""
    resolved = resolve(config if isinstance(config, DictConfig) else OmegaConf.create(config))
    return resolved | {"choices": {group: choices.get(group, group) for group in BUILT}}


def prepare_resolved(config: dict[str, Any], folder: RunFolder | None = None) -> Prepared:
    """Do what `prepare` does, from a config that is resolved already, as it stands in a plan.

    Args:
        config: resolved, with `choices`.
        folder: of the run, where it is known.

    Raises:
        ConfigError: as `prepare`.
    """
    check_machine(config)
    task = build_task(config)
    networks = meta_networks(config, task)
    identity = run_id(config, task.data.fingerprint)
    if folder is None:
        output_dir = Path(config["run"]["output_dir"])
        folder = find_folder(output_dir, config, identity, existing_folders(output_dir))
    return Prepared(config, identity, task, folder, networks)


def check_machine(config: Mapping[str, Any], *, sweeping: bool = False) -> None:
    """Raise ConfigError for what this machine cannot do; leaves nothing behind.

    Args:
        config: resolved.
        sweeping: whether the run is one of a sweep.
    """
    check_ranks(Run(**config["run"]), sweeping)
    check_writable(Path(config["run"]["output_dir"]))
    check_precision(config["training"]["precision"], config["run"]["accelerator"])


def meta_networks(config: Mapping[str, Any], task: Task) -> tuple[nn.Module, nn.Module]:
    """Return encoder and decoder on the meta device: sizes are checked, nothing is computed."""
    with torch.device("meta"):
        return build_networks(config, task.data.source_space, task.data.target_space)


def existing_folders(output_dir: Path) -> dict[str, Path]:
    """Return the folders of all runs by the digits of the run id that end their names."""
    runs = output_dir / "runs"
    if not runs.is_dir():
        return {}
    return {name.rpartition("-")[2]: runs / name for name in sorted(os.listdir(runs), reverse=True)}


def find_folder(
    output_dir: Path, config: Mapping[str, Any], identity: str, existing: Mapping[str, Path]
) -> RunFolder:
    """Return a run's folder: the one that has its id, whatever its slug, or a new one.

    Args:
        output_dir: as in `run.output_dir`.
        config: resolved, with `choices`.
        identity: the run id.
        existing: from `existing_folders`.
    """
    if identity[:12] in existing:
        return RunFolder(existing[identity[:12]])
    runs, choices = output_dir / "runs", config["choices"]
    words = "-".join(choices[group] for group in BUILT)
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", words).strip("-.")[:80]
    return RunFolder(runs / f"{slug}-s{config['seed']}-{identity[:12]}")


def check_precision(precision: str, accelerator: str) -> None:
    """Raise ConfigError for bfloat16 on a CPU whose recurrent kernels do not have it."""
    on_cpu = accelerator == "cpu" or not torch.cuda.is_available()
    if precision == "bfloat16" and on_cpu and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise ConfigError(
            "training.precision is 'bfloat16', but the recurrent kernels of this CPU do not have "
            "it (they need AVX-512); take training.precision=float32"
        )


def check_writable(output_dir: Path) -> None:
    """Raise ConfigError unless runs can be written below a folder; leaves nothing behind."""
    nearest = output_dir.absolute()
    try:  # what the permissions say is not what the file system does
        while not nearest.exists():
            nearest = nearest.parent
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise ConfigError(
            f"run.output_dir is {str(output_dir)!r}, but nothing can be written to {nearest} "
            f"({error.strerror}); give another folder: run.output_dir=FOLDER"
        ) from error


def execute(
    prepared: Prepared, *, report: Report, retry: bool, wait: bool = True, allow_drift: bool = False
) -> str:
    """Bring a run to its end, from wherever it stands, and return its status.

    A finished run is left alone. An interrupted one goes on from its last valid checkpoint. Of
    several ranks the first alone writes; the others follow it.

    Args:
        prepared: from `prepare`.
        report: called with (step, values) as training goes on.
        retry: whether to go on with a run that failed or diverged before.
        wait: if another process is at the run, wait for that; else return its status, RUNNING.
        allow_drift: whether to take over what other code has left.

    Raises:
        Interrupted: by a signal, once the run's state is on the disk.
        ConfigError: if other code has left a result or checkpoints, without `allow_drift`.
    """
    ranks = Ranks.of(Run(**prepared.config["run"]))
    lock = nullcontext() if ranks.rank else _acquired(prepared.folder, wait)
    if lock is None:
        return "RUNNING"
    with lock, Interruption() as interruption, ranks:
        return _locked(prepared, interruption, ranks, report, retry, allow_drift)


def _acquired(folder: RunFolder, wait: bool) -> BaseFileLock | None:
    """Return the lock of a run, held; None if another process has it and that is not waited for."""
    lock = folder.lock()
    if wait and folder.locked():
        say(f"another process trains {folder.path}; waiting for it")
    try:
        # Whoever only looks whether the run is locked holds the lock for a moment.
        return lock.acquire(timeout=-1 if wait else 0.5)
    except Timeout:
        return None


def _locked(
    prepared: Prepared,
    interruption: Interruption,
    ranks: Ranks,
    report: Report,
    retry: bool,
    allow_drift: bool,
) -> str:
    """Do what `execute` does, with the lock held."""
    folder = prepared.folder
    before = folder.recorded_status()["status"]
    left = before in ("FAILED", "DIVERGED") and not retry
    changed = [] if left or ranks.rank else drift(folder)
    if changed and not allow_drift:
        ranks.settled("FAILED")  # lets go of ranks that wait to be told
        raise ConfigError(
            f"{folder.path} was made by other code: {', '.join(changed)}; delete that folder to "
            "train it anew, give another run.output_dir, or take it as it is with "
            "study.allow_drift=true, which is recorded"
        )
    done = before == "FINISHED" and _has_result(folder)
    if settled := ranks.settled(before if done or left else None):
        return settled
    status, details = _attempt(prepared, interruption, report, ranks)
    if not ranks.rank:
        folder.set_status(status, run_id=prepared.run_id, **details)
    interruption.check()
    return status


def _attempt(
    prepared: Prepared, interruption: Interruption, report: Report, ranks: Ranks
) -> tuple[str, dict[str, Any]]:
    """Train and test; return how it ended, with details. Only the result has been written."""
    folder = prepared.folder
    if not ranks.rank:
        folder.set_status("RUNNING", run_id=prepared.run_id, started=time.time())
        folder.traceback.unlink(missing_ok=True)
    try:
        drifted = [] if ranks.rank else sign(folder)
        result = _train_and_test(prepared, interruption, report, ranks)
        result |= {"drift": drifted, "budget": prepared.config["budget"]}
        if not ranks.rank:
            write_json(folder.result_file, sealed(result))
    except Interrupted as error:
        interruption.signum = error.signum
        return "INTERRUPTED", {"reason": str(error)}
    except Diverged as error:
        return "DIVERGED", {"reason": str(error), "step": error.step}
    except (Exception, SystemExit) as error:
        # Lightning answers SIGTERM with a SystemExit of its own, wherever it notices it first.
        if interruption.signum is not None or isinstance(error, SIGTERMException):
            return "INTERRUPTED", {"reason": str(Interrupted(interruption.signum or SIGTERM))}
        if ranks.rank:
            sys.stderr.write(f"rank {ranks.rank}: {type(error).__name__}: {error}\n")
        else:
            write_text(folder.traceback, traceback.format_exc())
        return "FAILED", {"reason": f"{type(error).__name__}: {error}{_hint(error)}"}
    return "FINISHED", {}


def _hint(error: BaseException) -> str:
    """Return what may help against an error."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate" in str(error):
        return "; out of memory: take a smaller training.batch_size or run.evaluation_batch_size"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; the disk is full: the last checkpoint is whole, make room and run again"
    return ""


def _has_result(folder: RunFolder) -> bool:
    try:
        return folder.result() is not None
    except Invalid as error:
        say(f"{error}; the run is tested again")
        return False


def _train_and_test(
    prepared: Prepared, interruption: Interruption, report: Report, ranks: Ranks
) -> dict[str, Any]:
    config, task, folder = prepared.config, prepared.task, prepared.folder
    training, evaluation = Training(**config["training"]), Evaluation(**config["evaluation"])
    run = Run(**config["run"])
    started = time.time()
    torch.set_num_threads(run.threads)
    cost.reset_peak_memory()
    if not ranks.rank:
        _describe(prepared)
    model = build_model(config, task)
    model.ranks = ranks
    batches = task.train_dataloader()
    recorder = Recorder(
        folder=folder,
        run=run,
        evaluation=evaluation,
        total_steps=training.total_steps(batches.batches_per_epoch),
        max_seconds=training.max_seconds,
        interruption=interruption,
        report=report,
        ranks=ranks,
    )
    with quiet():
        trainer = make_trainer(run, training, evaluation, recorder, folder.path)
    checkpoint = ranks.told(None if ranks.rank else _newest_valid(folder))
    step = 0
    if checkpoint is not None:
        saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
        step = saved["global_step"]
        recorder.load_state_dict(next(iter(saved["callbacks"].values())))
        say(f"going on from update {step}")
    recorder.open(step)
    try:
        with quiet():
            if not recorder.memory["finished"]:
                measure_on(model, task, "validation")
                trainer.fit(model, datamodule=task, ckpt_path=checkpoint, weights_only=True)
            step = recorder.memory["last"]["step"]
            load_best(model, folder, recorder.memory["best"]["file"])
            measure_on(model, task, "test")
            recorder.check()
            test_started = time.perf_counter()
            trainer.test(model, datamodule=task, verbose=False)
        test_seconds = time.perf_counter() - test_started
        scores = model.evaluated()
        if not all(map(math.isfinite, scores.values())):
            raise Diverged(step)
        if ranks.rank:
            return {}
        _write_predictions(folder, task, model)
        probed = _probed(folder, task, model)
        if recorder.writer is not None:
            write_summary(recorder.writer, config, scores, folder.predictions, run.num_samples)
    finally:
        recorder.close()
    memory = recorder.memory
    data = task.data
    return {
        "run_id": prepared.run_id,
        "choices": config["choices"],
        "seed": config["seed"],
        "metrics": {
            "test": scores,
            "validation": memory["best"]["metrics"],
            "validation_last": memory["last"]["metrics"],
        },
        "signature": signature(
            "test",
            len(data.splits["test"]),
            data.max_target_length,
            data.fingerprint,
            model.search.signature,
            signatures := task.signatures(),
        ),
        "signatures": signatures,
        "scores": {name: score.record() for name, score in task.scores.items()},
        "selected_by": evaluation.select,
        "best_step": memory["best"]["step"],
        "best_checkpoint": f"checkpoints/{memory['best']['file']}",
        "steps": step,
        "examples_seen": memory["examples_seen"],
        "tokens_seen": memory["tokens_seen"],
        "batches_per_epoch": batches.batches_per_epoch,
        "probes": probed,
        "equations": {
            name: as_text(equations_of(one))
            for name, one in (("encoder", model.encoder), ("decoder", model.decoder))
        },
        "parameters": cost.count_parameters(model),
        "flops_per_example": cost.flops_per_example(model.cpu(), data.splits["validation"]),
        "train_seconds": memory["train_seconds"],
        "evaluation_seconds": memory["evaluation_seconds"] + test_seconds,
        "peak_memory_bytes": cost.peak_memory(),
        "restarts": memory["restarts"],
        "started": started,
        "ended": time.time(),
        "data": {
            "fingerprint": data.fingerprint,
            "counts": data.counts,
            "baselines": _spared("rules beside", task.baselines) or {},
        },
        "environment": environment(trainer.strategy.root_device) | {"world_size": ranks.world_size},
    }


def make_trainer(
    run: Run, training: Training, evaluation: Evaluation, recorder: Recorder, root: Path
) -> pl.Trainer:
    """Return a Trainer that leaves records, progress and checkpoints to the recorder."""
    ranks = recorder.ranks
    alone = ranks.world_size == 1
    return pl.Trainer(
        accelerator=run.accelerator,
        devices=run.devices,
        num_nodes=run.num_nodes,
        strategy="auto" if alone else run.strategy.replace("auto", "ddp"),
        precision=PRECISIONS[training.precision],
        # The stream of batches is endless; the recorder says when the budget is used up.
        max_epochs=-1,
        val_check_interval=evaluation.every_steps,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[recorder],
        # Alone, it is told so: Lightning would take a cluster's job for one of many processes.
        plugins=[AtomicCheckpointIO(), ranks.environment or LightningEnvironment()],
        default_root_dir=root,
    )


def evaluate(
    model: EncoderDecoder, task: Task, split: str, config: Mapping[str, Any]
) -> dict[str, float]:
    """Return the metrics of a model on one split of its task.

    Args:
        model: with the weights to evaluate.
        task: with its data.
        split: `train`, `validation` or `test`.
        config: resolved; accelerator and precision are taken from it.
    """
    measure_on(model, task, split)
    with quiet():
        trainer = pl.Trainer(
            accelerator=config["run"]["accelerator"],
            devices=1,
            precision=PRECISIONS[config["training"]["precision"]],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.test(model, dataloaders=task.evaluation_batches(split), verbose=False)
    return model.evaluated()


def measure_on(model: EncoderDecoder, task: Task, split: str) -> None:
    """Tell a model which targets of a split count as right, and how else to score them."""
    model.accepted = partial(task.accepted, split)
    model.scores_beside = partial(task.scores_beside, split)


def load_best(model: EncoderDecoder, folder: RunFolder, name: str) -> None:
    """Load the weights of the step chosen on validation."""
    checkpoint = AtomicCheckpointIO().load_checkpoint(folder.checkpoints / name)
    model.load_state_dict(checkpoint["state_dict"])


class quiet(warnings.catch_warnings):  # noqa: N801 - used like the context manager it extends
    """Silence what Lightning says about choices that are made on purpose here."""

    def __enter__(self) -> None:
        super().__enter__()
        for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module=r"(pytorch_)?lightning")
        warnings.filterwarnings(
            "ignore", category=UserWarning, message=r".*does not have many workers"
        )


def _describe(prepared: Prepared) -> None:
    """Write what is needed to use the run later, before anything can go wrong."""
    say(f"data: {counts_text(prepared.task.data.counts)}")
    write_text(prepared.folder.config, OmegaConf.to_yaml(OmegaConf.create(prepared.config)))
    write_json(prepared.folder.vocabularies, prepared.task.data.record())


def _newest_valid(folder: RunFolder) -> Path | None:
    """Return the checkpoint to go on from."""
    for path in folder.resume_checkpoints():
        try:
            verify(path)
            return path
        except Invalid as error:
            say(f"{error}; falling back to the one before")
    return None


def _probed(folder: RunFolder, task: Task, model: EncoderDecoder) -> dict[str, Any] | None:
    """Write what the report's pictures show; the scores stand without it, if it cannot be had."""
    probes = _spared("pictures of", lambda: probe(model, task))
    if probes is None:
        return None
    probes.write(folder.probes)
    return probes.counts


def _spared(what: str, make: Callable[[], T]) -> T | None:
    """Return what `make` returns; None, said in a line, if somebody's module or task fails."""
    try:
        return make()
    except Exception as error:  # whatever it does
        say(f"no {what} this run: {type(error).__name__}: {error}")
        return None


def _write_predictions(folder: RunFolder, task: Task, model: EncoderDecoder) -> None:
    lines = []
    for row, prediction, correct in sorted(model.predictions, key=lambda one: one[0]):
        record = prediction_record(task, "test", row, prediction, correct)
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    write_text(folder.predictions, "".join(lines))
