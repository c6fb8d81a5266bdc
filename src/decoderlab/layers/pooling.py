"""Many vectors to one, over real positions only, and the mask that says which these are."""

from __future__ import annotations

import torch
from torch import Tensor


def length_mask(lengths: Tensor, num_positions: int, device: torch.device) -> Tensor:
    """Return (B, S) bool, True for the first `lengths[b]` places of row b.

    Example:
        >>> length_mask(torch.tensor([2, 1]), num_positions=2, device=torch.device("cpu")).tolist()
        [[True, True], [True, False]]
    """
    return torch.arange(num_positions, device=device) < lengths.to(device).unsqueeze(1)


def masked_mean(memory: Tensor, memory_mask: Tensor) -> Tensor:
    """Return the mean over the real positions of each row.

    Whatever stands at padding has no influence, infinite values and NaN included.

    Shapes:
        memory: (B, S, M) floats; memory_mask: (B, S) bool, True for real positions, of which each
        row has at least one. Returns (B, M).

    Example:
        >>> memory = torch.tensor([[[1.0], [3.0], [99.0]]])
        >>> masked_mean(memory, torch.tensor([[True, True, False]])).tolist()
        [[2.0]]
    """
    total = memory.masked_fill(~memory_mask.unsqueeze(-1), 0.0).sum(1)
    return total / memory_mask.sum(1, keepdim=True).to(memory.dtype)


def masked_max(memory: Tensor, memory_mask: Tensor) -> Tensor:
    """Return the maximum of each number over the real positions of each row.

    The zeros that stand at padding do not count, not even where all real values are negative.

    Shapes:
        memory: (B, S, M) floats; memory_mask: (B, S) bool, True for real positions, of which each
        row has at least one. Returns (B, M).

    Example:
        >>> memory = torch.tensor([[[-1.0], [-3.0], [0.0]]])
        >>> masked_max(memory, torch.tensor([[True, True, False]])).tolist()
        [[-1.0]]
    """
    return memory.masked_fill(~memory_mask.unsqueeze(-1), -torch.inf).amax(1)


POOLINGS = {"max": masked_max, "mean": masked_mean}
