"""Metrics of whole texts and of the loss, which are given once, at the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from decoderlab.metrics.metric_score import MAX_NATS, MetricScore
from decoderlab.metrics.task_metric import TaskMetric


class WrongShare(TaskMetric):
    """Share of the texts that are wrong; a subclass has its one score, and says which are."""

    reads: ClassVar[str] = "texts"

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)
        self.wrong = self.examples = 0

    def is_wrong(self, prediction: str, accepted: Sequence[str]) -> bool:
        """Whether a text is wrong, beside those that are right."""
        raise NotImplementedError

    def update(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        """Add texts."""
        pairs = zip(predictions, references, strict=True)
        self.wrong += sum(self.is_wrong(prediction, accepted) for prediction, accepted in pairs)
        self.examples += len(predictions)

    def compute(self) -> dict[str, float]:
        """Return the share."""
        (score,) = self.scores
        return {score.name: self.wrong / max(self.examples, 1)}

    def reset(self) -> None:
        """Begin again."""
        super().reset()
        self.wrong = self.examples = 0


class WordErrorRate(WrongShare):
    """Share of the examples, as of words, whose text equals none of the references.

    Example:
        >>> metric = WordErrorRate()
        >>> metric.update(["R EH D", "R AH D"], [["R EH D", "R IY D"], ["R IY D"]])
        >>> metric.compute()
        {'word_error_rate': 0.5}
    """

    scores = (
        MetricScore(
            name="word_error_rate",
            better="min",
            low=0,
            high=1,
            worst=1,
            unit="share",
            per_example=True,
        ),
    )

    def is_wrong(self, prediction: str, accepted: Sequence[str]) -> bool:
        """Whether a text equals none of those that are right."""
        return prediction not in accepted


class Distinct(TaskMetric):
    """Share of different words, and pairs of words, among all that were generated: how varied.

    Paper: Li et al. 2016, section 5.2 (https://arxiv.org/abs/1510.03055).
    Differs: over the number of n-grams, where the paper divides by that of tokens.

    Example:
        >>> metric = Distinct()
        >>> metric.update(["i do", "i do", "no"], [[""]] * 3)
        >>> metric.compute()
        {'distinct_1': 0.6, 'distinct_2': 0.5}
    """

    scores = tuple(
        MetricScore(name=f"distinct_{n}", better="max", low=0, high=1, worst=0, unit="share")
        for n in (1, 2)
    )
    reads: ClassVar[str] = "texts"

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)
        self.texts: list[list[str]] = []

    def update(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        """Add texts; references do not matter."""
        self.texts += [text.split() for text in predictions]

    def compute(self) -> dict[str, float]:
        """Return both shares."""
        return {f"distinct_{n}": distinct(self.texts, n) for n in (1, 2)}

    def reset(self) -> None:
        """Begin again."""
        super().reset()
        self.texts = []


def distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Return the share of different n-grams among all those of the texts; see `Distinct`.

    Args:
        texts: tokens of each.
        n: tokens of an n-gram, at least 1.

    Example:
        >>> distinct([["i", "do"], ["i", "do"], ["no"]], 1)
        0.6
    """
    grams = Counter(tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1))
    return len(grams) / max(grams.total(), 1)


class EmptyOutputs(WrongShare):
    """Share of the outputs that have no token, whatever their references.

    Paper: Stahlberg and Byrne 2019, table 1 (https://aclanthology.org/D19-1331).

    Example:
        >>> metric = EmptyOutputs()
        >>> metric.update(["", "no"], [["a"], ["no"]])
        >>> metric.compute()
        {'empty_share': 0.5}
    """

    scores = (
        MetricScore(
            name="empty_share",
            better="min",
            low=0,
            high=1,
            worst=1,
            unit="share",
            per_example=True,
        ),
    )

    def is_wrong(self, prediction: str, accepted: Sequence[str]) -> bool:
        """Whether a text has no token."""
        return not prediction


class Perplexity(TaskMetric):
    """The exponential of the loss: the number of tokens that the model effectively chooses from.

    Example:
        >>> metric = Perplexity()
        >>> metric.update(math.log(8))
        >>> round(metric.compute()["perplexity"], 6)
        8.0
    """

    scores = (
        MetricScore(
            name="perplexity",
            better="min",
            low=1,
            high=math.inf,
            unit="tokens",
            teacher_forced=True,
        ),
    )
    reads: ClassVar[str] = "loss"

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False)
        self.loss = math.nan

    def update(self, loss: float) -> None:
        """Take the loss, in nats per target token."""
        self.loss = loss

    def compute(self) -> dict[str, float]:
        """Return the perplexity; NaN for a loss of NaN."""
        return {"perplexity": math.exp(min(self.loss, MAX_NATS))}

    def reset(self) -> None:
        """Begin again."""
        super().reset()
        self.loss = math.nan
