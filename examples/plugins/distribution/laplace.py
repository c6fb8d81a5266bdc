"""A distribution of real values of one's own: with heavier tails than the Gaussian's."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from decoderlab.decoders.heads import Distribution


class Laplace(Distribution):
    """Means, then logarithms of scales b: the density exp(-|y - mean| / b) / (2 b).

    With it, what is made small grows with the error, not with its square, so that a few wild values
    do not rule the fit.
    """

    numbers = 2
    letter = "[mean_t; log scale_t]"

    def nats(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the negative log-density of each value."""
        mean, log_scale = outputs.chunk(2, dim=-1)
        return (target - mean).abs() * torch.exp(-log_scale) + log_scale + math.log(2)
