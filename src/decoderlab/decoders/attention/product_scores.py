"""Scores that are products: dot, scaled dot, general."""

from __future__ import annotations

import math

from torch import Tensor, nn

from decoderlab.decoders.attention.attention_score import AttentionScore, refuse_other_widths


class DotScore(AttentionScore):
    """q . m_j.

    Paper: Luong et al. 2015, eq. 8, dot (https://arxiv.org/abs/1508.04025).
    Differs: none.

    Raises:
        ValueError: where query and memory have different widths.
    """

    def __init__(self, *, query_size: int, memory_size: int) -> None:
        super().__init__()
        refuse_other_widths("dot", query_size, memory_size)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return attention_scores (B, T, S)."""
        return query @ keys.transpose(1, 2)

    def right_side(self, query: str) -> str:
        """Return the score as text."""
        return f"{query} . m_j"


class ScaledDotScore(AttentionScore):
    """q . m_j / sqrt(M).

    Paper: Vaswani et al. 2017, eq. 1 (https://arxiv.org/abs/1706.03762).
    Differs: none.

    Raises:
        ValueError: where query and memory have different widths.
    """

    def __init__(self, *, query_size: int, memory_size: int) -> None:
        super().__init__()
        refuse_other_widths("scaled_dot", query_size, memory_size)
        self.memory_size = memory_size

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return attention_scores (B, T, S)."""
        return query @ keys.transpose(1, 2) / math.sqrt(self.memory_size)

    def right_side(self, query: str) -> str:
        """Return the score as text."""
        return f"{query} . m_j / sqrt({self.memory_size})"


class GeneralScore(AttentionScore):
    """q W m_j.

    Paper: Luong et al. 2015, eq. 8, general (https://arxiv.org/abs/1508.04025).
    Differs: none.
    """

    def __init__(self, *, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.project_query = nn.Linear(query_size, memory_size, bias=False)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return attention_scores (B, T, S)."""
        return self.project_query(query) @ keys.transpose(1, 2)

    def right_side(self, query: str) -> str:
        """Return the score as text."""
        return f"{query} W_a m_j"
