"""Attention: which parts of the memory matter now, and what they say."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decoderlab import checks

SCORES = ("dot", "general")


class Attention(nn.Module):
    """Multiplicative attention over the memory.

    Paper: Luong et al. 2015, section 3.1, eq. 7 and 8 (https://arxiv.org/abs/1508.04025).
    Differs: none for the scores; padding gets exactly zero weight.

    Args:
        score: `dot`, q . m, which needs equal widths, or `general`, q W m (no bias).
        query_size: width of the query, the decoder's hidden size.
        memory_size: width M of the memory.

    Shapes:
        query: (B, T, query_size); memory: (B, S, M); memory_mask: (B, S) bool, True for real
        tokens, at least one per row. Returns context (B, T, M) and attention_weights (B, T, S),
        which sum to 1 over S and are zero at padding.

    Raises:
        ValueError: for an unknown score, or for `dot` between different widths.

    Example:
        >>> attention = Attention(score="dot", query_size=2, memory_size=2)
        >>> memory, mask = torch.ones(1, 3, 2), torch.tensor([[True, True, False]])
        >>> attention(torch.ones(1, 1, 2), memory, mask)[1].tolist()
        [[[0.5, 0.5, 0.0]]]
    """

    def __init__(self, *, score: str, query_size: int, memory_size: int) -> None:
        super().__init__()
        checks.choice("attention.score", score, SCORES)
        if score == "dot" and query_size != memory_size:
            raise ValueError(
                f"attention.score is 'dot', but the decoder's hidden_size is {query_size} and the "
                f"encoder's memory is {memory_size} wide; make them equal or take score=general"
            )
        self.project = (
            nn.Linear(query_size, memory_size, bias=False) if score == "general" else nn.Identity()
        )

    def forward(self, query: Tensor, memory: Tensor, memory_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the context and the attention weights of each query."""
        attention_scores = self.project(query) @ memory.transpose(1, 2)
        attention_scores = attention_scores.masked_fill(~memory_mask.unsqueeze(1), float("-inf"))
        attention_weights = torch.softmax(attention_scores, dim=-1)
        return attention_weights @ memory, attention_weights
