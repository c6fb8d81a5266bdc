"""Statistics over seeds. Nothing here knows torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

PILOT_SEEDS = 6


@dataclass(frozen=True)
class Summary:
    """The mean over seeds with its interval.

    Args:
        n: number of scores.
        mean: NaN without scores.
        low, high: Student-t interval; NaN where there is none (n below 2, or all scores equal).
    """

    n: int
    mean: float
    low: float
    high: float


def summarise(scores: Sequence[float], confidence: float = 0.95) -> Summary:
    """Return mean and Student-t interval over seeds.

    With all scores equal, as at a ceiling, a t interval would have no width and say too much:
    there is none then.

    Args:
        scores: one per seed.
        confidence: of the interval, above 0 and below 1.

    Example:
        >>> summary = summarise([0.5, 0.7, 0.6])
        >>> round(summary.mean, 3), round(summary.low, 3), round(summary.high, 3)
        (0.6, 0.352, 0.848)
    """
    values = np.asarray(scores, dtype=float)
    if len(values) == 0:
        return Summary(0, math.nan, math.nan, math.nan)
    mean = float(values.mean())
    if values.min() == values.max():  # the spread itself may differ from 0 by rounding
        return Summary(len(values), mean, math.nan, math.nan)
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stats.sem(values))
    return Summary(len(values), mean, mean - half, mean + half)
