"""Routes: the places where the summary enters a decoder, and how it is combined there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decoderlab.layers.equations import concatenation

ROUTES = ("initial_state", "first_input", "every_input", "output")
COMBINATIONS = ("concat", "add", "mul")


class Combination(nn.Module):
    """Brings the summary together with what else there is at a place.

        concat  [x; c]
        add     x + W c
        mul     x * W c, element by element

    Paper: concatenation, Cho et al. 2014, section 2.2; at the output all three are ways to merge in
        the sense of Tanti et al. 2018 (https://arxiv.org/abs/1703.09137).
    Differs: W has no bias.

    Args:
        kind: one of `COMBINATIONS`.
        size: width of x.
        summary_size: width D of the summary.

    Shapes:
        values: (B, T, size); summary: (B, T, D). Returns (B, T, self.size).
    """

    def __init__(self, *, kind: str, size: int, summary_size: int) -> None:
        super().__init__()
        self.kind = kind
        self.size = size + summary_size if kind == "concat" else size
        if kind != "concat":
            self.project = nn.Linear(summary_size, size, bias=False)

    def equation(self, values: str, matrix: str) -> str:
        """Return what is computed, `matrix` being W's name; see `decoderlab.layers.equations`."""
        match self.kind:
            case "add":
                return f"{values} + {matrix} c"
            case "mul":
                return f"{values} * {matrix} c"
        return concatenation([values, "c"])

    def forward(self, values: Tensor, summary: Tensor) -> Tensor:
        """Return both as one."""
        match self.kind:
            case "add":
                return values + self.project(summary)
            case "mul":
                return values * self.project(summary)
        return torch.cat([values, summary], dim=-1)


def combination(
    *, on: bool, kind: str, size: int, summary_size: int
) -> tuple[Combination | None, int]:
    """Return what brings the summary in at a place, and the width of what comes out.

    None where the route is off, and where the summary meets nothing else (a `size` of 0).
    """
    if not on or not size:
        return None, summary_size if on else size
    made = Combination(kind=kind, size=size, summary_size=summary_size)
    return made, made.size
