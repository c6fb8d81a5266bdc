"""An attention score of one's own: the cosine of query and memory, sharpened as the query asks."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from decoderlab.decoders.attention import AttentionScore


class CosineScore(AttentionScore):
    """beta_t cos(W q, m_j), beta_t = least_strength + softplus(w . q + b).

    Paper: Graves et al. 2014, eq. 5 and 6 (https://arxiv.org/abs/1410.5401).
    Differs: the paper says only that beta_t is positive and comes from the controller; the map and
        its lower bound are ours.

    Args:
        query_size: width of the query.
        memory_size: width of the memory.
        least_strength: lower bound of beta_t, at least 0. A cosine is at most 1, so that with a
            small beta_t attention is nearly uniform.
    """

    def __init__(self, *, query_size: int, memory_size: int, least_strength: float = 1.0) -> None:
        super().__init__()
        if not least_strength >= 0:
            raise ValueError(f"least_strength is {least_strength}; it must be at least 0")
        self.least_strength = least_strength
        self.project_query = nn.Linear(query_size, memory_size, bias=False)
        self.strength = nn.Linear(query_size, 1)

    def keys(self, memory: Tensor) -> Tensor:
        """Return the memory's vectors with length 1."""
        return functional.normalize(memory, dim=-1)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return attention_scores (B, T, S)."""
        cosine = functional.normalize(self.project_query(query), dim=-1) @ keys.transpose(1, 2)
        return (self.least_strength + functional.softplus(self.strength(query))) * cosine

    def right_side(self, query: str) -> str:
        """Return the score as text."""
        strength = f"{self.least_strength:g} + log(1 + exp(w . {query} + b))"
        return f"({strength}) cos(W_a {query}, m_j)"
