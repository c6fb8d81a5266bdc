"""The head that is one matrix."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.decoders.heads.head import OutputHead
from decoderlab.decoders.heads.value_distributions import Distribution
from decoderlab.layers.equations import Equation


class LinearHead(OutputHead):
    """W f + b, f being the features of a step.

    Args:
        features_size: width of the features.
        target_space: tokens or values.
        embedding_size: width of the embeddings; None where there is no table.
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
        target_space: TokenSpace | ValueSpace,
        embedding_size: int | None,
        sees_previous: bool = False,
        state: str = "current",
        rank: int | None = None,
        tied: bool = False,
        distribution: str | Callable[..., Distribution] | None = None,
    ) -> None:
        super().__init__(
            width=features_size,
            target_space=target_space,
            embedding_size=embedding_size,
            sees_previous=sees_previous,
            state=state,
            rank=rank,
            tied=tied,
            distribution=distribution,
        )

    def forward(self, features: Tensor, table: Tensor | None = None) -> Tensor:
        """Return the outputs."""
        return self._output(features, table)

    def equations(self, features: str) -> list[Equation]:
        """Return the output; see `decoderlab.layers.equations`."""
        return self._output_equations(features)
