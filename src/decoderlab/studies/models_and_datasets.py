"""Tests of what is no sample of seeds: two trained models, and several data sets."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from decoderlab.studies.statistics import holm


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
