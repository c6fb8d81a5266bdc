from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.anova import AnovaRM

from decoderlab.studies.analysis.factorial import analyse, variance_table
from decoderlab.studies.statistics import holm, paired, sign_flip

DESIGNS = [{"a": 2}, {"a": 4}, {"a": 2, "b": 3}, {"a": 3, "b": 3}, {"a": 2, "b": 3, "c": 2}]
LEVELS = {"route": ["state", "attention"], "feedback": ["own", "forced", "mixed"]}
COMBINATIONS = list(itertools.product(*LEVELS.values()))
SIZES = {"route": 2, "feedback": 3}
RANDOM = st.integers(0, 2**32 - 1)
quick = settings(deadline=None, max_examples=30)


def simulated(sizes, random=0, n=8):
    """Cells that differ in mean and spread, with seeds that are good or bad everywhere."""
    generator, cells = np.random.default_rng(random), math.prod(sizes.values())
    noise = generator.normal(size=(n, cells)) * generator.uniform(0.5, 2, size=cells)
    return generator.normal(size=(n, 1)) + generator.normal(size=cells) + noise


def by_factors(table, sizes):
    return {one.factors: one for one in variance_table(table, sizes)}


def check_against_statsmodels(table, sizes):
    places = list(itertools.product(*(range(size) for size in sizes.values())))
    rows = [
        dict(zip(sizes, place, strict=True), seed=seed, score=score)
        for seed, scores in enumerate(table)
        for place, score in zip(places, scores, strict=True)
    ]
    expected = AnovaRM(pd.DataFrame(rows), "score", "seed", within=list(sizes)).fit().anova_table
    found = variance_table(table, sizes)
    assert sorted(":".join(one.factors) for one in found) == sorted(expected.index)
    assert [len(one.factors) for one in found] == sorted(len(one.factors) for one in found)
    for one in found:
        row = expected.loc[":".join(one.factors)]
        assert one.f == pytest.approx(row["F Value"], rel=1e-6)
        assert (one.freedom, one.freedom_error) == (row["Num DF"], row["Den DF"])
        uncorrected = stats.f.sf(one.f, one.freedom, one.freedom_error)
        assert uncorrected == pytest.approx(row["Pr > F"], rel=1e-5)


@pytest.mark.parametrize("sizes", DESIGNS)
def test_f_and_its_freedoms_are_those_of_statsmodels(sizes):
    check_against_statsmodels(simulated(sizes), sizes)


@quick
@given(RANDOM, st.lists(st.integers(2, 3), min_size=1, max_size=2), st.integers(3, 7))
def test_f_is_that_of_statsmodels_whatever_the_design(random, sizes, n):
    sizes = dict(zip("ab", sizes, strict=False))
    check_against_statsmodels(simulated(sizes, random, n), sizes)


def centring(sizes, factors):
    """Project the cells onto an effect: double-centring, written for any number of factors."""
    found = np.ones((1, 1))
    for name, size in sizes.items():
        mean = np.full((size, size), 1 / size)
        found = np.kron(found, np.eye(size) - mean if name in factors else mean)
    return found


@quick
@given(RANDOM, st.integers(2, 5))
def test_epsilon_is_boxs_formula_of_the_covariances(random, size):
    table = simulated({"a": size}, random)
    covariances = np.cov(table, rowvar=False)
    diagonal, everything = covariances.diagonal().mean(), covariances.mean()
    rows = np.square(covariances.mean(axis=0)).sum()
    expected = (size * (diagonal - everything)) ** 2 / (
        (size - 1) * (np.square(covariances).sum() - 2 * size * rows + size**2 * everything**2)
    )
    (found,) = variance_table(table, {"a": size})
    assert found.epsilon == pytest.approx(expected)
    assert found.epsilon == pytest.approx(1) or size > 2


@pytest.mark.parametrize("sizes", DESIGNS)
def test_epsilon_p_and_effect_size_follow_from_the_centred_scores(sizes):
    table = simulated(sizes)
    found = variance_table(table, sizes)
    for one in found:
        centred = np.cov(table @ centring(sizes, one.factors), rowvar=False)
        epsilon = np.trace(centred) ** 2 / (one.freedom * np.trace(centred @ centred))
        assert one.epsilon == pytest.approx(epsilon)
        assert 1 / one.freedom <= one.epsilon <= 1
        freedoms = one.freedom * epsilon, one.freedom_error * epsilon
        assert one.p == pytest.approx(stats.f.sf(one.f, *freedoms))
        explained = one.f * one.freedom
        share = explained / (explained + one.freedom_error)
        assert one.partial_eta_squared == pytest.approx(share)
    assert [one.p_holm for one in found] == holm([one.p for one in found])
    assert any(one.epsilon < 0.95 for one in found) or set(sizes.values()) == {2}


