"""Seeds that fall into two groups, such as those that solved a task and those that did not."""

from __future__ import annotations

import math
from collections.abc import Collection

from decoderlab.studies.statistics import Bounds

GAP = 0.4  # of what a metric can be, between the groups
MIN_SEEDS = 4
SOLVED = 0.9


def better_group(scores: Collection[float], bounds: Bounds, sign: float) -> list[float]:
    """Return the scores of the better of two groups of seeds; [] where there is one group.

    Two groups: between two neighbouring scores lies a gap of 0.4 of what the metric can be. A mean
    and its interval lie in this gap then, where no seed is.

    Args:
        scores: of the seeds, four or more.
        bounds: of the metric; without finite ones there are no groups.
        sign: 1 where a higher score is better, else -1.

    Example:
        >>> better_group([0.98, 0.05, 1.0, 0.1], (0.0, 1.0), 1.0)
        [0.98, 1.0]
        >>> better_group([0.5, 0.6, 0.7, 0.4], (0.0, 1.0), 1.0)
        []
    """
    span, ordered = bounds[1] - bounds[0], sorted(scores)
    if len(ordered) < MIN_SEEDS or not math.isfinite(span):
        return []
    gaps = [after - before for before, after in zip(ordered, ordered[1:], strict=False)]
    widest = max(range(len(gaps)), key=gaps.__getitem__)
    if gaps[widest] < GAP * span:
        return []
    return ordered[widest + 1 :] if sign > 0 else ordered[: widest + 1]


def share_text(better: Collection[float], number: int, bounds: Bounds, sign: float) -> str:
    """Return how many of so many seeds are in the better group, in words.

    Example:
        >>> share_text([0.98, 1.0], 4, (0.0, 1.0), 1.0), share_text([0.6], 4, (0.0, 1.0), 1.0)
        ('2/4 seeds solved', '1/4 seeds in the better group')
    """
    worst, best = bounds if sign > 0 else bounds[::-1]
    solved = all((score - worst) / (best - worst) >= SOLVED for score in better)
    return f"{len(better)}/{number} seeds {'solved' if solved else 'in the better group'}"
