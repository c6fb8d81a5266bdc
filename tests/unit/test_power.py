"""What so many seeds can show: the simulated power of the verdict, against other routes to it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from decoderlab.studies.attainable import attainable
from decoderlab.studies.power import detectable_effect
from decoderlab.studies.statistics import holm, over_seeds, sign_flip


@pytest.mark.parametrize("n", [6, 8, 10, 20])
def test_what_is_attainable_is_what_the_best_of_all_studies_reaches(n):
    best = sign_flip([0.1] * n)
    for number in (1, 2, 4, 25, 26):
        assert attainable(n, number) == (holm([best] * number)[0] < 0.05)


@pytest.mark.parametrize(("n", "comparisons"), [(0, 1), (3, 1), (5, 1), (6, 2), (8, 7), (10, 26)])
def test_nothing_is_detectable_where_nothing_can_be_certain(n, comparisons):
    assert detectable_effect(n, comparisons) == math.inf


@pytest.mark.parametrize("comparisons", [1, 6, 15])
@pytest.mark.parametrize("n", [14, 20, 30, 73])
def test_of_many_seeds_the_detectable_effect_is_that_of_the_t_test(n, comparisons):
    power = TTestPower().power(detectable_effect(n, comparisons), n, 0.05 / comparisons)
    assert power == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("n", [8, 20])
def test_a_minimum_effect_and_examples_ask_for_a_larger_effect(n):
    alone = detectable_effect(n, 2)
    assert detectable_effect(n, 2, margin=0.5) > alone
    assert detectable_effect(n, 2, examples=1.0) > alone
    # At a margin far beyond, the verdict is the one-sided test against it.
    assert detectable_effect(n, 2, margin=50.0) - 50.0 < alone


@pytest.mark.thinned
@pytest.mark.long
@pytest.mark.parametrize(
    ("n", "comparisons", "margin"),
    [(6, 1, 0), (8, 6, 0), (10, 1, 1), (10, 16, 0), (13, 11, 0.5), (14, 11, 0), (20, 6, 2)],
)
def test_an_effect_of_the_detectable_size_is_found_in_four_studies_of_five(n, comparisons, margin):
    generator, studies, found = np.random.default_rng(3), 1000, 0
    effect = detectable_effect(n, comparisons, margin)
    for differences in generator.normal(effect, 1, size=(studies, n)):
        low = over_seeds(differences).interval(1 - 0.05 / comparisons).low
        found += low >= margin and low > 0 and sign_flip(differences) < 0.05 / comparisons
    low, high = stats.binom.interval(0.999, studies, 0.8)
    # Of more than 13 seeds the t test stands for the sign-flip test.
    assert low - 0.03 * studies <= found <= high + 0.03 * studies
