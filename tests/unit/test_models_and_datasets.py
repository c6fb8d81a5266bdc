"""Tests of two trained models, and of methods over data sets, are those of their sources."""

from __future__ import annotations

from itertools import permutations, product

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
    # Demsar 2006, section 3.2.2: four classifiers, fourteen data sets: chi-square 9.28, F 3.69.
    known = mean_ranks(np.random.default_rng(0).normal(size=(4, 14)))
    assert known.critical == pytest.approx(1.25, abs=0.005)
    assert known.ranks.sum() == pytest.approx(1 + 2 + 3 + 4)
    assert 13 * 9.28 / (14 * 3 - 9.28) == pytest.approx(3.69, abs=0.005)


def test_the_p_of_mean_ranks_is_that_of_all_orders():
    scores = np.array([[3.0, 9.0, 7.0, 3.0], [2.0, 9.0, 5.0, 4.0], [1.0, 1.0, 6.0, 1.0]])
    known = mean_ranks(scores)
    assert known.ranks.tolist() == pytest.approx([5.5 / 4, 7.5 / 4, 11 / 4])
    orders = [list(permutations(row)) for row in stats.rankdata(scores, axis=0).T]
    spreads = [np.var(np.sum(chosen, axis=0)) for chosen in product(*orders)]
    exact = np.mean(np.array(spreads) >= np.var(known.ranks * 4) - 1e-9)
    assert known.friedman_p == pytest.approx(exact, abs=0.06)


def test_mean_ranks_of_one_order_and_of_equal_scores():
    assert mean_ranks(np.array([[3.0] * 4, [2.0] * 4, [1.0] * 4])).friedman_p == 0
    assert mean_ranks(np.ones((3, 4))).friedman_p == 1


@pytest.mark.parametrize("scores", [np.ones((2, 4)), np.ones((3, 1)), np.full((3, 4), np.nan)])
def test_mean_ranks_of_too_few_or_unknown_scores_are_refused(scores):
    with pytest.raises(ValueError, match="give 3 methods by 2 data sets, all finite"):
        mean_ranks(scores)
