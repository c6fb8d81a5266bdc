"""The 0/1 outcome of each example by the scores that are the mean of these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torchmetrics import Metric

from decoderlab.data.packed_outcomes import CLOSE
from decoderlab.data.task_scores import Scored, prepared_metrics, shown_sources
from decoderlab.metrics.metric_score import EXACT_MATCH
from decoderlab.metrics.sequences import SequenceMetrics
from decoderlab.metrics.task_metric import (
    add_examples,
    alone,
    computed,
    measured,
    reads,
    reads_source,
)


def metrics_of_examples(task: Scored) -> list[Metric]:
    """Return fresh metrics of a task that have a score whose outcomes are to be sought.

    Those of exact match are not: the model keeps them with its predictions.
    """
    return [alone(metric) for metric in prepared_metrics(task) if names_of_examples(metric)]


def names_of_examples(metric: Any) -> list[str]:
    """Return the names of those scores of a metric; see `metrics_of_examples`."""
    known = EXACT_MATCH.name if isinstance(metric, SequenceMetrics) else None
    scores = (score for score in measured(metric) if score.per_example)
    return [score.name for score in scores if score.name != known]


def outcomes_of(
    metric: Any,
    task: Scored,
    split: str,
    predictions: Iterable[tuple[int, Any]],
    scores: Mapping[str, float],
) -> dict[str, np.ndarray]:
    """Return the outcome of each example, (N,) bool, by the names of the scores.

    The metric is given each example alone, and asked for its scores.

    Args:
        metric: of `metrics_of_examples`.
        task: with its data.
        split: whose examples were predicted.
        predictions: of all examples, as (row of the split, what was generated).
        scores: of all these predictions at once.

    Raises:
        ValueError: if an outcome is neither 0 nor 1, or their mean is not the score.
    """
    names = names_of_examples(metric)
    values: dict[str, list[float]] = {name: [] for name in names}
    for row, generated in sorted(predictions, key=lambda pair: pair[0]):
        metric.reset()
        add_examples(metric, *_alone(metric, task, split, row, generated))
        numbers = computed(metric)
        for name in names:
            values[name].append(numbers[name])
    for name in names:
        check_outcomes(name, values[name], scores[name])
    return {name: np.array(values[name]) == 1 for name in names}


def check_outcomes(name: str, outcomes: Sequence[float], score: float) -> None:
    """Raise ValueError unless a score is the mean of outcomes that are 0 or 1.

    Args:
        name: of the score.
        outcomes: the score of each example alone.
        score: of all examples.

    Example:
        >>> check_outcomes("right", [1, 0, 1, 1], 0.75)
        >>> check_outcomes("nearly", [1, 0.5], 0.75)
        Traceback (most recent call last):
        ValueError: the score nearly of one example alone is 0.5, but it says that it is ...
    """
    says = "but it says that it is the mean of a 0/1 outcome of each; leave out its per_example"
    other = next((value for value in outcomes if value not in (0, 1)), None)
    if other is not None:
        raise ValueError(f"the score {name} of one example alone is {other:g}, {says}")
    mean = sum(outcomes) / max(len(outcomes), 1)
    if not abs(mean - score) <= CLOSE:
        raise ValueError(
            f"the score {name} is {score:g} of all examples, and {mean:g} in the mean over single "
            f"ones, {says}"
        )


def _alone(
    metric: Any, task: Scored, split: str, row: int, generated: Any
) -> tuple[Any, Any, list[str]]:
    """Return prediction, reference and source of one example, as a metric is given them."""
    source = shown_sources(task, split, [row]) if reads_source(metric) else []
    if reads(metric) == "texts":
        text = task.text_of(generated, task.words_of(split, row))
        return [text], [task.reference_texts(split, row)], source
    if reads(metric) == "tokens":
        return [generated], [task.accepted(split, row)], source
    target = task.data.splits[split].batch(torch.tensor([row])).target
    return torch.as_tensor(np.asarray(generated))[None], target, source
