"""Intervals end where a difference, a claim's value or a distance can be no larger."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from decoderlab.studies.analysis.curves import summary_influence
from decoderlab.studies.analysis.factorial import analyse
from decoderlab.studies.analysis.results import RunRow
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.claims.judgement import judge_all, measure
from decoderlab.studies.reporting.explore_data import explore_data
from decoderlab.studies.reporting.forest_figure import forest
from decoderlab.studies.reporting.json_record import report_record
from decoderlab.studies.reporting.panels import Panels
from decoderlab.studies.reporting.table_texts import compared_text, difference_text
from decoderlab.studies.statistics import (
    NONE,
    UNBOUNDED,
    Interval,
    cut_at,
    difference_bounds,
    paired,
)
from tests.unit.studies import analysis
from tests.unit.test_claims import HIGHER, VALUE, claim, table

TWO = {"a": [0.0, 0.2], "b": [1.0, 0.3]}  # differences of 1 and 0.1
FAR = [
    {"a": [0.0, 0.2], "b": [1.0, 0.3]},
    {"a": [1.0] * 7 + [0.0], "b": [0.0] * 8},
    {"a": [0.0] * 6, "b": [1.0] * 5 + [0.9]},
    {"a": [0.0, 1.0] * 4, "b": [1.0, 0.0] * 4},
    {"a": [0.0] * 8, "b": [1.0] * 8},
]


def test_an_interval_is_cut_at_what_can_be():
    assert cut_at(Interval(-3.0, 0.5), (-1, 1)) == (-1.0, 0.5)
    assert cut_at(Interval(0.25, 7.0), (-1, math.inf)) == (0.25, 7.0)
    assert all(map(math.isnan, cut_at(NONE, (-1, 1))))
    assert difference_bounds((0, 1)) == (-1, 1)
    assert difference_bounds((0.0, math.inf)) == UNBOUNDED
    whole, within = paired([1.0, 0.1]), paired([1.0, 0.1], (-1, 1))
    assert whole.low < -1
    assert whole.high > 1
    assert within == replace(whole, low=-1.0, high=1.0)


def test_two_seeds_give_no_impossible_difference_anywhere(tmp_path):
    made = analysis(tmp_path, TWO)
    (compared,) = made.comparisons.values()
    for interval in (compared.interval, compared.simultaneous):
        assert -1 <= interval.low < interval.high <= 1
    uncut = compared.estimate.interval()
    assert (uncut.low < -1) or (uncut.high > 1)
    assert difference_text(compared.paired) == "+0.550 [-1.000, +1.000]"
    assert compared_text(compared).endswith("+1.000]")
    of_b = report_record(made)["rows"][1]["comparison"]
    assert of_b["interval"] == [*compared.interval]
    assert of_b["simultaneous_interval"] == [*compared.simultaneous]
    (axis,) = forest(Panels(made, tmp_path)).axes
    (bar,) = (line for line in axis.lines if line.get_linewidth() == 2.2)
    assert list(bar.get_xdata()) == [*compared.interval]
    assert explore_data(made, tmp_path)["most"] == 1.0


def test_a_difference_of_a_score_without_a_limit_is_not_cut(tmp_path):
    made = analysis(tmp_path, TWO, metric="loss")
    (compared,) = made.comparisons.values()
    assert compared.paired is not None
    assert compared.paired.low < -1
    assert compared.interval == compared.estimate.interval()


@pytest.mark.parametrize("margin", [None, 0.3])
@pytest.mark.parametrize("scores", FAR, ids=["two", "worse", "better", "even", "all"])
def test_verdicts_do_not_change_by_it(tmp_path, scores, margin):
    made = analysis(tmp_path, scores, minimum_effect=margin)
    uncut = Analysis(made.plan, made.rows, made.configs)
    uncut.bounds = UNBOUNDED
    (compared,), (as_before,) = made.comparisons.values(), uncut.comparisons.values()
    for name in ("verdict", "detectable", "p_holm", "p_equivalent", "estimate"):
        mine, before = (repr(getattr(each, name)) for each in (compared, as_before))
        assert mine == before, name


def test_effects_of_factors_are_differences_too():
    levels = {"route": ["state", "attention"], "feedback": ["own", "forced"]}
    cells = [(route, own) for route in levels["route"] for own in levels["feedback"]]
    scores = {
        cell: {
            seed: float(seed < 3) if cell[0] == "state" else float(seed >= 3) for seed in range(6)
        }
        for cell in cells
    }
    whole, within = analyse(scores, levels), analyse(scores, levels, (-1, 1))
    for name in ("main", "simple"):
        before, after = (getattr(each, name)[0].difference for each in (whole, within))
        assert before.high > 1
        assert (after.low, after.high) == (-1, 1)
    assert within.effects == whole.effects


def test_what_a_claim_measures_is_cut_and_its_verdict_stays():
    runs = table(a=[1.0, 0.3], b=[0.0, 0.2])
    some = claim(**HIGHER)
    (judged,) = judge_all([some], {"s": runs})
    assert judged.interval == (-1.0, 1.0)
    value = claim(**VALUE)
    assert measure(value, runs).bounds == (0, 1)
    assert measure(replace(some, metric="loss"), runs).bounds == UNBOUNDED
    assert judge_all([value], {"s": runs})[0].interval == (0.0, 1.0)


def moved(row: RunRow, **changes) -> RunRow:
    """Return a run with other probes; None is one that it does not have."""
    probes = row.result.probes | changes
    probes = {name: value for name, value in probes.items() if value is not None}
    return replace(row, result=replace(row.result, probes=probes))


def test_the_band_of_the_distance_ends_at_one_but_for_real_values(tmp_path):
    rows = analysis(tmp_path, TWO).rows
    distances = ([0.9, 0.1], [0.2, 0.3])
    far = [moved(row, summary_influence=some) for row, some in zip(rows, distances, strict=False)]
    curve = summary_influence(far)
    assert np.min(curve.low) == 0
    assert np.max(curve.high) == 1
    values = [moved(row, correct=None) for row in far]
    assert np.max(summary_influence(values).high) > 1
