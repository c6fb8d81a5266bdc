"""Where a position stands, as a vector that exists for any length."""

from __future__ import annotations

import torch
from torch import Tensor


def sinusoidal_positions(
    num_positions: int, size: int, *, first: int = 0, like: Tensor | None = None
) -> Tensor:
    """Return one vector for each of the positions `first`, `first` + 1, ...

    With p the position and i from 0:

        PE(p, 2i)     = sin(p / 10000^(2i / size))
        PE(p, 2i + 1) = cos(p / 10000^(2i / size))

    Paper: Vaswani et al. 2017, section 3.5 (https://arxiv.org/abs/1706.03762).
    Differs: none; of an odd `size` the last cosine is left out.

    Args:
        num_positions: how many, at least 0.
        size: width of each vector, at least 1.
        first: number of the first position, at least 0.
        like: a tensor whose dtype and device the vectors take; None for torch's defaults.

    Returns:
        (num_positions, size) floats.

    Example:
        >>> sinusoidal_positions(2, size=3)
        tensor([[0.0000, 1.0000, 0.0000],
                [0.8415, 0.5403, 0.0022]])
    """
    like = torch.empty(0) if like is None else like
    # Half precision would round neighbouring angles to one and the same number.
    dtype = torch.promote_types(like.dtype, torch.float32)
    positions = torch.arange(first, first + num_positions, dtype=dtype, device=like.device)
    exponents = torch.arange(0, size, 2, dtype=dtype, device=like.device) / size
    angles = positions.unsqueeze(1) / 10000.0**exponents
    pairs = torch.stack([angles.sin(), angles.cos()], dim=-1)
    return pairs.flatten(1)[:, :size].to(like.dtype)
