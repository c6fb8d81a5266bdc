"""Metrics of generated sequences, against every target that counts as right."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torchmetrics import Metric

VERSION = "1"
DIRECTIONS = {
    "exact_match": "max",
    "token_accuracy": "max",
    "symbol_error_rate": "min",
    "loss": "min",
}


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


def signature(
    split: str, num_examples: int, max_length: int, fingerprint: str, search: str = "greedy"
) -> str:
    """Return how a score was measured; only scores of one signature are comparable."""
    return (
        f"generation:{search}|max_length:{max_length}|split:{split}|n:{num_examples}"
        f"|data:{fingerprint[:12]}|v:{VERSION}"
    )
