"""How much scores vary with the data, the initial weights and the order of training alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from decoderlab.studies.analysis.factor_levels import factor_levels
from decoderlab.studies.analysis.results import RunRow
from decoderlab.studies.analysis.seed_groups import better_group
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.statistics import NONE, Interval, cut_at

DRAWS = ("data", "initial weights", "order")
ALL = "all of them"
MIN_SEEDS = 10  # intervals of the variance of fewer miss it too often


class Spread(NamedTuple):
    """How far scores lie apart, with its interval; a standard deviation or a ratio of variances.

    Args:
        value: of it; NaN where it is a ratio of nothing.
        interval: 95 %, NaN where scores do not vary, or seeds fall into two groups.
    """

    value: float
    interval: Interval


class SeedVariance(NamedTuple):
    """What the seeds of a task's rows vary with.

    Args:
        seeds: that all cells have.
        deviations: standard deviation of the score over seeds, by row and by what the seeds draw.
        shares: by what the seeds draw, if not all: its variance over that where they draw all, each
            the mean over rows. They need not add up to one, and one alone may be above it.
        left_out: rows that lack one of these cells.
    """

    seeds: list[int]
    deviations: dict[str, dict[str, Spread]]
    shares: dict[str, Spread]
    left_out: list[str]


def seed_variance(analysis: Analysis, task: str) -> SeedVariance | None:
    """Compare rows whose seeds draw the data, the weights or the order alone (Bouthillier 2021).

    Rows whose seeds draw all three are those that others are compared with; two rows belong
    together where they differ in one factor alone, whose levels say what is drawn.

    Args:
        analysis: of a study.
        task: one of its tasks.

    Returns:
        None where there is no such factor, where nothing is claimed of the factors, and with
        fewer than ten seeds that all its cells have.

    References:
        Bouthillier et al. 2021, "Accounting for Variance in Machine Learning Benchmarks", MLSys.
    """
    drawn: dict[str, frozenset[str]] = {}
    in_grid = factor_levels([row for row in analysis.rows if row.cell.task == task])[0]
    for variant in dict.fromkeys(row.cell.variant for row in in_grid):
        what = draws_of(analysis.by_cell[variant, task], analysis)
        if what is not None:
            drawn[variant] = what
    factor = _factor(analysis, task, drawn)
    if factor is None or task in analysis.withheld:
        return None
    cells: dict[str, dict[str, dict[int, float]]] = {}
    for variant, what in drawn.items():
        rows = analysis.by_cell[variant, task]
        scores = {row.cell.seed: analysis.score(row) for row in rows}
        levels = {name: level for name, level in rows[0].cell.factors.items() if name != factor}
        levels.pop("task", None)
        known = {seed: score for seed, score in scores.items() if score is not None}
        cells.setdefault(", ".join(levels.values()) or task, {})[_named(what)] = known
    kinds = sorted(dict.fromkeys(kind for row in cells.values() for kind in row), key=ALL.__ne__)
    whole = {name: row for name, row in cells.items() if len(row) == len(kinds)}
    if ALL not in kinds or not whole:
        return None
    return _compared(whole, kinds, [name for name in cells if name not in whole], analysis)


def _compared(
    cells: Mapping[str, Mapping[str, Mapping[int, float]]],
    kinds: Sequence[str],
    left_out: list[str],
    analysis: Analysis,
) -> SeedVariance | None:
    """Compare the cells of each row over the seeds that all cells have; None of too few."""
    seeds = sorted(
        set.intersection(*(set(cell) for row in cells.values() for cell in row.values()))
    )
    if len(seeds) < MIN_SEEDS:
        return None
    scores = {
        kind: np.array([[row[kind][seed] for seed in seeds] for row in cells.values()])
        for kind in kinds
    }
    deviations = {
        name: {kind: _deviation(scores[kind][index], analysis) for kind in kinds}
        for index, name in enumerate(cells)
    }
    shares = {kind: _share(scores[kind], scores[ALL]) for kind in kinds if kind != ALL}
    return SeedVariance(seeds, deviations, shares, left_out)


def draws_of(rows: Sequence[RunRow], analysis: Analysis) -> frozenset[str] | None:
    """Return which of `DRAWS` the seeds of a cell are used for; None where that is not known.

    Args:
        rows: of one cell.
        analysis: of the study, which has the config of a cell's first run.
    """
    configs = [config for row in rows if (config := analysis.configs.get(row.cell.run_id))]
    results = [row.result for row in rows if row.result is not None]
    if not configs or len(results) < 2:
        return None
    config, training = configs[0], configs[0].training
    fingerprints = {result.data.fingerprint for result in results}
    fixed = (training.weights_seed, training.order_seed)
    # That of the first run may be the one that is fixed, or follow the seed.
    if 1 < len(fingerprints) < len(results) or config.seed in fixed:
        return None
    varies = (len(fingerprints) > 1, *(seed is None for seed in fixed))
    return frozenset(name for name, each in zip(DRAWS, varies, strict=True) if each)


def _named(draws: frozenset[str]) -> str:
    """Return what seeds draw, in words."""
    words = " and ".join(sorted(draws, key=DRAWS.index))
    return ALL if len(draws) == len(DRAWS) else words or "none of them"


def _factor(analysis: Analysis, task: str, drawn: Mapping[str, frozenset[str]]) -> str | None:
    """Return the factor each of whose levels draws something else; None without one."""
    factors = {variant: analysis.by_cell[variant, task][0].cell.factors for variant in drawn}
    for name in dict.fromkeys(name for levels in factors.values() for name in levels):
        if not all(name in levels for levels in factors.values()):
            continue
        pairs = {(levels[name], drawn[variant]) for variant, levels in factors.items()}
        levels, whats = ({pair[index] for pair in pairs} for index in (0, 1))
        if 1 < len(pairs) == len(levels) == len(whats):
            return name
    return None


def _deviation(scores: np.ndarray, analysis: Analysis) -> Spread:
    """Return the standard deviation of scores (S,) of S seeds.

    Without an interval where they fall into two groups: few seeds of one of them say nothing of how
    often there is one.
    """
    spread = jackknifed(lambda seeds: _log_variance(scores[None, seeds]), len(scores))
    if better_group(scores.tolist(), analysis.scale.bounds, analysis.sign):
        return Spread(math.sqrt(spread.value), NONE)
    low, high = (math.sqrt(end) for end in spread.interval)
    least, best = analysis.scale.bounds
    most = (best - least) / 2 * math.sqrt(len(scores) / (len(scores) - 1))  # half at each end
    return Spread(math.sqrt(spread.value), cut_at(Interval(low, high), (0.0, most)))


def _share(scores: np.ndarray, of: np.ndarray) -> Spread:
    """Return the variance of scores (R, S) over that of others, each the mean over R rows."""

    def log_ratio(seeds: np.ndarray) -> float:
        part, whole = (_log_variance(some[:, seeds]) for some in (scores, of))
        return math.nan if math.isinf(whole) else part - whole

    return jackknifed(log_ratio, scores.shape[1])


def _log_variance(scores: np.ndarray) -> float:
    """Return the logarithm of the mean variance of rows (R, S); -inf where no score varies."""
    with np.errstate(divide="ignore"):
        return float(np.log(scores.var(axis=1, ddof=1).mean()))


def jackknifed(log_of: Callable[[np.ndarray], float], number: int) -> Spread:
    """Return a variance, or a ratio of variances, with its 95 % interval by the jackknife.

    The jackknife of the logarithm over seeds, with Student's t (Miller 1974, "The jackknife - a
    review", Biometrika 61). It does without normal scores, and rows with the same seeds need not be
    independent. Differs: about the plain estimate, not the mean of the pseudo-values, as then the
    interval holds what stands before it.

    Args:
        log_of: its logarithm, from the indices of the seeds that count.
        number: of seeds.

    Example:
        >>> x = np.random.default_rng(0).normal(size=200)
        >>> spread = jackknifed(lambda seeds: float(np.log(x[seeds].var(ddof=1))), 200)
        >>> [round(end, 2) for end in (spread.interval.low, spread.value, spread.interval.high)]
        [0.78, 0.93, 1.11]
    """
    seeds = np.arange(number)
    whole = log_of(seeds)
    without = np.array([log_of(np.delete(seeds, index)) for index in seeds])
    if not math.isfinite(whole) or not np.isfinite(without).all():
        return Spread(math.nan if math.isnan(whole) else math.exp(whole), NONE)
    pseudo = number * whole - (number - 1) * without
    half = stats.t.ppf(0.975, number - 1) * pseudo.std(ddof=1) / math.sqrt(number)
    return Spread(math.exp(whole), Interval(math.exp(whole - half), math.exp(whole + half)))
