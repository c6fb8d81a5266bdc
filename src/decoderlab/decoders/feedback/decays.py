"""Decays: how much of the first teacher ratio is left after so many updates."""

from __future__ import annotations

import math
from typing import ClassVar


class Decay:
    """The share of `first_ratio` that is left; a decay of your own is a subclass with `__call__`.

    The constructor takes `decay_steps`, the setting n of the feedback, if it has a use for it,
    besides its own settings.
    """

    INJECTED: ClassVar[tuple[str, ...]] = ("decay_steps",)

    def __call__(self, step: int) -> float:
        """Return the share, 0 to 1, after `step` updates."""
        raise NotImplementedError


class ConstantDecay(Decay):
    """1: it does not fall."""

    SHORT = "constant"

    def __call__(self, step: int) -> float:
        """Return 1."""
        return 1.0


class LinearDecay(Decay):
    """1 - i/n after i updates, and 0 from n on."""

    SHORT = "linear"

    def __init__(self, *, decay_steps: int) -> None:
        self.decay_steps = decay_steps

    def __call__(self, step: int) -> float:
        """Return the share."""
        return max(1 - step / self.decay_steps, 0.0)


class ExponentialDecay(Decay):
    """exp(-i/n), the paper's k^i with k = exp(-1/n)."""

    SHORT = "exponential"

    def __init__(self, *, decay_steps: int) -> None:
        self.decay_steps = decay_steps

    def __call__(self, step: int) -> float:
        """Return the share."""
        return math.exp(-step / self.decay_steps)


class InverseSigmoidDecay(Decay):
    """n/(n + exp(i/n)), the paper's with k = n."""

    SHORT = "inverse_sigmoid"

    def __init__(self, *, decay_steps: int) -> None:
        self.decay_steps = decay_steps

    def __call__(self, step: int) -> float:
        """Return the share, written so that nothing overflows."""
        done = step / self.decay_steps
        return 1 / (1 + math.exp(min(done - math.log(self.decay_steps), 700)))


SCHEDULES = {
    kind.SHORT: kind for kind in (ConstantDecay, LinearDecay, ExponentialDecay, InverseSigmoidDecay)
}
