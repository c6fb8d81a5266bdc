"""Metrics: each is a class that says what its numbers mean, chosen by its YAML in conf/metric."""

from decoderlab.metrics.metric_score import MetricScore, TaskMetric
from decoderlab.metrics.overlap import Bleu, ChrF
from decoderlab.metrics.sequences import SequenceMetrics
from decoderlab.metrics.texts import Distinct, Perplexity, WordErrorRate
from decoderlab.metrics.value_errors import ValueErrors

__all__ = [
    "Bleu",
    "ChrF",
    "Distinct",
    "Perplexity",
    "MetricScore",
    "SequenceMetrics",
    "TaskMetric",
    "ValueErrors",
    "WordErrorRate",
]
