from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from decoderlab.studies.statistics import summarise

SCORES = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=12).filter(
    lambda scores: np.std(scores) > 1e-6
)


@given(SCORES)
def test_the_interval_is_scipys_and_statsmodels(scores):
    summary = summarise(scores)
    expected = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    assert (summary.low, summary.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert (summary.low, summary.high) == pytest.approx(DescrStatsW(scores).tconfint_mean(0.05))


@given(SCORES, st.floats(-2, 2), st.floats(0.1, 3))
def test_the_interval_moves_and_grows_with_the_scores(scores, shift, scale):
    one = summarise(scores)
    other = summarise([scale * score + shift for score in scores])
    for name in ("mean", "low", "high"):
        assert getattr(other, name) == pytest.approx(scale * getattr(one, name) + shift, abs=1e-6)


def test_its_coverage_is_nominal():
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        summary = summarise(generator.normal(0.5, 0.1, size=5))
        hits += summary.low <= 0.5 <= summary.high
    low, high = stats.binom.interval(0.999, 2000, 0.95)
    assert low <= hits <= high


@pytest.mark.parametrize(
    ("scores", "n"), [([], 0), ([0.4], 1), ([1.0, 1.0, 1.0], 3), ([0.1] * 3, 3)]
)
def test_where_there_is_no_interval_none_is_given(scores, n):
    summary = summarise(scores)
    assert summary.n == n
    assert math.isnan(summary.low)
    assert math.isnan(summary.high)
