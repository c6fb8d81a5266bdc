"""Training streams of a user's tasks: a step has the same batch however often a run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from decoderlab.common.errors import ConfigError
from decoderlab.common.randomness import generators_kept, seed_process, stream_seed
from decoderlab.config.code_identity import own_name
from decoderlab.data.batches import Batch, BatchStream
from decoderlab.data.task import Task

# Of the stream so many batches are drawn to see whether it can begin in its middle.
LOOKED_AT, BEGUN_AT = 4, 2


class KeyedStream:
    """A stream whose batches are drawn by generators that (seed, number of the batch) seeds.

    Args:
        stream: of the user's.
        task: whose it is.
    """

    def __init__(self, stream: BatchStream, task: Task) -> None:
        self.stream, self.task = stream, task
        self.batches_per_epoch = stream.batches_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        """Begin at the step that the trainer has come to."""
        number, batches = self.task.first_batch(), iter(self.stream)
        while True:
            with generators_kept():
                seed_process(stream_seed(self.task.seed, "order", "batch", number))
                batch = next(batches, None)
            if batch is None:
                return
            yield batch
            number += 1


def key_stream(task: Task) -> None:
    """Key the batches of a task that has a `train_dataloader` of a user's own.

    Args:
        task: with its data.

    Raises:
        ConfigError: if its stream, begun at a later batch, is another one.
    """
    kind = next(kind for kind in type(task).__mro__ if "train_dataloader" in vars(kind))
    if own_name(kind) is not None:
        return
    unkeyed = task.train_dataloader
    task.train_dataloader = lambda: KeyedStream(unkeyed(), task)
    whole, later = _batches(task, 0)[BEGUN_AT:], _batches(task, BEGUN_AT)
    if not all(_equal(mine, other) for mine, other in zip(whole, later, strict=False)):
        raise ConfigError(
            f"task: the batches of {kind.__module__}.{kind.__qualname__}.train_dataloader are "
            f"others when it begins at batch {BEGUN_AT}, as when an interrupted run goes on: begin "
            "at self.first_batch(), and let a batch depend on its number alone (NumPy's, torch's "
            "and Python's shared generators are seeded by it)"
        )


def _batches(task: Task, first: int) -> list[Batch]:
    task.first_batch = lambda: first
    try:
        return list(islice(task.train_dataloader(), LOOKED_AT))
    finally:
        del task.first_batch


def _equal(batch: Batch, other: Batch) -> bool:
    return all(
        torch.equal(mine, theirs) if isinstance(mine, Tensor) else mine == theirs
        for mine, theirs in zip(batch, other, strict=True)
    )
