"""The description of a metric's score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from decoderlab.common import require

MAX_NATS = 700.0  # nats: the exponential of more is not a number


@dataclass(frozen=True, kw_only=True)
class MetricScore:
    """What one number of a metric means. It travels with the results, so that studies know it.

    Args:
        name: in results, settings and files.
        better: `max` or `min`.
        low, high: the least and the greatest that it can be.
        worst: what a run that failed scores, if none that finished is worse still; None for a
            score without a worst value.
        unit: what it counts, as "share" or "BLEU points".
        label: how a person writes its name; by default the name with spaces.
        teacher_forced: whether it is of each token given the true tokens before it; others are of
            what was generated freely.
        per_example: whether it is the mean of a 0/1 outcome of each example, as a share of right
            examples is. A run then records the outcomes of the test split, and reports have what
            needs them: intervals over seeds and examples, Wilson's and McNemar's.

    Raises:
        ValueError: for a direction that is none, a worst value out of range, and a mean of 0/1
            outcomes that is not from 0 to 1, or whose worst value is not their worse end.

    Example:
        >>> score = MetricScore(name="exact_match", better="max", low=0, high=1, worst=0)
        >>> score.label, score.improves(0.6, 0.5), MetricScore.recorded(score.record()) == score
        ('exact match', True, True)
    """

    name: str
    better: str
    low: float = -math.inf
    high: float = math.inf
    worst: float | None = None
    unit: str = ""
    label: str = ""
    teacher_forced: bool = False
    per_example: bool = False

    def __post_init__(self) -> None:
        require.choice(f"better of the score {self.name}", self.better, ("max", "min"))
        if not self.low < self.high:
            raise ValueError(
                f"the score {self.name} is from {self.low} to {self.high}; give low below high"
            )
        if self.worst is not None and not self.low <= self.worst <= self.high:
            raise ValueError(
                f"the worst value of the score {self.name} is {self.worst}; it must be from "
                f"{self.low} to {self.high}, or None"
            )
        if self.per_example:
            self._check_outcomes()
        if not self.label:
            object.__setattr__(self, "label", self.name.replace("_", " "))

    def _check_outcomes(self) -> None:
        if self.bounds != (0, 1):
            raise ValueError(
                f"the score {self.name} is from {self.low} to {self.high}, so that it is not a "
                "mean "
                "of a 0/1 outcome of each example; give low=0 and high=1, or leave out per_example"
            )
        if self.worst not in (None, 1 - self.best):
            raise ValueError(
                f"the worst value of the score {self.name} is {self.worst}, but an example's worse "
                f"outcome is {1 - self.best:g}; give that, or None"
            )

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest value."""
        return self.low, self.high

    @property
    def best(self) -> float:
        """The best value that it can be; infinite where there is no best."""
        return self.high if self.better == "max" else self.low

    def improves(self, value: float, best: float) -> bool:
        """Whether a value is better than the best so far."""
        return value > best if self.better == "max" else value < best

    def record(self) -> dict[str, Any]:
        """Return the description for JSON; what has no bound is null there. See `recorded`."""
        record = asdict(self)
        for name in ("low", "high"):
            record[name] = record[name] if math.isfinite(record[name]) else None
        return record

    @classmethod
    def recorded(cls, record: Mapping[str, Any]) -> MetricScore:
        """Return the description that `record` returned."""
        bounds = {"low": -math.inf, "high": math.inf}
        open_ended = {name: bounds[name] for name in bounds if record[name] is None}
        return cls(**{**record, **open_ended})


LOSS = MetricScore(name="loss", better="min", unit="nats per token", teacher_forced=True)
EXACT_MATCH = MetricScore(
    name="exact_match", better="max", low=0, high=1, worst=0, unit="share", per_example=True
)
