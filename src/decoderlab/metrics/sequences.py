"""Metrics of generated tokens, against every target that counts as right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from rapidfuzz.distance.Levenshtein import distance as edit_distance
from torch import Tensor

from decoderlab.contract import ValueSpace
from decoderlab.metrics.metric_score import EXACT_MATCH, MetricScore
from decoderlab.metrics.task_metric import TaskMetric


def nearest_target(
    prediction: Sequence[int], accepted: Sequence[Sequence[int]]
) -> tuple[Sequence[int], int]:
    """Return the right target with the fewest edits to a prediction, and how many these are.

    Example:
        >>> nearest_target([5, 6], [[7, 8], [5, 6, 7]])
        ([5, 6, 7], 1)
    """
    distances = [edit_distance(prediction, reference) for reference in accepted]
    fewest = min(distances)
    return accepted[distances.index(fewest)], fewest


class SequenceMetrics(TaskMetric):
    """Exact match, token accuracy and symbol error rate of generated sequences.

    * exact_match: share of examples whose prediction equals one of the references.
    * token_accuracy: share of the reference's tokens that the prediction has at the same position;
      where targets end in EOS, the end counts as a token, so that a prediction which goes on too
      long loses one.
    * symbol_error_rate: edit distance over reference length, both summed over examples; can be
      above 1. With one symbol per phoneme this is the phoneme error rate.

    The last two use the reference that is nearest to the prediction by edit distance, the first
    listed among equals. All three come from that search, and so from one object.

    Args:
        targets_end: whether the task's targets end in EOS; None for what the task says.

    Example:
        >>> metrics = SequenceMetrics()
        >>> metrics.update([(1, 2), (3,)], [((1, 2),), ((4, 4), (3, 4))])
        >>> {name: round(value, 3) for name, value in metrics.compute().items()}
        {'exact_match': 0.5, 'token_accuracy': 0.667, 'symbol_error_rate': 0.25}
    """

    scores = (
        EXACT_MATCH,
        MetricScore(name="token_accuracy", better="max", low=0, high=1, worst=0, unit="share"),
        MetricScore(
            name="symbol_error_rate",
            better="min",
            low=0,
            high=math.inf,
            worst=1,
            unit="errors per symbol",
        ),
    )

    examples: Tensor
    correct: Tensor
    tokens: Tensor
    matches: Tensor
    symbols: Tensor
    edits: Tensor

    def __init__(self, *, targets_end: bool | None = None) -> None:
        super().__init__()
        self.targets_end = True if targets_end is None else targets_end
        self._given = targets_end is not None
        # Doubles: counts of symbols outgrow what float32 holds exactly.
        for name in ("examples", "correct", "tokens", "matches", "symbols", "edits"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def prepare(self, task: Any) -> None:
        """Take from the task whether its targets end.

        Raises:
            ValueError: if the targets are not tokens.
        """
        if isinstance(task.data.target_space, ValueSpace):
            raise ValueError(
                f"the targets of {type(task).__name__} are real values, which do not match by "
                'token; set the attribute writes of its class to "values"'
            )
        if not self._given:
            self.targets_end = task.append_eos

    def update(
        self,
        predictions: Sequence[Sequence[int]],
        references: Sequence[Sequence[Sequence[int]]],
    ) -> None:
        """Add examples: token ids without EOS and padding, and all references of each."""
        correct = edits = symbols = matches = 0
        for prediction, accepted in zip(predictions, references, strict=True):
            nearest, distance = nearest_target(prediction, accepted)
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
        """Return the three scores over everything added so far."""
        return {
            "exact_match": float(self.correct / self.examples),
            "token_accuracy": float(self.matches / self.tokens),
            "symbol_error_rate": float(self.edits / self.symbols.clamp(min=1)),
        }
