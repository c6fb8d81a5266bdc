"""A decay of one's own: the share of steps that see the target falls along half a cosine."""

import math

from decoderlab.decoders.feedback import Decay


class HalfCosine(Decay):
    """(1 + cos(pi i/n)) / 2 after i updates, and 0 from n on: slow at both ends.

    Paper: Loshchilov and Hutter 2017, eq. 5, of a learning rate (https://arxiv.org/abs/1608.03983).
    Differs: it is the share of steps that see the target.

    Args:
        decay_steps: n, the setting of the feedback, at least 1.
    """

    def __init__(self, *, decay_steps: int) -> None:
        self.decay_steps = decay_steps

    def __call__(self, step: int) -> float:
        """Return the share."""
        return (1 + math.cos(math.pi * min(step / self.decay_steps, 1))) / 2
