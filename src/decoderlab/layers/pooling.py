"""Many vectors to one, over real positions only, and the mask that says which these are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from decoderlab.common.part_choice import Choice


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


class Pooling(nn.Module):
    """Makes one vector of the memory, an encoder's summary; a pooling of your own is a subclass.

    It needs `forward` and, to be printed, `right_side`. The constructor takes `memory_size`, the
    width M of the memory, if it has a use for it, besides its own settings.

    Attributes:
        size: width D of the summary.

    Shapes:
        memory: (B, S, M), zeros at padding; memory_mask: (B, S) bool, True for real positions, of
        which each row has at least one. Returns (B, D).
    """

    INJECTED: ClassVar[tuple[str, ...]] = ("memory_size",)
    size: int

    def forward(self, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """Return the summary."""
        raise NotImplementedError

    def right_side(self) -> str:
        """Return the summary as text, m being the memory; see `decoderlab.layers.equations`."""
        return f"{type(self).__name__}(m)"


class MeanPooling(Pooling):
    """The mean over real positions, see `masked_mean`.

    Shapes:
        as in `Pooling`.
    """

    SHORT = "mean"

    def __init__(self, *, memory_size: int) -> None:
        super().__init__()
        self.size = memory_size

    def forward(self, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """Return the mean."""
        return masked_mean(memory, memory_mask)

    def right_side(self) -> str:
        """Return the summary as text."""
        return "mean of m"


class MaxPooling(Pooling):
    """The maximum of each number over real positions, see `masked_max`.

    Shapes:
        as in `Pooling`.
    """

    SHORT = "max"

    def __init__(self, *, memory_size: int) -> None:
        super().__init__()
        self.size = memory_size

    def forward(self, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """Return the maximum."""
        return masked_max(memory, memory_mask)

    def right_side(self) -> str:
        """Return the summary as text."""
        return "max of m"


POOLINGS = {kind.SHORT: kind for kind in (MaxPooling, MeanPooling)}


def build_pooling(
    summary: str | Callable[..., Pooling], memory_size: int, own: Sequence[str] = ()
) -> Pooling | None:
    """Return what pools the memory; None for a summary that an encoder makes in its own way.

    Args:
        summary: a name, or a class of a user's own.
        memory_size: width of the memory.
        own: names of the encoder's own summaries.

    Raises:
        ValueError: for an unknown name.
    """
    chosen = Choice.named("encoder.summary", summary, dict.fromkeys(own, Pooling) | POOLINGS)
    return None if summary in own else chosen.build(memory_size=memory_size)
