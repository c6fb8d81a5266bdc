"""Verdicts and families; the pipeline of a study as a whole, on studies that are simulated."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from decoderlab.common.errors import ConfigError
from decoderlab.metrics.metric_score import EXACT_MATCH
from decoderlab.records.run_result import RunResult
from decoderlab.studies.analysis.factor_levels import factor_levels
from decoderlab.studies.analysis.factorial import Factorial
from decoderlab.studies.analysis.results import RunRow, read_rows, settings_by_row
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import Plan, StudyCell
from decoderlab.studies.reporting import two_studies
from decoderlab.studies.reporting.two_studies import compare_studies
from decoderlab.studies.statistics import over_seeds, wilson
from tests.unit.studies import (
    CONFIGS,
    STUDY,
    UPDATES,
    analysis,
    bits,
    measured_as,
    result,
    signature,
    study,
    write,
)

A = [0.50, 0.52, 0.48, 0.51, 0.49, 0.50, 0.53, 0.47]
UP = [one + 0.1 + place / 100 for place, one in enumerate(A)]


def simulated(scores: dict[str, np.ndarray], **settings) -> Analysis:
    """Return the analysis of scores by variant, without any file."""
    one = RunResult.from_dict(result(0.5))
    rows = [
        RunRow(
            StudyCell("", "", variant, "echo", seed, 1, (), {"decoder": variant}),
            "FINISHED",
            replace(one, metrics=replace(one.metrics, test={"loss": score})),
            "",
        )
        for variant, values in scores.items()
        for seed, score in enumerate(values)
    ]
    declared = replace(STUDY, metric="loss", **settings)
    return Analysis(Plan(declared, tuple(row.cell for row in rows), UPDATES), rows)


def verdicts(found: Analysis) -> list[str]:
    return [one.verdict for one in found.comparisons.values()]


def claimed(verdict: str) -> bool:
    return verdict.startswith(("better", "worse"))


@pytest.mark.slow
def test_two_labels_of_one_method_differ_in_few_of_a_thousand_studies():
    """An A/A study: seven labels of one method, skewed scores with a seed in common."""
    generator, wrong = np.random.default_rng(0), 0
    for _ in range(1000):
        common = generator.normal(0, 0.1, size=10)
        scores = {name: generator.beta(8, 1, size=10) + common for name in "abcdefg"}
        wrong += any(claimed(one) for one in verdicts(simulated(scores)))
    assert wrong <= stats.binom.ppf(0.9995, 1000, 0.05)
    alone, generator = 0, np.random.default_rng(1)
    for _ in range(1000):
        common = generator.normal(0, 0.1, size=10)
        pair = {name: generator.beta(8, 1, size=10) + common for name in "ab"}
        alone += verdicts(simulated(pair))[0] != "inconclusive"
    low, high = stats.binom.interval(0.999, 1000, 0.05)
    assert low <= alone <= high


@pytest.mark.slow
@pytest.mark.long
def test_a_known_effect_is_found_as_often_as_its_power_says():
    generator, found = np.random.default_rng(0), 0
    for _ in range(1000):
        base = generator.normal(0, 1, size=10)
        study_ = simulated({"a": base, "b": base + generator.normal(-1, 1, size=10)})
        found += claimed(verdicts(study_)[0])
    critical = stats.t.ppf(0.975, 9)
    power = stats.nct.sf(critical, 9, np.sqrt(10)) + stats.nct.cdf(-critical, 9, np.sqrt(10))
    low, high = stats.binom.interval(0.999, 1000, power)
    # The sign-flip test gives away a little against the t test, and the interval must agree too.
    assert low - 30 <= found <= high


def test_a_difference_below_the_minimum_effect_is_not_called_better(tmp_path):
    small = [one + 0.03 + (-1) ** place * 0.005 for place, one in enumerate(A)]
    seldom = "better barring collapse"  # eight seeds exclude no rate below 0.31
    for margin, word in ((None, seldom), (0.02, seldom), (0.029, "inconclusive")):
        scores = {"a": A, "b": small}
        found = analysis(tmp_path, scores, number=200, minimum_effect=margin, metric="loss")
        assert found.comparisons["b", "echo"].verdict == word, margin
    for seeds, word in ((8, "inconclusive"), (24, "no difference")):
        scores = {"a": A * 3, "b": small * 3}
        scores = {name: values[:seeds] for name, values in scores.items()}
        settings = {"minimum_effect": 0.05, "metric": "loss"}
        found = analysis(tmp_path / str(seeds), scores, number=200, **settings)
        assert found.comparisons["b", "echo"].verdict == word, "a collapse would often be missed"


@pytest.mark.thinned(2)
@pytest.mark.long
@pytest.mark.parametrize(("seeds", "word"), [(8, "better barring collapse"), (60, "better")])
def test_better_without_a_condition_holds_even_if_runs_collapse(tmp_path, seeds, word):
    """Sixty seeds without a collapse exclude a rate of 0.05; 0.1 more is worth twice that."""
    repeated = {"a": (A * 8)[:seeds], "b": (UP * 8)[:seeds]}
    assert analysis(tmp_path, repeated).comparisons["b", "echo"].verdict == word
    far = analysis(tmp_path / "far", {"a": [one / 10 for one in A], "b": A}, number=1000)
    assert far.comparisons["b", "echo"].verdict == "better", "0.45 more, of which 0.16 could go"
    loss = analysis(tmp_path / "loss", repeated, metric="loss").comparisons["b", "echo"]
    assert loss.verdict == "better barring collapse", "a loss has no worst"


@pytest.mark.parametrize("metric", ["exact_match", "loss"])
def test_better_follows_the_direction_of_the_metric(tmp_path, metric):
    found = analysis(tmp_path, {"a": A, "b": UP}, metric=metric).comparisons["b", "echo"]
    assert found.verdict.startswith("better"), "a loss of 1 - score falls"
    sign = 1 if metric == "exact_match" else -1
    assert np.sign(found.paired.mean) == sign
    assert found.paired.low < found.paired.mean < found.paired.high
    assert found.paired.wins == 1.0


def test_the_family_is_a_task_or_the_whole_study(tmp_path):
    scores = {(v, t): A if v == "a" else UP for v in ("a", "b", "c") for t in ("one", "two")}
    by_task = analysis(tmp_path, scores).comparisons["b", "one"]
    whole = analysis(tmp_path, scores, family="study").comparisons["b", "one"]
    assert by_task.paired.p == 2 / 2**8
    assert by_task.p_holm == pytest.approx(2 * by_task.paired.p)
    assert whole.p_holm == pytest.approx(4 * by_task.paired.p)


def test_the_crossed_interval_counts_examples_and_failures(tmp_path):
    found = analysis(tmp_path, {"a": A, "b": UP, "c": [*UP[:7], "FAILED"]})
    comparison = found.comparisons["b", "echo"]
    crossed = comparison.interval
    means = [
        bits(up, seed).mean() - bits(a, seed).mean()
        for seed, (a, up) in enumerate(zip(A, UP, strict=True))
    ]
    assert crossed.low < np.mean(means) < crossed.high
    assert comparison.crossed
    assert crossed.high - crossed.low > comparison.paired.high - comparison.paired.low
    assert comparison.paired.n == 8
    wider = comparison.simultaneous
    assert (wider.low < crossed.low, wider.high > crossed.high) == (True, True), "of two at once"
    assert found.comparisons["c", "echo"].interval.low < crossed.low, "a failure has all wrong"
    assert found.entries["c", "echo"].crossed
    own_data = analysis(tmp_path / "other", {"a": A, "b": UP}, result_changes={})
    own_data = measured_as(own_data, lambda index, row: signature(f"d{index % 8}"))
    comparison = own_data.comparisons["b", "echo"]
    assert comparison.paired.n == 8, "each seed has data of its own, the same for both"
    assert not comparison.crossed
    assert comparison.interval == pytest.approx((comparison.paired.low, comparison.paired.high))


def test_of_a_single_test_example_nothing_is_certain(tmp_path):
    scores = {"a": [0.0] * 7 + [1.0], "b": [1.0] * 8}
    single = analysis(tmp_path, scores, number=1)
    comparison = single.comparisons["b", "echo"]
    assert comparison.p_holm < 0.05
    assert math.isnan(comparison.interval.low)
    assert comparison.verdict == "inconclusive"
    entry = single.entries["a", "echo"]
    assert entry.interval == pytest.approx((entry.summary.low, entry.summary.high)), "over seeds"


def test_the_seed_that_samples_is_no_other_way_of_measuring(tmp_path):
    found = analysis(tmp_path, {"a": A, "b": UP, "c": [1.0] * 8})
    sampled = "generation:sample|seed:{}|n:100|data:d0|v:1"
    found = measured_as(found, lambda index, row: sampled.format(row.cell.seed))
    assert found.entries["c", "echo"].pooled == pytest.approx(wilson(100, 100))
    assert not found.entries["a", "echo"].mixed
    assert claimed(found.comparisons["b", "echo"].verdict)
    assert found.comparisons["b", "echo"].crossed
    found = analysis(tmp_path / "mixed", {"a": A, "b": UP})
    mixed = "generation:{}|n:100|data:d0|v:1"
    found = measured_as(found, lambda index, row: mixed.format(row.cell.seed % 2))
    assert found.entries["a", "echo"].mixed


@pytest.mark.fault(59)
def test_at_the_ceiling_examples_that_seeds_share_count_once(tmp_path):
    found = analysis(tmp_path, {"a": [1.0] * 8, "b": [1.0] * 8})
    found = measured_as(
        found, lambda index, row: signature("d0" if row.cell.variant == "a" else f"d{index}")
    )
    assert found.entries["a", "echo"].pooled == pytest.approx(wilson(100, 100))
    assert found.entries["b", "echo"].pooled == pytest.approx(wilson(800, 800))


@pytest.mark.slow
def test_a_family_of_differences_at_the_margin_is_seldom_called_none():
    generator, studies, false, raw = np.random.default_rng(7), 400, 0, 0
    for _ in range(studies):
        base = generator.normal(0.5, 0.007, size=(10))
        others = base + generator.normal(0.05, 0.01, size=(6, 10))
        scores = {"a": base} | {f"b{place}": one for place, one in enumerate(others)}
        found = simulated(scores, minimum_effect=0.05)
        false += "no difference" in verdicts(found)
        raw += any(over_seeds(one - base).equivalence(0.05) < 0.05 for one in others)
    assert false <= stats.binom.ppf(0.9995, studies, 0.05)
    assert raw > stats.binom.ppf(0.9995, studies, 0.05)


@pytest.mark.fault(59)
def test_one_seed_compares_two_models_and_no_methods(tmp_path):
    comparison = analysis(tmp_path, {"a": [0.5], "b": [0.7]}).comparisons["b", "echo"]
    assert comparison.verdict == "pilot"
    assert comparison.p_models == pytest.approx(stats.binomtest(20, 20).pvalue)


@pytest.mark.slow
@pytest.mark.long
def test_over_tasks_a_seeds_differences_are_averaged(tmp_path):
    scores = {("a", "one"): A, ("a", "two"): A, ("b", "one"): UP, ("b", "two"): A}
    overall = analysis(tmp_path, scores).overall["b"]
    assert overall.mean == pytest.approx(np.mean(np.array(UP) - A) / 2)
    assert analysis(tmp_path, scores).over_tasks is None
    for tasks, tested in ((6, set()), (7, {"b", "c"})):  # 2 x 2 / 2^6 is above 0.05
        many = {
            (variant, str(task)): [one + 0.1 * place + 0.01 * task for one in A]
            for place, variant in enumerate("abc")
            for task in range(tasks)
        }
        found = analysis(tmp_path / str(tasks), many).over_tasks
        assert found["friedman_p"] < 0.01
        assert set(found["variants"]) == tested
        assert all(p < 0.05 for p in found["variants"].values())


def grid_scores(interaction: float) -> dict[str, list[float]]:
    generator = np.random.default_rng(3)
    return {
        f"{route} {feedback}": (
            np.array(A)
            + 0.05 * (route == "y")
            + 0.1 * (feedback == "with")
            + interaction * (route == "y") * (feedback == "with")
            + generator.normal(0, 0.005, size=8).round(3)
        ).tolist()
        for route in "xy"
        for feedback in ("without", "with")
    }


def test_budgets_in_seconds_are_compared_task_by_task(tmp_path):
    scores = {(row, task): [0.5, 0.6] for row in ("a", "b") for task in ("echo", "reverse")}
    plan = study(tmp_path, scores, baseline="a")
    configs = {}
    for cell in plan.cells:
        config = CONFIGS[cell.run_id]
        seconds = 60.0 if (cell.variant, cell.task) == ("b", "reverse") else 30.0
        training = replace(config.training, max_steps=None, max_seconds=seconds)
        configs[cell.run_id] = replace(config, training=training)
    analysis = Analysis(plan, read_rows(plan, tmp_path), configs)
    unequal = {task: analysis.comparisons["b", task].unequal for task in analysis.tasks}
    assert unequal == {"echo": False, "reverse": True}


@pytest.mark.parametrize("interaction", [0.0, 0.1])
def test_factors_are_analysed_as_a_grid_and_references_stand_beside(tmp_path, interaction):
    scores = grid_scores(interaction) | {"reference": A}
    factors = {
        name: dict(zip(("route", "feedback"), name.split(), strict=False)) for name in scores
    }
    # It has a route too, by a setting of its own; it is not a part of the grid for that.
    factors["reference"] = {"variant": "reference", "route": "y", "feedback": "with"}
    found = analysis(tmp_path, scores, number=1000, factors=factors, baseline="x without")
    inside, levels = factor_levels(found.rows)
    assert levels == {"route": ["x", "y"], "feedback": ["without", "with"]}
    assert {row.cell.variant for row in inside} == set(scores) - {"reference"}
    factorial = found.factorials["echo"]
    assert isinstance(factorial, Factorial)
    real = {one.factors for one in factorial.effects if one.real}
    assert {("route",), ("feedback",)} <= real
    assert (("route", "feedback") in real) == bool(interaction)
    assert bool(factorial.interactions) == bool(interaction)
    held = {one.held["route"]: one for one in factorial.simple if one.factor == "feedback"}
    assert held["y"].difference.mean == pytest.approx(0.1 + interaction, abs=0.01)


def test_a_grid_with_holes_is_not_analysed(tmp_path):
    scores = grid_scores(0.0)
    scores.pop("y with")
    factors = {
        name: dict(zip(("route", "feedback"), name.split(), strict=False)) for name in scores
    }
    found = analysis(tmp_path, scores, number=1000, factors=factors, baseline=None)
    assert found.factorials["echo"].startswith("not a full grid: the grid of route, feedback lacks")
    pilot = {name: values[:5] for name, values in grid_scores(0.0).items()}
    factors = {name: dict(zip(("route", "feedback"), name.split(), strict=False)) for name in pilot}
    few = analysis(tmp_path / "pilot", pilot, number=1000, factors=factors, baseline=None)
    assert "fewer than 6" in few.factorials["echo"]


def test_two_studies_are_compared_row_by_row(tmp_path):
    for name, scores in (("s", {"a": A, "b": A, "c": A}), ("t", {"a": A, "b": UP, "d": A})):
        plan = study(tmp_path, scores, name=name)
        write(plan, tmp_path)
    grid, sides, path = compare_studies("s", "t", tmp_path)
    assert sides[0].startswith("s: 3 variants on echo; seeds 0-7; ")
    assert all(side in path.read_text() for side in sides)
    rows = {row[0]: dict(zip(grid.header, row, strict=True)) for row in grid.rows}
    assert set(rows) == {"a", "b"}
    assert rows["a"]["verdict"] == "tie"
    assert rows["b"]["verdict"] == "better barring collapse"
    assert rows["b"]["difference [95 % CI]"].startswith("+0.135")
    assert float(rows["b"]["p Holm"]) == pytest.approx(2 * 2 / 2**8, abs=1e-4)
    text = path.read_text()
    assert "only in s: c on echo" in text
    assert "only in t: d on echo" in text


@pytest.mark.parametrize(("seconds", "verdict"), [(0.5, "tie"), (4.0, "unequal budget")])
def test_two_studies_of_other_seconds_are_not_judged(tmp_path, monkeypatch, seconds, verdict):
    for name, scores in (("s", {"a": A}), ("t", {"bb": A, "a": A})):  # so that no run is of both
        write(study(tmp_path, scores, name=name), tmp_path)

    def in_seconds(plan, output_dir):
        given = seconds if plan.name == "t" else 0.5
        configs = settings_by_row(plan, output_dir)
        return {
            run_id: replace(
                config, training=replace(config.training, max_steps=None, max_seconds=given)
            )
            for run_id, config in configs.items()
        }

    monkeypatch.setattr(two_studies, "settings_by_row", in_seconds)
    grid, _, _ = compare_studies("s", "t", tmp_path)
    assert dict(zip(grid.header, grid.rows[0], strict=True))["verdict"] == verdict


@pytest.mark.parametrize(
    ("second", "settings", "message"),
    [
        ("s", {}, "both studies are s"),
        ("none", {}, "there is no study 'none'"),
        ("t", {"metric": "loss"}, "s is about exact_match, t about loss"),
        ("t", {"variant": "z"}, "in common; s has a on echo, t z on echo"),
    ],
)
def test_studies_that_cannot_be_compared_are_refused(tmp_path, second, settings, message):
    for name, variant in (("s", "a"), ("t", settings.pop("variant", "a"))):
        more = settings if name == "t" else {}
        plan = study(tmp_path, {variant: A}, name=name, **more)
        write(plan, tmp_path)
    with pytest.raises(ConfigError, match=message):
        compare_studies("s", second, tmp_path)


@pytest.mark.parametrize(
    "change", [{"better": "min", "worst": 1}, {"worst": None}, {"unit": "points"}]
)
def test_a_metric_of_another_meaning_is_not_compared_by_its_name(tmp_path, change):
    for name in ("s", "t"):
        plan = study(tmp_path, {"a": A}, name=name)
        if name == "t":
            plan = replace(plan, scores={"exact_match": EXACT_MATCH.record() | change})
        write(plan, tmp_path)
    with pytest.raises(ConfigError, match="studies are compared by one metric"):
        compare_studies("s", "t", tmp_path)
