"""The coverage penalty of a beam search: hypotheses that leave parts of the source unread lose."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LEAST = (
    1e-10  # what was read of a position counts as at least this, so that its logarithm is finite
)


def coverage_score(covered: Tensor, memory_mask: Tensor) -> Tensor:
    """Return the sum over real positions j of log(min(cov_j, 1)), (...).

    Paper: Wu et al. 2016, eq. 14, cp with beta 1 (https://arxiv.org/abs/1609.08144).
    Differs: cov_j counts as 1e-10 at least.

    Args:
        covered: (..., S), of each position the sum of its weights over all steps.
        memory_mask: (..., S), True for real positions.

    Example:
        >>> covered, mask = torch.tensor([1.5, 0.5, 0.0]), torch.tensor([True, True, False])
        >>> round(float(coverage_score(covered, mask)), 4)
        -0.6931
    """
    logs = covered.double().clamp(LEAST, 1.0).log()
    return logs.masked_fill(~memory_mask, 0.0).sum(dim=-1)


def refuse_unseen(decoder: object, factor: float) -> None:
    """Raise ValueError for a coverage penalty where a decoder of ours has no attention to show.

    Of somebody else's decoder it shows when it generates, see `Coverage`.
    """
    ours = type(decoder).__module__.startswith("decoderlab.decoders.")
    attends = getattr(decoder, "attention", None) is not None or hasattr(decoder, "score")
    if factor and ours and not attends:
        raise ValueError(_unseen(factor))


def _unseen(factor: float) -> str:
    return (
        f"coverage_penalty is {factor}, but the decoder shows no attention_weights; take a "
        "decoder with attention, such as decoder=luong, or leave coverage_penalty at 0"
    )


class Coverage:
    """What the hypotheses of a beam have read of their sources.

    Args:
        memory_mask: (B, S).
        beam_width: K.
        factor: beta; with 0 nothing is kept.
    """

    def __init__(self, memory_mask: Tensor, beam_width: int, factor: float) -> None:
        self.factor, self.mask = factor, memory_mask.unsqueeze(1).expand(-1, beam_width, -1)
        self.covered = torch.zeros(self.mask.shape, dtype=torch.float64, device=memory_mask.device)

    def add(self, state: Any, parent: Tensor) -> None:
        """Add what a step has read; `parent` (B, K) says which hypothesis each one continues.

        Raises:
            ValueError: where the decoder's state has no attention_weights.
        """
        if not self.factor:
            return
        weights = getattr(state, "attention_weights", None)
        if weights is None:
            raise ValueError(_unseen(self.factor))
        covered = self.covered + weights.double().unflatten(0, self.mask.shape[:2])
        self.covered = covered.gather(1, parent[..., None].expand_as(covered))

    def score(self) -> Tensor | float:
        """Return beta times the coverage of each hypothesis, (B, K)."""
        return self.factor * coverage_score(self.covered, self.mask) if self.factor else 0.0
