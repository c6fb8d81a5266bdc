"""Scores that depend on what attention read before: location-aware, coverage, monotonic."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.common import require
from decoderlab.decoders.attention.attention_score import (
    AttentionScore,
    masked_softmax,
    softmax_equation,
)
from decoderlab.decoders.attention.local_scores import ScoreOfContents, positions_of
from decoderlab.decoders.attention.product_scores import GeneralScore
from decoderlab.layers.equations import Equation, count


class RememberingScore(AttentionScore):
    """v . tanh(W q + U m_j + what is remembered of position j + b).

    A subclass makes `remembered` of what it carries, one number (B, S) for each position, and says
    what it carries on.

    Args:
        query_size: width of the query.
        memory_size: width of the memory.
        size: width of the hidden layer, at least 1.
    """

    carries: ClassVar[bool] = True

    def __init__(self, *, query_size: int, memory_size: int, size: int) -> None:
        super().__init__()
        require.at_least("attention.size", size, 1)
        self.project_query = nn.Linear(query_size, size)
        self.project_memory = nn.Linear(memory_size, size, bias=False)
        self.score_vector = nn.Linear(size, 1, bias=False)

    def remembered(self, carried: Tensor) -> Tensor:
        """Return what is added in the hidden layer, (B, S, size), from what is carried, (B, S)."""
        raise NotImplementedError

    def carried_on(self, carried: Tensor, weights: Tensor) -> Tensor:
        """Return what is carried to the next step; all are (B, S)."""
        raise NotImplementedError

    def keys(self, memory: Tensor) -> Tensor:
        """Return U m_j."""
        return self.project_memory(memory)

    def begin(self, memory_mask: Tensor, keys: Tensor) -> Tensor:
        """Return what is carried into the first step: zeros, (B, S)."""
        return keys.new_zeros(memory_mask.shape)

    def weights(
        self, query: Tensor, keys: Tensor, memory_mask: Tensor, carried: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return attention_weights (B, T, S), and what is carried on, (B, S)."""
        carried, rows = require.given("what the score carries", carried), []
        for projected in self.project_query(query).split(1, dim=1):
            hidden = projected + keys + self.remembered(carried)
            scores = self.score_vector(torch.tanh(hidden)).transpose(1, 2)
            rows.append(masked_softmax(scores, memory_mask))
            carried = self.carried_on(carried, rows[-1][:, -1])
        return torch.cat(rows, dim=1), carried

    all_weights = weights


class LocationAwareScore(RememberingScore):
    """v . tanh(W q + U m_j + V f_tj + b), f_t = F * w_{t-1}: filters over the last weights.

    Paper: Chorowski et al. 2015, eq. 8 and 9 (https://arxiv.org/abs/1506.07503).
    Differs: before the first step the weights are 0; the paper does not say what they are.

    Args:
        query_size: width of the query.
        memory_size: width of the memory.
        size: width of the hidden layer, at least 1.
        num_filters: at least 1; 10 in the paper.
        filter_width: positions that a filter sees, odd; 201 in the paper, for frames of speech.

    Raises:
        ValueError: for a size out of range, or an even filter width.
    """

    def __init__(
        self,
        *,
        query_size: int,
        memory_size: int,
        size: int,
        num_filters: int = 10,
        filter_width: int = 5,
    ) -> None:
        super().__init__(query_size=query_size, memory_size=memory_size, size=size)
        require.at_least("attention.score.num_filters", num_filters, 1)
        if filter_width < 1 or filter_width % 2 == 0:
            raise ValueError(
                f"attention.score.filter_width is {filter_width}; it must be odd and at least 1"
            )
        self.filters = nn.Conv1d(1, num_filters, filter_width, padding="same", bias=False)
        self.project_filtered = nn.Linear(num_filters, size, bias=False)

    def remembered(self, carried: Tensor) -> Tensor:
        """Return V f_tj, from the weights of the step before."""
        return self.project_filtered(self.filters(carried.unsqueeze(1)).transpose(1, 2))

    def carried_on(self, carried: Tensor, weights: Tensor) -> Tensor:
        """Return the weights."""
        return weights

    def equations(self, query: str) -> list[Equation]:
        """Return filters, scores and weights; see `decoderlab.layers.equations`."""
        line = f"v . tanh(W_a {query} + U_a m_j + V_a f_tj + b_a)"
        (width,), own = self.filters.kernel_size, count(self.filters)
        around = f"F w_{{t-1}}, {width} positions around j, 0 beyond the ends"
        return [
            Equation("w_0", "0", "S"),
            Equation("f_tj", around, self.filters.out_channels, own),
            Equation("score_tj", line, 1, count(self) - own),
            softmax_equation("w_t"),
        ]


class CoverageScore(RememberingScore):
    """v . tanh(W q + U m_j + cov_tj u + b), cov_t the sum of all weights before t.

    Paper: Tu et al. 2016, eq. 6 and 7 (https://arxiv.org/abs/1601.04811), whose linguistic coverage
        has a vector for cov_tj; See et al. 2017, eq. 10 and 11 (https://arxiv.org/abs/1704.04368).
    Differs: none; the coverage loss of See et al. is `decoder.attention.coverage_loss`.

    Args:
        query_size: width of the query.
        memory_size: width of the memory.
        size: width of the hidden layer, at least 1.
    """

    def __init__(self, *, query_size: int, memory_size: int, size: int) -> None:
        super().__init__(query_size=query_size, memory_size=memory_size, size=size)
        self.project_coverage = nn.Linear(1, size, bias=False)

    def remembered(self, carried: Tensor) -> Tensor:
        """Return cov_tj u."""
        return self.project_coverage(carried.unsqueeze(-1))

    def carried_on(self, carried: Tensor, weights: Tensor) -> Tensor:
        """Return the coverage with these weights."""
        return carried + weights

    def equations(self, query: str) -> list[Equation]:
        """Return coverage, scores and weights; see `decoderlab.layers.equations`."""
        line = f"v . tanh(W_a {query} + U_a m_j + cov_tj u_a + b_a)"
        return [
            Equation("cov_t", "sum over i < t of w_i", "S"),
            Equation("score_tj", line, 1, count(self)),
            softmax_equation("w_t"),
        ]


