"""Scores by position: a window around a position, and the position alone (Luong et al. 2015)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.common.part_choice import Choice
from decoderlab.decoders.attention.attention_score import (
    AttentionScore,
    masked_softmax,
    refuse_own_weights,
)
from decoderlab.decoders.attention.product_scores import GeneralScore
from decoderlab.layers.equations import Equation, count

NO_SCORE = float("-inf")


def positions_of(memory_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the index of each real position among the real ones, from 0: (B, S).

    Example:
        >>> positions_of(torch.tensor([[True, True, False]]), torch.float32).tolist()
        [[0.0, 1.0, 1.0]]
    """
    return (memory_mask.cumsum(dim=1) - 1).to(dtype)


class LocationScore(AttentionScore):
    """(W q)_j: the query alone chooses the position, whatever stands there.

    Paper: Luong et al. 2015, eq. 9, location (https://arxiv.org/abs/1508.04025).
    Differs: none. As in the paper, positions beyond the last that W has are not read.

    Args:
        query_size: width of the query.
        num_positions: rows of W, at least 1.
    """

    reads_memory: ClassVar[bool] = False

    def __init__(self, *, query_size: int, num_positions: int = 64) -> None:
        super().__init__()
        require.at_least("attention.score.num_positions", num_positions, 1)
        self.position = nn.Linear(query_size, num_positions, bias=False)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Return attention_scores (B, T, S)."""
        scores = self.position(query)
        missing = keys.shape[1] - scores.shape[-1]
        if missing > 0:
            unread = scores.new_full((*scores.shape[:2], missing), NO_SCORE)
            scores = torch.cat([scores, unread], dim=-1)
        return scores[..., : keys.shape[1]]

    def right_side(self, query: str) -> str:
        """Return the score as text."""
        return f"(W_a {query})_j"


class ScoreOfContents(AttentionScore):
    """A score that looks at positions, around another one that looks at what stands there.

    Args:
        query_size: width of the query.
        memory_size: width of the memory.
        size: width of the hidden layer of a score that has it.
        score: of the contents, see `refuse_own_weights`.

    Raises:
        ValueError: where `score` has weights of its own.
    """

    def __init__(
        self,
        *,
        query_size: int,
        memory_size: int,
        size: int,
        score: Callable[..., AttentionScore] = GeneralScore,
    ) -> None:
        super().__init__()
        chosen = Choice.of(score)
        self.content: AttentionScore = chosen.build(
            query_size=query_size, memory_size=memory_size, size=size
        )
        refuse_own_weights("attention.score.score", self.content)

    def keys(self, memory: Tensor) -> Tensor:
        """Return the keys of the score of the contents."""
        return self.content.keys(memory)

    def source_keys(self, memory: Tensor, source: Tensor | None) -> Tensor:
        """Return the keys of the score of the contents, which may see the source's symbols."""
        return self.content.source_keys(memory, source)

    def content_equation(self, query: str) -> Equation:
        """Return the score of the contents as a line."""
        return Equation("score_tj", self.content.right_side(query), 1, count(self.content))


class WindowedScore(ScoreOfContents):
    """A score within a window of positions around a centre.

    Args:
        query_size: width of the query.
        memory_size: width of the memory.
        size: width of the hidden layer of a score that has it.
        score: of the contents.
        half_width: D, the positions on either side of the centre, at least 1; 10 in the paper.
    """

    def __init__(
        self,
        *,
        query_size: int,
        memory_size: int,
        size: int,
        score: Callable[..., AttentionScore] = GeneralScore,
        half_width: int = 10,
    ) -> None:
        sizes = {"query_size": query_size, "memory_size": memory_size, "size": size}
        super().__init__(**sizes, score=score)
        require.at_least("attention.score.half_width", half_width, 1)
        self.half_width = half_width

    def within(self, scores: Tensor, distance: Tensor) -> Tensor:
        """Return scores with -inf outside of the window; both (B, T, S)."""
        return scores.masked_fill(distance.abs() > self.half_width, NO_SCORE)


