"""Feedback: what a decoder sees of its own output while it is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from decoderlab.common import require
from decoderlab.common.parts import keep
from decoderlab.contract import TokenSpace, ValueSpace

FEEDBACKS = ("none", "teacher_forcing", "scheduled_sampling", "free_running", "softmax")
SCOPES = ("token", "sequence")
SCHEDULES = ("constant", "linear", "exponential", "inverse_sigmoid")


@dataclass(frozen=True, kw_only=True)
class FeedbackSettings:
    """Whether, and when, a decoder in training sees its own output.

    Args:
        kind: `none`: never, neither in training nor in generation. The others see the previous
            output when generating; in training `teacher_forcing` sees the target's previous
            token, `free_running` its own previous prediction, and `scheduled_sampling` one of the
            two, as a coin falls. `softmax` sees no token at all, but its own previous distribution
            over tokens (zeros before the first), in training and in generation alike, and passes
            the gradient on through it.
        scope: whether a coin is thrown per `token` (Bengio et al. 2015) or per `sequence`.
        schedule: of the teacher ratio, the probability of seeing the target, by the number i of
            training updates done, with n = decay_steps: `constant`, first_ratio; `linear`,
            first_ratio * (1 - i/n); `exponential`, first_ratio * exp(-i/n), the paper's k^i with
            k = exp(-1/n); `inverse_sigmoid`, first_ratio * n/(n + exp(i/n)), the paper's with
            k = n. None of them falls below last_ratio.
        first_ratio: 0 to 1.
        last_ratio: 0 to first_ratio.
        decay_steps: updates, above 0.
    """

    kind: str
    scope: str = "token"
    schedule: str = "linear"
    first_ratio: float = 1.0
    last_ratio: float = 0.0
    decay_steps: int = 1000

    def __post_init__(self) -> None:
        require.choice("feedback.kind", self.kind, FEEDBACKS)
        require.choice("feedback.scope", self.scope, SCOPES)
        require.choice("feedback.schedule", self.schedule, SCHEDULES)
        require.between("feedback.first_ratio", self.first_ratio, 0, 1)
        require.between("feedback.last_ratio", self.last_ratio, 0, self.first_ratio)
        require.at_least("feedback.decay_steps", self.decay_steps, 1)
        constant = self.kind == "scheduled_sampling" and self.schedule == "constant"
        if constant and self.first_ratio == 1:
            raise ValueError(
                "feedback.first_ratio is 1 and the schedule 'constant', which is teacher forcing; "
                "give decoder.feedback.first_ratio=0.5 or another below 1, or take "
                "decoder.feedback.kind=teacher_forcing"
            )

    def settled(self) -> FeedbackSettings:
        """Return the settings with what has no effect at its default."""
        if self.kind != "scheduled_sampling":
            return keep(self, "kind")
        if self.schedule == "constant":
            return keep(self, "kind", "scope", "schedule", "first_ratio")
        return self

    @property
    def samples(self) -> bool:
        """Whether training sees tokens or values that the decoder itself has chosen."""
        return self.kind in ("scheduled_sampling", "free_running")

    @property
    def sees_target(self) -> bool:
        """Whether the target before a position reaches it, at least in evaluation."""
        return self.kind not in ("none", "softmax")

    def told(self) -> str:
        """Return in words what stands for y_{t-1}."""
        match self.kind:
            case "teacher_forcing":
                return "in training the target's, in generation what was generated"
            case "free_running":
                return "what was generated, in training too"
            case "softmax":
                return (
                    "softmax(logits_{t-1}) over what can be generated, in training too; "
                    "0 before the first"
                )
        ratio = f"{self.first_ratio:g}"
        if self.schedule != "constant":
            ratio += (
                f" falling to {self.last_ratio:g} ({self.schedule}, {self.decay_steps} updates)"
            )
        coin = f"a coin per {self.scope}"
        return f"in training the target's with probability {ratio}, {coin}; else what was generated"

    def teacher_ratio(self, step: int) -> float:
        """Return the probability of seeing the target after `step` updates.

        Example:
            >>> linear = FeedbackSettings(kind="scheduled_sampling", decay_steps=100)
            >>> linear.teacher_ratio(25), linear.teacher_ratio(500)
            (0.75, 0.0)
        """
        if self.kind != "scheduled_sampling":
            return 1.0 if self.kind == "teacher_forcing" else 0.0
        done = step / self.decay_steps
        match self.schedule:
            case "constant":
                remaining = 1.0
            case "linear":
                remaining = 1 - done
            case "exponential":
                remaining = math.exp(-done)
            case "inverse_sigmoid":  # n/(n + exp(i/n)), written so that nothing overflows
                remaining = 1 / (1 + math.exp(min(done - math.log(self.decay_steps), 700)))
        return max(self.first_ratio * remaining, self.last_ratio)


class Feedback:
    """The coins of one decoder.

    Paper: Bengio et al. 2015, sections 2.3 and 2.4 (https://arxiv.org/abs/1506.03099). `softmax`
        is the feedback of the article's AttentionDecoder (machinelearningmastery.com, 2017).
    Differs: none; of the two choices that the paper names for the decoder's own output, ours is its
        most probable token. No gradient passes through the choice of a token; real values, of which
        the paper does not speak, do pass it on.

    Args:
        settings: see there.
    """

    def __init__(self, settings: FeedbackSettings) -> None:
        self.settings = settings
        self.at_step(0, 0)

    def at_step(self, step: int, seed: int) -> None:
        """Say how many updates are done, and seed the coins of the next one."""
        self.teacher_ratio = self.settings.teacher_ratio(step)
        if self.settings.samples:
            self._generator = torch.Generator().manual_seed(seed)

    def coins(self, num_rows: int, num_steps: int) -> Tensor:
        """Return (B, T) bool on the CPU: where the previous token is the target's."""
        per_token = self.settings.scope == "token"
        drawn = torch.rand(num_rows, num_steps if per_token else 1, generator=self._generator)
        return (drawn < self.teacher_ratio).expand(num_rows, num_steps)


def before_each(target: Tensor, space: TokenSpace | ValueSpace) -> Tensor:
    """Return what comes before each position of a target: BOS or zeros, then the target.

    Example:
        >>> before_each(torch.tensor([[7, 8, 2]]), TokenSpace(9)).tolist()
        [[1, 7, 8]]
    """
    first = space.bos_id if isinstance(space, TokenSpace) else 0
    begin = torch.full_like(target[:, :1], first)
    return torch.cat([begin, target[:, :-1]], dim=1)