class MonotonicScore(ScoreOfContents):
    """Two readers that only move on, one from each end, mixed with a score of the contents.

        r_t = pos_{t-1} + step(q)   the reader from the front, pos_0 = 0; from the back r_t goes
                                    down, and starts behind the last position, pos_0 = S + 1
        l_tj = softmax over j of -(j - r_t)^2 / (2 sigma(q)^2),    pos_t = sum over j of j l_tj
        w_t = g_1 softmax(score(q, m)) + g_2 l_t (front) + g_3 l_t (back),    g = softmax(W q + b)

    step is softplus(.) and sigma least_deviation + softplus(.) of a linear map of q each.

    Paper: Ray Chowdhury and Caragea 2023, Mix MonoAttn (https://arxiv.org/abs/2305.20019), after
        Dubois et al. 2020 (https://arxiv.org/abs/1911.03872).
    Differs: positions and deviations are counted in positions, not in lengths of the source; steps
        and deviations use softplus, theirs relu or sigmoid; theirs turns the memory round by a gate
        a source where ours has a second reader; the first step leads to the first position.

    Args:
        query_size: width of the query.
        memory_size: width of the memory.
        score: of the contents; `GeneralScore` by default.
        least_deviation: lower bound of sigma in positions, above 0; .27 in the paper's code.
        size: for a score that has a hidden layer.

    Raises:
        ValueError: for a least deviation of 0 or less.
    """

    carries: ClassVar[bool] = True

    def __init__(
        self,
        *,
        query_size: int,
        memory_size: int,
        size: int,
        score: Callable[..., AttentionScore] = GeneralScore,
        least_deviation: float = 0.27,
    ) -> None:
        sizes = {"query_size": query_size, "memory_size": memory_size, "size": size}
        super().__init__(**sizes, score=score)
        if not least_deviation > 0:
            raise ValueError(
                f"attention.score.least_deviation is {least_deviation}; it must be above 0"
            )
        self.least_deviation = least_deviation
        self.step = nn.Linear(query_size, 2)
        self.deviation = nn.Linear(query_size, 2)
        self.gate = nn.Linear(query_size, 3)

    def begin(self, memory_mask: Tensor, keys: Tensor) -> Tensor:
        """Return where the two readers start, (B, 2): before the first and behind the last."""
        last = memory_mask.sum(dim=1).to(keys.dtype)
        return torch.stack([-torch.ones_like(last), last], dim=1)

    def weights(
        self, query: Tensor, keys: Tensor, memory_mask: Tensor, carried: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return attention_weights (B, T, S), and where the readers are now, (B, 2)."""
        readers = require.given("where the readers are", carried)
        ways = functional.softplus(self.step(query)) * query.new_tensor([1.0, -1.0])  # (B, T, 2)
        deviations = self.least_deviation + functional.softplus(self.deviation(query))
        positions, rows = positions_of(memory_mask, keys.dtype), list[Tensor]()  # (B, S)
        for way, deviation in zip(ways.unbind(dim=1), deviations.unbind(dim=1), strict=True):
            distance = positions.unsqueeze(1) - (readers + way).unsqueeze(-1)
            distance = distance / deviation.unsqueeze(-1)
            rows.append(masked_softmax(-(distance**2) / 2, memory_mask))  # (B, 2, S)
            readers = (rows[-1] @ positions.unsqueeze(-1)).squeeze(-1)
        contents = masked_softmax(self.content(query, keys), memory_mask)
        located = torch.cat([contents.unsqueeze(2), torch.stack(rows, dim=1)], dim=2)
        gates = torch.softmax(self.gate(query), dim=-1).unsqueeze(2)  # (B, T, 1, 3)
        return (gates @ located).squeeze(2), readers

    all_weights = weights

    def equations(self, query: str) -> list[Equation]:
        """Return readers, scores and weights; see `decoderlab.layers.equations`."""
        squares = "(j - r_t)^2 / (-2 sigma_t^2)"
        least, deviation = f"{self.least_deviation:g}", f"softplus(W_d {query} + b_d)"
        return [
            Equation("pos_0", "[0; S + 1]", 2),
            Equation(
                "r_t",
                f"pos_{{t-1}} + [1; -1] * softplus(W_r {query} + b_r)",
                2,
                count(self.step),
            ),
            Equation("sigma_t", f"{least} + {deviation}", 2, count(self.deviation)),
            Equation("l_t", f"softmax over j of {squares}, exactly 0 at padding", "2 S"),
            Equation("pos_t", "sum over j of j l_tj", 2),
            self.content_equation(query),
            softmax_equation("alpha_t"),
            Equation("gate_t", f"softmax(W_g {query} + b_g)", 3, count(self.gate)),
            Equation("w_tj", "gate_t . [alpha_tj; l_tj]", 1),
        ]
