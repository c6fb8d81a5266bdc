"""A mixing of one's own: attention on attention, a gate on what attention read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decoderlab.decoders.attention import Mixing


class AttentionOnAttention(Mixing):
    """sigmoid(W_g [a_t; s_t] + b_g) * (W_i [a_t; s_t] + b_i): a gate on what was read.

    Paper: Huang et al. 2019, eq. 3 to 5 (https://arxiv.org/abs/1908.06954).
    Differs: none; the query is the decoder's state.

    Args:
        query_size: width of the state s_t, and of the features.
        memory_size: width of the context a_t.
    """

    def __init__(self, *, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.size = query_size
        self.information = nn.Linear(memory_size + query_size, query_size)
        self.gate = nn.Linear(memory_size + query_size, query_size)

    def forward(self, context: Tensor, states: Tensor, embedded: Tensor | None) -> Tensor:
        """Return the features."""
        both = torch.cat([context, states], dim=-1)
        return torch.sigmoid(self.gate(both)) * self.information(both)

    def right_side(self, state: str, embedded: str | None) -> str:
        """Return the features as text."""
        return f"sigmoid(W_g [a_t; {state}] + b_g) * (W_i [a_t; {state}] + b_i)"