def test_with_two_levels_the_sign_flip_is_that_of_the_differences():
    table = np.random.default_rng(0).normal([0, 0, 1, 0], size=(10, 4))
    cells = table.T.reshape(2, 2, 10)
    found = by_factors(table, {"a": 2, "b": 2})
    assert found["a",].p_sign_flip == sign_flip((cells[1] - cells[0]).mean(axis=0))
    assert found["b",].p_sign_flip == sign_flip((cells[:, 1] - cells[:, 0]).mean(axis=0))
    changes = (cells[1, 1] - cells[0, 1]) - (cells[1, 0] - cells[0, 0])
    assert found["a", "b"].p_sign_flip == sign_flip(changes)
    assert found["a",].p == pytest.approx(
        stats.ttest_rel(cells[1].mean(axis=0), cells[0].mean(axis=0)).pvalue
    )
    assert len({one.p_sign_flip for one in found.values()}) == 3


@pytest.mark.parametrize("sizes", DESIGNS)
def test_the_sign_flip_is_an_enumeration_over_the_centred_scores(sizes):
    table = simulated(sizes, random=3)
    signs = np.array(list(itertools.product((1, -1), repeat=len(table))))
    for one in variance_table(table, sizes):
        sums = signs @ table @ centring(sizes, one.factors)
        lengths = np.square(sums).sum(axis=1)
        assert one.p_sign_flip == (lengths >= lengths[0] * (1 - 1e-9)).mean()


def assert_same_effects(found, expected):
    assert found.keys() == expected.keys()
    for factors, one in found.items():
        for name in ("f", "epsilon", "p", "p_holm", "p_sign_flip", "partial_eta_squared"):
            other = getattr(expected[factors], name)
            assert getattr(one, name) == pytest.approx(other, rel=1e-6, abs=1e-12)


@quick
@given(RANDOM, st.integers(0, 719), st.floats(0.01, 100))
def test_the_analysis_ignores_what_seeds_are_called_and_how_good_they_are(random, number, scale):
    table = simulated(SIZES, random, n=6)
    expected = by_factors(table, SIZES)
    order = list(itertools.permutations(range(6)))[number]
    assert_same_effects(by_factors(table[list(order)], SIZES), expected)
    shift = np.random.default_rng(number).normal(0, 10, size=(6, 1))
    assert_same_effects(by_factors(scale * table + shift, SIZES), expected)
    cells = table.reshape(6, 2, 3)
    assert_same_effects(by_factors(cells[:, ::-1, [2, 0, 1]].reshape(6, 6), SIZES), expected)
    swapped = by_factors(cells.swapaxes(1, 2).reshape(6, 6), {"feedback": 3, "route": 2})
    assert_same_effects(
        {tuple(sorted(one, reverse=True)): e for one, e in swapped.items()}, expected
    )


def test_where_no_cell_differs_nothing_is_found():
    table = np.random.default_rng(0).uniform(size=(7, 1)) + np.zeros((1, 6))
    for one in variance_table(table, SIZES):
        assert (one.f, one.p, one.p_sign_flip, one.partial_eta_squared) == (0, 1, 1, 0)
        assert not one.real


def test_an_effect_without_error_is_found_and_others_beside_it_are_not():
    table = np.tile([0.1, 0.1, 0.1, 0.7, 0.7, 0.7], (7, 1))
    found = by_factors(table + np.random.default_rng(0).uniform(size=(7, 1)), SIZES)
    assert found["route",].p_holm < 1e-9
    assert found["route",].p_sign_flip == 2 / 2**7
    assert found["route",].partial_eta_squared == pytest.approx(1)
    assert {one.p for factors, one in found.items() if factors != ("route",)} == {1.0}
    assert [one.factors for one in found.values() if one.real] == [("route",)]


def test_an_effect_is_real_only_if_both_tests_say_so():
    one = variance_table(simulated(SIZES), SIZES)[0]
    for p_holm, p_sign_flip in itertools.product((0.04, 0.06), repeat=2):
        changed = replace(one, p_holm=p_holm, p_sign_flip=p_sign_flip)
        assert changed.real == (p_holm == p_sign_flip == 0.04)


def grid(table, first=100):
    return {
        one: dict(enumerate(column.tolist(), start=first))
        for one, column in zip(COMBINATIONS, table.T, strict=True)
    }


def test_an_analysis_has_the_effects_means_and_seeds_of_the_grid():
    table = simulated(SIZES)
    found = analyse(grid(table), LEVELS)
    assert found.levels == LEVELS
    assert (found.seeds, found.left_out) == (tuple(range(100, 108)), ())
    assert_same_effects({one.factors: one for one in found.effects}, by_factors(table, SIZES))
    assert found.means["attention", "own"] == pytest.approx(table[:, 3].mean())
    assert list(found.means.values()) == pytest.approx(table.mean(axis=0))


