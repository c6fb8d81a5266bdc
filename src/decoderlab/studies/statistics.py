"""Statistics over seeds, and over seeds and examples. Nothing here knows torch, or a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from decoderlab.studies.attainable import ALPHA, EXACT_SEEDS, MONTE_CARLO_DRAWS, PILOT_SEEDS

Bounds = tuple[float, float]
Values = Sequence[float] | np.ndarray
UNBOUNDED = (-math.inf, math.inf)


class Interval(NamedTuple):
    """An interval; NaN at both ends where there is none."""

    low: float
    high: float


NONE = Interval(math.nan, math.nan)


def cut_at(interval: Interval, bounds: Bounds) -> Interval:
    """Return an interval without what cannot be; NaN stays NaN.

    Example:
        >>> cut_at(Interval(-0.2, 1.3), difference_bounds((0.0, 1.0)))
        Interval(low=-0.2, high=1.0)
    """
    low, high = (float(np.clip(end, *bounds)) for end in interval)
    return Interval(low, high)


def difference_bounds(bounds: Bounds) -> Bounds:
    """Return what the difference of two scores can be, given what a score can be."""
    low, high = bounds
    return low - high, high - low


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
    low, high = cut_at(Interval(low, high), bounds)
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
        # The other half of the patterns are the negatives of these.
        sums = np.empty((2 ** (len(values) - 1), values.shape[1]))
        sums[0], number = values[0], 1
        for row in values[1:]:
            np.subtract(sums[:number], row, out=sums[number : 2 * number])
            sums[:number] += row
            number *= 2
        np.square(sums, out=sums)
        lengths = sums[:, 0] if sums.shape[1] == 1 else sums.sum(axis=1)
        return int((lengths >= needed).sum()) / len(lengths)
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


def paired(differences: Values, bounds: Bounds = UNBOUNDED) -> Paired:
    """Compare two methods by their differences in score, a difference per seed.

    Args:
        differences: by seed.
        bounds: what a difference can be; the interval is cut there.

    Example:
        >>> result = paired([0.1, 0.2, 0.15, 0.3, 0.1, 0.2])
        >>> round(result.mean, 3), result.p, result.wins
        (0.175, 0.03125, 1.0)
    """
    values = np.asarray(differences, dtype=float)
    n = len(values)
    summary = summarise(values, bounds=bounds)
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


class Estimate(NamedTuple):
    """A mean with its error.

    Args:
        mean: of the values.
        error: standard error; 0 where all values are equal, NaN where there are too few.
        freedom: degrees of freedom of the error.
        seed_error: the part of it that the seeds have; all of it where only they are a sample.
    """

    mean: float
    error: float
    freedom: float
    seed_error: float

    def interval(self, confidence: float = 0.95) -> Interval:
        """Return the t interval; NaN at both ends without an error."""
        if not self.error > 0:
            return NONE
        half = float(stats.t.ppf((1 + confidence) / 2, self.freedom)) * self.error
        return Interval(self.mean - half, self.mean + half)

    def minus(
        self, value: float, deviation: float | None = None, runs: int | None = None
    ) -> Estimate:
        """Return the difference to a published mean, with the errors of both.

        Args:
            value: the published mean.
            deviation: sample standard deviation of the published runs; None for an exact value.
            runs: how many they were; with `deviation`.

        Returns:
            Its degrees of freedom are Welch's (1947).

        Example:
            >>> other = over_seeds([0.5, 0.6, 0.7]).minus(0.5, deviation=0.1, runs=3)
            >>> round(other.mean, 3), round(other.error, 4), round(other.freedom, 3)
            (0.1, 0.0816, 4.0)
        """
        mean = self.mean - value
        if deviation is None or runs is None:
            return self._replace(mean=mean)
        theirs = deviation**2 / runs
        variance = self.error**2 + theirs
        ours = self.error**4 / self.freedom if self.error else 0.0  # without one, no freedom counts
        parts = ours + theirs**2 / (runs - 1)
        return Estimate(mean, math.sqrt(variance), variance**2 / parts, self.seed_error)

    def equivalence(self, margin: float) -> float:
        """Return the p of two one-sided t tests that the mean lies within (-margin, margin).

        Source: Schuirmann 1987. Below 0.05 exactly if the 90 % t interval lies within the margin; 0
        or 1 where all values are equal.

        Example:
            >>> over_seeds([0.001, -0.001, 0.002, 0.0]).equivalence(0.02) < 0.05
            True
        """
        if self.error == 0:
            return float(abs(self.mean) >= margin)
        above = stats.t.sf((self.mean + margin) / self.error, self.freedom)
        below = stats.t.cdf((self.mean - margin) / self.error, self.freedom)
        return float(max(above, below))


def over_seeds(values: Values) -> Estimate:
    """Return the mean over seeds with its error.

    Args:
        values: a value per seed.
    """
    scores = np.asarray(values, dtype=float)
    if len(scores) < 2:
        return Estimate(float(scores.mean()) if len(scores) else math.nan, *[math.nan] * 3)
    error = 0.0 if _alike(scores) else float(stats.sem(scores))
    return Estimate(float(scores.mean()), error, len(scores) - 1, error)


def over_seeds_and_examples(values: np.ndarray) -> Estimate:
    """Return the mean over seeds and examples with its error.

    The two are crossed random factors, as every trained model is tested on the same examples: the
    variance of the mean is (MS_seeds + max(MS_examples - MS_rest, 0)) / (S N), of the mean squares
    of the two-way layout, as for readers and cases in Hillis (2007); the degrees of freedom are
    Satterthwaite's (1946). A t interval over seeds alone is about these examples only. Where all
    seeds score the same by other examples each, what is left is MS_rest.

    Args:
        values: (S, N), by seed and test example.

    Example:
        >>> right = np.array([[1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 0, 1]])
        >>> low, high = over_seeds_and_examples(right).interval()
        >>> round(low, 2), round(high, 2)
        (-0.1, 1.43)
    """
    number, count = values.shape
    by_seed, by_example = values.mean(axis=1), values.mean(axis=0)
    mean = float(by_seed.mean())
    if min(number, count) < 2:
        return Estimate(mean, math.nan, math.nan, math.nan)
    freedoms = (number - 1, count - 1, (number - 1) * (count - 1))
    seeds = count * float(np.square(by_seed - mean).sum())
    examples = number * float(np.square(by_example - mean).sum())
    # By sums of squares, so that no matrix of what is left is made.
    total = float(np.square(values, dtype=float).sum()) - values.size * mean**2
    sums = (seeds, examples, max(total - seeds - examples, 0.0))
    of_seeds, of_examples, rest = (
        each / freedom for each, freedom in zip(sums, freedoms, strict=True)
    )
    squares = [of_seeds] if of_examples <= rest else [of_seeds, of_examples, -rest]
    if sum(squares) <= (least := 1e-12 * mean**2):  # all seeds alike, by other examples each
        squares, freedoms = [rest], freedoms[2:]
    variance = sum(squares)
    if variance <= least:
        return Estimate(mean, 0.0, math.nan, 0.0)
    freedom = variance**2 / sum(
        square**2 / freedom for square, freedom in zip(squares, freedoms, strict=False)
    )
    error, seed_error = (math.sqrt(each / values.size) for each in (variance, of_seeds))
    return Estimate(mean, error, freedom, seed_error)


def excluded_rate(n: int) -> float:
    """Return the rate of failures that n seeds without any exclude with 95 % confidence.

    The exact upper end of a proportion that was never seen, 1 - 0.05^(1/n), about 3/n (Hanley and
    Lippman-Hand 1983): of methods of which this share of seeds collapses, one in twenty shows none
    in n seeds.

    Example:
        >>> [round(excluded_rate(n), 2) for n in (6, 10, 20, 59)]
        [0.39, 0.26, 0.14, 0.05]
    """
    return 1 - ALPHA ** (1 / n)
