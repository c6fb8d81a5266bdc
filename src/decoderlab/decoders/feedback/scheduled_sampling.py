"""Scheduled sampling, and free running, which is its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from decoderlab.common import require
from decoderlab.common.part_choice import Choice
from decoderlab.decoders.feedback.decays import SCHEDULES, ConstantDecay, Decay
from decoderlab.decoders.feedback.feedback import Feedback

SCOPES = ("token", "sequence")


class ScheduledSampling(Feedback):
    """Training sees the target's previous token or the decoder's own, as a coin falls.

    Paper: Bengio et al. 2015, sections 2.3 and 2.4 (https://arxiv.org/abs/1506.03099).
    Differs: none; of the two choices that the paper names for the decoder's own output, ours is its
        most probable token. No gradient passes through the choice of a token; real values, of which
        the paper does not speak, do pass it on.

    Args:
        scope: whether a coin is thrown per `token` (the paper) or per `sequence`. The two are a
            closed set, since the battery tests coins against what they declare. Coins of another
            kind, such as of a span of tokens, are a `Feedback` of your own, with its own `coins`.
        schedule: of the teacher ratio, the probability of seeing the target, by the number i of
            training updates done, with n = decay_steps: `constant`, first_ratio; `linear`,
            first_ratio * (1 - i/n); `exponential`, first_ratio * exp(-i/n), the paper's k^i with
            k = exp(-1/n); `inverse_sigmoid`, first_ratio * n/(n + exp(i/n)), the paper's with
            k = n; or a class, see `Decay`. None of them falls below last_ratio.
        first_ratio: 0 to 1.
        last_ratio: 0 to first_ratio.
        decay_steps: updates, above 0.

    Raises:
        ValueError: for an unknown name, a number out of range, or a ratio that stays at 1.

    Example:
        >>> linear = ScheduledSampling(decay_steps=100)
        >>> linear.teacher_ratio(25), linear.teacher_ratio(500)
        (0.75, 0.0)
    """

    samples = True

    def __init__(
        self,
        *,
        scope: str = "token",
        schedule: str | Callable[..., Decay] = "linear",
        first_ratio: float = 1.0,
        last_ratio: float = 0.0,
        decay_steps: int = 1000,
    ) -> None:
        super().__init__()
        require.choice("feedback.scope", scope, SCOPES)
        chosen = Choice.named("decoder.feedback.schedule", schedule, SCHEDULES)
        require.between("feedback.first_ratio", first_ratio, 0, 1)
        require.between("feedback.last_ratio", last_ratio, 0, first_ratio)
        require.at_least("feedback.decay_steps", decay_steps, 1)
        if chosen.target is ConstantDecay and first_ratio == 1:
            raise ValueError(
                "feedback.first_ratio is 1 and the schedule 'constant', which is teacher forcing; "
                "give decoder.feedback.first_ratio=0.5 or another below 1, or take "
                "decoder/feedback=teacher_forcing"
            )
        self.scope, self.schedule = scope, chosen.name
        self.decay: Decay = chosen.build(decay_steps=decay_steps)
        self.first_ratio, self.last_ratio = first_ratio, last_ratio
        self.decay_steps = decay_steps
        self.at_step(0, 0)

    @staticmethod
    def normalised(settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings with what has no effect at its default: equal models are one run."""
        constant = settings["schedule"] == "constant"
        unused = {"last_ratio": 0.0, "decay_steps": 1000} if constant else {}
        return {**settings, **unused}

    def at_step(self, step: int, seed: int) -> None:
        """Say how many updates are done, and seed the coins of the next one."""
        self.ratio = self.teacher_ratio(step)
        self._generator = torch.Generator().manual_seed(seed)

    def teacher_ratio(self, step: int) -> float:
        """Return the probability of seeing the target after `step` updates."""
        return max(self.first_ratio * self.decay(step), self.last_ratio)

    def coins(self, num_rows: int, num_steps: int) -> Tensor:
        """Return (B, T) bool on the CPU: where the previous token is the target's."""
        thrown = num_steps if self.scope == "token" else 1
        drawn = torch.rand(num_rows, thrown, generator=self._generator)
        return (drawn < self.ratio).expand(num_rows, num_steps)

    def meaning(self) -> str:
        """Return in words what stands for y_{t-1}."""
        ratio = f"{self.first_ratio:g}"
        if self.schedule != "constant":
            ratio += (
                f" falling to {self.last_ratio:g} ({self.schedule}, {self.decay_steps} updates)"
            )
        coin = f"a coin per {self.scope}"
        return f"in training the target's with probability {ratio}, {coin}; else what was generated"


class FreeRunning(Feedback):
    """Training sees the decoder's own previous output, its most probable token or its mean."""

    samples = True

    def teacher_ratio(self, step: int) -> float:
        """Return 0: the target is never seen."""
        return 0.0

    def coins(self, num_rows: int, num_steps: int) -> Tensor:
        """Return (B, T) bool on the CPU, False."""
        return torch.zeros(num_rows, num_steps, dtype=torch.bool)

    def meaning(self) -> str:
        """Return in words what stands for y_{t-1}."""
        return "what was generated, in training too"
