"""Several processes that train one model: their ranks, and what they decide together.

Each process is a rank, from 0. torchrun or srun starts them, and Lightning's strategy exchanges
their gradients. Rank 0 alone writes and speaks. Whatever changes the course of training is agreed
upon, since a rank that goes another way leaves the others waiting for it.
"""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import Tensor
from torch import distributed as dist

from decoderlab.common.errors import ConfigError
from decoderlab.config.command_line import as_given
from decoderlab.config.lightning_settings import TrainerSettings
from decoderlab.contract import Batch


class Ranks:
    """The processes of a run, seen from this process; without arguments, a single process.

    As a context manager it releases the others at its end.

    Args:
        rank: of this process, from 0.
        world_size: number of processes.
        environment: who started them; None for one process.
        on_gpu: whether tensors on a GPU are exchanged too.
    """

    def __init__(
        self,
        rank: int = 0,
        world_size: int = 1,
        environment: ClusterEnvironment | None = None,
        on_gpu: bool = False,
    ) -> None:
        self.rank, self.world_size = rank, world_size
        self.environment, self.on_gpu = environment, on_gpu

    @classmethod
    def of(cls, trainer: TrainerSettings) -> Ranks:
        """Return the ranks that the settings ask for, and that something else has started.

        Raises:
            ConfigError: if nothing has.
        """
        world_size = trainer.num_processes
        if world_size == 1:
            return cls()
        if (environment := _environment(world_size)) is None:
            raise ConfigError(_how_to_start(trainer))
        on_gpu = trainer.accelerator != "cpu" and torch.cuda.is_available()
        return cls(environment.global_rank(), world_size, environment, on_gpu)

    @property
    def keys(self) -> tuple[int, ...]:
        """What a random stream is divided by besides: nothing for rank 0."""
        return (self.rank,) if self.rank else ()

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value; at the first time this brings the ranks together.

        Raises:
            ValueError: if there are several ranks and no `environment`.
        """
        if self.world_size == 1:
            return value
        if not dist.is_initialized():
            if self.environment is None:
                raise ValueError(
                    f"there are {self.world_size} ranks, but no address for them to meet at; give "
                    "`environment`, or take `Ranks.of`"
                )
            address, port = self.environment.main_address, self.environment.main_port
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if self.on_gpu else "gloo",
                init_method=f"tcp://{address}:{port}",
                rank=self.rank,
                world_size=self.world_size,
            )
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def gathered(self, value: Any) -> list[Any]:
        """Return the values of all ranks."""
        if self.world_size == 1:
            return [value]
        values = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def highest(self, *values: int) -> tuple[int, ...]:
        """Return the highest of each value over all ranks; nothing on a GPU is waited for."""
        if self.world_size == 1:
            return values
        agreed = torch.tensor(values)
        dist.all_reduce(agreed, op=dist.ReduceOp.MAX)
        return tuple(agreed.tolist())

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of each entry over all ranks."""
        if self.world_size == 1:
            return values
        total = values.detach().clone()
        dist.all_reduce(total)
        return total / self.world_size

    def share(self, batch: Batch) -> tuple[Batch, int]:
        """Return this rank's examples of a batch, and how often each counts.

        A rank without any takes the first, which then counts 0 times: it has to take part in the
        exchange of gradients. Padding stays as it is in the whole batch.
        """
        rows = slice(self.rank, None, self.world_size)
        counts = int(self.rank < len(batch.index))
        return Batch(*(field[rows if counts else slice(1)] for field in batch)), counts

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()


def check_ranks(trainer: TrainerSettings, sweeping: bool) -> None:
    """Raise ConfigError where several processes cannot work with these settings.

    Args:
        trainer: settings.
        sweeping: whether the run is one of a sweep.
    """
    world_size = trainer.num_processes
    asked = f"trainer.devices is {trainer.devices} and trainer.num_nodes is {trainer.num_nodes}"
    if sweeping and world_size > 1:
        raise ConfigError(
            f"{asked}, but the runs of a sweep have one process each, several runs at a time; take "
            "trainer.devices=1 trainer.num_nodes=1, or start each run by itself"
        )
    if TorchElasticEnvironment.detect():
        started = TorchElasticEnvironment().world_size()
        if started != world_size:
            raise ConfigError(
                f"{asked}, but torchrun started {started} processes; their product must be "
                f"{started}: give trainer.devices=PROCESSES_PER_NODE trainer.num_nodes=NODES"
            )
    elif world_size > 1 and _environment(world_size) is None:
        raise ConfigError(_how_to_start(trainer))


def _environment(world_size: int) -> ClusterEnvironment | None:
    """Return what started the ranks: torchrun or SLURM; None for neither."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    # Asked where there is no job, Lightning warns that srun is installed and not used.
    started = os.environ.get("SLURM_NTASKS") == str(world_size)
    if started and SLURMEnvironment.detect():
        return SLURMEnvironment(auto_requeue=False)
    return None


def _how_to_start(trainer: TrainerSettings) -> str:
    """Return a message with the command line that starts several processes."""
    nodes = trainer.num_nodes
    several = f"--nnodes={nodes} --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 "
    settings = shlex.join(as_given(sys.argv[1:])) if _is_ours(sys.argv[0]) else "SETTINGS"
    return (
        f"trainer.devices is {trainer.devices} and trainer.num_nodes is {nodes}, but this process "
        f"was started alone; start it {'on each machine ' if nodes > 1 else ''}with "
        f"torchrun {several if nodes > 1 else ''}--nproc-per-node={trainer.devices} "
        f"-m decoderlab.cli.train {settings}"
    )


def _is_ours(program: str) -> bool:
    return "decoderlab" in program and "train" in program
