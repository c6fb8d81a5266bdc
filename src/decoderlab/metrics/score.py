"""What a number of a metric means, and what a class must have to be a metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import Tensor
from torchmetrics import Metric

from decoderlab.common import require

READS = ("tokens", "values", "texts", "loss")


@dataclass(frozen=True, kw_only=True)
class Score:
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

    Raises:
        ValueError: for a direction that is none, and a worst value out of range.

    Example:
        >>> score = Score(name="exact_match", better="max", low=0, high=1, worst=0, unit="share")
        >>> score.label, score.improves(0.6, 0.5), Score.recorded(score.record()) == score
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
        if not self.label:
            object.__setattr__(self, "label", self.name.replace("_", " "))

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest value."""
        return self.low, self.high

    def improves(self, value: float, best: float | None) -> bool:
        """Whether a value beats the best so far; the earlier value wins among equals."""
        if best is None:
            return True
        return value > best if self.better == "max" else value < best

    def record(self) -> dict[str, Any]:
        """Return the description for JSON; what has no bound is null there. See `recorded`."""
        record = asdict(self)
        for name in ("low", "high"):
            record[name] = record[name] if math.isfinite(record[name]) else None
        return record

    @classmethod
    def recorded(cls, record: Mapping[str, Any]) -> Score:
        """Return the description that `record` returned."""
        bounds = {"low": -math.inf, "high": math.inf}
        open_ended = {name: bounds[name] for name in bounds if record[name] is None}
        return cls(**{**record, **open_ended})


LOSS = Score(name="loss", better="min", unit="nats per token", teacher_forced=True)


class TaskMetric(Metric):
    """The base of our metrics: a `torchmetrics.Metric` that says what its numbers mean.

    A metric of your own may extend it, or be any `torchmetrics.Metric` with `scores` and, if that
    is not "tokens", `reads`. `compute` returns a number for each score by its name, or, of a
    metric with one score, the number alone.

    Attributes:
        scores: what it measures.
        reads: what `update` gets.

            * `tokens`: (predictions, references), batch by batch: the ids of each example without
              EOS and padding, and of each the ids of all targets that count as right.
            * `values`: (predictions, targets), batch by batch: two tensors (B, T, F), standardised
              as the network has them.
            * `texts`: (predictions, references), once, of all examples of the split in order: the
              text of each, and of each the texts of all targets that count as right.
            * `loss`: (loss), once: teacher-forced, of the whole split, in nats per target token;
              NaN for a rule without a loss.
    """

    full_state_update = False
    scores: tuple[Score, ...] = ()
    reads: ClassVar[str] = "tokens"

    def prepare(self, task: Any) -> None:
        """Take what is needed from a task with its data, before the first update.

        Args:
            task: see `decoderlab.data.task.Task`.
        """

    def signatures(self, references: Sequence[Sequence[str]]) -> dict[str, str]:
        """Return how a library computes the scores, by their names; nothing by default.

        Args:
            references: of each example of a split, the texts of all right targets.
        """
        return {}


def check_metric(name: str, metric: Any) -> None:
    """Raise ValueError unless an object can be a metric.

    Args:
        name: what a message calls it.
        metric: the object.
    """
    scores = getattr(metric, "scores", None)
    if not isinstance(scores, tuple | list) or not all(
        isinstance(score, Score) for score in scores
    ):
        raise ValueError(
            f"{name}: {type(metric).__name__} does not say what it measures; set its attribute "
            "scores to a tuple of decoderlab.metrics.Score"
        )
    require.choice(f"{name}: {type(metric).__name__}.reads", reads(metric), READS)
    if not isinstance(metric, Metric):
        raise ValueError(
            f"{name}: {type(metric).__name__} is no torchmetrics.Metric; extend "
            "decoderlab.metrics.TaskMetric, or another one"
        )


def measured(metric: Any) -> tuple[Score, ...]:
    """Return what a metric measures; see `TaskMetric`."""
    return tuple(metric.scores)


def reads(metric: Any) -> str:
    """Return what a metric's `update` gets; see `TaskMetric`."""
    return getattr(metric, "reads", "tokens")


def computed(metric: Any) -> dict[str, float]:
    """Return the numbers of a metric over everything added so far, by the names of its scores.

    Raises:
        ValueError: if they are not those that `scores` names.
    """
    values = metric.compute()
    names = [score.name for score in measured(metric)]
    if not isinstance(values, Mapping) and len(names) == 1:
        values = {names[0]: values}
    if not isinstance(values, Mapping) or set(values) != set(names):
        shown = ", ".join(values) if isinstance(values, Mapping) else type(values).__name__
        raise ValueError(
            f"{type(metric).__name__}.compute() returned {shown}; return a number for each of "
            f"its scores, {', '.join(names)}"
        )
    return {
        name: value.item() if isinstance(value, Tensor) else float(value)
        for name, value in values.items()
    }
