"""Tokens to vectors: a learned table, or one-hot vectors as in Keras's classic examples."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab import checks
from decoderlab.contract import TokenSpace


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

    def __init__(self, *, size: int) -> None:
        super().__init__()
        self.register_buffer("identity", torch.eye(size), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Look the rows of the identity matrix up."""
        return functional.embedding(tokens, self.identity)


def build_embedding(tokens: TokenSpace, embedding_size: int | None) -> tuple[nn.Module, int]:
    """Return a module from token ids to vectors, and the width of the vectors.

    Args:
        tokens: the ids; the vector of `pad_id` stays zero in a learned table.
        embedding_size: width of the learned table, at least 1; None for one-hot vectors.

    Raises:
        ValueError: if `embedding_size` is below 1.
    """
    if embedding_size is None:
        return OneHot(size=tokens.size), tokens.size
    checks.at_least("embedding_size", embedding_size, 1)
    return nn.Embedding(tokens.size, embedding_size, padding_idx=tokens.pad_id), embedding_size
