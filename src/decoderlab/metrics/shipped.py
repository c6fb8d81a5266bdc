"""What the scores of a record mean; those of decoderlab's own metrics are known by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from decoderlab.metrics.overlap import Bleu, ChrF
from decoderlab.metrics.score import LOSS, Score
from decoderlab.metrics.sequences import SequenceMetrics
from decoderlab.metrics.texts import Distinct, Perplexity, WordErrorRate
from decoderlab.metrics.value_errors import ABSOLUTE, SCALED, SQUARED

SHIPPED: dict[str, Score] = {
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


def recorded_scores(record: Mapping[str, Any]) -> dict[str, Score]:
    """Return what the scores of a result or a plan mean, by name.

    Args:
        record: with `scores`, see `Score.record`; without it, decoderlab's own scores are known.
    """
    own = {
        name: Score.recorded(description)
        for name, description in (record.get("scores") or {}).items()
    }
    return SHIPPED | own


def score_label(name: str, record: Mapping[str, Any]) -> str:
    """Return the name of a score as people write it.

    Args:
        name: of the score.
        record: result or plan that has it.

    Example:
        >>> score_label("exact_match", {}), score_label("chrf", {}), score_label("my_own", {})
        ('exact match', 'chrF', 'my own')
    """
    scores = recorded_scores(record)
    return scores[name].label if name in scores else name.replace("_", " ")
