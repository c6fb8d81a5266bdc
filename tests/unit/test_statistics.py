from __future__ import annotations

import itertools
import math
import statistics as standard

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pandas import DataFrame
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from decoderlab.studies.analysis.seed_groups import outlying
from decoderlab.studies.statistics import (
    excluded_rate,
    holm,
    over_seeds,
    over_seeds_and_examples,
    paired,
    sign_flip,
    summarise,
    wilson,
)
from tests.unit.test_error_rates import within

SCORES = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=12).filter(
    lambda scores: np.std(scores) > 1e-6
)
DIFFERENCES = st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=12).filter(
    lambda differences: np.std(differences) > 1e-6
)
WHOLE = st.lists(st.integers(-6, 6), min_size=2, max_size=10)
VECTORS = st.integers(1, 3).flatmap(
    lambda size: st.lists(st.tuples(*[st.integers(-4, 4)] * size), min_size=1, max_size=8)
)
P_VALUES = st.lists(st.floats(0, 1) | st.just(math.nan), max_size=8)
quick = settings(deadline=None, max_examples=50)


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


@pytest.mark.parametrize(
    ("scores", "n"), [([], 0), ([0.4], 1), ([1.0, 1.0, 1.0], 3), ([0.1] * 3, 3)]
)
@pytest.mark.fault(59)
def test_where_there_is_no_interval_none_is_given(scores, n):
    summary = summarise(scores)
    assert summary.n == n
    assert math.isnan(summary.low)
    assert math.isnan(summary.high)


@given(SCORES)
def test_a_summary_tells_what_the_standard_library_tells(scores):
    summary = summarise(scores)
    assert summary.n == len(scores)
    assert summary.mean == pytest.approx(standard.fmean(scores))
    assert summary.deviation == pytest.approx(standard.stdev(scores))
    assert summary.minimum == min(scores)
    assert summary.median == pytest.approx(standard.median(scores))


@given(SCORES)
def test_bounds_cut_the_interval_and_change_nothing_else(scores):
    free, cut = summarise(scores), summarise(scores, bounds=(0, 1))
    assert (cut.low, cut.high) == (max(free.low, 0), min(free.high, 1))
    assert (cut.mean, cut.deviation, cut.median) == (free.mean, free.deviation, free.median)


def wilson_by_hand(successes, number, confidence):
    z = stats.norm.ppf((1 + confidence) / 2)
    share = successes / number
    centre = share + z**2 / (2 * number)
    half = z * math.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    return (centre - half) / (1 + z**2 / number), (centre + half) / (1 + z**2 / number)


