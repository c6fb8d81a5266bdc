"""Errors of generated real values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from decoderlab.contract import TokenSpace
from decoderlab.metrics.metric_score import MetricScore
from decoderlab.metrics.task_metric import TaskMetric

UNIT = "the data's unit"
ABSOLUTE = MetricScore(name="mean_absolute_error", better="min", low=0, high=math.inf, unit=UNIT)
SQUARED = MetricScore(name="root_mean_squared_error", better="min", low=0, high=math.inf, unit=UNIT)
SCALED = MetricScore(
    name="mean_absolute_scaled_error",
    better="min",
    low=0,
    high=math.inf,
    unit="errors of the naive forecast",
)


class ValueErrors(TaskMetric):
    """Errors of generated real values, in the data's units.

    * mean_absolute_error, root_mean_squared_error: over all positions and numbers.
    * mean_absolute_scaled_error, where the task has a `naive_error`: the mean of
      |error| / naive_error; below 1 is better than the naive forecast was in training.

    Paper: mean absolute scaled error, Hyndman and Koehler 2006, eq. 5
        (https://doi.org/10.1016/j.ijforecast.2006.03.001).
    Differs: the denominator may be a seasonal naive forecast's error, as has become usual since.

    Example:
        >>> metrics = ValueErrors.of(deviation=[2.0], naive_error=[4.0])
        >>> metrics.update(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[0.0], [5.0]]]))
        >>> {name: round(value, 3) for name, value in metrics.compute().items()}
        ... # doctest: +NORMALIZE_WHITESPACE
        {'mean_absolute_error': 4.0, 'root_mean_squared_error': 4.472,
         'mean_absolute_scaled_error': 1.0}
    """

    reads: ClassVar[str] = "values"
    number: Tensor
    absolute: Tensor
    squared: Tensor
    scaled: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.scores = (ABSOLUTE, SQUARED)
        self.deviation = torch.ones(1, dtype=torch.float64)
        self.naive_error: Tensor | None = None
        for name in ("number", "absolute", "squared", "scaled"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    @classmethod
    def of(
        cls, *, deviation: Sequence[float], naive_error: Sequence[float] | None = None
    ) -> ValueErrors:
        """Return the metric for values of a scale.

        Args:
            deviation: (F,) by which the network's values are to be multiplied; see `Values`.
            naive_error: (F,) mean absolute error of a naive forecast in training, in the data's
                units; None for no scaled error.
        """
        metric = cls()
        metric.deviation = torch.tensor(deviation, dtype=torch.float64)
        if naive_error is not None:
            metric.scores = (ABSOLUTE, SQUARED, SCALED)
            metric.naive_error = torch.tensor(naive_error, dtype=torch.float64)
        return metric

    def prepare(self, task: Any) -> None:
        """Take the scale of the values, and the error of the naive forecast, from the task.

        Raises:
            ValueError: if the targets are not real values.
        """
        if isinstance(task.data.target_space, TokenSpace):
            raise ValueError(
                f"the targets of {type(task).__name__} are tokens, which have no error in units; "
                'set the attribute writes of its class to "tokens"'
            )
        data = task.data
        made = ValueErrors.of(
            deviation=data.target_vocabulary.deviation, naive_error=data.naive_error
        )
        self.scores, self.deviation, self.naive_error = (
            made.scores,
            made.deviation,
            made.naive_error,
        )

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add a batch of predictions and targets, (B, T, F) each, as the network has them."""
        errors = (predictions - targets).double().cpu().abs() * self.deviation
        self.number += errors.numel()
        self.absolute += errors.sum()
        self.squared += errors.square().sum()
        if self.naive_error is not None:
            self.scaled += (errors / self.naive_error).sum()

    def compute(self) -> dict[str, float]:
        """Return the errors over everything added so far."""
        scores = {
            "mean_absolute_error": float(self.absolute / self.number),
            "root_mean_squared_error": float((self.squared / self.number).sqrt()),
        }
        if self.naive_error is not None:
            scores["mean_absolute_scaled_error"] = float(self.scaled / self.number)
        return scores
