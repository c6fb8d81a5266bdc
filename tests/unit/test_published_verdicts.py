"""Published values beside ours: what is judged reproduced, with the spread of both."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from decoderlab.config.study_settings import Published
from decoderlab.studies.analysis.published_verdicts import judge_published
from decoderlab.studies.reporting.wider_results import published_values
from decoderlab.studies.statistics import NONE, Estimate, Interval, over_seeds
from tests.unit.studies import analysis

A = [0.50, 0.52, 0.48, 0.51, 0.49, 0.50, 0.53, 0.47]
UP = [one + 0.1 + place / 100 for place, one in enumerate(A)]


@pytest.mark.parametrize(
    ("against", "value", "interval", "word"),
    [
        (None, 0.9, (0.87, 0.93), "reproduced"),
        (None, 0.9, (0.84, 0.93), "inconclusive"),
        (None, 0.9, (0.5, 0.7), "contradicts"),
        (None, 0.9, (np.nan, np.nan), "inconclusive"),
        ("b", 0.7, (0.68, 0.72), "reproduced"),
        ("b", 0.7, (0.1, 0.3), "direction agrees"),
        ("b", 0.7, (-0.1, 0.3), "inconclusive"),
        ("b", 0.7, (-0.3, -0.1), "contradicts"),
        ("b", -0.7, (-0.3, -0.1), "direction agrees"),
        ("b", 0.0, (-0.04, 0.03), "reproduced"),
        ("b", 0.0, (0.01, 0.1), "inconclusive"),
        ("b", 0.0, (0.1, 0.3), "contradicts"),
        ("b", 0.0, (-0.3, -0.1), "contradicts"),
    ],
)
def test_a_published_value_is_judged_by_our_interval(against, value, interval, word):
    published = Published(row="a", against=against, value=value, tolerance=0.05, source="x")
    half = (interval[1] - interval[0]) / 2
    error = half / stats.t.ppf(0.975, 9)
    estimate = Estimate(sum(interval) / 2, error, 9, error)
    assert judge_published(published, estimate, Interval(*interval)) == word


def test_the_spread_of_a_published_value_counts():
    estimate = over_seeds([0.89, 0.9, 0.91] * 4)
    words = {}
    for spread in ({}, {"deviation": 0.1, "runs": 3}):
        published = Published(row="a", value=0.9, tolerance=0.05, source="x", **spread)
        words[bool(spread)] = judge_published(published, estimate, estimate.interval())
    assert words == {False: "reproduced", True: "inconclusive"}
    assert estimate.minus(0.9, deviation=1e-9, runs=9) == pytest.approx(estimate.minus(0.9))
    for wrong in ({"deviation": 0.1}, {"runs": 3}, {"deviation": 0.0, "runs": 3}):
        with pytest.raises(ValueError, match=r"published\.(deviation|runs)"):
            Published(row="a", value=0.9, tolerance=0.05, source="x", **wrong)


@pytest.mark.parametrize(
    ("ours", "interval", "spread", "word"),
    [
        (over_seeds([0.0] * 10), NONE, {"deviation": 4.0, "runs": 4}, "inconclusive"),
        (over_seeds([0.0] * 10), NONE, {"deviation": 0.1, "runs": 4}, "reproduced"),
        (over_seeds([0.0] * 10), NONE, {}, "reproduced"),
        (over_seeds([9.0] * 10), NONE, {"deviation": 0.1, "runs": 4}, "contradicts"),
        # Equal outcomes of every example: nothing is known of the degrees of freedom.
        (
            Estimate(0.0, 0.0, math.nan, 0.0),
            (0.0, 0.4),
            {"deviation": 4.0, "runs": 4},
            "inconclusive",
        ),
        (
            Estimate(0.0, 0.0, math.nan, 0.0),
            (0.0, 0.4),
            {"deviation": 0.1, "runs": 4},
            "reproduced",
        ),
        (
            Estimate(0.0, 0.0, math.nan, 0.0),
            (0.0, 2.0),
            {"deviation": 0.1, "runs": 4},
            "inconclusive",
        ),
    ],
)
def test_the_spread_of_a_published_value_counts_where_ours_have_none(ours, interval, spread, word):
    published = Published(row="a", value=0.5, tolerance=1.0, source="x", **spread)
    assert judge_published(published, ours, Interval(*interval)) == word


def test_published_values_stand_beside_ours(tmp_path):
    published = [
        {"row": "a", "value": 0.5, "tolerance": 0.1, "source": "x"},
        {"row": "b", "against": "a", "value": 0.3, "tolerance": 0.01, "source": "x"},
        {"row": "gone", "value": 0.3, "tolerance": 0.01, "source": "x"},
    ]
    found = analysis(tmp_path, {"a": A, "b": UP}, published=published)
    assert [one.word for one in found.published] == ["reproduced", "direction agrees", "not run"]
    lost = {"a": A, "b": [*UP[:7], "DIVERGED"]}
    published[1] |= {"value": -0.1, "tolerance": 0.2}
    claimed = analysis(tmp_path / "l", {"a": A, "b": UP}, published=published, metric="loss")
    assert [one.word for one in claimed.published[1:2]] == ["reproduced"]
    open_ = analysis(tmp_path / "o", lost, published=published, metric="loss")
    assert [one.word for one in open_.published[1:2]] == ["inconclusive"]
    pilot = analysis(tmp_path / "p", {"a": A[:5], "b": UP[:5]}, published=published[:1])
    assert [one.word for one in pilot.published] == ["pilot"]


def test_of_several_tasks_it_is_said_on_which_a_value_is(tmp_path):
    scores = {(row, task): A for row in "ab" for task in ("echo", "reverse")}
    value = {"row": "b", "against": "a", "tolerance": 0.01, "source": "x"}
    published = [value | {"task": task, "value": 0.3} for task in ("reverse", "echo")]
    section = published_values(analysis(tmp_path, scores, published=published))
    grid = section.blocks[0]
    assert grid.header[:2] == ["task", "of"]
    assert [row[:2] for row in grid.rows] == [["reverse", "b minus a"], ["echo", "b minus a"]]
    alone = {"a": A, "b": A}
    section = published_values(
        analysis(tmp_path / "one", alone, published=[value | {"value": 0.3}])
    )
    assert section.blocks[0].header[0] == "of"
