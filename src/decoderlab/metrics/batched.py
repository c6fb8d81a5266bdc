"""The metrics that are fed batch by batch, as the model that generates knows them: as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import nn
from torchmetrics import Metric

from decoderlab.metrics.score import Score, computed, measured


class BatchedMetrics(nn.Module):
    """Hands each batch to all metrics that read tokens or values; see `TaskMetric`.

    Args:
        metrics: prepared for their task.

    Example:
        >>> from decoderlab.metrics import SequenceMetrics
        >>> metrics = BatchedMetrics([SequenceMetrics()])
        >>> metrics.update([(1, 2)], [[(1, 2)]])
        >>> metrics.compute()["exact_match"], [score.name for score in metrics.scores]
        (1.0, ['exact_match', 'token_accuracy', 'symbol_error_rate'])
    """

    def __init__(self, metrics: Sequence[Any]) -> None:
        super().__init__()
        self.metrics = nn.ModuleList(metrics)

    @property
    def _all(self) -> Sequence[Metric]:
        return cast("Sequence[Metric]", self.metrics)  # torch's list is of any modules

    @property
    def scores(self) -> tuple[Score, ...]:
        """What they measure."""
        return tuple(score for metric in self.metrics for score in measured(metric))

    def update(self, predictions: Any, references: Any) -> None:
        """Add a batch."""
        for metric in self._all:
            metric.update(predictions, references)

    def compute(self) -> dict[str, float]:
        """Return all their numbers over everything added so far."""
        return {name: value for metric in self.metrics for name, value in computed(metric).items()}

    def reset(self) -> None:
        """Begin again."""
        for metric in self._all:
            metric.reset()

    def alone(self) -> BatchedMetrics:
        """Keep to this process, where others would have to add their part."""
        for metric in self._all:
            metric.distributed_available_fn = lambda: False
        return self
