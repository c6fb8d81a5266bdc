"""What the scores of a record mean; those of decoderlab's own metrics are known by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from decoderlab.metrics.metric_score import LOSS, MetricScore


@cache
def our_scores() -> dict[str, MetricScore]:
    """Return the scores of our own metrics, by name; it imports these, and with them torch."""
    from decoderlab.metrics.bleu_by_length import BleuByLength
    from decoderlab.metrics.overlap import Bleu, ChrF
    from decoderlab.metrics.sequences import SequenceMetrics
    from decoderlab.metrics.texts import Distinct, EmptyOutputs, Perplexity, WordErrorRate
    from decoderlab.metrics.value_errors import ABSOLUTE, SCALED, SQUARED

    scores = (
        *SequenceMetrics.scores,
        LOSS,
        *WordErrorRate.scores,
        *Perplexity.scores,
        *Bleu.scores,
        *ChrF.scores,
        *Distinct.scores,
        *EmptyOutputs.scores,
        *BleuByLength.scores,
        ABSOLUTE,
        SQUARED,
        SCALED,
    )
    return {score.name: score for score in scores}


class RecordedScores(Mapping[str, MetricScore]):
    """The scores that a record describes, and ours, which are looked up only if it does not.

    Args:
        described: by the record.
    """

    def __init__(self, described: Mapping[str, MetricScore]) -> None:
        self._described = described

    def __getitem__(self, name: str) -> MetricScore:
        return self._described[name] if name in self._described else our_scores()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(our_scores() | dict(self._described))

    def __len__(self) -> int:
        return len(our_scores() | dict(self._described))


def recorded_scores(descriptions: Mapping[str, Mapping[str, Any]]) -> RecordedScores:
    """Return what the scores of a result or a plan mean, by name.

    Args:
        descriptions: `scores` of the result or plan, see `MetricScore.record`; decoderlab's own
            scores are known without.
    """
    own = {name: _recorded(description) for name, description in descriptions.items()}
    return RecordedScores(own)


def _recorded(description: Mapping[str, Any]) -> MetricScore:
    """Return the score of a description; old descriptions do not say which are `per_example`."""
    score = MetricScore.recorded(description)
    if "per_example" in description or (ours := our_scores().get(score.name)) is None:
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
