"""Distributions: what the outputs of a head say of the targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from decoderlab.common.part_choice import Choice
from decoderlab.contract import TokenSpace, ValueSpace


class Distribution:
    """How real values are distributed, given a head's outputs; one of your own is a subclass.

    It needs `nats`. Outputs begin with the F means, which are what is generated; then comes
    whatever else the distribution has, `numbers` * F outputs in all. The constructor takes
    `target_space` if it has a use for it, besides its own settings.

    Attributes:
        numbers: outputs for each value, at least 1.
        letter: of the outputs in equations.
    """

    INJECTED: ClassVar[tuple[str, ...]] = ("target_space",)
    numbers: ClassVar[int] = 1
    letter: ClassVar[str] = "outputs_t"

    def nats(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the negative log-density of each value.

        Shapes:
            outputs: (B, T, numbers * F); target: (B, T, F). Returns (B, T, F).
        """
        raise NotImplementedError


class Categorical(Distribution):
    """Tokens: outputs are logits, whose likelihood is the loss's own business."""

    SHORT = "categorical"
    letter = "logits_t"


class Point(Distribution):
    """The means alone, of Gaussians with a standard deviation of 1."""

    SHORT = "point"
    letter = "mean_t"

    def nats(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return half the squared error and a constant."""
        return _gaussian_nats(outputs, torch.zeros_like(outputs), target)


class Gaussian(Distribution):
    """Means, then logarithms of standard deviations."""

    SHORT = "gaussian"
    numbers = 2
    letter = "[mean_t; log deviation_t]"

    def nats(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the negative log-density."""
        mean, log_deviation = outputs.chunk(2, dim=-1)
        return _gaussian_nats(mean, log_deviation, target)


DISTRIBUTIONS = {kind.SHORT: kind for kind in (Categorical, Point, Gaussian)}


def build_distribution(
    given: str | Callable[..., Distribution] | None, target_space: TokenSpace | ValueSpace
) -> Distribution:
    """Return the distribution, the space's usual one for None.

    Raises:
        ValueError: where it is unknown or contradicts the space.
    """
    over_tokens = isinstance(target_space, TokenSpace)
    if given is None:
        return Categorical() if over_tokens else Point()
    chosen = Choice.named("decoder.head.distribution", given, DISTRIBUTIONS)
    if over_tokens != (chosen.target is Categorical):
        raise ValueError(
            f"head.distribution is {chosen.name!r}, but the targets are "
            + (
                "tokens; take decoder.head.distribution=categorical"
                if over_tokens
                else "real values; take decoder.head.distribution=point or gaussian"
            )
        )
    return chosen.build(target_space=target_space)


def _gaussian_nats(mean: Tensor, log_deviation: Tensor, target: Tensor) -> Tensor:
    standardised = (target - mean) * torch.exp(-log_deviation)
    return standardised.square() / 2 + log_deviation + math.log(2 * math.pi) / 2
