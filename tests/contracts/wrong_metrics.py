"""Metrics with a defect each, which the battery names."""

from __future__ import annotations

from dataclasses import replace

from torchmetrics import Metric

from decoderlab import metrics
from decoderlab.metrics import SequenceMetrics, ValueErrors, WordErrorRate


class MeanOfBatches(SequenceMetrics):
    """The mean of the batches' means, whatever their sizes; the last ones count more."""

    def update(self, predictions, references):
        before = float(self.correct / self.examples.clamp(min=1)), float(self.examples)
        super().update(predictions, references)
        if before[1]:
            self.correct.mul_(0.9)


class WrongWayRound(ValueErrors):
    def compute(self):
        return {name: -value for name, value in super().compute().items()}


class BetterIsMore(WordErrorRate):
    scores = (metrics.MetricScore(name="word_error_rate", better="max", low=0, high=1, worst=0),)


class NeverForgets(WordErrorRate):
    def reset(self):
        Metric.reset(self)


class OrderMatters(WordErrorRate):
    def update(self, predictions, references):
        self.wrong += predictions[0] not in references[0]
        self.examples += 1


class FirstReferenceAlone(SequenceMetrics):
    def update(self, predictions, references):
        super().update(predictions, [accepted[:1] for accepted in references])


class Sorts(SequenceMetrics):
    def update(self, predictions, references):
        predictions.sort()
        super().update(predictions, references)


class Shared(WordErrorRate):
    counts = [0, 0]  # noqa: RUF012 - the defect

    def update(self, predictions, references):
        pairs = zip(predictions, references, strict=True)
        self.counts[0] += sum(prediction not in accepted for prediction, accepted in pairs)
        self.counts[1] += len(predictions)

    def compute(self):
        return {"word_error_rate": self.counts[0] / max(self.counts[1], 1)}


class Percent(WordErrorRate):
    def compute(self):
        return {"word_error_rate": 100 * super().compute()["word_error_rate"]}


class WorstIsBest(WordErrorRate):
    scores = (metrics.MetricScore(name="word_error_rate", better="min", low=0, high=1, worst=0),)


class SharesAreNoOutcomes(SequenceMetrics):
    scores = tuple(
        replace(score, per_example=score.name != "symbol_error_rate")
        for score in SequenceMetrics.scores
    )


class AnyWrong(WordErrorRate):
    def compute(self):
        return {"word_error_rate": float(self.wrong > 0)}


class Swallows(WordErrorRate):
    def __init__(self, **settings):
        super().__init__()
