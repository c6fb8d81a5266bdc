"""Attention: which parts of the memory matter now, and what they say."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.common.parts import keep
from decoderlab.layers.equations import Equation, count

SCORES = ("dot", "scaled_dot", "general", "additive", "concat")
QUERIES = ("current", "previous")
MIXINGS = ("none", "tanh", "deep")


@dataclass(frozen=True, kw_only=True)
class AttentionSettings:
    """The four switches of attention, and a width.

    Args:
        score: `dot`, `scaled_dot`, `general`, `additive` or `concat`, see `Attention`; None for no
            attention at all.
        query: the state that asks: `current`, s_t (Luong et al. 2015), or `previous`, s_{t-1}
            (Bahdanau et al. 2015).
        input_feeding: whether the cell sees what attention found. With query `current` that is
            the attentional vector of the step before (the context, with mixing `none`); with
            query `previous`, this step's context, as in Bahdanau et al. 2015.
        mixing: how context and state reach the head: `none`, side by side; `tanh`, Luong's
            attentional vector tanh(W [a_t; s_t]); `deep`, tanh(W [a_t; s_t; e(y_{t-1})]).
        size: width of the hidden layer of `additive` and `concat`; None for the query's width.
    """

    score: str | None
    query: str = "current"
    input_feeding: bool = False
    mixing: str = "tanh"
    size: int | None = None

    def __post_init__(self) -> None:
        if self.score is not None:
            require.choice("attention.score", self.score, SCORES)
        require.choice("attention.query", self.query, QUERIES)
        require.choice("attention.mixing", self.mixing, MIXINGS)
        if self.size is not None:
            require.at_least("attention.size", self.size, 1)

    def settled(self) -> AttentionSettings:
        """Return the settings with what has no effect at its default."""
        if self.score is None:
            return keep(self, "score")
        if self.score in ("additive", "concat"):
            return self
        return replace(self, size=None)


class Attention(nn.Module):
    """Attention over the memory, with one of five scores.

    With q the query and m a position of the memory:

        dot         q . m
        scaled_dot  q . m / sqrt(M)
        general     q W m
        additive    v . tanh(W q + U m)
        concat      v . tanh(W [q; m]), the same function, initialised as one matrix

    Paper: dot, general, concat: Luong et al. 2015, eq. 8 (https://arxiv.org/abs/1508.04025);
        additive: Bahdanau et al. 2015, A.1.2 (https://arxiv.org/abs/1409.0473);
        scaled_dot: Vaswani et al. 2017, eq. 1 (https://arxiv.org/abs/1706.03762).
    Differs: none for the scores; padding gets exactly zero weight.

    Args:
        score: see above. dot and scaled_dot need equal widths.
        query_size: width of the query, the decoder's hidden size.
        memory_size: width M of the memory.
        size: width of the hidden layer of additive and concat; None for `query_size`.

    Shapes:
        query: (B, T, query_size); memory: (B, S, M); keys: from `keys(memory)`, made once a
        source; memory_mask: (B, S) bool, True for real tokens, at least one per row.
        Returns context (B, T, M) and attention_weights (B, T, S), which sum to 1 over S and are
        zero at padding.

    Raises:
        ValueError: for an unknown score, or for a product between different widths.

    Example:
        >>> attention = Attention(score="dot", query_size=2, memory_size=2)
        >>> memory, mask = torch.ones(1, 3, 2), torch.tensor([[True, True, False]])
        >>> attention(torch.ones(1, 1, 2), memory, attention.keys(memory), mask)[1].tolist()
        [[[0.5, 0.5, 0.0]]]
    """

    def __init__(
        self, *, score: str, query_size: int, memory_size: int, size: int | None = None
    ) -> None:
        super().__init__()
        require.choice("attention.score", score, SCORES)
        if score in ("dot", "scaled_dot") and query_size != memory_size:
            raise ValueError(
                f"attention.score is {score!r}, but the decoder's hidden_size is {query_size} and "
                f"the encoder's memory is {memory_size} wide; make them equal or "
                "take decoder.attention.score=general"
            )
        self.score, self.query_size, self.memory_size = score, query_size, memory_size
        self.size = size = size or query_size
        if score == "general":
            self.project_query = nn.Linear(query_size, memory_size, bias=False)
        elif score == "additive":
            self.project_query = nn.Linear(query_size, size, bias=False)
            self.project_memory = nn.Linear(memory_size, size, bias=False)
        elif score == "concat":
            self.project = nn.Linear(query_size + memory_size, size, bias=False)
        if score in ("additive", "concat"):
            self.score_vector = nn.Linear(size, 1, bias=False)

    def equations(self, query: str) -> list[Equation]:
        """Return scores, weights and context; see `decoderlab.layers.equations`."""
        score = {
            "dot": f"{query} . m_j",
            "scaled_dot": f"{query} . m_j / sqrt({self.memory_size})",
            "general": f"{query} W_a m_j",
            "additive": f"v . tanh(W_a {query} + U_a m_j)",
            "concat": f"v . tanh(W_a [{query}; m_j])",
        }[self.score]
        return [
            Equation("score_tj", score, 1, count(self)),
            Equation("w_t", "softmax over j of score_tj, exactly 0 at padding", "S"),
            Equation("a_t", "sum over j of w_tj m_j", self.memory_size),
        ]

    def keys(self, memory: Tensor) -> Tensor:
        """Return the part of the scores that depends on the memory alone."""
        if self.score == "additive":
            return self.project_memory(memory)
        if self.score == "concat":
            return memory @ self.project.weight[:, self.query_size :].T
        return memory

    def forward(
        self, query: Tensor, memory: Tensor, keys: Tensor, memory_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the context and the attention weights of each query."""
        attention_scores = self._scores(query, keys)
        attention_scores = attention_scores.masked_fill(~memory_mask.unsqueeze(1), float("-inf"))
        attention_weights = torch.softmax(attention_scores, dim=-1)
        return attention_weights @ memory, attention_weights

    def _scores(self, query: Tensor, keys: Tensor) -> Tensor:
        if self.score in ("additive", "concat"):
            if self.score == "additive":
                query = self.project_query(query)
            else:
                query = query @ self.project.weight[:, : self.query_size].T
            hidden = torch.tanh(query.unsqueeze(2) + keys.unsqueeze(1))
            return self.score_vector(hidden).squeeze(-1)
        if self.score == "general":
            query = self.project_query(query)
        scores = query @ keys.transpose(1, 2)
        return scores / math.sqrt(self.memory_size) if self.score == "scaled_dot" else scores
