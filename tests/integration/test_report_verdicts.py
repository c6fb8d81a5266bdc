"""What a report concludes, and when it claims nothing: pilots, failures, ceilings."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.analysis.factorial import Factorial
from tests.integration.reports import A, read_analysis, report_text
from tests.unit.studies import ENVIRONMENT, result, rewrite, scored, signature, study

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.parametrize(("seeds", "pilot"), [(5, True), (6, False)])
@pytest.mark.fault(59)
def test_under_six_seeds_it_is_a_pilot_and_claims_nothing(tmp_path, seeds, pilot):
    plan = study(tmp_path, {"a": A[:seeds], "b": [one + 0.1 for one in A[:seeds]]})
    text = report_text(tmp_path, plan)
    assert ("**Pilot:**" in text) == pilot
    assert ("This is a pilot" in text) == pilot
    assert ("Better than a, if no run collapses: b" in text) == (not pilot)
    assert ("| better barring collapse |" in text) == (not pilot)
    if pilot:
        assert "| pilot | 5/5 |" in text
        assert re.search(r"\| b \| – \| – \|", text), "no p of a pilot"


@pytest.mark.slow
def test_the_answer_says_what_the_intervals_carry(tmp_path):
    scores = {
        "a": A,
        "up": [one + 0.1 + place / 100 for place, one in enumerate(A)],
        "above": [one + 0.06 + (-1) ** place / 1000 for place, one in enumerate(A)],
        "down": [one - 0.2 - place / 100 for place, one in enumerate(A)],
        "same": [one + (-1) ** place / 1000 for place, one in enumerate(A)],
        "open": [one + (-1) ** place * 0.1 for place, one in enumerate(A)],
        "tie": A,
    }
    scores = {name: some * 3 for name, some in scores.items()}  # 24 seeds, over which alone it is
    changes = {"probes": None}  # of a thousand examples, of which the scores are shares
    plan = study(tmp_path, scores, minimum_effect=0.02, result_changes=changes, number=1000)
    text = report_text(tmp_path, plan)
    assert "echo: up has the highest mean exact match, 0.635 [0.623, 0.647]." in text
    assert "Better than a by 0.02 or more: up (+0.135 [+0.125, +0.145])." in text
    assert "Better than a by 0.02 or more, if no run collapses: above (+0.060 [" in text
    assert "Worse than a by 0.02 or more: down (-0.235" in text
    assert "Different from it by less than 0.02: same (" in text
    assert "Inconclusive: open (" in text
    assert "The same in every seed: tie (+0.000 [n/a])." in text
    assert re.search(r"open .*inconclusive \(n=24, MDE 0\.099\)", text)


@pytest.mark.fault(60)
def test_runs_measured_in_different_ways_are_flagged_and_not_compared(tmp_path):
    plan = study(tmp_path, {"a": A, "b": A, "c": A})
    other = result(0.7, signature=signature(search="beam:3"), environment=ENVIRONMENT)
    for place in range(8, 16):  # all of b, by another search
        rewrite(RunFolder(tmp_path / f"runs/s{place}"), other)
    one = result(0.7, number=50, environment=ENVIRONMENT | {"git_commit": "def"})
    rewrite(RunFolder(tmp_path / "runs/s17"), one)
    text = report_text(tmp_path, plan)
    assert "Not comparable, since measured in another way: b; c." in text
    assert re.search(r"\| c \| .* mixed \|", text)
    comparisons = read_analysis(plan, tmp_path).comparisons
    for variant in "bc":  # a single seed is enough: what else differs is not known
        assert comparisons[variant, "echo"].paired is None
        assert comparisons[variant, "echo"].verdict == "not comparable"
    assert "mixed code" in text


@pytest.mark.fault(28, 58)
def test_a_failure_shows_with_both_means(tmp_path):
    plan = study(tmp_path, {"a": A, "b": [*(one + 0.2 for one in A[:7]), "DIVERGED"]})
    text = report_text(tmp_path, plan)
    assert "| 7/8, 1 failed |" in text
    found = read_analysis(plan, tmp_path).entries["b", "echo"]
    assert found.summary.mean == pytest.approx((sum(A[:7]) + 1.4) / 8)
    assert found.completed.mean == pytest.approx(sum(A[:7]) / 7 + 0.2)
    assert f"{found.completed.mean:.3f}" in text
    assert "A run that failed counts with the score 0." in text
    assert "b, echo, seed 7: DIVERGED because" in text


def test_a_failure_has_no_worst_loss(tmp_path):
    plan = study(tmp_path, {"b": [0.9, "FAILED"]}, metric="loss", baseline=None)
    text = report_text(tmp_path, plan)
    assert read_analysis(plan, tmp_path).entries["b", "echo"].summary.n == 1
    assert "A failed run has no worst loss: it is left out of the mean" in text
    assert "1 of 2 runs failed or diverged. They have no score." in text


def test_nothing_is_claimed_of_a_loss_where_failures_are_lost(tmp_path):
    plan = study(
        tmp_path,
        {"a": [*A, 0.5, 0.5], "b": [*(one - 0.3 for one in A), "FAILED", "DIVERGED"]},
        metric="loss",
    )
    text = report_text(tmp_path, plan)
    comparison = read_analysis(plan, tmp_path).comparisons["b", "echo"]
    assert (comparison.paired.n, comparison.lost) == (8, 2)
    assert comparison.p_holm < 0.05
    assert "inconclusive (2 seeds lost to failures)" in text
    assert "Better" not in text
    assert "each token given the true ones before it" in text


def test_a_failure_is_no_better_than_what_a_finished_run_found_worse(tmp_path):
    # An error rate can be above 1, which a failure is otherwise given.
    plan = study(tmp_path, {"a": [0.0] * 8, "b": ["FAILED"] * 8}, metric="symbol_error_rate")
    for seed, one in enumerate(A):
        scores = scored(0.0) | {"symbol_error_rate": 1.9 - one}
        splits = dict.fromkeys(("test", "validation", "validation_last"), scores)
        rewrite(RunFolder(tmp_path / f"runs/s{seed}"), result(0.0, seed, metrics=splits))
    text = report_text(tmp_path, plan)
    found = read_analysis(plan, tmp_path)
    assert found.worst["echo"] == pytest.approx(1.43)
    assert set(found.entries["b", "echo"].scores.values()) == {found.worst["echo"]}
    assert "echo: a has the lowest mean symbol error rate" in text
    assert "A run that failed counts with the score 1.43." in text


def test_failures_alone_are_no_tie_and_no_best(tmp_path):
    plan = study(tmp_path, {"a": ["FAILED"] * 8, "b": ["FAILED"] * 8, "c": A})
    found = read_analysis(plan, tmp_path)
    assert found.comparisons["b", "echo"].verdict == "not run"
    assert found.comparisons["c", "echo"].verdict == "better"
    text = report_text(tmp_path, plan)
    assert "Not run on both sides: b." in text
    assert "16 of 24 runs failed or diverged. They count with the worst score." in text


def test_a_failure_does_not_hide_that_the_rest_was_measured_in_another_way(tmp_path):
    plan = study(tmp_path, {"a": A, "b": [0.9, 0.9, *["FAILED"] * 6]})
    other = result(0.9, signature=signature(search="beam:3"))
    rewrite(RunFolder(tmp_path / "runs/s8"), other)
    assert read_analysis(plan, tmp_path).comparisons["b", "echo"].verdict == "not comparable"


def test_the_best_of_equals_are_all_named(tmp_path):
    plan = study(tmp_path, {"a": [1.0] * 6, "b": [1.0] * 6, "c": A[:6]})
    assert "echo: a and b have the highest mean exact match, 1.000." in report_text(tmp_path, plan)


def test_what_has_no_p_yet_counts_in_the_family(tmp_path):
    scores = {"a": A, "b": [one + 0.2 for one in A[:6]] + ["PLANNED"] * 2}
    waiting = {name: ["PLANNED"] * 8 for name in "cdefghijk"}
    comparison = read_analysis(study(tmp_path, scores | waiting), tmp_path).comparisons["b", "echo"]
    assert comparison.paired.p == 2 / 2**6
    assert comparison.p_holm == pytest.approx(10 * 2 / 2**6)


def test_a_design_that_can_show_nothing_says_so(tmp_path):
    shifted = {name: [one + 0.2 for one in A[:6]] for name in "bc"}
    plan = study(tmp_path, {"a": A[:6]} | shifted)
    text = report_text(tmp_path, plan)
    assert "inconclusive (n=6: too few for so many comparisons)" in text


def test_a_row_with_few_seeds_is_a_pilot_among_others_that_are_not(tmp_path):
    plan = study(tmp_path, {"a": A, "b": [one + 0.2 for one in A], "c": A[:5]})
    text = report_text(tmp_path, plan)
    assert "This is a pilot" not in text
    assert "Better than a, if no run collapses: b" in text
    assert "A pilot, with fewer than 6 seeds of both: c" in text


def test_cells_measured_in_different_ways_are_not_analysed_as_a_grid(tmp_path):
    plan = study(tmp_path, {"a": A, "b": A, "c": A, "d": A})
    cells = [
        replace(one, factors={"x": one.variant in "ab", "y": one.variant in "ac"} | one.factors)
        for one in plan.cells
    ]
    plan = replace(plan, cells=tuple(replace(one, factors=_texts(one.factors)) for one in cells))
    assert isinstance(read_analysis(plan, tmp_path).factorials["echo"], Factorial)
    other = result(0.7, signature=signature(search="beam:3"))
    rewrite(RunFolder(tmp_path / "runs/s9"), other)
    assert "echo is not analysed: its cells were not measured in the same way." in report_text(
        tmp_path, plan
    )


def _texts(varied_keys):
    return {key: str(value) for key, value in varied_keys.items() if key not in ("task", "decoder")}


def test_a_planted_collapsed_seed_shows(tmp_path):
    plan = study(tmp_path, {"a": A, "b": [0.9, 0.91, 0.9, 0.03, 0.92, 0.9, 0.91, 0.9]})
    assert "b on echo, seed 3: 0.030, median 0.900" in report_text(tmp_path, plan)


@pytest.mark.fault(59)
def test_at_the_ceiling_the_interval_is_wilsons_over_examples(tmp_path):
    plan = study(tmp_path, {"a": A, "b": [1.0] * 8, "c": [1.0, *A[1:]]})
    text = report_text(tmp_path, plan)
    assert re.search(r"\| b \| 1\.000 \[0\.963, 1\.000\] pooled, 8 of 8 seeds perfect \|", text)
    # Seeds that differ are not one sample of examples, be one of them perfect or not.
    c = read_analysis(plan, tmp_path).entries["c", "echo"]
    assert c.crossed
    assert c.interval == pytest.approx((c.estimate.interval().low, c.estimate.interval().high))
    assert "Wilson's interval over the test examples" in text
