"""What an attention score is: the comparison of a query with each position of the memory."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from decoderlab.layers.equations import Equation, count


class AttentionScore(nn.Module):
    """Compares queries with positions of the memory; a score of your own is a subclass.

    It needs `forward` and, to be printed, `right_side`. The part of a comparison that depends on
    the memory alone goes into `keys`, which is called once a source. A score that depends on which
    symbols the source has overrides `source_keys` instead, which gets their ids too.

    The constructor takes those of these keywords that it has a use for, besides its own settings:
    `query_size`, the decoder's hidden size; `memory_size`, the width M of the memory; `size`, the
    setting `decoder.attention.size` or else `query_size`; `source_space` and `alignment`, what the
    source is of and which target token each of its symbols is, see the contract of decoders.

    A score that depends on earlier steps (coverage, location, monotonic attention) sets
    `carries` and overrides `begin` and `weights`, which then gets one query at a time; it may
    override `all_weights` too, to do at once what can be. A score of
    positions alone, whatever stands there, sets `reads_memory` to False; one whose weights are
    exactly 0 at some real positions, which then get no gradient, sets `sparse`.

    Shapes:
        query: (B, T, query_size); memory: (B, S, M); keys: from `keys(memory)`, (B, S, K);
        source: (B, S) int64, None where it is not of tokens.
        memory_mask: (B, S) bool, True for real tokens, at least one per row.
        carried: (B, ...), from `begin` and then from the step before; None without `carries`.
    """

    INJECTED: ClassVar[tuple[str, ...]] = (
        "query_size",
        "memory_size",
        "size",
        "source_space",
        "alignment",
    )
    carries: ClassVar[bool] = False
    reads_memory: ClassVar[bool] = True
    sparse: ClassVar[bool] = False

    def keys(self, memory: Tensor) -> Tensor:
        """Return the part of the scores that depends on the memory alone."""
        return memory

    def source_keys(self, memory: Tensor, source: Tensor | None) -> Tensor:
        """Return the part of the scores that depends on the memory and the source alone."""
        return self.keys(memory)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return attention_scores (B, T, S)."""
        raise NotImplementedError

    def begin(self, memory_mask: Tensor, keys: Tensor) -> Tensor | None:
        """Return what is carried into the first step."""
        return None

    def weights(
        self, query: Tensor, keys: Tensor, memory_mask: Tensor, carried: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return attention_weights (B, T, S), exactly 0 at padding, and what is carried on."""
        return masked_softmax(self(query, keys), memory_mask), carried

    def all_weights(
        self, query: Tensor, keys: Tensor, memory_mask: Tensor, carried: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return what `weights` does, of T queries that are all there, one after the other."""
        if not self.carries or query.shape[1] == 1:
            return self.weights(query, keys, memory_mask, carried)
        rows = []
        for asked in query.split(1, dim=1):
            weights, carried = self.weights(asked, keys, memory_mask, carried)
            rows.append(weights)
        return torch.cat(rows, dim=1), carried

    def right_side(self, query: str) -> str:
        """Return the score of m_j as text; see `decoderlab.layers.equations`."""
        return f"{type(self).__name__}({query}, m_j)"

    def equations(self, query: str) -> list[Equation]:
        """Return scores and weights; see `decoderlab.layers.equations`."""
        return [
            Equation("score_tj", self.right_side(query), 1, count(self)),
            softmax_equation("w_t"),
        ]


def softmax_equation(left: str) -> Equation:
    """Return the line of the softmax of all scores; see `decoderlab.layers.equations`."""
    return Equation(left, "softmax over j of score_tj, exactly 0 at padding", "S")


def masked_softmax(attention_scores: Tensor, memory_mask: Tensor) -> Tensor:
    """Return the softmax over real positions; padding gets exactly zero weight.

    Example:
        >>> masked_softmax(torch.zeros(1, 1, 3), torch.tensor([[True, True, False]])).tolist()
        [[[0.5, 0.5, 0.0]]]
    """
    attention_scores = attention_scores.masked_fill(~memory_mask.unsqueeze(1), float("-inf"))
    return torch.softmax(attention_scores, dim=-1)


def refuse_other_widths(name: str, query_size: int, memory_size: int) -> None:
    """Raise ValueError where a product needs equal widths and they differ."""
    if query_size != memory_size:
        raise ValueError(
            f"attention is {name!r}, but the decoder's hidden_size is {query_size} and the "
            f"encoder's memory is {memory_size} wide; make them equal or take "
            "decoder/attention=general"
        )


def refuse_own_weights(name: str, score: AttentionScore) -> None:
    """Raise ValueError for a score whose weights are more than the softmax of what it returns.

    Args:
        name: of the setting, for the message.
        score: of the contents, whose scores somebody else normalises.
    """
    if type(score).weights is not AttentionScore.weights:
        raise ValueError(
            f"{name} is {type(score).__name__}, whose weights depend on earlier steps, positions "
            "or on a normalisation of its own; take a score of the contents alone, such as "
            "GeneralScore"
        )
