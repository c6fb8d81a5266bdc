"""Statistics over seeds, and over seeds and examples. Nothing here knows torch, or a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

PILOT_SEEDS = 6  # 2/2^5 is above 0.05: below six pairs no exact test can be significant
EXACT_SEEDS = 20
ALPHA, POWER = 0.05, 0.8
BOOTSTRAP_DRAWS = 10_000
MONTE_CARLO_DRAWS = 100_000
POWER_DRAWS, SIMULATED_SEEDS = 2_000, 13
OUTLYING = 3.5
Bounds = tuple[float, float]
Values = Sequence[float] | np.ndarray
UNBOUNDED = (-math.inf, math.inf)


class Interval(NamedTuple):
    """An interval; NaN at both ends where there is none."""

    low: float
    high: float


NONE = Interval(math.nan, math.nan)


@dataclass(frozen=True)
class Summary:
    """The scores of a cell over seeds.

    Args:
        n: number of scores.
        mean: NaN without scores.
        low, high: Student-t interval; NaN where there is none (n below 2, or all scores equal).
        deviation: sample standard deviation, NaN for n below 2.
        minimum, median: NaN without scores.
    """

    n: int
    mean: float
    low: float
    high: float
    deviation: float = math.nan
    minimum: float = math.nan
    median: float = math.nan


def summarise(scores: Values, confidence: float = 0.95, bounds: Bounds = UNBOUNDED) -> Summary:
    """Return mean and Student-t interval over seeds.

    With all scores equal, as at a ceiling, a t interval would have no width and say too much:
    there is none then. The t interval covers better than the percentile bootstrap at every number
    of seeds from 3 to 30, on normal, skewed and collapsing scores alike.

    Args:
        scores: of one method, a score per seed.
        confidence: of the interval, above 0 and below 1.
        bounds: what a score can be; the interval is cut there, which costs no coverage.

    Example:
        >>> summary = summarise([0.5, 0.7, 0.6])
        >>> round(summary.mean, 3), round(summary.low, 3), round(summary.high, 3)
        (0.6, 0.352, 0.848)
    """
    values = np.asarray(scores, dtype=float)
    if len(values) == 0:
        return Summary(0, math.nan, math.nan, math.nan)
    mean, low, high = _t_interval(values, confidence)
    low, high = (float(np.clip(end, *bounds)) for end in (low, high))
    deviation = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return Summary(
        len(values), mean, low, high, deviation, float(values.min()), float(np.median(values))
    )


def _alike(values: np.ndarray) -> bool:
    """Whether all values are equal but for rounding."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


