"""Whether a decoder can write the targets that it is to be trained on, before anything begins."""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from decoderlab.common.errors import ConfigError
from decoderlab.config.run_config import RunConfig
from decoderlab.data.batches import Split
from decoderlab.data.task import Task
from decoderlab.training.assembly import build_networks

COUNTED, ENCODED = 4096, 64  # targets and sources at once


class Limited(Protocol):
    """A decoder that cannot write every target, see `decoderlab.contract.Decoder`."""

    def room_needed(self, target: Tensor) -> Tensor:
        """Return how much room each target takes, (B,)."""
        ...

    def check_room(self, needed: Tensor, memory_lengths: Tensor) -> None:
        """Raise ValueError if a memory has less room than its target takes."""
        ...


@torch.no_grad()
def check_target_room(config: RunConfig, task: Task, decoder: nn.Module) -> None:
    """Ask a decoder whether it can write, of each source length, the largest training target.

    Nothing is done for a decoder without `room_needed`, which can write any. The memory of an
    encoder may be longer or shorter than its source, so a real encoder reads those sources.

    Args:
        config: of the run.
        task: with its data.
        decoder: of that config, also on the meta device.

    Raises:
        ConfigError: if there is a target that it cannot write, whatever its weights.
    """
    if not hasattr(decoder, "room_needed"):
        return
    limited, data = cast("Limited", decoder), task.data
    split = data.splits["train"]
    needed = _room_needed(limited, split)
    rows = _largest(split.source.lengths, needed)
    spaces = (data.source_space, data.target_space, data.alignment)
    encoder = build_networks(config, *spaces)[0].eval()
    lengths = []
    for part in rows.split(ENCODED):
        batch = split.batch(part)
        lengths.append(encoder(batch.source, batch.source_lengths).memory_mask.sum(dim=1))
    try:
        limited.check_room(needed[rows], torch.cat(lengths))
    except ValueError as error:
        raise ConfigError(f"decoder: {error}") from error


def _room_needed(decoder: Limited, split: Split) -> Tensor:
    parts = torch.arange(len(split)).split(COUNTED)
    return torch.cat([decoder.room_needed(split.batch(part).target) for part in parts])


def _largest(lengths: Tensor, needed: Tensor) -> Tensor:
    """Return, of each length of a source, the row whose target takes the most room.

    Example:
        >>> _largest(torch.tensor([2, 1, 2, 2]), torch.tensor([3, 9, 5, 4]))
        tensor([1, 2])
    """
    order = np.lexsort((needed.numpy(), lengths.numpy()))
    last = np.flatnonzero(np.diff(lengths.numpy()[order], append=-1))
    return torch.from_numpy(order[last])