@given(st.integers(1, 60), st.data(), st.sampled_from([0.9, 0.95, 0.99]))
def test_wilsons_interval_is_the_formula_and_scipys(number, data, confidence):
    halves = data.draw(st.integers(0, 2 * number))
    found = wilson(halves / 2, number, confidence)
    assert found == pytest.approx(wilson_by_hand(halves / 2, number, confidence), abs=1e-12)
    assert 0 <= found.low < found.high <= 1
    if halves % 2 == 0:
        test = stats.binomtest(halves // 2, number)
        assert found == pytest.approx(tuple(test.proportion_ci(confidence, "wilson")), abs=1e-12)


@quick
@given(WHOLE)
def test_the_sign_flip_p_is_that_of_scipys_permutation_test(differences):
    found = stats.permutation_test(
        (np.array(differences),),
        lambda values, axis: values.sum(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert sign_flip(differences) == pytest.approx(found.pvalue, abs=1e-12)


@quick
@given(VECTORS)
def test_vectors_are_flipped_as_a_whole(rows):
    table = np.array(rows)
    sums = np.array(list(itertools.product((1, -1), repeat=len(table)))) @ table
    far = (sums**2).sum(axis=1) >= (table.sum(axis=0) ** 2).sum()
    assert sign_flip(table) == far.mean()


@quick
@given(WHOLE, st.randoms(use_true_random=False), st.sampled_from([0.1, 1 / 3, 1e-6, 7e5]))
def test_the_sign_flip_p_ignores_order_sign_scale_and_seed(differences, random, scale):
    shuffled = random.sample(differences, len(differences))
    p = sign_flip(differences)
    assert sign_flip(shuffled) == p
    assert sign_flip([-one for one in differences]) == p
    assert sign_flip([scale * one for one in differences]) == p
    assert sign_flip(differences, seed=5) == p


def test_turning_the_axes_of_vectors_does_not_change_their_sign_flip_p():
    generator = np.random.default_rng(0)
    table = generator.normal(0.3, 1, size=(9, 3))
    turn = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    assert 0.01 < sign_flip(table) < 0.99
    assert sign_flip(table @ turn) == sign_flip(table)


@given(st.lists(st.integers(1, 100), min_size=2, max_size=12))
def test_no_sign_flip_p_is_below_two_in_all_patterns(differences):
    assert sign_flip(differences) == 2 / 2 ** len(differences)
    assert sign_flip([-differences[0], *differences[1:]]) > 2 / 2 ** len(differences)


def sign_flip_p_by_convolution(differences):
    chances = np.ones(1)
    for size in np.abs(differences):
        step = np.zeros(2 * size + 1)
        step[0] += 0.5
        step[-1] += 0.5
        chances = np.convolve(chances, step)
    sums = np.arange(len(chances)) - np.abs(differences).sum()
    return chances[np.abs(sums) >= abs(sum(differences))].sum()


def whole_differences(n, mean):
    return np.random.default_rng(n).normal(mean, 100, size=n).round().astype(int)


@pytest.mark.parametrize("mean", [0, 50])
def test_twenty_pairs_are_still_counted_exactly(mean):
    differences = whole_differences(20, mean)
    expected = sign_flip_p_by_convolution(differences)
    assert sign_flip(differences) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "mean"), [(21, 40), (24, 10), (40, 30)])
def test_above_twenty_pairs_the_drawn_p_is_near_the_exact_one(n, mean):
    differences = whole_differences(n, mean)
    expected = sign_flip_p_by_convolution(differences)
    assert within(sign_flip(differences) * 100_000, 100_000, expected)
    assert sign_flip(differences, seed=1) == sign_flip(differences, seed=1)
    assert sign_flip(differences, seed=1) != sign_flip(differences, seed=2)


def test_pairs_without_a_difference_add_nothing_in_either_branch():
    differences = whole_differences(12, 40)
    exact = sign_flip(differences)
    assert sign_flip([*differences, *[0] * 8]) == exact
    assert within(sign_flip([*differences, *[0] * 12]) * 100_000, 100_000, exact)


def test_a_drawn_p_is_never_zero():
    assert sign_flip([1.0] * 40) == 1 / 100_001
    assert sign_flip([0.0] * 40) == 1


def test_without_pairs_there_is_no_sign_flip_p():
    assert math.isnan(sign_flip([]))


@pytest.mark.parametrize("n", [7, 30])
def test_an_unknown_difference_gives_no_sign_flip_p(n):
    assert math.isnan(sign_flip([math.nan] + [0.1] * (n - 1)))


@pytest.mark.parametrize("size", [1e-300, 1.0, 1e200])
def test_the_sign_flip_test_does_not_depend_on_the_unit(size):
    assert sign_flip([size, size, 2 * size, -size, size, size]) == 12 / 64


def test_holm_is_statsmodels_and_gives_published_examples():
    p_values = np.random.default_rng(0).uniform(0, 0.2, size=12)
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])


@given(P_VALUES)
def test_holm_is_his_formula_and_leaves_out_what_is_unknown(p_values):
    known = sorted(p for p in p_values if not math.isnan(p))
    steps = [min((len(known) - place) * p, 1) for place, p in enumerate(known)]
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        if math.isnan(p):
            assert math.isnan(adjusted)
        else:
            last = len(known) - known[::-1].index(p)
            assert adjusted == pytest.approx(max(steps[:last]), abs=1e-15)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(0, 4))
def test_tests_not_done_yet_count_as_if_their_p_were_one(p_values, waiting):
    number = len(p_values) + waiting
    assert holm(p_values, number) == holm(p_values + [1.0] * waiting)[: len(p_values)]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_holm_keeps_the_order_of_p_values_and_never_lowers_one(p_values, random):
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    assert [q for _, q in sorted(zip(p_values, adjusted, strict=True))] == sorted(adjusted)
    places = random.sample(range(len(p_values)), len(p_values))
    assert holm([p_values[place] for place in places]) == [adjusted[place] for place in places]


@pytest.mark.parametrize(("value", "p"), [(1 / 64, 0), (-1 / 64, 0), (0.02, 1), (-0.3, 1), (0, 0)])
def test_one_difference_in_every_seed_lies_within_the_margin_or_not(value, p):
    assert over_seeds([value] * 8).equivalence(0.02) == p


def test_what_differs_by_rounding_alone_has_no_spread():
    found = paired([0.3, 0.1 + 0.2, 0.3, 0.1 + 0.2, 0.3, 0.3])
    assert math.isnan(found.dz)
    assert math.isnan(found.low)
    assert over_seeds([0.3, 0.1 + 0.2, 0.3]).equivalence(0.02) == 1


@given(DIFFERENCES, st.floats(0.01, 2))
def test_equivalence_is_statsmodels_and_the_ninety_percent_interval(differences, margin):
    p = over_seeds(differences).equivalence(margin)
    described = DescrStatsW(differences)
    assert p == pytest.approx(described.ttost_mean(-margin, margin)[0], abs=1e-9)
    assume(abs(p - 0.05) > 1e-9)
    low, high = described.tconfint_mean(0.1)
    assert (p < 0.05) == (-margin < low and high < margin)


