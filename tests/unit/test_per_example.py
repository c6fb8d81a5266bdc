"""Scores that are the mean of a 0/1 outcome of each example: recorded, and analysed by them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torchmetrics import Metric

from decoderlab.data.packed_outcomes import pack, unpack
from decoderlab.data.per_example import metrics_of_examples, outcomes_of
from decoderlab.metrics import MetricScore, SequenceMetrics, WordErrorRate
from decoderlab.metrics.shipped import our_scores
from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import read_plan
from decoderlab.studies.statistics import wilson
from decoderlab.tasks.echo import EchoTask
from decoderlab.tasks.forecasting import ForecastingTask
from tests.unit.studies import EXAMPLES, analysis, bits, study, write

A = [0.52, 0.50, 0.55, 0.49, 0.53, 0.51, 0.54, 0.50]
UP = [score + 0.2 + 0.01 * (seed % 3) for seed, score in enumerate(A)]


class Share(Metric):
    """Share of the examples that are right, which a subclass says of each."""

    full_state_update = False
    scores = (MetricScore(name="right", better="max", low=0, high=1, worst=0, per_example=True),)

    def __init__(self) -> None:
        super().__init__()
        for name in ("right", "examples"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predictions, references, *sources):
        for example in zip(predictions, references, *sources, strict=True):
            self.right += self.worth(*example)
            self.examples += 1

    def compute(self):
        return self.right / self.examples


class FirstTokenRight(Share):
    def worth(self, prediction, accepted):
        return tuple(prediction[:1]) in {tuple(right[:1]) for right in accepted}


class OutputIsTheSource(Share):
    reads, reads_source = "texts", True

    def worth(self, prediction, accepted, source):
        return prediction == source


class AsLongAsTheSource(Share):
    reads_source = True

    def worth(self, prediction, accepted, source):
        return len(prediction) == len(source.split())


class EachIsNear(Share):
    reads = "values"

    def worth(self, prediction, target):
        return bool((prediction - target).abs().max() < 1)


class HalfRight(Share):
    def worth(self, prediction, accepted):
        return 0.5


class MoreThanHalf(FirstTokenRight):
    def compute(self):
        return (super().compute() > 0.5).double()


def echo(*metrics: Metric) -> EchoTask:
    sizes = {"num_train": 20, "num_validation": 5, "num_test": 12}
    task = EchoTask(num_values=6, min_length=2, max_length=4, **sizes)
    task.metrics = {f"metric{number}": metric for number, metric in enumerate(metrics)}
    return task


def predicted(task: EchoTask) -> list[tuple[int, list[int]]]:
    """Return predictions for the test split: right, too short, right but for the first token."""
    right = [list(task.accepted("test", row)[0]) for row in range(12)]
    made = [(ids, ids[:-1], [ids[0] % 5 + 4, *ids[1:]])[row % 3] for row, ids in enumerate(right)]
    return list(enumerate(made))[::-1]


def outcomes(task, predictions) -> dict[str, list[bool]]:
    """Return the outcomes of each score of a task, as a run seeks them."""
    measured = task.measure()
    for row, ids in predictions:
        measured.update([ids], [task.accepted("test", row)], [task.shown_source("test", row)])
    scores = measured.compute() | task.scores_beside("test", predictions, 0.0)
    return {
        name: made.tolist()
        for metric in metrics_of_examples(task)
        for name, made in outcomes_of(metric, task, "test", predictions, scores).items()
    }


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (FirstTokenRight, [True, True, False]),
        (OutputIsTheSource, [True, False, False]),
        (AsLongAsTheSource, [True, False, True]),
    ],
)
def test_the_outcome_of_each_example_is_its_score_alone(metric, expected):
    task = echo(SequenceMetrics(), metric())
    assert outcomes(task, predicted(task)) == {"right": expected * 4}


def test_outcomes_of_errors_are_true_where_there_is_one():
    task = echo(SequenceMetrics(), WordErrorRate())
    assert outcomes(task, predicted(task)) == {"word_error_rate": [False, True, True] * 4}


def test_outcomes_of_values_are_those_of_single_series(tmp_path):
    path = tmp_path / "wave.csv"
    path.write_text("a\n" + "".join(f"{number % 7}\n" for number in range(100)))
    task = ForecastingTask(path=str(path), source_length=6, target_length=4)
    task.metrics = {"near": EachIsNear()}
    rows = range(len(task.data.splits["test"]))
    targets = [np.asarray(task.accepted("test", row)[0]) for row in rows]
    predictions = [(row, target + row % 2 * 3.0) for row, target in enumerate(targets)]
    (metric,) = metrics_of_examples(task)
    share = sum(row % 2 == 0 for row in rows) / len(rows)
    made = outcomes_of(metric, task, "test", predictions, {"right": share})
    assert made["right"].tolist() == [row % 2 == 0 for row in rows]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (HalfRight, "the score right of one example alone is 0.5, but it says"),
        (MoreThanHalf, "right is 1 of all examples, and 0.666667 in the mean over single ones"),
    ],
)
def test_what_is_no_mean_of_outcomes_is_not_recorded_as_such(metric, message):
    task = echo(metric())
    with pytest.raises(ValueError, match=message):
        outcomes(task, predicted(task))


def test_bits_of_exact_match_and_of_other_scores_stand_beside_each_other():
    exact, other = bits(0.3, 0), bits(0.6, 1)
    counts = {"correct": pack(exact), "outcomes": {"right": pack(other)}}
    assert unpack(counts, EXAMPLES).tolist() == exact.tolist()
    assert unpack(counts, EXAMPLES, "right").tolist() == other.tolist()
    assert unpack(counts, EXAMPLES, "wrong") is None
    assert unpack({}, EXAMPLES) is None
    own = {"exact_match": pack(other)}
    assert unpack(counts | {"outcomes": own}, EXAMPLES).tolist() == other.tolist()


# In a study

MINE = MetricScore(name="right", better="max", low=0, high=1, worst=0, per_example=True)
ERRORS = MetricScore(name="errors", better="min", low=0, high=1, worst=1, per_example=True)


def measured_by(before: Analysis, score: MetricScore, *, recorded: bool = True) -> Analysis:
    """Return an analysis of which the runs have another score, with the values of exact match.

    Those of a score of which less is better are of what is wrong.
    """
    rows = []
    for row in before.rows:
        if row.result is None:
            rows.append(row)
            continue
        value, right = row.score("exact_match"), row.correct()
        if score.better == "min":
            value, right = 1 - value, ~right
        probes = {"correct": pack(np.zeros(EXAMPLES, bool))}
        probes |= {"outcomes": {score.name: pack(right)}} if recorded else {}
        metrics = replace(row.result.metrics, test={score.name: value})
        described = {score.name: score.record()}
        result = replace(row.result, metrics=metrics, probes=probes, scores=described)
        rows.append(replace(row, result=result))
    study = replace(before.plan.study, metric=score.name)
    return Analysis(replace(before.plan, study=study, scores={}), rows)


def test_a_score_of_ones_own_is_analysed_as_exact_match_is(tmp_path):
    ours = analysis(tmp_path, {"a": A, "b": UP, "c": [*UP[:7], "FAILED"], "d": [1.0] * 8})
    mine = measured_by(ours, MINE)
    for key, entry in ours.entries.items():
        assert repr(mine.entries[key]) == repr(entry), "with NaN, which equals nothing"
    assert mine.entries["c", "echo"].crossed
    assert (mine.entries["d", "echo"].solved, mine.entries["d", "echo"].pooled) == (
        8,
        pytest.approx(wilson(100, 100)),
    )
    for key, comparison in ours.comparisons.items():
        assert repr(mine.comparisons[key]) == repr(comparison)
        assert mine.comparisons[key].crossed


def test_outcomes_of_errors_give_the_same_intervals_the_other_way_round(tmp_path):
    ours = analysis(tmp_path, {"a": A, "b": UP, "c": [*UP[:7], "FAILED"], "d": [1.0] * 8})
    errors = measured_by(ours, ERRORS)
    assert errors.entries["d", "echo"].solved == 8
    assert errors.entries["d", "echo"].pooled == pytest.approx(wilson(0, 100))
    for key, comparison in ours.comparisons.items():
        low, high = comparison.interval
        assert errors.comparisons[key].crossed
        assert errors.comparisons[key].interval == pytest.approx((-high, -low)), "failures too"
        assert errors.comparisons[key].verdict == comparison.verdict
        assert errors.comparisons[key].p_equivalent == pytest.approx(
            comparison.p_equivalent, nan_ok=True
        )


@pytest.mark.parametrize("score", [MINE, ERRORS])
def test_one_seed_compares_two_models_by_the_outcomes_of_the_score(tmp_path, score):
    ours = analysis(tmp_path, {"a": [0.5], "b": [0.7]})
    comparison = measured_by(ours, score).comparisons["b", "echo"]
    assert comparison.p_models == pytest.approx(stats.binomtest(20, 20).pvalue)
    plain = measured_by(ours, replace(score, per_example=False)).comparisons["b", "echo"]
    assert np.isnan(plain.p_models), "exact match says nothing of another score"


def test_without_outcomes_or_the_word_intervals_are_over_seeds(tmp_path):
    ours = analysis(tmp_path, {"a": A, "b": UP, "d": [1.0] * 8})
    of_before = measured_by(ours, MINE, recorded=False)
    assert not of_before.entries["a", "echo"].crossed
    assert not of_before.comparisons["b", "echo"].crossed
    plain = measured_by(ours, replace(MINE, per_example=False))
    assert not plain.entries["a", "echo"].crossed
    assert not plain.comparisons["b", "echo"].crossed
    entry = plain.entries["d", "echo"]
    assert (entry.solved, np.isnan(entry.pooled.low)) == (0, True)


def test_a_run_of_before_that_does_not_say_it_is_the_same_study(tmp_path):
    described = our_scores()["exact_match"].record()
    of_before = {key: value for key, value in described.items() if key != "per_example"}
    plan = study(tmp_path, {"a": A, "b": UP}, result_changes={"scores": {"exact_match": of_before}})
    write(replace(plan, scores={"exact_match": described}), tmp_path)
    plan = read_plan(tmp_path, "s")
    rows = read_rows(plan, tmp_path)
    assert {row.status for row in rows} == {"FINISHED"}
    assert Analysis(plan, rows).comparisons["b", "echo"].crossed
    for scores in (of_before, {}):
        plan = replace(plan, scores={"exact_match": scores} if scores else {})
        assert Analysis(plan, rows).comparisons["b", "echo"].crossed, "of before, too"


def test_a_failure_without_a_worst_score_has_no_outcomes(tmp_path):
    ours = analysis(tmp_path, {"a": A, "b": [*UP[:7], "FAILED"]})
    mine = measured_by(ours, replace(MINE, worst=None))
    assert not mine.entries["b", "echo"].crossed
    assert not mine.comparisons["b", "echo"].crossed
    assert mine.comparisons["b", "echo"].lost == 1
