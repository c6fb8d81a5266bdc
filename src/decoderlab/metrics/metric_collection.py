"""The metrics that are updated batch by batch, together as one module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import nn
from torchmetrics import Metric

from decoderlab.metrics.metric_score import MetricScore
from decoderlab.metrics.task_metric import add_examples, alone, computed, measured, reads_source


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
    def scores(self) -> tuple[MetricScore, ...]:
        """What they measure."""
        return tuple(score for metric in self.metrics for score in measured(metric))

    @property
    def reads_source(self) -> bool:
        """Whether any of them reads sources."""
        return any(map(reads_source, self.metrics))

    def update(self, predictions: Any, references: Any, sources: Sequence[str] = ()) -> None:
        """Add a batch.

        Args:
            predictions: see `TaskMetric`.
            references: see `TaskMetric`.
            sources: the texts, where any metric `reads_source`.
        """
        for metric in self._all:
            add_examples(metric, predictions, references, sources)

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
            alone(metric)
        return self
