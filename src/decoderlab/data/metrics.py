"""Metrics of generated sequences, against every target that counts as right."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

VERSION = "1"


class Scale(NamedTuple):
    """What the numbers of a metric mean.

    Args:
        better: `max` or `min`.
        low, high: the least and the greatest that it can be.
        worst: what a run that failed scores, if none that finished is worse still; None for a
            metric without a worst value.
    """

    better: str
    low: float
    high: float
    worst: float | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest value."""
        return self.low, self.high


SCALES = {
    "exact_match": Scale("max", 0.0, 1.0, 0.0),
    "token_accuracy": Scale("max", 0.0, 1.0, 0.0),
    "symbol_error_rate": Scale("min", 0.0, math.inf, 1.0),
    "loss": Scale("min", -math.inf, math.inf),  # a density can be above 1
    "word_error_rate": Scale("min", 0.0, 1.0, 1.0),
    "perplexity": Scale("min", 1.0, math.inf),
    "bleu": Scale("max", 0.0, 100.0, 0.0),
    "chrf": Scale("max", 0.0, 100.0, 0.0),
    "distinct_1": Scale("max", 0.0, 1.0, 0.0),
    "distinct_2": Scale("max", 0.0, 1.0, 0.0),
    "mean_absolute_error": Scale("min", 0.0, math.inf),
    "root_mean_squared_error": Scale("min", 0.0, math.inf),
    "mean_absolute_scaled_error": Scale("min", 0.0, math.inf),
}

# Of each token given the true ones before it; all others are of free-running generation.
TEACHER_FORCED = ("loss", "perplexity")
SPELT = {"bleu": "BLEU", "chrf": "chrF"}


def metric_words(name: str) -> str:
    """Return the name of a metric as people write it.

    Example:
        >>> metric_words("exact_match"), metric_words("chrf")
        ('exact match', 'chrF')
    """
    return SPELT.get(name, name.replace("_", " "))


