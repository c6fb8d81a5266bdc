"""A summary of one's own: a mean in which positions count as a learned question says."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decoderlab.layers.pooling import Pooling


class AttentivePooling(Pooling):
    """sum over j of a_j m_j, a = softmax over real positions of u . tanh(W m_j + b).

    Paper: Yang et al. 2016, eq. 5 to 7 (https://aclanthology.org/N16-1174).
    Differs: none.

    Args:
        memory_size: width of the memory.
        size: width of the hidden layer, at least 1; None for `memory_size`.
    """

    def __init__(self, *, memory_size: int, size: int | None = None) -> None:
        super().__init__()
        if size is not None and size < 1:
            raise ValueError(f"size is {size}; it must be at least 1")
        self.size = memory_size
        self.hidden = nn.Linear(memory_size, size or memory_size)
        self.question = nn.Linear(size or memory_size, 1, bias=False)

    def forward(self, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """Return the summary (B, M)."""
        memory = memory.masked_fill(~memory_mask.unsqueeze(-1), 0.0)
        scores = self.question(torch.tanh(self.hidden(memory))).squeeze(-1)
        weights = torch.softmax(scores.masked_fill(~memory_mask, -torch.inf), dim=-1)
        return (weights.unsqueeze(1) @ memory).squeeze(1)

    def right_side(self) -> str:
        """Return the summary as text."""
        return "sum over j of a_j m_j, a = softmax over j of u . tanh(W m_j + b)"
