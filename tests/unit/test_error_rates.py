"""Error rates and power of the tests and intervals, on drawn scores."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from decoderlab.studies.analysis.seed_groups import outlying
from decoderlab.studies.statistics import (
    holm,
    over_seeds,
    over_seeds_and_examples,
    sign_flip,
    summarise,
)


def within(hits, studies, share, slack=0.0):
    low, high = stats.binom.interval(0.999, studies, share)
    return low - slack * studies <= hits <= high + slack * studies


def test_its_coverage_is_nominal():
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        summary = summarise(generator.normal(0.5, 0.1, size=5))
        hits += summary.low <= 0.5 <= summary.high
    low, high = stats.binom.interval(0.999, 2000, 0.95)
    assert low <= hits <= high


def skewed_scores(generator, variants, seeds=10):
    shared = generator.exponential(0.1, size=(1, seeds))
    return generator.beta(8, 1, size=(variants, seeds)) - shared


def test_negative_control_two_equal_variants_differ_in_one_study_of_twenty():
    generator, studies, hits = np.random.default_rng(0), 4000, 0
    for _ in range(studies):
        one, other = skewed_scores(generator, 2)
        hits += sign_flip(one - other) < 0.05
    assert within(hits, studies, 0.05)


def test_negative_control_one_family_of_equal_variants_in_twenty_has_a_finding():
    generator, studies, hits, raw = np.random.default_rng(1), 1500, 0, 0
    for _ in range(studies):
        baseline, *others = skewed_scores(generator, 7)
        p_values = [sign_flip(one - baseline) for one in others]
        hits += min(holm(p_values)) < 0.05
        raw += min(p_values) < 0.05
    assert hits <= stats.binom.ppf(0.9995, studies, 0.05)
    assert raw > stats.binom.ppf(0.9995, studies, 0.05)


def test_known_effect_is_found_as_often_as_its_power_says():
    generator, studies = np.random.default_rng(2), 3000
    hits = sum(sign_flip(generator.normal(1, 1, size=10)) < 0.05 for _ in range(studies))
    power = float(TTestPower().power(1, 10, 0.05))
    assert power == pytest.approx(0.80, abs=0.005)
    assert within(hits, studies, power, slack=0.02)


def test_a_planted_collapse_is_found_and_nothing_is_without_one():
    generator = np.random.default_rng(4)
    for place in range(10):
        scores = generator.normal(0.96, 0.005, size=10)
        assert outlying(scores, floor=0.01) == []
        scores[place] = 0.1
        assert outlying(scores, floor=0.01) == [place]
    assert outlying(generator.normal(0.8, 0.05, size=30), floor=0.01) == []


@pytest.mark.parametrize(("seeds", "narrower", "coverage"), [(2, 0.9, 0.88), (6, 0.0, 0.95)])
def test_few_seeds_narrow_the_wider_interval_by_degrees_of_freedom_alone(seeds, narrower, coverage):
    generator, studies, covered, narrow = np.random.default_rng(5), 400, 0, 0
    for _ in range(studies):
        ease, skill = generator.normal(0, 2, size=300), generator.normal(0, 0.2, size=(seeds, 1))
        right = generator.random((seeds, 300)) < 1 / (1 + np.exp(-ease - skill))
        both, alone = over_seeds_and_examples(right.astype(np.int8)), over_seeds(right.mean(axis=1))
        low, high = both.interval()
        covered += low <= 0.5 <= high
        narrow += high - low < 2 * alone.interval().high - 2 * alone.mean - 1e-9
        # Its error is never the smaller; with the freedom of the seeds it would be the wider.
        assert both.error >= alone.error - 1e-12
        assert both.freedom >= alone.freedom - 1e-9
    assert within(narrow, studies, narrower, slack=0.03)
    assert within(covered, studies, coverage, slack=0.02)