@given(DIFFERENCES)
def test_a_paired_comparison_is_scipys_with_cohens_dz(differences):
    found = paired(differences)
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert found.n == len(differences)
    assert found.mean == pytest.approx(standard.fmean(differences), abs=1e-12)
    assert found.deviation == pytest.approx(standard.stdev(differences))
    assert found.dz == pytest.approx(found.mean / standard.stdev(differences))
    assert not found.equal
    if len(differences) < 6:
        assert math.isnan(found.p)
    else:
        assert found.p == sign_flip(differences)


def test_ties_are_half_a_win():
    found = paired([0.1, 0.0, -0.1, 0.0, 0.5])
    assert found.wins == 0.6
    assert (found.wins_low, found.wins_high) == pytest.approx(wilson_by_hand(3, 5, 0.95))
    assert paired([-0.1, -0.2, -0.3]).wins == 0


@pytest.mark.fault(59)
def test_ties_in_all_pairs_are_told_apart_from_a_constant_difference():
    ties, constant = paired([0.0] * 6), paired([0.1] * 6)
    assert (ties.equal, constant.equal) == (True, False)
    assert (ties.p, ties.wins) == (1, 0.5)
    assert (constant.p, constant.wins) == (2 / 2**6, 1)
    assert all(math.isnan(one) for found in (ties, constant) for one in (found.dz, found.low))
    nothing = paired([])
    assert not nothing.equal
    assert math.isnan(nothing.wins)


@pytest.mark.parametrize(("shape", "example_sd"), [((5, 9), 1.0), ((4, 20), 0.0), ((12, 3), 3.0)])
def test_the_error_over_seeds_and_examples_is_of_the_mean_squares_of_statsmodels(shape, example_sd):
    generator = np.random.default_rng(0)
    values = generator.normal(size=shape) + generator.normal(0, example_sd, size=(1, shape[1]))
    seeds, examples = (index.ravel() for index in np.indices(shape))
    columns = DataFrame({"value": values.ravel(), "seed": seeds, "example": examples})
    table = anova_lm(ols("value ~ C(seed) + C(example)", columns).fit())
    squares, freedoms = table["mean_sq"].to_numpy(), table["df"].to_numpy()
    used = slice(0, 3) if squares[1] > squares[2] else slice(0, 1)
    signs = np.array([1, 1, -1])[used]
    variance = (signs * squares[used]).sum()
    found = over_seeds_and_examples(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.error == pytest.approx(math.sqrt(variance / values.size))
    assert found.freedom == pytest.approx(variance**2 / (squares**2 / freedoms)[used].sum())
    assert found.seed_error == pytest.approx(stats.sem(values.mean(axis=1)))


def test_where_only_seeds_differ_the_interval_is_that_over_seeds():
    scores = np.random.default_rng(0).normal(size=(7, 1))
    found = over_seeds_and_examples(np.repeat(scores, 40, axis=1))
    assert found.interval() == pytest.approx(over_seeds(scores.ravel()).interval())


@pytest.mark.parametrize("shape", [(1, 9), (9, 1)])
def test_one_seed_or_one_example_has_no_error(shape):
    found = over_seeds_and_examples(np.random.default_rng(0).normal(size=shape))
    assert math.isnan(found.error)
    assert np.isnan(found.interval()).all()


def test_values_that_are_all_equal_have_no_error_and_no_interval():
    found = over_seeds_and_examples(np.full((5, 40), 0.25))
    assert (found.mean, found.error) == (0.25, 0)
    assert np.isnan(found.interval()).all()


def test_seeds_that_score_the_same_by_other_examples_have_an_error():
    found = over_seeds_and_examples(np.eye(6, 10))
    squares = np.square(np.eye(6, 10) - np.eye(6, 10).mean(axis=0)).sum()
    assert found.error == pytest.approx(math.sqrt(squares / 45 / 60))
    assert found.interval().low < 0.1 < found.interval().high


@given(st.integers(1, 200))
def test_the_excluded_rate_is_the_exact_end_of_a_proportion_never_seen(n):
    exact = stats.binomtest(0, n, alternative="less").proportion_ci(0.95, method="exact").high
    assert excluded_rate(n) == pytest.approx(exact)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=12), st.floats(0.001, 0.1))
def test_outlying_scores_are_those_of_the_modified_z_score(scores, floor):
    scale = max(stats.median_abs_deviation(scores), floor)
    limit = 3.5 * scale / 0.6745
    distances = [abs(score - standard.median(scores)) for score in scores]
    assume(all(abs(distance - limit) > 1e-9 for distance in distances))
    assert outlying(scores, floor) == [n for n, one in enumerate(distances) if one > limit]


def test_a_cell_without_spread_has_outliers_too():
    assert outlying([1.0, 1.0, 0.8, 1.0, 1.0], floor=0.01) == [2]
    assert outlying([1.0, 1.0, 0.96, 1.0, 1.0], floor=0.01) == []
    assert outlying([1.0] * 5, floor=0.01) == []
    assert outlying([1.0, 0.0], floor=0.01) == []
