"""A combination of one's own: the summary scales and shifts what it meets."""

from __future__ import annotations

from torch import Tensor, nn

from decoderlab.decoders.combinations import Combination


class FeatureWise(Combination):
    """(1 + S c) * x + W c, element by element.

    Paper: Perez et al. 2018, eq. 2, with scales around 1 (https://arxiv.org/abs/1709.07871).
    Differs: the maps have no bias.

    Args:
        size: width of x.
        summary_size: width of the summary c.
    """

    def __init__(self, *, size: int, summary_size: int) -> None:
        super().__init__()
        self.size = size
        self.scale = nn.Linear(summary_size, size, bias=False)
        self.shift = nn.Linear(summary_size, size, bias=False)

    def forward(self, values: Tensor, summary: Tensor) -> Tensor:
        """Return what is scaled and shifted."""
        return (1 + self.scale(summary)) * values + self.shift(summary)

    def equation(self, values: str, matrix: str) -> str:
        """Return what is computed."""
        return f"(1 + S c) * {values} + {matrix} c"
