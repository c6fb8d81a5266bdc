"""Metrics: each is a class that says what its numbers mean, chosen by its YAML in conf/metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderlab.common.lazy_names import names_of

if TYPE_CHECKING:
    from decoderlab.metrics.bleu_by_length import BleuByLength
    from decoderlab.metrics.metric_score import MetricScore
    from decoderlab.metrics.overlap import Bleu, ChrF
    from decoderlab.metrics.sequences import SequenceMetrics
    from decoderlab.metrics.task_metric import TaskMetric
    from decoderlab.metrics.texts import Distinct, EmptyOutputs, Perplexity, WordErrorRate
    from decoderlab.metrics.value_errors import ValueErrors

__all__ = [
    "Bleu",
    "ChrF",
    "Distinct",
    "EmptyOutputs",
    "BleuByLength",
    "Perplexity",
    "MetricScore",
    "SequenceMetrics",
    "TaskMetric",
    "ValueErrors",
    "WordErrorRate",
]
__getattr__ = names_of(
    __name__,
    {
        "metric_score": ["MetricScore"],
        "bleu_by_length": ["BleuByLength"],
        "overlap": ["Bleu", "ChrF"],
        "sequences": ["SequenceMetrics"],
        "task_metric": ["TaskMetric"],
        "texts": ["Distinct", "EmptyOutputs", "Perplexity", "WordErrorRate"],
        "value_errors": ["ValueErrors"],
    },
)