def edit_distance(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the number of insertions, deletions and substitutions between two sequences.

    Example:
        >>> edit_distance("kitten", "sitting")
        3
    """
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(other, start=1):
            substituted = diagonal + (left != right)
            diagonal = row[j]
            row[j] = min(diagonal + 1, row[j - 1] + 1, substituted)
    return row[-1]


class SequenceMetrics(Metric):
    """Exact match, token accuracy and symbol error rate of generated sequences.

    * exact_match: share of examples whose prediction equals one of the references.
    * token_accuracy: share of the reference's tokens that the prediction has at the same position;
      where targets end in EOS, the end counts as a token, so that a prediction which goes on too
      long loses one.
    * symbol_error_rate: edit distance over reference length, both summed over examples; can be
      above 1. With one symbol per phoneme this is the phoneme error rate.

    The last two use the reference that is nearest to the prediction by edit distance, the first
    listed among equals.

    Args:
        targets_end: whether the task's targets end in EOS.

    Example:
        >>> metrics = SequenceMetrics()
        >>> metrics.update([(1, 2), (3,)], [((1, 2),), ((4, 4), (3, 4))])
        >>> {name: round(value, 3) for name, value in metrics.compute().items()}
        {'exact_match': 0.5, 'token_accuracy': 0.667, 'symbol_error_rate': 0.25}
    """

    full_state_update = False
    scores = ("exact_match", "token_accuracy", "symbol_error_rate")

    def __init__(self, *, targets_end: bool = True) -> None:
        super().__init__()
        self.targets_end = targets_end
        # Doubles: counts of symbols outgrow what float32 holds exactly.
        for name in ("examples", "correct", "tokens", "matches", "symbols", "edits"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        predictions: Sequence[Sequence[int]],
        references: Sequence[Sequence[Sequence[int]]],
    ) -> None:
        """Add examples: token ids without EOS and padding, and all references of each."""
        correct = edits = symbols = matches = 0
        for prediction, accepted in zip(predictions, references, strict=True):
            prediction = tuple(prediction)
            distances = [edit_distance(prediction, reference) for reference in accepted]
            distance = min(distances)
            nearest = accepted[distances.index(distance)]
            correct += distance == 0
            edits += distance
            symbols += len(nearest)
            matches += sum(a == b for a, b in zip(prediction, nearest, strict=False))
            matches += self.targets_end and len(prediction) == len(nearest)
        self.examples += len(predictions)
        self.correct += correct
        self.edits += edits
        self.symbols += symbols
        self.tokens += symbols + self.targets_end * len(predictions)
        self.matches += matches

    def compute(self) -> dict[str, float]:
        """Return the metrics over everything added so far."""
        return {
            "exact_match": float(self.correct / self.examples),
            "token_accuracy": float(self.matches / self.tokens),
            "symbol_error_rate": float(self.edits / self.symbols.clamp(min=1)),
        }


class ValueMetrics(Metric):
    """Errors of generated real values, in the data's units.

    * mean_absolute_error, root_mean_squared_error: over all positions and numbers.
    * mean_absolute_scaled_error, where `naive_error` is given: the mean of |error| / naive_error;
      below 1 is better than the naive forecast was in training.

    Paper: mean absolute scaled error, Hyndman and Koehler 2006, eq. 5
        (https://doi.org/10.1016/j.ijforecast.2006.03.001).
    Differs: the denominator may be a seasonal naive forecast's error, as has become usual since.

    Args:
        deviation: (F,) by which the network's values are to be multiplied; see `Values`.
        naive_error: (F,) mean absolute error of a naive forecast in training, in the data's units.

    Example:
        >>> metrics = ValueMetrics(deviation=[2.0], naive_error=[4.0])
        >>> metrics.update(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[0.0], [5.0]]]))
        >>> {name: round(value, 3) for name, value in metrics.compute().items()}
        ... # doctest: +NORMALIZE_WHITESPACE
        {'mean_absolute_error': 4.0, 'root_mean_squared_error': 4.472,
         'mean_absolute_scaled_error': 1.0}
    """

    full_state_update = False

    def __init__(
        self, *, deviation: Sequence[float], naive_error: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.deviation = torch.tensor(deviation, dtype=torch.float64)
        self.naive_error = None
        self.scores = ("mean_absolute_error", "root_mean_squared_error")
        if naive_error is not None:
            self.scores += ("mean_absolute_scaled_error",)
            self.naive_error = torch.tensor(naive_error, dtype=torch.float64)
        for name in ("number", "absolute", "squared", "scaled"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add a batch of predictions and targets, (B, T, F) each, as the network has them."""
        errors = (predictions - targets).double().cpu().abs() * self.deviation
        self.number += errors.numel()
        self.absolute += errors.sum()
        self.squared += errors.square().sum()
        if self.naive_error is not None:
            self.scaled += (errors / self.naive_error).sum()

    def compute(self) -> dict[str, float]:
        """Return the metrics over everything added so far."""
        scores = {
            "mean_absolute_error": float(self.absolute / self.number),
            "root_mean_squared_error": float((self.squared / self.number).sqrt()),
        }
        if self.naive_error is not None:
            scores["mean_absolute_scaled_error"] = float(self.scaled / self.number)
        return scores


def distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Return the share of different n-grams among all those of the texts: how varied they are.

    Paper: Li et al. 2016, section 5.2 (https://arxiv.org/abs/1510.03055).
    Differs: over the number of n-grams, where the paper divides by that of tokens.

    Args:
        texts: tokens of each.
        n: tokens of an n-gram, at least 1.

    Example:
        >>> distinct([["i", "do"], ["i", "do"], ["no"]], 1)
        0.6
    """
    grams = Counter(tuple(one[i : i + n]) for one in texts for i in range(len(one) - n + 1))
    return len(grams) / max(grams.total(), 1)


def signature(
    split: str,
    num_examples: int,
    max_length: int,
    fingerprint: str,
    search: str = "greedy",
    scores: Mapping[str, str] | None = None,
) -> str:
    """Return how a score was measured; only scores of one signature are comparable.

    Args:
        split: whose examples were measured.
        num_examples: of it.
        max_length: of an output.
        fingerprint: of the data.
        search: see `Search.signature`.
        scores: see `Task.signatures`; a hash of them is in it.
    """
    told = hashlib.sha256(json.dumps(scores, sort_keys=True).encode()).hexdigest()
    return (
        f"generation:{search}|max_length:{max_length}|split:{split}|n:{num_examples}"
        f"|data:{fingerprint[:12]}{f'|scores:{told[:8]}' if scores else ''}|v:{VERSION}"
    )
