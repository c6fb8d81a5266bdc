"""Positions to vectors: a learned table, one-hot vectors, or the values themselves."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.common import require
from decoderlab.contract import Space, TokenSpace, ValueSpace


class OneHot(nn.Module):
    """Token ids as one-hot vectors; nothing to learn.

    Args:
        size: number of ids V.

    Shapes:
        tokens: (...) integer. Returns (..., V) in the dtype of the module.

    Example:
        >>> OneHot(size=3)(torch.tensor([2])).tolist()
        [[0.0, 0.0, 1.0]]
    """

    identity: Tensor

    def __init__(self, *, size: int) -> None:
        super().__init__()
        self.register_buffer("identity", torch.eye(size), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Look the rows of the identity matrix up."""
        return functional.embedding(tokens, self.identity)


def build_embedding(space: Space, embedding_size: int | None) -> tuple[nn.Module, int]:
    """Return a module from token ids or values to vectors, and the width of the vectors.

    Args:
        space: what there is at a position. The vector of `pad_id` stays zero in a learned table.
        embedding_size: width of the learned table (of the affine map, for values), at least 1;
            None for one-hot vectors (for the values as they are).

    Raises:
        ValueError: if `embedding_size` is below 1, or the space is one of images.
    """
    if embedding_size is not None:
        require.at_least("embedding_size", embedding_size, 1)
    match space:
        case TokenSpace():
            if embedding_size is None:
                return OneHot(size=space.size), space.size
            table = nn.Embedding(space.size, embedding_size, padding_idx=space.pad_id)
            return table, embedding_size
        case ValueSpace():
            if embedding_size is None:
                return nn.Identity(), space.size
            return nn.Linear(space.size, embedding_size), embedding_size
    raise ValueError(
        "the sources are images, which this encoder does not read; take encoder=image_cnn"
    )
