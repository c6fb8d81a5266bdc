"""Tests of what is no sample of seeds: two trained models, and several data sets."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from decoderlab.studies.statistics import holm


class MeanRanks(NamedTuple):
    """How methods stand over data sets.

    Args:
        ranks: (methods,), the mean over data sets; 1 is the best on each.
        friedman_p: of the test that all methods have one mean rank.
        critical: the difference of two mean ranks from which on they are told apart.
    """

    ranks: np.ndarray
    friedman_p: float
    critical: float


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


def mean_ranks(scores: np.ndarray, alpha: float = 0.05) -> MeanRanks:
    """Return the mean ranks of methods over data sets, and which of them can be told apart.

    For scores that are not of one scale; the data sets are the sample. Friedman's test is that of
    Iman and Davenport, whose F is less conservative; the critical difference is Nemenyi's, which is
    for many data sets. Source: Demsar 2006, section 3.2.2.

    Args:
        scores: (methods, data sets), at least 3 by 2; the higher the better.
        alpha: of all pairs of methods together.

    Raises:
        ValueError: for fewer, and for a score that is not finite.
    """
    methods, number = scores.shape
    if methods < 3 or number < 2 or not np.isfinite(scores).all():
        raise ValueError(f"scores are {scores.shape}; give 3 methods by 2 data sets, all finite")
    ranks = stats.rankdata(-scores, axis=0).mean(axis=1)
    most = number * (methods - 1)
    with np.errstate(invalid="ignore"):
        squared = float(stats.friedmanchisquare(*scores).statistic)
    if math.isnan(squared):  # all alike on every data set
        p = 1.0
    elif squared >= most - 1e-9:  # one order on every data set
        p = 0.0
    else:
        fraction = (number - 1) * squared / (most - squared)
        p = float(stats.f.sf(fraction, methods - 1, (methods - 1) * (number - 1)))
    quantile = float(stats.studentized_range.ppf(1 - alpha, methods, np.inf)) / math.sqrt(2)
    critical = quantile * math.sqrt(methods * (methods + 1) / (6 * number))
    return MeanRanks(ranks, p, critical)
