"""Which variants a figure shows, and how each is drawn: colour-blind safe, readable in print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from decoderlab.studies.analysis.study_analysis import Analysis

# Okabe and Ito 2008, without the yellow that paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", ":", "-.")
MARKS = ("o", "s", "^", "D", "v", "P")
MAX_SHOWN = 16


def shown_variants(analysis: Analysis, room: int = MAX_SHOWN) -> list[str]:
    """Return the variants that there is room for: the baseline and the best."""
    if len(analysis.variants) <= room:
        return analysis.variants

    def worth(variant: str) -> float:
        means = [
            analysis.sign * entry.summary.mean
            for (name, _), entry in analysis.entries.items()
            if name == variant and entry.summary.n
        ]
        return math.inf if variant == analysis.baseline else max(means, default=-math.inf)

    best = set(sorted(analysis.variants, key=worth, reverse=True)[:room])
    return [variant for variant in analysis.variants if variant in best]


def styles(analysis: Analysis, shown: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return how each variant is drawn; two factors differ by colour and by line."""
    inside, levels = analysis.grid
    drawn: dict[str, dict[str, Any]] = {}
    if len(levels) == 2:
        colour_of, line_of = sorted(levels, key=lambda name: -len(levels[name]))
        if len(levels[colour_of]) <= len(COLOURS) and len(levels[line_of]) <= len(LINES):
            for row in inside:
                colour = levels[colour_of].index(row.cell.factors[colour_of])
                line = levels[line_of].index(row.cell.factors[line_of])
                drawn[row.cell.variant] = _style(COLOURS[colour], LINES[line], MARKS[line])
    rest = [variant for variant in shown if variant not in drawn]
    beside_a_grid = bool(drawn) and len(rest) <= len(LINES)
    for index, variant in enumerate(rest):
        if beside_a_grid:
            drawn[variant] = _style("black", LINES[index], MARKS[-1 - index])
            continue
        drawn[variant] = style_at(index)
    return drawn


def style_at(index: int) -> dict[str, Any]:
    """Return a style that differs from that of other indexs in print too, for 24 of them."""
    mark = MARKS[(index + index // len(COLOURS)) % len(MARKS)]
    return _style(COLOURS[index % len(COLOURS)], LINES[(index + index // 12) % len(LINES)], mark)


def _style(colour: str, line: str, mark: str) -> dict[str, Any]:
    return {"color": colour, "linestyle": line, "marker": mark}