def test_seeds_that_a_cell_lacks_are_left_out_of_all():
    table = simulated(SIZES)
    scores = grid(table)
    del scores["state", "own"][102], scores["attention", "mixed"][100]
    found = analyse({one: dict(reversed(some.items())) for one, some in scores.items()}, LEVELS)
    assert (found.seeds, found.left_out) == ((101, 103, 104, 105, 106, 107), (100, 102))
    expected = by_factors(table[[1, 3, 4, 5, 6, 7]], SIZES)
    assert_same_effects({one.factors: one for one in found.effects}, expected)
    del scores["state", "own"][103]
    assert analyse(scores, LEVELS) is None


def test_a_missing_combination_is_an_error():
    scores = grid(simulated(SIZES))
    del scores["attention", "forced"]
    with pytest.raises(ValueError, match="route, feedback lacks attention forced"):
        analyse(scores, LEVELS)


def test_simple_effects_compare_the_columns_that_hold_all_else():
    table = simulated(SIZES)
    scores = dict(zip(COMBINATIONS, table.T, strict=True))
    expected = [
        ("route", "attention", "state", {"feedback": held}, ("attention", held), ("state", held))
        for held in LEVELS["feedback"]
    ] + [
        ("feedback", level, "own", {"route": held}, (held, level), (held, "own"))
        for level in ("forced", "mixed")
        for held in LEVELS["route"]
    ]
    found = analyse(grid(table), LEVELS).simple
    assert len(found) == len(expected)
    for one, (factor, level, against, held, here, there) in zip(found, expected, strict=True):
        assert (one.factor, one.level, one.against, one.held) == (factor, level, against, held)
        assert one.difference == paired(scores[here] - scores[there])
    p_values = [paired(scores[here] - scores[there]).p for *_, here, there in expected]
    # The family is a factor.
    assert [one.p_holm for one in found] == holm(p_values[:3]) + holm(p_values[3:])


def test_main_effects_in_size_are_means_over_all_else():
    table = simulated(SIZES)
    cube = table.reshape(len(table), *SIZES.values())
    own, forced, mixed = cube.mean(axis=1).T
    state, attention = cube.mean(axis=2).T
    expected = [
        ("route", "attention", "state", paired(attention - state)),
        ("feedback", "forced", "own", paired(forced - own)),
        ("feedback", "mixed", "own", paired(mixed - own)),
    ]
    found = analyse(grid(table), LEVELS).main
    assert [(one.factor, one.level, one.against) for one in found] == [one[:3] for one in expected]
    for one, (*_, difference) in zip(found, expected, strict=True):
        assert one.held == {}
        assert one.difference.mean == pytest.approx(difference.mean)
        assert one.difference.low == pytest.approx(difference.low)
        assert one.difference.p == difference.p
    assert [one.p_holm for one in found] == holm([one.p for *_, one in expected])


@pytest.mark.parametrize(
    ("means", "real", "interactions"),
    [
        ([0, 0, 0, 0, 9, 0], {("route",), ("feedback",), ("route", "feedback")}, 1),
        ([0, 0, 0, 9, 9, 9], {("route",)}, 0),
        ([0, 9, 0, 9, 0, 9], {("route",), ("route", "feedback")}, 1),
    ],
)
def test_a_planted_interaction_is_the_one_that_is_told(means, real, interactions):
    noise = np.random.default_rng(1).normal(size=(10, 6))
    found = analyse(grid(noise + means), LEVELS)
    assert {one.factors for one in found.effects if one.real} == real
    assert [one.factors for one in found.interactions] == [("route", "feedback")] * interactions


def test_negative_control_without_an_interaction_one_study_of_twenty_finds_one():
    generator, studies = np.random.default_rng(0), 1000
    main_effects = np.add.outer([0, 0.1], [0, 0.05, 0.2]).ravel()
    by_f = by_signs = real = 0
    for _ in range(studies):
        table = main_effects + generator.exponential(0.1, size=(10, 1))
        table = table + generator.beta(8, 1, size=(10, 6))
        effect = by_factors(table, SIZES)["route", "feedback"]
        by_f += effect.p < 0.05
        by_signs += effect.p_sign_flip < 0.05
        real += effect.real
    low, high = stats.binom.interval(0.999, studies, 0.05)
    assert low <= by_f <= high
    assert low <= by_signs <= high
    assert real <= high


def test_known_interaction_is_found_as_often_as_its_power_says():
    generator, studies = np.random.default_rng(1), 1000
    sizes, contrast = {"a": 2, "b": 2}, np.array([0.5, -0.5, -0.5, 0.5])
    hits = 0
    for _ in range(studies):
        table = contrast + generator.normal(size=(10, 1)) + generator.normal(size=(10, 4))
        hits += by_factors(table, sizes)["a", "b"].p < 0.05
    critical = stats.t.ppf(0.975, 9)
    power = stats.nct.sf(critical, 9, math.sqrt(10))
    low, high = stats.binom.interval(0.999, studies, power)
    assert low <= hits <= high