class LocalMonotonicScore(WindowedScore):
    """A score within the window of D positions on either side of position t.

    Paper: Luong et al. 2015, section 3.2, local-m (https://arxiv.org/abs/1508.04025).
    Differs: beyond the end of the source the window stays at the last position; the paper does not
        say what is read there.

    Args: those of `WindowedScore`.
    """

    carries: ClassVar[bool] = True

    def begin(self, memory_mask: Tensor, keys: Tensor) -> Tensor:
        """Return the index of the first step, (B,)."""
        return keys.new_zeros(keys.shape[0])

    def weights(
        self, query: Tensor, keys: Tensor, memory_mask: Tensor, carried: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return attention_weights (B, T, S), and the index of the next step, (B,)."""
        first, num_steps = require.given("the index of the step", carried), query.shape[1]
        steps = first.unsqueeze(1) + torch.arange(num_steps, device=query.device)
        centre = torch.minimum(steps, memory_mask.sum(dim=1, keepdim=True) - 1).unsqueeze(2)
        positions = positions_of(memory_mask, keys.dtype).unsqueeze(1)
        scores = self.within(self.content(query, keys), positions - centre)
        return masked_softmax(scores, memory_mask), first + num_steps

    all_weights = weights

    def equations(self, query: str) -> list[Equation]:
        """Return scores and weights; see `decoderlab.layers.equations`."""
        window = f"softmax over j of score_tj, |j - min(t, S)| <= {self.half_width}, else 0"
        return [
            self.content_equation(query),
            Equation("w_t", window, "S"),
        ]


class LocalPredictedScore(WindowedScore):
    """A score within a window around p_t = S sigmoid(v . tanh(W q)), times a Gaussian of p_t.

    Paper: Luong et al. 2015, eq. 9 and 10, local-p (https://arxiv.org/abs/1508.04025).
    Differs: the weights are normalised after the Gaussian, so that they sum to 1.

    Args:
        query_size: width of the query.
        memory_size: width of the memory.
        size: width of the hidden layer of p_t, and of a score that has it.
        score: of the contents; `GeneralScore` by default.
        half_width: D, in positions, at least 1; the Gaussian's deviation is D / 2. 10 in the paper.
    """

    def __init__(
        self,
        *,
        query_size: int,
        memory_size: int,
        size: int,
        score: Callable[..., AttentionScore] = GeneralScore,
        half_width: int = 10,
    ) -> None:
        sizes = {"query_size": query_size, "memory_size": memory_size, "size": size}
        super().__init__(**sizes, score=score, half_width=half_width)
        self.project_position = nn.Linear(query_size, size, bias=False)
        self.position_vector = nn.Linear(size, 1, bias=False)

    def weights(
        self, query: Tensor, keys: Tensor, memory_mask: Tensor, carried: Tensor | None
    ) -> tuple[Tensor, None]:
        """Return attention_weights (B, T, S), exactly 0 at padding; nothing is carried."""
        lengths = memory_mask.sum(dim=1).to(keys.dtype).view(-1, 1, 1)
        hidden = torch.tanh(self.project_position(query))
        centre = lengths * torch.sigmoid(self.position_vector(hidden))  # (B, T, 1)
        distance = positions_of(memory_mask, keys.dtype).unsqueeze(1) + 1 - centre
        gaussian = -(distance**2) / (2 * (self.half_width / 2) ** 2)
        scores = self.within(self.content(query, keys) + gaussian, distance)
        return masked_softmax(scores, memory_mask), None

    def equations(self, query: str) -> list[Equation]:
        """Return the centre, scores and weights; see `decoderlab.layers.equations`."""
        deviation = self.half_width / 2
        own = count(self.project_position) + count(self.position_vector)
        return [
            Equation("p_t", f"S sigmoid(v_p . tanh(W_p {query}))", 1, own),
            self.content_equation(query),
            Equation(
                "w_t",
                f"softmax over j of score_tj - (j - p_t)^2 / (2 * {deviation:g}^2), "
                f"|j - p_t| <= {self.half_width}, else 0",
                "S",
            ),
        ]
