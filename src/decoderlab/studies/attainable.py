"""What so many seeds can show at all."""

from __future__ import annotations

ALPHA = 0.05
PILOT_SEEDS = 6  # 2/2^5 is above 0.05: below six pairs no exact test can be significant
EXACT_SEEDS = 20
EQUAL_SEEDS = 20  # below, a collapse of one seed in ten is often not among them
MONTE_CARLO_DRAWS = 100_000


def attainable(n: int, comparisons: int) -> bool:
    """Whether any of so many comparisons could be certain with n pairs.

    The sign-flip test cannot go below 2 / 2^n, which Holm's first step multiplies.

    Example:
        >>> attainable(6, 1), attainable(6, 2), attainable(10, 25), attainable(10, 26)
        (True, False, True, False)
    """
    patterns = 2 ** (n - 1) if n <= EXACT_SEEDS else MONTE_CARLO_DRAWS + 1
    return comparisons / patterns < ALPHA
