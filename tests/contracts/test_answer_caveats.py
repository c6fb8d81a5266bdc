"""Parameters, shared runs, seeds that fail and other draws are as docs/answer.md says."""

from __future__ import annotations

import itertools

import leaderboard
from decoderlab.studies.statistics import summarise
from tests.contracts.test_answer_counts import NUMBERS, PAGE, tasks
from tests.contracts.test_quotes import cells, differences, rows

DRAWN = ("repeat_vector", "every_input", "initial_state", "peek", "luong")


def parameters(study: str) -> dict[str, int]:
    return {row["variant"]: int(row["parameters"]) for row in rows(study)}


def sign(study: str, task: str, one: str, other: str, metric: str = "test_exact_match") -> int:
    """Return the sign of a difference of which the interval leaves 0 out, else 0."""
    scores = cells(study)
    known = summarise(differences(scores[metric, task, one], scores[metric, task, other]))
    return (known.low > 0) - (known.high < 0)


def test_how_much_larger_peek_is_and_what_equal_parameters_do_to_it_is_counted():
    sizes = [parameters(name) for name in tasks()]
    most = max(of["peek"] / of["initial_state"] for of in sizes)
    assert f"It has up to {100 * most - 100:.0f} % more parameters than starting" in PAGE
    signs = [
        sign(name, analysis.tasks[0], "peek", "initial_state")
        for name, analysis in leaderboard.results("matched").items()
    ]
    assert (len(signs), signs.count(1), signs.count(-1)) == (6, 1, 2)
    assert "`peek` is ahead on one of six tasks, by less than 0.02, and behind on two," in PAGE
    own = [analysis.plan.metric for analysis in tasks().values()]
    assert f"(exact match on {NUMBERS[own.count('exact_match')]})" in PAGE


def test_runs_that_stand_in_two_studies_are_counted():
    runs = {study: {row["run_id"] for row in rows(study)} for study in ("rates", "bridges")}
    echo = {row["run_id"] for row in rows("task_echo")}
    shared = len(runs["rates"] & runs["bridges"]), len(echo & runs["rates"])
    assert f"of `bridges` {shared[0]} are those of `rates`, and of the leaderboard's" in PAGE
    said = f"{len(echo)} on echo {shared[1]} are those of `rates`, {len(echo & runs['bridges'])}"
    assert f"{said} those of `bridges`, and some both." in PAGE


def test_seeds_that_solve_sums_are_counted():
    solved = dict.fromkeys(DRAWN, 0)
    for row in rows("sums_solved"):
        solved[row["variant"]] += float(row["validation_exact_match"]) >= 0.9
    names = [NUMBERS[solved[each]] for each in ("luong", "peek", "every_input", "initial_state")]
    said = "in all ten seeds of RepeatVector, {} of attention, {} of `peek`, {} of repeating"
    assert solved["repeat_vector"] == 10
    assert f"{said.format(*names)} with feedback, and {names[3]} of starting." in PAGE


def test_differences_that_another_draw_of_the_data_has_too_are_counted():
    told, again = [], []
    for task, (one, other) in itertools.product(
        ("echo", "g2p", "addition_2digits"), itertools.combinations(DRAWN, 2)
    ):
        if before := sign("rates", task, one, other):
            told.append((task, one, other))
            again.append(before == sign("draws", task, f"all {one}", f"all {other}"))
    assert f"{sum(again)} of the {len(told)} differences that `rates` tells apart" in PAGE
    lost = [each for each, known in zip(told, again, strict=True) if not known]
    assert lost == [("addition_2digits", "every_input", "peek")]


def test_ways_to_begin_with_which_feedback_does_harm_to_sums_are_counted():
    starts = {row["variant"].split()[0] for row in rows("bridges")}
    signs = [
        sign("bridges", "addition_2digits", f"{each} teacher_forcing", f"{each} no_feedback")
        for each in sorted(starts)
    ]
    said = f"with {NUMBERS[signs.count(-1)]} of the {NUMBERS[len(signs)]} ways to begin"
    assert said in PAGE
    assert signs.count(1) == 1
    assert "It helps with one, a dense layer of both states" in PAGE
    assert sign("bridges", "addition_2digits", *HELPED) == 1


HELPED = ("initial_dense teacher_forcing", "initial_dense no_feedback")


def test_leaders_after_more_updates_are_those_after_few():
    for task in ("echo", "addition", "g2p"):
        leaders = set()
        for budget in (1500, 5000, 15000):
            means = {
                decoder: summarise(
                    list(cells("budgets")["test_exact_match", f"{task}_{budget}", decoder].values())
                ).mean
                for decoder in DRAWN
            }
            leaders.add(max(means, key=means.__getitem__))
        assert len(leaders) == 1
    assert "is that of the same decoder as after 1,500 updates." in PAGE
