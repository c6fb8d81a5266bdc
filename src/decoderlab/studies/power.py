"""How large an effect so many seeds find."""

from __future__ import annotations

import math
from functools import cache
from itertools import product

import numpy as np
from scipy import stats

from decoderlab.studies.attainable import ALPHA, attainable

POWER = 0.8
DRAWS, SIMULATED_SEEDS = 2_000, 13
MAX_EFFECT = 64.0  # of effects, in standard deviations


def detectable_effect(
    n: int, comparisons: int = 1, margin: float = 0.0, examples: float = 0.0
) -> float:
    """Return the smallest effect that is found with power 0.8, by simulating the verdict.

    An effect is found where both halves of the verdict say so: the sign-flip test at
    0.05 / comparisons, the level of Holm's first step, and the simultaneous interval, whose lower
    end reaches the minimum effect. The differences of seeds are normal. All is in units of their
    standard deviation. For more than 13 pairs the paired t test stands for the sign-flip test.

    Args:
        n: pairs.
        comparisons: in the family.
        margin: the minimum effect.
        examples: variance of the mean that comes from the examples, by that which comes from the
            seeds; 0 for an interval over seeds alone.

    Returns:
        Infinite where it is not `attainable`.

    Example:
        >>> round(detectable_effect(10), 2), round(detectable_effect(10, margin=1.0), 2)
        (1.01, 1.99)
    """
    if not attainable(n, comparisons):
        return math.inf
    means, deviations, needed = _simulated(n, comparisons)
    noise = np.random.default_rng(1).normal(size=DRAWS) * math.sqrt(examples / n)
    seeds = np.square(deviations) / n
    variances = seeds + examples / n
    # Satterthwaite, where the examples are many.
    freedoms = (n - 1) * np.square(variances / seeds)
    half = stats.t.ppf(1 - ALPHA / comparisons / 2, freedoms) * np.sqrt(variances)
    reached = margin + half - means - noise
    return float(np.quantile(np.maximum(needed, reached), POWER))


@cache
def _simulated(n: int, comparisons: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means and deviations of draws, and the shift from which the test finds each."""
    draws = np.random.default_rng(0).normal(size=(DRAWS, n))
    means, deviations = draws.mean(axis=1), draws.std(axis=1, ddof=1)
    level = ALPHA / comparisons
    if n > SIMULATED_SEEDS:
        critical = float(stats.t.ppf(1 - level / 2, n - 1))
        return means, deviations, critical * deviations / math.sqrt(n) - means
    # Half of the patterns, the first of which flips nothing; the others are their negatives.
    patterns = np.array(list(product((1.0, -1.0), repeat=n)), dtype=np.float32)[: 2 ** (n - 1)]
    sums, shifts = draws.astype(np.float32) @ patterns.T, patterns.sum(axis=1)
    low, high = np.zeros(DRAWS, np.float32), np.full(DRAWS, MAX_EFFECT, np.float32)
    for _ in range(16):
        middle = (low + high) / 2
        shifted = np.abs(sums + middle[:, None] * shifts)
        significant = (shifted >= shifted[:, :1] - 1e-5).mean(axis=1) < level
        low, high = np.where(significant, low, middle), np.where(significant, middle, high)
    return means, deviations, high.astype(float)
