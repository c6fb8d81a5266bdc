"""Several processes that train one model: who is who, and what they decide together.

Each process is a rank, from 0. Rank 0 alone writes and speaks. Whatever changes the course of
training is agreed upon, since a rank that goes another way leaves the others waiting for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from typing import Any

import torch
from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from torch import Tensor
from torch import distributed as dist

from decoderlab.common import process
from decoderlab.common.errors import ConfigError
from decoderlab.config.settings import Run
from decoderlab.contract import Batch

PARTING_SECONDS = 10.0
PARENT = "DECODERLAB_PARENT"
MEETING = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")


class Ranks:
    """The processes of one run, as this one sees them; without arguments, a process by itself.

    As a context manager it ends with no process left that it started.

    Args:
        devices: processes a node, at least 1.
        num_nodes: machines, at least 1.
        on_gpu: whether tensors on a GPU are exchanged too.
    """

    def __init__(self, devices: int = 1, num_nodes: int = 1, on_gpu: bool = False) -> None:
        self.devices, self.num_nodes, self.on_gpu = devices, num_nodes, on_gpu
        self.world_size = devices * num_nodes
        self.rank = 0
        self.environment: ClusterEnvironment | None = None
        self._children: list[subprocess.Popen] = []
        if self.world_size > 1:
            self.environment = _environment(self.world_size)
            self.rank = self.environment.global_rank()
            if isinstance(self.environment, LightningEnvironment):
                local = self.environment.local_rank()
                self.rank = self.environment.node_rank() * devices + local

    @classmethod
    def of(cls, run: Run) -> Ranks:
        """Return the ranks that the settings ask for."""
        on_gpu = run.accelerator != "cpu" and torch.cuda.is_available()
        return cls(run.devices, run.num_nodes, on_gpu)

    @property
    def keys(self) -> tuple[int, ...]:
        """What a random stream is divided by besides: nothing for rank 0."""
        return (self.rank,) if self.rank else ()

    def terminal(self, status: str | None) -> str | None:
        """Return what rank 0 knows of a run that is to be left alone, None for one to work on.

        Args:
            status: what this rank knows.
        """
        started = PARENT in os.environ
        if self.world_size > 1 and self.num_nodes == 1:
            if started or not self.environment.creates_processes_externally:
                return None if started else status  # the others are started if there is work
        return self.broadcast(status)

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value; at the first time this brings the ranks together."""
        if self.world_size == 1:
            return value
        if not dist.is_initialized():
            self._meet()
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
        # The others write nothing: one that hangs in an exchange can be killed without loss.
        end = time.monotonic() + PARTING_SECONDS
        for child in self._children:
            try:
                child.wait(max(end - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if self._children:
            del os.environ["LOCAL_RANK"]
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def _meet(self) -> None:
        """Start the other ranks of this node unless somebody else does, and connect to all."""
        if PARENT in os.environ:
            parent = int(os.environ[PARENT])
            threading.Thread(target=process.end_with, args=(parent, 0.0), daemon=True).start()
        own = isinstance(self.environment, LightningEnvironment)
        missing = [name for name in MEETING if name not in os.environ]
        if own and self.num_nodes > 1 and missing:
            raise ConfigError(
                f"run.num_nodes is {self.num_nodes}, but {', '.join(missing)} is not in the "
                "environment; start the machines with torchrun or srun, or set "
                f"{', '.join(MEETING)} on each"
            )
        address, port = self.environment.main_address, self.environment.main_port
        if not self.environment.creates_processes_externally:
            self._start({"MASTER_ADDR": address, "MASTER_PORT": str(port)})
        if own:
            store = dist.TCPStore(
                address,
                port,
                is_master=self.rank == 0,
                timeout=timedelta(minutes=30),
                wait_for_workers=False,
            )
            store.add("met", 1)
            while self._children and store.add("met", 0) < self.world_size:
                ended = [child.returncode for child in self._children if child.poll() is not None]
                if ended:
                    raise RuntimeError(f"a rank ended with exit code {ended[0]} before it began")
                time.sleep(0.02)
            where = {"store": store}
        else:
            where = {"init_method": f"tcp://{address}:{port}"}
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if self.on_gpu else "gloo",
            rank=self.rank,
            world_size=self.world_size,
            **where,
        )

    def _start(self, meeting_point: dict[str, str]) -> None:
        """Start the other ranks of this node with this process's own command.

        Lightning's launcher would start them with settings of Hydra's added, and kill this
        process, be it in the middle of a record, once one of them ends with an exit code.
        """
        arguments = sys.argv[1:]
        given = sys.orig_argv[len(sys.orig_argv) - len(arguments) :]
        if sorted(given) != sorted(arguments):
            raise ConfigError(
                f"run.devices is {self.devices}, but the command that started this process is not "
                "the run's own, so no other can be started with it; use decoderlab-train or "
                "torchrun, or take run.devices=1"
            )
        os.environ["LOCAL_RANK"] = "0"  # tells Lightning that the ranks are there
        for local_rank in range(1, self.devices):
            theirs = meeting_point | {"LOCAL_RANK": str(local_rank), PARENT: str(os.getpid())}
            command = [sys.executable, *sys.orig_argv[1:]]
            self._children.append(subprocess.Popen(command, env=os.environ | theirs))


def check_ranks(run: Run, sweeping: bool) -> None:
    """Raise ConfigError where several processes cannot work as they were asked for.

    Args:
        run: settings.
        sweeping: whether the run is one of a sweep.
    """
    world_size = run.devices * run.num_nodes
    if sweeping and world_size > 1:
        raise ConfigError(
            f"run.devices is {run.devices} and run.num_nodes is {run.num_nodes}, but the runs of a "
            "sweep have one process each, several runs at a time; take run.devices=1 "
            "run.num_nodes=1, or start each run by itself"
        )
    if TorchElasticEnvironment.detect():
        started = TorchElasticEnvironment().world_size()
        if started != world_size:
            raise ConfigError(
                f"run.devices is {run.devices} and run.num_nodes is {run.num_nodes}, but torchrun "
                f"started {started} processes; their product must be {started}: give "
                "run.devices=PROCESSES_PER_NODE run.num_nodes=NODES"
            )


def _environment(world_size: int) -> ClusterEnvironment:
    """Return who started the ranks: torchrun, SLURM, or this command."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if SLURMEnvironment.detect() and os.environ["SLURM_NTASKS"] == str(world_size):
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()
