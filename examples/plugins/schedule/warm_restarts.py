"""A schedule of one's own: cosine again and again, each time over twice as many updates."""

import math


class WarmRestarts:
    """From 1 down to 0 along half a cosine, then anew over `growth` times as many updates.

    Paper: Loshchilov and Hutter 2017, section 3 (https://arxiv.org/abs/1608.03983).

    Args:
        first_steps: updates of the first cycle, at least 1.
        growth: length of a cycle over that of the one before, at least 1.
    """

    needs_total_steps = False

    def __init__(self, *, first_steps: int = 100, growth: int = 2) -> None:
        for name, value in (("first_steps", first_steps), ("growth", growth)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        self.first_steps, self.growth = first_steps, growth

    def factor(self, step, total_steps):
        """Return the learning rate over the first one."""
        length = self.first_steps
        while step >= length:
            step, length = step - length, length * self.growth
        return (1 + math.cos(math.pi * step / length)) / 2
