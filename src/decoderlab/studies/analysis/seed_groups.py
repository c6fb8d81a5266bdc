"""Seeds that fall into two groups, as those that solved a task and others, and outlying seeds."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from decoderlab.studies.statistics import Bounds

GAP = 0.4  # of what a metric can be, between the groups
MIN_SEEDS = 4
SOLVED = 0.9
OUTLYING = 3.5


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


def is_solved(score: float, bounds: Bounds, sign: float) -> bool:
    """Whether a score is 0.9 of the way from the worst to the best, or more.

    Args:
        score: of a run, or of a validation.
        bounds: of the metric, finite.
        sign: 1 where a higher score is better, else -1.

    Example:
        >>> is_solved(0.9, (0.0, 1.0), 1.0), is_solved(0.1, (0.0, 1.0), -1.0)
        (True, True)
    """
    worst, best = bounds if sign > 0 else bounds[::-1]
    return (score - worst) / (best - worst) >= SOLVED


def share_text(better: Collection[float], number: int, bounds: Bounds, sign: float) -> str:
    """Return how many of so many seeds are in the better group, in words.

    Example:
        >>> share_text([0.98, 1.0], 4, (0.0, 1.0), 1.0), share_text([0.6], 4, (0.0, 1.0), 1.0)
        ('2/4 seeds solved', '1/4 seeds in the better group')
    """
    solved = all(is_solved(score, bounds, sign) for score in better)
    return f"{len(better)}/{number} seeds {'solved' if solved else 'in the better group'}"


def outlying(scores: Sequence[float], floor: float) -> list[int]:
    """Return the indices of scores that lie far from the others of their cell.

    By the modified z-score of Iglewicz and Hoaglin (1993): 0.6745 |x - median| / MAD above 3.5,
    where the MAD counts as `floor` at least, so that a cell without spread has outliers too.

    Example:
        >>> outlying([0.97, 0.95, 0.96, 0.02, 0.96], floor=0.01)
        [3]
    """
    values = np.asarray(scores, dtype=float)
    if len(values) < 3:
        return []
    distances = np.abs(values - np.median(values))
    scale = max(float(np.median(distances)), floor)
    return np.flatnonzero(0.6745 * distances / scale > OUTLYING).tolist()
