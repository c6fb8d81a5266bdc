"""What a class needs to be a metric, and how its numbers are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor
from torchmetrics import Metric

from decoderlab.common import require
from decoderlab.metrics.metric_score import MetricScore

PACKAGE = __name__.split(".", maxsplit=1)[0]
READS = ("tokens", "values", "texts", "loss")


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
    given = (predictions, references, *((sources,) if reads_source(metric) else ()))
    if type(metric).__module__.split(".")[0] != PACKAGE:
        given = tuple(map(_copied, given))  # which it may change, and others read them too
    metric.update(*given)


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    return value


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
