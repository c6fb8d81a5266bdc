"""Other normalisations of a score than the softmax: sparse ones, and a temperature."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from decoderlab.common import require
from decoderlab.decoders.attention.attention_score import AttentionScore
from decoderlab.decoders.attention.local_scores import ScoreOfContents
from decoderlab.decoders.attention.product_scores import GeneralScore
from decoderlab.layers.equations import Equation

ALPHAS = (1.0, 1.5, 2.0)


class EntmaxScore(ScoreOfContents):
    """A score whose weights come from alpha-entmax: with alpha above 1, most are exactly 0.

    Paper: Martins and Astudillo 2016, algorithm 1 (https://arxiv.org/abs/1602.02068), alpha 2;
        Peters et al. 2019, algorithm 2 (https://arxiv.org/abs/1905.05702), alpha 1.5.
    Differs: the temperature is ours.

    Args:
        query_size: width of the query.
        memory_size: width of the memory.
        size: width of the hidden layer of a score that has it.
        score: of the contents.
        alpha: 1 (softmax), 1.5 or 2 (sparsemax).
        temperature: what scores are divided by first, above 0.

    Raises:
        ValueError: for another alpha, or a temperature of 0 or less.
    """

    sparse: ClassVar[bool] = True

    def __init__(
        self,
        *,
        query_size: int,
        memory_size: int,
        size: int,
        score: Callable[..., AttentionScore] = GeneralScore,
        alpha: float = 1.5,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(query_size=query_size, memory_size=memory_size, size=size, score=score)
        require.positive("attention.score.temperature", temperature)
        if alpha not in ALPHAS:
            raise ValueError(f"attention.score.alpha is {alpha}; it must be 1, 1.5 or 2")
        self.alpha, self.temperature = float(alpha), temperature

    def weights(
        self, query: Tensor, keys: Tensor, memory_mask: Tensor, carried: Tensor | None
    ) -> tuple[Tensor, None]:
        """Return attention_weights (B, T, S), exactly 0 at padding; nothing is carried."""
        scores = self.content(query, keys) / self.temperature
        scores = scores.masked_fill(~memory_mask.unsqueeze(1), float("-inf"))
        return entmax(scores, self.alpha), None

    def equations(self, query: str) -> list[Equation]:
        """Return scores and weights; see `decoderlab.layers.equations`."""
        scaled = "score_tj" if self.temperature == 1 else f"score_tj / {self.temperature:g}"
        line = f"{self.alpha:g}-entmax over j of {scaled}, exactly 0 at padding"
        return [self.content_equation(query), Equation("w_t", line, "S")]


def entmax(scores: Tensor, alpha: float) -> Tensor:
    """Return alpha-entmax over the last axis; -inf gets exactly 0.

    With z = (alpha - 1) score it is max(0, z - tau)^(1 / (alpha - 1)), tau such that the sum is 1.

    Args:
        scores: (..., S), finite somewhere in each row.
        alpha: 1, 1.5 or 2.

    Example:
        >>> entmax(torch.tensor([0.0, 0.5, 2.0]), 2.0).tolist()
        [0.0, 0.0, 1.0]
    """
    if alpha == 1:
        return torch.softmax(scores, dim=-1)
    scaled = (alpha - 1) * (scores - scores.max(dim=-1, keepdim=True).values)
    ordered = scaled.sort(dim=-1, descending=True).values
    finite = ordered.isfinite()
    ordered = ordered.masked_fill(~finite, 0.0)
    counts = torch.arange(1, scores.shape[-1] + 1, dtype=scores.dtype, device=scores.device)
    mean = ordered.cumsum(dim=-1) / counts
    if alpha == 2:
        thresholds = mean - 1 / counts
    else:  # the smaller root of sum over the first k of (z - tau)^2 = 1
        spread = (ordered**2).cumsum(dim=-1) - counts * mean**2
        inside = ((1 - spread) / counts).clamp(min=torch.finfo(scores.dtype).tiny)
        thresholds = mean - inside.sqrt()
    support = (finite & (ordered > thresholds)).sum(dim=-1, keepdim=True)
    threshold = thresholds.gather(-1, support - 1)
    return (scaled - threshold).clamp(min=0) ** (1 / (alpha - 1))
