"""The learning rate over the updates of training, after warm-up; one class a schedule."""

from __future__ import annotations

import math
from typing import Protocol

from decoderlab.common import require


class Schedule(Protocol):
    """What the learning rate is multiplied by; a schedule of your own has this method.

    The constructor takes the keyword `warmup_steps` if it has a use for it, besides its own
    settings, which are keywords too.

    Attributes:
        needs_total_steps: whether `factor` reads `total_steps`. If so, or if there is no such
            attribute, a budget in seconds is refused.
    """

    needs_total_steps: bool

    def factor(self, step: int, total_steps: int | None) -> float:
        """Return the learning rate of an update over `training.learning_rate`.

        Args:
            step: updates done since the end of warm-up, at least 0.
            total_steps: updates from the end of warm-up to the end of the budget, at least 1; None
                for a budget in seconds.
        """
        ...


class Constant:
    """The same rate throughout."""

    needs_total_steps = False

    def factor(self, step: int, total_steps: int | None) -> float:
        """Return 1."""
        return 1.0


class Linear:
    """Down to 0 at the end of the budget, by equal steps.

    Example:
        >>> [Linear().factor(step, 4) for step in range(4)]
        [1.0, 0.75, 0.5, 0.25]
    """

    needs_total_steps = True

    def factor(self, step: int, total_steps: int) -> float:
        """Return 1 - step / total_steps."""
        return max(1 - step / total_steps, 0.0)


class Cosine:
    """Down to 0 at the end of the budget, along half a cosine.

    Paper: Loshchilov and Hutter 2017, eq. 5 (https://arxiv.org/abs/1608.03983).
    Differs: there are no restarts, and the least rate is 0.
    """

    needs_total_steps = True

    def factor(self, step: int, total_steps: int) -> float:
        """Return (1 + cos(pi step / total_steps)) / 2."""
        return (1 + math.cos(math.pi * min(step / total_steps, 1.0))) / 2


class Exponential:
    """By one ratio over the whole budget, by equal factors.

    Args:
        decay_ratio: last over first learning rate, above 0.
    """

    needs_total_steps = True

    def __init__(self, *, decay_ratio: float = 0.1) -> None:
        require.positive("decay_ratio", decay_ratio)
        self.decay_ratio = decay_ratio

    def factor(self, step: int, total_steps: int) -> float:
        """Return decay_ratio^(step / total_steps)."""
        return self.decay_ratio ** (step / total_steps)


class InverseSqrt:
    """By the inverse square root of the update, from the end of warm-up on.

    Paper: Vaswani et al. 2017, eq. 3 (https://arxiv.org/abs/1706.03762).
    Differs: the rate at the end of warm-up is `training.learning_rate`, whatever the model's size.

    Args:
        warmup_steps: as in `training`, at least 0.
    """

    needs_total_steps = False

    def __init__(self, *, warmup_steps: int = 0) -> None:
        self.warmup_steps = warmup_steps

    def factor(self, step: int, total_steps: int | None) -> float:
        """Return sqrt(w / (w + step + 1)), w being `warmup_steps`, or 1 without any."""
        return math.sqrt(max(self.warmup_steps, 1) / (self.warmup_steps + step + 1))


class Halving:
    """Constant at first, then halved at equal intervals, beginning at once.

    Paper: Luong et al. 2015, section 4.1 (https://arxiv.org/abs/1508.04025): each epoch after
        eight of twelve; Sutskever et al. 2014, section 3.4 (https://arxiv.org/abs/1409.3215): each
        half epoch after five of seven and a half.

    Args:
        decay_start_ratio: share of the budget before the first halving, 0 to 1.
        num_decays: at least 1.

    Example:
        >>> halving = Halving(decay_start_ratio=0.5, num_decays=2)
        >>> [halving.factor(step, 4) for step in range(4)]
        [1.0, 1.0, 0.5, 0.25]
    """

    needs_total_steps = True

    def __init__(self, *, decay_start_ratio: float = 0.5, num_decays: int = 5) -> None:
        require.ratio("decay_start_ratio", decay_start_ratio)
        require.at_least("num_decays", num_decays, 1)
        self.decay_start_ratio, self.num_decays = decay_start_ratio, num_decays

    def factor(self, step: int, total_steps: int) -> float:
        """Return 1/2 to the power of the halvings done."""
        done = step / total_steps
        decayed = (done - self.decay_start_ratio) / (1 - self.decay_start_ratio)
        # The small number keeps a step that lies on a boundary from falling short of it.
        halvings = max(math.floor(decayed * self.num_decays + 1e-9) + 1, 0)
        return 0.5 ** min(halvings, self.num_decays)
