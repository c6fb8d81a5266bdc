"""Scores with a hidden layer: additive and concat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.decoders.attention.attention_score import AttentionScore


class AdditiveScore(AttentionScore):
    """v . tanh(W q + U m_j).

    Paper: Bahdanau et al. 2015, A.1.2 (https://arxiv.org/abs/1409.0473).
    Differs: none.

    Args:
        query_size: width of the query.
        memory_size: width of the memory.
        size: width of the hidden layer, at least 1.
    """

    def __init__(self, *, query_size: int, memory_size: int, size: int) -> None:
        super().__init__()
        require.at_least("attention.size", size, 1)
        self.project_query = nn.Linear(query_size, size, bias=False)
        self.project_memory = nn.Linear(memory_size, size, bias=False)
        self.score_vector = nn.Linear(size, 1, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        """Return U m_j."""
        return self.project_memory(memory)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return attention_scores (B, T, S)."""
        return _of_hidden_layer(self.project_query(query), keys, self.score_vector)

    def right_side(self, query: str) -> str:
        """Return the score as text."""
        return f"v . tanh(W_a {query} + U_a m_j)"


class ConcatScore(AttentionScore):
    """v . tanh(W [q; m_j]): the function of `AdditiveScore`, initialised as one matrix.

    Paper: Luong et al. 2015, eq. 8, concat (https://arxiv.org/abs/1508.04025).
    Differs: none.

    Args:
        query_size: width of the query.
        memory_size: width of the memory.
        size: width of the hidden layer, at least 1.
    """

    def __init__(self, *, query_size: int, memory_size: int, size: int) -> None:
        super().__init__()
        require.at_least("attention.size", size, 1)
        self.query_size = query_size
        self.project = nn.Linear(query_size + memory_size, size, bias=False)
        self.score_vector = nn.Linear(size, 1, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        """Return the memory's share of W [q; m_j]."""
        return memory @ self.project.weight[:, self.query_size :].T

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return attention_scores (B, T, S)."""
        query = query @ self.project.weight[:, : self.query_size].T
        return _of_hidden_layer(query, keys, self.score_vector)

    def right_side(self, query: str) -> str:
        """Return the score as text."""
        return f"v . tanh(W_a [{query}; m_j])"


def _of_hidden_layer(query: Tensor, keys: Tensor, score_vector: nn.Linear) -> Tensor:
    hidden = torch.tanh(query.unsqueeze(2) + keys.unsqueeze(1))
    return score_vector(hidden).squeeze(-1)
