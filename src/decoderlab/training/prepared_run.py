"""A run that can begin: its config checked, its task and sizes built, nothing written yet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from decoderlab.common.disk import RECORD_BYTES, full_message, is_full
from decoderlab.common.errors import ConfigError, LaunchError
from decoderlab.common.meta_device import reads_values, without_values
from decoderlab.common.safe_names import stay_below
from decoderlab.common.torch_settings import check_torch
from decoderlab.config.bounds import check_parameters
from decoderlab.config.lightning_settings import TrainerSettings
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import digest_of, identity
from decoderlab.data.task import Task
from decoderlab.layers.equations import count
from decoderlab.records.folder_names import existing_folders, find_folder
from decoderlab.records.loggers import check_loggers
from decoderlab.records.run_folder import RunFolder
from decoderlab.training.assembly import build_callbacks, build_networks, build_task
from decoderlab.training.distributed import check_ranks
from decoderlab.training.earlier_data import checked_start
from decoderlab.training.target_room import check_target_room


@dataclass(frozen=True)
class Prepared:
    """A run that was checked and can begin.

    Args:
        config: of the run.
        identity: what the run's result depends on, see `config.run_identity.identity`.
        task: with its data.
        folder: where its records are or will be.
        networks: encoder and decoder on the meta device, for their sizes.
    """

    config: RunConfig
    identity: Mapping[str, Any]
    task: Task
    folder: RunFolder
    networks: tuple[nn.Module, nn.Module]

    @cached_property
    def run_id(self) -> str:
        """The sha256 of its identity."""
        return digest_of(self.identity)

    @property
    def num_parameters(self) -> int:
        """Trained parameters."""
        return count(*self.networks)

    @property
    def total_steps(self) -> int | None:
        """The budget in updates; None for a budget in seconds."""
        batches = self.task.train_dataloader().batches_per_epoch
        return self.config.total_steps(batches)

    @property
    def title(self) -> str:
        """Its name in messages."""
        return " · ".join([*self.config.choices, f"seed {self.config.seed}"])


def prepare(composed: DictConfig, choices: Mapping[str, str]) -> Prepared:
    """Check all settings and build everything once, without writing anything.

    Args:
        composed: by Hydra.
        choices: the chosen option of each config group; for names only.

    Raises:
        ConfigError: if the run cannot work.
    """
    return prepare_config(RunConfig.from_composed(composed, choices))


def prepare_config(config: RunConfig) -> Prepared:
    """Do what `prepare` does, from a config that is complete.

    Raises:
        ConfigError: as `prepare`.
    """
    for name in ("factors", "variants", "seeds", "tuning"):
        if getattr(config.study, name) is not None:
            raise ConfigError(
                f"study.{name} is given, which makes a sweep, but this is one run; give -m, or put "
                "hydra: {mode: MULTIRUN} into the study's YAML"
            )
    if config.budget.match in ("parameters", "flops"):
        raise ConfigError(
            f"budget.match is {config.budget.match!r}, but one run has nothing to be "
            "matched with; give a sweep with a baseline: -m decoder=... study.baseline=..."
        )
    return prepare_planned(config)


def prepare_planned(config: RunConfig, folder: RunFolder | None = None) -> Prepared:
    """Do what `prepare` does, for a run that may be one of a sweep.

    Args:
        config: of the run.
        folder: of the run, where it is known.

    Raises:
        ConfigError: as `prepare`.
    """
    check_machine(config)
    task = build_task(config)
    networks = meta_networks(config, task)
    check_parameters(count(*networks))
    check_target_room(config, task, networks[1])
    build_callbacks(config, task)  # a mistake in them is said before anything begins
    known = identity(config, task.data.fingerprint)
    task.data.counts.update(checked_start(config, task, known))
    if folder is None:
        existing = existing_folders(Path(config.run.output_dir))
        folder = find_folder(config, digest_of(known), existing)
    check_torch()  # after all classes of the user's were built once
    return Prepared(config, known, task, folder, networks)


def meta_networks(config: RunConfig, task: Task) -> tuple[nn.Module, nn.Module]:
    """Return encoder and decoder on the meta device: sizes are checked, nothing is computed.

    Raises:
        ConfigError: as `build_networks`, and for a class whose constructor reads a tensor's values.
    """
    data = task.data
    try:
        with without_values():
            return build_networks(config, data.source_space, data.target_space, data.alignment)
    except ConfigError as error:
        message = reads_values(error.__cause__ or error)
        if message is None:
            raise
        group = str(error).partition(":")[0]
        raise ConfigError(f"{group}: {message}") from error


def check_machine(config: RunConfig, *, sweeping: bool = False) -> None:
    """Raise ConfigError for what this machine cannot do; leaves nothing behind.

    Args:
        config: of the run.
        sweeping: whether the run is one of a sweep.
    """
    check_torch()
    check_gpus(config.trainer)
    check_ranks(config.trainer, sweeping)
    check_loggers(config)
    check_writable(Path(config.run.output_dir), ("runs", "studies") if sweeping else ("runs",))
    check_precision(config.training.precision, config.trainer.accelerator)


def check_gpus(trainer: TrainerSettings) -> None:
    """Raise ConfigError for GPUs that are not there."""
    if trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise ConfigError(
            "trainer.accelerator is 'gpu', but torch sees none; take trainer.accelerator=cpu"
        )
    gpus = torch.cuda.device_count() if trainer.accelerator != "cpu" else 0
    if gpus and trainer.devices > gpus:
        raise ConfigError(
            f"trainer.devices is {trainer.devices}, but torch sees {gpus} GPUs; take fewer"
        )


def check_precision(precision: str, accelerator: str) -> None:
    """Raise ConfigError for bfloat16 on a CPU whose recurrent kernels do not have it."""
    on_cpu = accelerator == "cpu" or not torch.cuda.is_available()
    if precision == "bfloat16" and on_cpu and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise ConfigError(
            "training.precision is 'bfloat16', but the recurrent kernels of this CPU do not have "
            "it (they need AVX-512); take training.precision=float32"
        )


def check_writable(output_dir: Path, parts: Iterable[str | Path]) -> None:
    """Check that parts of an output folder can be written; leaves nothing behind.

    Raises:
        ConfigError: if nothing can be written to one of them.
        LaunchError: if the disk is full.
    """
    for folder in (output_dir.absolute() / part for part in parts):
        stay_below(folder, output_dir)  # to try a link that leads out would be to write there
        nearest = folder
        try:  # what the permissions say is not what the file system does
            while not nearest.exists():
                nearest = nearest.parent
            with tempfile.TemporaryFile(dir=nearest):
                pass
        except OSError as error:
            if is_full(error):
                raise LaunchError(full_message(nearest, RECORD_BYTES)) from error
            raise ConfigError(
                f"run.output_dir is {str(output_dir)!r}, but nothing can be written to {nearest} "
                f"({error.strerror}); give another folder: run.output_dir=FOLDER"
            ) from error
