"""Tests of two trained models, and of methods over data sets, are those of their sources."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from decoderlab.studies.models_and_datasets import across_datasets, exact_mcnemar, mean_ranks


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_mcnemars_p_is_the_binomial_of_the_discordant_pairs(rows):
    one, other = np.array(rows).T
    first, second = int((one & ~other).sum()), int((other & ~one).sum())
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert exact_mcnemar(one, other) == pytest.approx(expected)


def test_tests_across_data_sets_are_scipys():
    scores = np.random.default_rng(0).normal(size=(4, 8))
    scores[1:] += [[0.8], [0], [3]]
    scores[2] = scores[0]
    found = across_datasets(scores)
    assert found["friedman_p"] == pytest.approx(stats.friedmanchisquare(*scores).pvalue)
    near, far = (stats.wilcoxon(scores[row] - scores[0]).pvalue for row in (1, 3))
    assert far < near < 0.5
    assert found["p_holm"] == pytest.approx([max(2 * near, 3 * far), 1.0, 3 * far])


def test_mean_ranks_are_those_of_demsars_example():
    # Demsar 2006, section 3.2.2: four classifiers over fourteen data sets, and q 2.569.
    rng = np.random.default_rng(0)
    known = mean_ranks(rng.normal(size=(4, 14)))
    assert known.critical == pytest.approx(1.25, abs=0.005)
    assert known.ranks.sum() == pytest.approx(1 + 2 + 3 + 4)
    scores = np.array([[3.0, 9.0, 7.0], [2.0, 9.0, 5.0], [1.0, 1.0, 6.0]])
    known = mean_ranks(scores)
    assert known.ranks.tolist() == pytest.approx([3.5 / 3, 6.5 / 3, 8 / 3])
    assert known.friedman_p == pytest.approx(stats.friedmanchisquare(*scores).pvalue)
