"""What a run that failed scores."""

from __future__ import annotations

from collections.abc import Iterable

from decoderlab.metrics.metric_score import MetricScore


def worst_score(scale: MetricScore, scores: Iterable[float]) -> float | None:
    """Return what a failure scores: the metric's worst, or a worse score of a finished run.

    Args:
        scale: of the metric.
        scores: of the finished runs of the same task.

    Returns:
        None for a metric without a worst value.

    Example:
        >>> from decoderlab.metrics.shipped import our_scores
        >>> worst_score(our_scores()["symbol_error_rate"], [0.2, 1.5])
        1.5
    """
    if scale.worst is None:
        return None
    pick = min if scale.better == "max" else max
    return pick([scale.worst, *scores])
