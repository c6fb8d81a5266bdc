"""A metric of one's own: how much of the right target stands in the output, in its order."""

import torch
from rapidfuzz.distance import LCSseq
from torchmetrics import Metric

from decoderlab.metrics import MetricScore


class CommonSubsequence(Metric):
    """Mean over examples of 2 l / (p + r): l tokens in common, in order; p predicted, r right.

    Of several right targets the nearest counts.

    Args:
        beta: weight of the right target's length against that of the output, above 0.
    """

    full_state_update = False
    reads = "tokens"
    scores = (
        MetricScore(
            name="common_subsequence",
            better="max",
            low=0,
            high=1,
            worst=0,
            unit="share",
            label="LCS ratio",
        ),
    )

    total: torch.Tensor
    examples: torch.Tensor

    def __init__(self, *, beta: float = 1.0) -> None:
        super().__init__()
        if not beta > 0:
            raise ValueError(f"beta is {beta}; it must be above 0")
        self.beta = beta
        for name in ("total", "examples"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predictions, references):
        """Add examples: token ids, and all references of each."""
        for prediction, accepted in zip(predictions, references, strict=True):
            self.total += max(self._ratio(prediction, reference) for reference in accepted)
        self.examples += len(predictions)

    def compute(self):
        """Return the mean."""
        return self.total / self.examples

    def _ratio(self, prediction, reference):
        weight = self.beta**2
        lengths = len(prediction) + weight * len(reference)
        common = LCSseq.similarity(prediction, reference)
        return (1 + weight) * common / lengths if lengths else 1.0
