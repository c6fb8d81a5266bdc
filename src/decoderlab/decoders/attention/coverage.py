"""How much of the source was read: the coverage loss of See et al. 2017."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from decoderlab.common import require
from decoderlab.contract import Encoded, TokenSpace, ValueSpace


def coverage_loss(weights: Tensor, target: Tensor, space: TokenSpace | ValueSpace) -> Tensor:
    """Return the sum over real steps t and positions j of min(w_tj, cov_tj).

    cov_tj is the sum of w_ij over the steps i before t. It is 0 where no position is read twice.

    Paper: See et al. 2017, eq. 12 (https://arxiv.org/abs/1704.04368).
    Differs: none.

    Args:
        weights: attention_weights (B, T, S), 0 at padding of the source.
        target: (B, T) int64 or (B, T, F).
        space: of the targets.

    Example:
        >>> import torch
        >>> twice = torch.tensor([[[1.0, 0.0], [0.25, 0.75]]])
        >>> float(coverage_loss(twice, torch.tensor([[4, 2]]), TokenSpace(5)))
        0.25
    """
    coverage = weights.cumsum(dim=1) - weights
    read_again = weights.minimum(coverage).sum(dim=-1)
    if isinstance(space, TokenSpace):
        read_again = read_again * (target != space.pad_id)
    return read_again.sum()


def with_loss(
    unrolled: Callable[[Encoded, Tensor], tuple[Tensor, Tensor | None]],
    factor: float,
    space: TokenSpace | ValueSpace,
    encoded: Encoded,
    target: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return a decoder's outputs, and a factor times its coverage loss (See et al. 2017, eq. 13).

    Args:
        unrolled: from what is encoded and the target to outputs and attention_weights.
        factor: lambda.
        space: of the targets.
        encoded: what the encoder read.
        target: see `coverage_loss`.
    """
    outputs, weights = unrolled(encoded, target)
    weights = require.given("what attention read", weights)
    return outputs, factor * coverage_loss(weights, target, space)
