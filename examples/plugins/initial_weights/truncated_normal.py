"""Initial weights of one's own: a normal distribution that is cut at two standard deviations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decoderlab.layers.initialisation import InitialWeights


class TruncatedNormal(InitialWeights):
    """N(0, scale^2), cut at two standard deviations, for matrices and embeddings; 0 for biases.

    Paper: Devlin et al. 2019, whose code has a scale of 0.02 (https://arxiv.org/abs/1810.04805).
    Differs: none.

    Args:
        scale: standard deviation before the cut, above 0.
    """

    def __init__(self, *, scale: float = 0.02) -> None:
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale is {scale}; it must be a positive number")
        self.scale = scale

    def draw(
        self, module: nn.Module, name: str, parameter: Tensor, generator: torch.Generator
    ) -> bool:
        """Draw a parameter in place."""
        if parameter.dim() < 2:
            parameter.zero_()
        else:
            ends = {"a": -2 * self.scale, "b": 2 * self.scale}
            values = torch.empty(parameter.shape)  # on the CPU, where the generator is
            nn.init.trunc_normal_(values, std=self.scale, generator=generator, **ends)
            parameter.copy_(values)
        return True
