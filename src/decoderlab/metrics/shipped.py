"""What the scores of a record mean; those of decoderlab's own metrics are known by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from decoderlab.metrics.metric_score import LOSS, MetricScore
from decoderlab.metrics.overlap import Bleu, ChrF
from decoderlab.metrics.sequences import SequenceMetrics
from decoderlab.metrics.texts import Distinct, Perplexity, WordErrorRate
from decoderlab.metrics.value_errors import ABSOLUTE, SCALED, SQUARED

SHIPPED: dict[str, MetricScore] = {
    score.name: score
    for score in (
        *SequenceMetrics.scores,
        LOSS,
        *WordErrorRate.scores,
        *Perplexity.scores,
        *Bleu.scores,
        *ChrF.scores,
        *Distinct.scores,
        ABSOLUTE,
        SQUARED,
        SCALED,
    )
}


def recorded_scores(descriptions: Mapping[str, Mapping[str, Any]]) -> dict[str, MetricScore]:
    """Return what the scores of a result or a plan mean, by name.

    Args:
        descriptions: `scores` of the result or plan, see `MetricScore.record`; decoderlab's own
            scores are known without.
    """
    own = {name: _recorded(description) for name, description in descriptions.items()}
    return SHIPPED | own


def _recorded(description: Mapping[str, Any]) -> MetricScore:
    """Return the score of a description; old descriptions do not say which are `per_example`."""
    score = MetricScore.recorded(description)
    ours = SHIPPED.get(score.name)
    if "per_example" in description or ours is None:
        return score
    return ours if replace(ours, per_example=False) == score else score


def score_label(name: str, descriptions: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the name of a score as people write it.

    Args:
        name: of the score.
        descriptions: see `recorded_scores`.

    Example:
        >>> score_label("exact_match", {}), score_label("chrf", {}), score_label("my_own", {})
        ('exact match', 'chrF', 'my own')
    """
    scores = recorded_scores(descriptions)
    return scores[name].label if name in scores else name.replace("_", " ")