def _t_interval(values: np.ndarray, confidence: float) -> tuple[float, float, float]:
    mean = float(values.mean())
    if _alike(values):
        return mean, math.nan, math.nan
    half = _t_quantile(confidence, len(values)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half


@cache
def _t_quantile(confidence: float, n: int) -> float:
    return float(stats.t.ppf((1 + confidence) / 2, n - 1))


def wilson(successes: float, number: float, confidence: float = 0.95) -> Interval:
    """Return the interval of a proportion, which has a width at 0 and 1 too (Wilson 1927).

    Example:
        >>> tuple(round(end, 3) for end in wilson(10, 10))
        (0.722, 1.0)
    """
    if number <= 0:
        return NONE
    ends = proportion_confint(successes, number, alpha=1 - confidence, method="wilson")
    low, high = np.asarray(ends, dtype=float).tolist()
    return Interval(max(low, 0.0), min(high, 1.0))


def sign_flip(differences: Values, seed: int = 0) -> float:
    """Return the two-sided p of a paired sign-flip test of "no difference in any pair".

    Under that hypothesis each difference is as likely as its negative. Exact for up to 20 pairs:
    the share of all 2^n sign patterns whose sum is at least as far from 0. Above, 100,000 patterns
    are drawn, and p = (b + 1) / (m + 1) (Phipson and Smyth 2010). NaN without differences, and
    where any of them is NaN.

    Args:
        differences: (n,), or (n, q) for n vectors that are flipped as a whole, where the length of
            the sum is what counts.
        seed: of the draws, where they are drawn.

    Example:
        >>> sign_flip([0.1, 0.2, 0.15, 0.3, 0.1, 0.2]) == 2 / 2**6
        True
    """
    values = np.asarray(differences, dtype=float)
    if len(values) == 0 or np.isnan(values).any():
        return math.nan
    values = values.reshape(len(values), -1)
    values = values / (np.abs(values).max() or 1.0)  # squares of the largest would overflow
    observed = np.square(values.sum(axis=0)).sum()
    # What differs by rounding alone is a tie, and ties count.
    needed = observed - 1e-9 * np.square(np.abs(values).sum(axis=0)).sum()
    if len(values) <= EXACT_SEEDS:
        sums = values[:1]  # the other half of the patterns are the negatives of these
        for row in values[1:]:
            sums = np.concatenate([sums + row, sums - row])
        return float((np.square(sums).sum(axis=1) >= needed).mean())
    generator, hits = np.random.default_rng(seed), 0
    for _ in range(MONTE_CARLO_DRAWS // 10_000):
        signs = generator.choice([-1.0, 1.0], size=(10_000, len(values)))
        hits += int((np.square(signs @ values).sum(axis=1) >= needed).sum())
    return (hits + 1) / (MONTE_CARLO_DRAWS + 1)


def holm(p_values: Sequence[float], number: int | None = None) -> list[float]:
    """Return Holm's adjusted p-values (Holm 1979); NaN stays NaN and counts for nothing.

    Args:
        p_values: of the tests that are done.
        number: of tests in the family, where some are not done yet; None if all are.

    Example:
        >>> holm([0.01, 0.04, math.nan])
        [0.02, 0.04, nan]
    """
    values = np.array(p_values, dtype=float)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    # statsmodels has it too, but collects all garbage at each call, which takes 0.3 s here.
    family = len(order) if number is None else number
    steps = values[order] * np.arange(family, family - len(order), -1)
    values[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return values.tolist()


def equivalence(differences: Sequence[float], margin: float) -> float:
    """Return the p of two one-sided t tests that the mean lies within (-margin, margin).

    Source: Schuirmann 1987. Below 0.05 exactly if the 90 % t interval lies within the margin; 0 or
    1 where all differences are equal.

    Example:
        >>> equivalence([0.001, -0.001, 0.002, 0.0], 0.02) < 0.05
        True
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < 2:
        return math.nan
    if _alike(values):
        return float(abs(values[0]) >= margin)
    error, freedom = stats.sem(values), len(values) - 1
    above = stats.t.sf((values.mean() + margin) / error, freedom)
    below = stats.t.cdf((values.mean() - margin) / error, freedom)
    return float(max(above, below))


def attainable(n: int, comparisons: int) -> bool:
    """Whether any of so many comparisons could be certain with n pairs.

    The sign-flip test cannot go below 2 / 2^n, which Holm's first step multiplies.

    Example:
        >>> attainable(6, 1), attainable(6, 2), attainable(10, 25), attainable(10, 26)
        (True, False, True, False)
    """
    patterns = 2 ** (n - 1) if n <= EXACT_SEEDS else MONTE_CARLO_DRAWS + 1
    return comparisons / patterns < ALPHA


@cache
def detectable_effect(n: int, comparisons: int = 1) -> float:
    """Return the smallest |dz| that the sign-flip test finds with power 0.8 at 0.05 / comparisons.

    dz is the mean over the standard deviation of differences that are normal; the corrected level
    is that of Holm's first step. Up to 13 pairs the test itself is done on 2,000 sets of draws. For
    more, it is the paired t test's, whose power the sign-flip test then has within 0.08 for up to
    30 comparisons. Infinite where it is not `attainable`.

    Example:
        >>> round(detectable_effect(10), 2), round(detectable_effect(10, 16), 2)
        (0.99, 2.0)
    """
    if not attainable(n, comparisons):
        return math.inf
    level, high = ALPHA / comparisons, 1.0
    if n > SIMULATED_SEEDS:
        critical = stats.t.ppf(1 - level / 2, n - 1)

        def power(effect: float) -> float:
            # The wrong tail, below 1e-6 at this power, is left out: it is where SciPy returns NaN.
            # And statsmodels' solve_power returns the bounds of its search for few pairs.
            return float(stats.nct.sf(critical, n - 1, effect * math.sqrt(n)))
    else:
        # Half of the patterns, the first of which flips nothing; the others are their negatives.
        patterns = np.array(list(product((1.0, -1.0), repeat=n)))[: 2 ** (n - 1)]
        noise = np.random.default_rng(0).normal(size=(POWER_DRAWS, n)) @ patterns.T
        shifts = patterns.sum(axis=1)

        def power(effect: float) -> float:
            sums = np.abs(noise + effect * shifts)
            return float(((sums >= sums[:, :1] - 1e-9).mean(axis=1) < level).mean())

    while power(high) < POWER:
        high *= 2
    return np.asarray(brentq(lambda effect: power(effect) - POWER, 0, high, xtol=1e-4)).item()


@dataclass(frozen=True)
class Paired:
    """A method against another, seed by seed.

    Args:
        n: pairs.
        mean, low, high: difference with its Student-t interval; see `Summary`.
        deviation: of the differences.
        p: of the exact sign-flip test; NaN for fewer than six pairs, where it cannot be small.
        dz: mean over deviation (Cohen); NaN without spread.
        wins: share of pairs in which the first scores higher, ties counted half.
        wins_low, wins_high: its Wilson interval.
        equal: whether every pair is a tie.
    """

    n: int
    mean: float
    low: float
    high: float
    deviation: float
    p: float
    dz: float
    wins: float
    wins_low: float
    wins_high: float
    equal: bool


def paired(differences: Values) -> Paired:
    """Compare two methods by their differences in score, a difference per seed.

    Example:
        >>> result = paired([0.1, 0.2, 0.15, 0.3, 0.1, 0.2])
        >>> round(result.mean, 3), result.p, result.wins
        (0.175, 0.03125, 1.0)
    """
    values = np.asarray(differences, dtype=float)
    n = len(values)
    summary = summarise(values)
    spread = n > 1 and not _alike(values)
    won = float((values > 0).sum() + (values == 0).sum() / 2)
    chance = wilson(won, n)
    return Paired(
        n=n,
        mean=summary.mean,
        low=summary.low,
        high=summary.high,
        deviation=summary.deviation,
        p=sign_flip(values) if n >= PILOT_SEEDS else math.nan,
        dz=summary.mean / summary.deviation if spread else math.nan,
        wins=won / n if n else math.nan,
        wins_low=chance.low,
        wins_high=chance.high,
        equal=bool(n) and not values.any(),
    )


def crossed_bootstrap(
    differences: Sequence[np.ndarray], seed: int = 0, draws: int = BOOTSTRAP_DRAWS
) -> list[Interval]:
    """Return 95 % percentile intervals of mean differences over seeds and examples alike.

    Seeds and examples are resampled independently of each other, and an example's weight is the
    same in all seeds, as they share the test set (Owen 2007, the pigeonhole bootstrap).

    Args:
        differences: each (S, N): correct minus correct, by seed and test example; all have the
            same N examples in the same order.
        seed: of the draws.
        draws: number of resamples.
    """
    if not differences:
        return []
    num_examples = differences[0].shape[1]
    generator = np.random.default_rng(seed)
    matrices = [np.asarray(matrix, dtype=np.float32) for matrix in differences]
    resampled: list[list[np.ndarray]] = [[] for _ in matrices]
    chunk = min(draws, max(4_000_000 // num_examples, 1))
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        even = np.full(num_examples, 1 / num_examples)
        examples = generator.multinomial(num_examples, even, size=size).astype(np.float32)
        seeds: dict[int, np.ndarray] = {}
        for matrix, means_of in zip(matrices, resampled, strict=True):
            number = len(matrix)
            if number not in seeds:
                seeds[number] = generator.multinomial(
                    number, np.full(number, 1 / number), size=size
                ).astype(np.float32)
            means = matrix @ examples.T  # (S, size)
            means_of.append((seeds[number].T * means).sum(axis=0) / (number * num_examples))
    ends = ((1 - 0.95) / 2, (1 + 0.95) / 2)
    return [
        Interval(*(float(end) for end in np.quantile(np.concatenate(means_of), ends)))
        for means_of in resampled
    ]


def _p_value(result: Any) -> float:
    """Return the p of a test's result, whose fields SciPy and statsmodels do not declare."""
    return float(result.pvalue)


def exact_mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Return the exact p of McNemar's test that two fixed models are right equally often.

    It speaks of these two trained models, never of the methods that trained them.

    Args:
        first: (N,) bool, where the first model is right.
        second: (N,) bool, where the second is, on the same examples.
    """
    table = [
        [int((first & second).sum()), int((first & ~second).sum())],
        [int((~first & second).sum()), int((~first & ~second).sum())],
    ]
    return _p_value(mcnemar(table, exact=True))


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


def across_datasets(scores: np.ndarray) -> dict[str, Any]:
    """Return Friedman's test over data sets, and Wilcoxon's of each method against the first.

    Source: Demsar 2006, with pairwise tests instead of mean ranks (Benavoli et al. 2016).

    Args:
        scores: (methods, data sets), at least 3 by 5.
    """
    pairs = [
        _p_value(stats.wilcoxon(row, scores[0])) if (row != scores[0]).any() else 1.0
        for row in scores[1:]
    ]
    return {"friedman_p": _p_value(stats.friedmanchisquare(*scores)), "p_holm": holm(pairs)}
