"""How much scores vary with the data, the initial weights and the order of training alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from decoderlab.studies.analysis.results import RunRow
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.statistics import NONE, Interval

DRAWS = ("data", "initial weights", "order")
ALL = "all of them"
MIN_SEEDS = 4  # fewer say nothing about a variance


class Spread(NamedTuple):
    """How far scores lie apart, with its interval; a standard deviation or a ratio of variances.

    Args:
        value: of it.
        interval: 95 %, NaN where scores do not vary.
    """

    value: float
    interval: Interval


class SeedVariance(NamedTuple):
    """What the seeds of a task's rows vary with.

    Args:
        seeds: that all cells have.
        deviations: standard deviation of the score over seeds, by row and by what the seeds draw.
        shares: by what the seeds draw, if not all: its variance over that where they draw all, each
            the mean over rows.
    """

    seeds: list[int]
    deviations: dict[str, dict[str, Spread]]
    shares: dict[str, Spread]


def seed_variance(analysis: Analysis, task: str) -> SeedVariance | None:
    """Compare rows whose seeds draw the data, the weights or the order alone (Bouthillier 2021).

    Rows whose seeds draw all three are those that others are compared with; two rows belong
    together where they differ in one factor alone, whose levels say what is drawn.

    Args:
        analysis: of a study.
        task: one of its tasks.

    Returns:
        None where there is no such factor, or fewer than four seeds that all its cells have.

    References:
        Bouthillier et al. 2021, "Accounting for Variance in Machine Learning Benchmarks", MLSys.
    """
    drawn: dict[str, frozenset[str]] = {}
    for (variant, of_task), rows in analysis.by_cell.items():
        if of_task == task:
            what = draws_of(rows, analysis)
            if what is None:
                return None
            drawn[variant] = what
    factor = _factor(analysis, task, drawn)
    if factor is None:
        return None
    cells: dict[str, dict[str, dict[int, float]]] = {}
    for variant, what in drawn.items():
        rows = analysis.by_cell[variant, task]
        scores = {row.cell.seed: analysis.score(row) for row in rows}
        levels = {name: level for name, level in rows[0].cell.factors.items() if name != factor}
        levels.pop("task", None)
        known = {seed: score for seed, score in scores.items() if score is not None}
        cells.setdefault(", ".join(levels.values()) or task, {})[_named(what)] = known
    kinds_found = dict.fromkeys(kind for row in cells.values() for kind in row)
    kinds = [kind for kind in kinds_found if all(kind in row for row in cells.values())]
    kinds.sort(key=ALL.__ne__)
    seeds = sorted(set.intersection(*(set(row[kind]) for row in cells.values() for kind in kinds)))
    if ALL not in kinds or len(seeds) < MIN_SEEDS:
        return None
    scores = {
        kind: np.array([[row[kind][seed] for seed in seeds] for row in cells.values()])
        for kind in kinds
    }
    deviations = {
        name: {kind: _deviation(scores[kind][index]) for kind in kinds}
        for index, name in enumerate(cells)
    }
    shares = {kind: _share(scores[kind], scores[ALL]) for kind in kinds if kind != ALL}
    return SeedVariance(seeds, deviations, shares)


def draws_of(rows: Sequence[RunRow], analysis: Analysis) -> frozenset[str] | None:
    """Return which of `DRAWS` the seeds of a cell are used for; None where that is not known.

    Args:
        rows: of one cell.
        analysis: of the study.
    """
    configs = [config for row in rows if (config := analysis.configs.get(row.cell.run_id))]
    results = [row.result for row in rows if row.result is not None]
    if not configs or len(results) < 2:
        return None
    config = configs[0]
    fingerprints = {result.data.fingerprint for result in results}
    if 1 < len(fingerprints) < len(results):
        return None
    own = config.training.seeds(config.seed)
    varies = (len(fingerprints) > 1, own.weights == config.seed, own.order == config.seed)
    return frozenset(name for name, each in zip(DRAWS, varies, strict=True) if each)


def _named(draws: frozenset[str]) -> str:
    """Return what seeds draw, in words."""
    return ALL if len(draws) == len(DRAWS) else " and ".join(sorted(draws, key=DRAWS.index))


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


def _deviation(scores: np.ndarray) -> Spread:
    """Return the standard deviation of scores (S,) of S seeds."""
    spread = jackknifed(lambda seeds: _log_variance(scores[None, seeds]), len(scores))
    low, high = (math.sqrt(end) for end in spread.interval)
    return Spread(math.sqrt(spread.value), Interval(low, high))


def _share(scores: np.ndarray, of: np.ndarray) -> Spread:
    """Return the variance of scores (R, S) over that of others, each the mean over R rows."""

    def log_ratio(seeds: np.ndarray) -> float:
        return _log_variance(scores[:, seeds]) - _log_variance(of[:, seeds])

    return jackknifed(log_ratio, scores.shape[1])


def _log_variance(scores: np.ndarray) -> float:
    """Return the logarithm of the mean variance of rows (R, S); -inf where no score varies."""
    with np.errstate(divide="ignore"):
        return float(np.log(scores.var(axis=1, ddof=1).mean()))


def jackknifed(log_of: Callable[[np.ndarray], float], number: int) -> Spread:
    """Return a variance, or a ratio of variances, with its 95 % interval by the jackknife.

    The jackknife of the logarithm over seeds, with Student's t (Miller 1974, "The jackknife - a
    review", Biometrika 61, section 5). It does without normal scores, and rows with the same seeds
    need not be independent.

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
