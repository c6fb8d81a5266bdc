"""Heads with a hidden layer: tanh, and maxout."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.decoders.heads.head import OutputHead
from decoderlab.decoders.heads.value_distributions import Distribution
from decoderlab.layers.equations import Equation, count


class TanhHead(OutputHead):
    """W tanh(V f + d) + b, f being the features of a step.

    Paper: a deep output, Pascanu et al. 2014 (https://arxiv.org/abs/1312.6026).
    Differs: there are biases.

    Args:
        features_size: width of the features.
        hidden_size: the decoder's, the default of `size`.
        target_space: tokens or values.
        embedding_size: width of the embeddings; None where there is no table.
        size: width of the hidden layer, at least 1; None for `hidden_size`.
        sees_previous: see `Head`.
        state: see `Head`.
        rank: see `OutputHead`.
        tied: see `OutputHead`.
        distribution: see `OutputHead`.

    Shapes:
        as in `Head`.
    """

    def __init__(
        self,
        *,
        features_size: int,
        hidden_size: int,
        target_space: TokenSpace | ValueSpace,
        embedding_size: int | None,
        size: int | None = None,
        sees_previous: bool = False,
        state: str = "current",
        rank: int | None = None,
        tied: bool = False,
        distribution: str | Callable[..., Distribution] | None = None,
    ) -> None:
        size = hidden_size if size is None else size
        require.at_least("head.size", size, 1)
        super().__init__(
            width=size,
            target_space=target_space,
            embedding_size=embedding_size,
            sees_previous=sees_previous,
            state=state,
            rank=rank,
            tied=tied,
            distribution=distribution,
            hidden=nn.Linear(features_size, size),
        )
        self.size = size

    def forward(self, features: Tensor, table: Tensor | None = None) -> Tensor:
        """Return the outputs."""
        return self._output(torch.tanh(self.hidden(features)), table)

    def equations(self, features: str) -> list[Equation]:
        """Return the hidden layer and the output; see `decoderlab.layers.equations`."""
        hidden = Equation("u_t", f"tanh(V {features} + d)", self.size, count(self.hidden))
        return [hidden, *self._output_equations("u_t")]


class MaxoutHead(OutputHead):
    """W max(V f + d, in pairs) + b, f being the features of a step.

    Paper: Cho et al. 2014, A.1.2 (https://arxiv.org/abs/1406.1078), and Bahdanau et al. 2015,
        A.2.2, after Goodfellow et al. 2013 (https://arxiv.org/abs/1302.4389).
    Differs: there are biases.

    Args:
        features_size: width of the features.
        hidden_size: the decoder's, the default of `size`.
        target_space: tokens or values.
        embedding_size: width of the embeddings; None where there is no table.
        size: width of the hidden layer after pooling, at least 1; None for `hidden_size`.
        sees_previous: see `Head`.
        state: see `Head`.
        rank: see `OutputHead`.
        tied: see `OutputHead`.
        distribution: see `OutputHead`.

    Shapes:
        as in `Head`.
    """

    def __init__(
        self,
        *,
        features_size: int,
        hidden_size: int,
        target_space: TokenSpace | ValueSpace,
        embedding_size: int | None,
        size: int | None = None,
        sees_previous: bool = False,
        state: str = "current",
        rank: int | None = None,
        tied: bool = False,
        distribution: str | Callable[..., Distribution] | None = None,
    ) -> None:
        size = hidden_size if size is None else size
        require.at_least("head.size", size, 1)
        super().__init__(
            width=size,
            target_space=target_space,
            embedding_size=embedding_size,
            sees_previous=sees_previous,
            state=state,
            rank=rank,
            tied=tied,
            distribution=distribution,
            hidden=nn.Linear(features_size, 2 * size),
        )
        self.size = size

    def forward(self, features: Tensor, table: Tensor | None = None) -> Tensor:
        """Return the outputs."""
        pooled = self.hidden(features).unflatten(-1, (-1, 2)).amax(dim=-1)
        return self._output(pooled, table)

    def equations(self, features: str) -> list[Equation]:
        """Return the hidden layer and the output; see `decoderlab.layers.equations`."""
        hidden = Equation("u_t", f"max(V {features} + d, in pairs)", self.size, count(self.hidden))
        return [hidden, *self._output_equations("u_t")]
