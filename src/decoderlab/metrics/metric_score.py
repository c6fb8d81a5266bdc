"""The description of a metric's score, and what a class needs to be a metric."""

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


class TaskMetric(Metric):
    """The base of our metrics: a `torchmetrics.Metric` that says what its numbers mean.

    A metric of your own may extend it, or be any `torchmetrics.Metric` with `scores` and, if that
    is not "tokens", `reads`. `compute` returns a number for each score by its name, or, of a
    metric with one score, the number alone.

    Attributes:
        scores: what it measures. Of a score that is `MetricScore.per_example`, `compute` must
            return 0 or 1 after a single example.
        reads: what `update` gets.

            * `tokens`: (predictions, references), batch by batch: the ids of each example without
              EOS and padding, and of each the ids of all targets that count as right.
            * `values`: (predictions, targets), batch by batch: two tensors (B, T, F), standardised
              as the network has them.
            * `texts`: (predictions, references), once, of all examples of the split in order: the
              text of each, and of each the texts of all targets that count as right.
            * `loss`: (loss), once: teacher-forced, of the whole split, in nats per target token;
              NaN for a rule without a loss.
        reads_source: whether `update` gets, as a third argument, the text of each example's source
            as people see it (of an image its number); not of a metric that reads the loss.
    """

    full_state_update = False
    scores: tuple[MetricScore, ...] = ()
    reads: ClassVar[str] = "tokens"
    reads_source: ClassVar[bool] = False

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


def require_metric(name: str, metric: Any) -> None:
    """Raise ValueError unless an object can be a metric.

    Args:
        name: what a message calls it.
        metric: the object.
    """
    scores = getattr(metric, "scores", None)
    if not isinstance(scores, tuple | list) or not all(
        isinstance(score, MetricScore) for score in scores
    ):
        raise ValueError(
            f"{name}: {type(metric).__name__} does not say what it measures; set its attribute "
            "scores to a tuple of decoderlab.metrics.MetricScore"
        )
    require.choice(f"{name}: {type(metric).__name__}.reads", reads(metric), READS)
    if reads(metric) == "loss":
        _check_reader_of_the_loss(name, metric)
    if not isinstance(metric, Metric):
        raise ValueError(
            f"{name}: {type(metric).__name__} is no torchmetrics.Metric; extend "
            "decoderlab.metrics.TaskMetric, or another one"
        )


def _check_reader_of_the_loss(name: str, metric: Any) -> None:
    """Raise ValueError for what a metric that gets the loss alone cannot have."""
    of_examples = [score.name for score in measured(metric) if score.per_example]
    if of_examples:
        raise ValueError(
            f"{name}: {type(metric).__name__} reads the loss alone, so that its score "
            f"{of_examples[0]} is not a mean over examples; leave out per_example"
        )
    if reads_source(metric):
        raise ValueError(
            f"{name}: {type(metric).__name__} reads the loss alone, which has no sources; leave "
            "out reads_source"
        )


def measured(metric: Any) -> tuple[MetricScore, ...]:
    """Return what a metric measures; see `TaskMetric`."""
    return tuple(metric.scores)


def reads(metric: Any) -> str:
    """Return what a metric's `update` gets; see `TaskMetric`."""
    return getattr(metric, "reads", "tokens")


def reads_source(metric: Any) -> bool:
    """Return whether a metric's `update` gets sources too; see `TaskMetric`."""
    return bool(getattr(metric, "reads_source", False))


def add_examples(metric: Any, predictions: Any, references: Any, sources: Sequence[str]) -> None:
    """Add examples to a metric, which is given the sources only if it reads them.

    Args:
        metric: which reads no loss.
        predictions: see `TaskMetric`.
        references: see `TaskMetric`.
        sources: a text for each example; what it is does not matter to others.
    """
    beside = (sources,) if reads_source(metric) else ()
    metric.update(predictions, references, *beside)


def alone(metric: Any) -> Any:
    """Keep a metric to this process, where others would have to add their part; return it."""
    metric.distributed_available_fn = lambda: False
    return metric


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
