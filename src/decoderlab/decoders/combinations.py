"""Combinations: how the summary is brought together with what else enters a step.

They are used at the routes every_input and output of a `RecurrentDecoder`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from decoderlab.common.part_choice import Choice
from decoderlab.layers.equations import concatenation


class Combination(nn.Module):
    """Brings the summary together with what else there is; one of your own is a subclass.

    It needs `forward` and, to be printed, `equation`. The constructor takes those of these keywords
    that it has a use for, besides its own settings: `size`, the width of x, and `summary_size`, the
    width D of the summary c.

    Paper: concatenation, Cho et al. 2014, section 2.2; at the output all of ours are ways to merge
        in the sense of Tanti et al. 2018 (https://arxiv.org/abs/1703.09137).
    Differs: W has no bias.

    Attributes:
        size: width of what comes out.

    Shapes:
        values: (B, T, width of x); summary: (B, T, D). Returns (B, T, self.size).
    """

    INJECTED: ClassVar[tuple[str, ...]] = ("size", "summary_size")
    size: int

    def forward(self, values: Tensor, summary: Tensor) -> Tensor:
        """Return both as one."""
        raise NotImplementedError

    def equation(self, values: str, matrix: str) -> str:
        """Return what is computed, `matrix` being W's name; see `decoderlab.layers.equations`."""
        return f"{type(self).__name__}({values}, c)"


class Concatenation(Combination):
    """[x; c].

    Shapes:
        as in `Combination`.
    """

    SHORT = "concat"

    def __init__(self, *, size: int, summary_size: int) -> None:
        super().__init__()
        self.size = size + summary_size

    def forward(self, values: Tensor, summary: Tensor) -> Tensor:
        """Return both side by side."""
        return torch.cat([values, summary], dim=-1)

    def equation(self, values: str, matrix: str) -> str:
        """Return what is computed."""
        return concatenation([values, "c"])


class Addition(Combination):
    """x + W c.

    Shapes:
        as in `Combination`.
    """

    SHORT = "add"

    def __init__(self, *, size: int, summary_size: int) -> None:
        super().__init__()
        self.size = size
        self.project = nn.Linear(summary_size, size, bias=False)

    def forward(self, values: Tensor, summary: Tensor) -> Tensor:
        """Return the sum."""
        return values + self.project(summary)

    def equation(self, values: str, matrix: str) -> str:
        """Return what is computed."""
        return f"{values} + {matrix} c"


class Multiplication(Combination):
    """x * W c, element by element.

    Shapes:
        as in `Combination`.
    """

    SHORT = "mul"

    def __init__(self, *, size: int, summary_size: int) -> None:
        super().__init__()
        self.size = size
        self.project = nn.Linear(summary_size, size, bias=False)

    def forward(self, values: Tensor, summary: Tensor) -> Tensor:
        """Return the product."""
        return values * self.project(summary)

    def equation(self, values: str, matrix: str) -> str:
        """Return what is computed."""
        return f"{values} * {matrix} c"


COMBINATIONS = {kind.SHORT: kind for kind in (Concatenation, Addition, Multiplication)}


def combination(
    *, on: bool, kind: str | Callable[..., Any] | Mapping[str, Any], size: int, summary_size: int
) -> tuple[Combination | None, int]:
    """Return what brings the summary in at a route, and the width of what comes out.

    None where the route is off, and where the summary meets nothing else (a `size` of 0).
    """
    if not on or not size:
        return None, summary_size if on else size
    chosen = Choice.named("decoder.combine", kind, COMBINATIONS)
    made = chosen.build(size=size, summary_size=summary_size)
    return made, made.size


def concatenated(parts: list[Tensor]) -> Tensor:
    """Return vectors side by side, at least one."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
