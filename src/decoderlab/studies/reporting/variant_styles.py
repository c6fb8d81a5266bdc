"""Which variants a figure shows, and how each is drawn: colour-blind safe, readable in print."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from decoderlab.studies.analysis.study_analysis import Analysis

# After Okabe and Ito 2008: without the yellow, and with three colours darkened, so that each has a
# contrast of 3:1 and more to white and to the dark page of a report.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#C2659B", "#B07A00", "#3F8FD0")
LINES = ("-", "--", ":", "-.")
MARKS = ("o", "s", "^", "D", "v", "P")
MAX_SHOWN = 16


def shown_variants(analysis: Analysis, room: int = MAX_SHOWN) -> list[str]:
    """Return the variants that there is room for: the baseline and the best."""
    return best_variants(analysis, analysis.variants, analysis.tasks, room)


def shown_first(analysis: Analysis) -> list[str]:
    """Return all variants, those that figures choose before the others."""
    return list(dict.fromkeys([*shown_variants(analysis), *analysis.variants]))


def best_variants(
    analysis: Analysis, variants: Sequence[str], tasks: Iterable[str], room: int
) -> list[str]:
    """Return the variants that there is room for, in their order: the baseline and the best.

    Args:
        analysis: of the study.
        variants: to choose from.
        tasks: on any of which a variant's mean counts.
        room: for so many.
    """
    if len(variants) <= room:
        return list(variants)

    def worth(variant: str) -> float:
        entries = (analysis.entries.get((variant, task)) for task in tasks)
        means = [
            analysis.sign * entry.summary.mean for entry in entries if entry and entry.summary.n
        ]
        return math.inf if variant == analysis.baseline else max(means, default=-math.inf)

    best = set(sorted(variants, key=worth, reverse=True)[:room])
    return [variant for variant in variants if variant in best]


def styles(analysis: Analysis) -> dict[str, dict[str, Any]]:
    """Return how each variant is drawn, in every figure; two factors differ by colour and line.

    Those that figures choose first come first, so that they differ from each other.
    """
    inside, levels = analysis.grid
    drawn: dict[str, dict[str, Any]] = {}
    if len(levels) == 2:
        colour_of, line_of = sorted(levels, key=lambda name: -len(levels[name]))
        if len(levels[colour_of]) <= len(COLOURS) and len(levels[line_of]) <= len(LINES):
            for row in inside:
                colour = levels[colour_of].index(row.cell.factors[colour_of])
                line = levels[line_of].index(row.cell.factors[line_of])
                drawn[row.cell.variant] = _style(COLOURS[colour], LINES[line], MARKS[line])
    rest = [variant for variant in shown_first(analysis) if variant not in drawn]
    beside_a_grid = bool(drawn) and len(rest) <= len(LINES)
    for index, variant in enumerate(rest):
        if beside_a_grid:
            drawn[variant] = _style("black", LINES[index], MARKS[-1 - index])
            continue
        drawn[variant] = _style_at(index)
    return drawn


def _style_at(index: int) -> dict[str, Any]:
    """Return one that 144 indices share with no other, and in print without colours 24."""
    mark = MARKS[(index + index // len(COLOURS)) % len(MARKS)]
    return _style(COLOURS[index % len(COLOURS)], LINES[(index + index // 12) % len(LINES)], mark)


def _style(colour: str, line: str, mark: str) -> dict[str, Any]:
    return {"color": colour, "linestyle": line, "marker": mark}
