"""Values of a decoder's step that need none of its weights."""

from __future__ import annotations

import torch
from torch import Tensor

from decoderlab.common import require
from decoderlab.contract import Encoded, TokenSpace, ValueSpace


def nothing_yet(encoded: Encoded, size: int) -> Tensor | None:
    """Return what there is before the first step, (B, size); None for a size of 0."""
    return encoded.summary.new_zeros(encoded.summary.shape[0], size) if size else None


def never_generated(space: TokenSpace) -> Tensor:
    """Return what is added to logits (V,): -inf for what is never generated, else 0."""
    excluded = torch.zeros(space.size)
    excluded[space.never_generated] = float("-inf")
    return excluded


def own_prediction(
    outputs: Tensor, space: TokenSpace | ValueSpace, excluded: Tensor | None
) -> Tensor:
    """Return a decoder's own prediction (B, 1) or (B, 1, F) from its outputs (B, 1, ...).

    Args:
        outputs: of a step.
        space: of the targets.
        excluded: from `never_generated`, for tokens.
    """
    if isinstance(space, ValueSpace):
        return outputs[..., : space.size]
    excluded = require.given("what is never generated", excluded)
    return (outputs.detach() + excluded).argmax(dim=-1)
