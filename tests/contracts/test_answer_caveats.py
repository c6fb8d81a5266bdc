"""Parameters, shared runs, seeds that fail and other draws are as docs/answer.md says."""

from __future__ import annotations

import itertools
import re
from statistics import fmean
from typing import Any

import pytest

import leaderboard
from decoderlab.config.run_config import RunConfig
from decoderlab.training.assembly import construct_task
from tests.conftest import composed
from tests.contracts.test_answer_counts import NUMBERS, PAGE, by_t, tasks
from tests.contracts.test_quotes import ROOT, cells, compared, rows

PEEK_STARTING = ("peek", "initial_state")
DRAWN = ("repeat_vector", "every_input", "initial_state", "peek", "luong")


def parameters(study: str) -> dict[str, int]:
    return {row["variant"]: int(row["parameters"]) for row in rows(study)}


def sign(study: str, task: str, one: str, other: str, metric: str = "test_exact_match") -> int:
    """Return the sign of a difference of which the interval leaves 0 out, else 0."""
    scores = cells(study)
    return compared(scores[metric, task, one], scores[metric, task, other]).sign


def on_six_tasks(kind: str, one: str, other: str) -> dict[str, int]:
    """Return the signs on the tasks that have equal parameters too, by task.

    Args:
        kind: `matched` for those of equal parameters, `task` for those of equal widths.
        one, other: decoders.
    """
    names = (name.removeprefix("matched_") for name in leaderboard.results("matched"))
    return {name: sign(f"{kind}_{name}", name, one, other) for name in names}


def test_how_much_larger_peek_is_and_what_equal_parameters_do_to_it_is_counted():
    sizes = [parameters(name) for name in tasks()]
    most = max(of["peek"] / of["initial_state"] for of in sizes)
    trained = parameters("converged_g2p")
    there = f"{100 * trained['peek'] / trained['initial_state'] - 100:.0f} % in `converged_g2p`"
    assert f"It has up to {100 * most - 100:.0f} % more parameters than starting ({there})" in PAGE
    signs = [*on_six_tasks("matched", *PEEK_STARTING).values()]
    assert (len(signs), signs.count(1), signs.count(-1)) == (6, 1, 2)
    ahead = {study for pair, study, mean in by_t() if pair == PEEK_STARTING and mean > 0}
    assert len(ahead) == 4
    assert not ahead & {name.replace("matched", "task") for name in leaderboard.results("matched")}
    equal = [*on_six_tasks("task", *PEEK_STARTING).values()]
    assert (equal.count(1), equal.count(-1)) == (3, 1)
    assert (
        "on six others of the 22 (none of those four; not corrected), it is ahead on one and behind"
        " on two (with equal widths on three and one)," in PAGE
    )
    own = [analysis.plan.metric for analysis in tasks().values()]
    assert f"(exact match on {NUMBERS[own.count('exact_match')]})" in PAGE


def test_starting_and_repeating_with_equal_parameters_are_counted():
    signs = on_six_tasks("matched", "initial_state", "every_input")
    assert sorted(signs.values()) == [0, 1, 1, 1, 1, 1]
    assert signs["memorisation"] == 0
    assert "it is ahead on five of six tasks, and behind on none (not corrected)." in PAGE


def test_how_many_parameters_feedback_adds_is_what_the_runs_have():
    pairs = (("initial_state", "initial_state_no_feedback"), ("every_input", "repeat_vector"))
    of_tasks = [parameters(name) for name in tasks()]
    most = max(of[one] / of[other] for of in of_tasks for one, other in pairs)
    assert f"Feedback adds up to {100 * most - 100:.0f} %." in PAGE


def run_ids(study: str) -> set[str]:
    return {row["run_id"] for row in rows(study)}


def draws_of(study: str, task: str) -> set[str]:
    """Return the fingerprints of the data that a study has of a task."""
    return set().union(*(of.data for key, of in cells(study).items() if key[1].startswith(task)))


def test_runs_that_stand_in_two_studies_are_counted():
    bridges, echo = run_ids("bridges"), run_ids("task_echo")
    of_bridges = [len(bridges & run_ids(each)) for each in ("rates", "task_echo", "draws")]
    said = "{} are those of `rates`, {} those of the leaderboard's echo and {} those of `draws`;"
    assert said.format(*of_bridges) in PAGE
    assert (
        f"{len(echo)} on echo {len(echo & run_ids('rates'))} are those of `rates`, and each" in PAGE
    )
    matched = leaderboard.results("matched")
    shared = [len(run_ids(name) & run_ids(name.replace("matched", "task"))) for name in matched]
    assert shared == [10] * 6


def test_studies_that_have_the_same_data_are_named_and_no_others():
    studies_of: dict[str, set[str]] = {}
    for path in (ROOT / "docs/studies").glob("*/results.csv"):
        for of in cells(path.parent.name).values():
            for draw in of.data:
                studies_of.setdefault(draw, set()).add(path.parent.name)
    shared = {frozenset(studies) for studies in studies_of.values() if len(studies) > 1}
    of_tasks = {
        frozenset((name, name.replace("matched", "task")))
        for name in leaderboard.results("matched")
    }
    table = PAGE.partition("One draw or split")[2].partition("|---|---|")[2]
    lines = table.partition(" So have the other `matched_*` those of their tasks.")[0].split("| |")
    named = {frozenset(re.findall("`([a-z0-9_]+)`", line)) for line in lines}
    assert named == shared - of_tasks
    assert len(of_tasks - shared) == 1  # echo has more studies


def test_draws_and_runs_that_two_studies_of_routes_share_are_counted():
    assert all(len(draws_of("draws", task)) == 13 for task in ("echo", "addition", "g2p"))
    both = run_ids("context_routes") & run_ids("context_routes_matched")
    assert f"of `context_routes`, has {len(both)} runs in common with it." in PAGE


def sources(study: str, *settings: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return the sources of a study's task, by split."""
    config = RunConfig.from_composed(composed(f"study={study}", *settings))
    examples, _ = construct_task(config).examples()
    return {split: [tuple(example.source) for example in of] for split, of in examples.items()}


def test_tasks_with_other_targets_share_their_sources_where_the_page_says_so():
    for length in (8, 16, 32):
        at = [f"task.{end}_length={length}" for end in ("min", "max")]
        assert sources("sizes_echo_lstm", *at) == sources("sizes_reverse_lstm", *at)
    copied = sources("task_copy")
    assert copied == sources("task_reverse")
    shared = set(sources("task_echo")["train"]) & set(copied["train"])
    assert f"{len(shared):,} of their {len(copied['train']):,} in training are" in PAGE
    spelt, copies = sources("task_g2p"), sources("task_autoencoder")
    assert all(set(spelt[split]) == set(copies[split]) for split in spelt)


def test_attention_that_stopped_before_the_updates_of_the_leaderboard_is_counted():
    runs = [row for row in rows("converged_translation") if row["variant"] == "luong"]
    early = NUMBERS[sum(int(row["steps"]) < 1500 for row in runs)]
    said = f"of `luong` {early} of {NUMBERS[len(runs)]} runs stopped before 1,500 updates."
    assert said in PAGE


@pytest.mark.parametrize(
    ("study", "budget", "between"),
    [("converged_g2p", 18000, 900), ("converged_translation", 5100, 170)],
)
def test_runs_that_met_the_rule_of_their_stop_are_counted(study: str, budget: int, between: int):
    runs = rows(study)
    cut = [
        row["variant"]
        for row in runs
        if int(row["steps"]) == budget and budget - int(row["best_step"]) < 3 * between
    ]
    met = (
        f"{len(runs) - len(cut)} of {len(runs)} runs met this rule within their {budget:,} updates"
    )
    assert met in PAGE
    if study == "converged_g2p":
        own, rest = (NUMBERS[n] for n in (cut.count("repeat_vector"), len(cut)))
        assert f"{met}; {own} of the other {rest} are of RepeatVector." in PAGE


def test_rates_of_converged_g2p_are_those_of_the_page():
    runs = rows("converged_g2p")
    rates = {row["variant"]: float(row["tuned_training.learning_rate"]) for row in runs}
    assert [each for each, rate in rates.items() if rate != 0.001] == ["initial_state_no_feedback"]
    assert "all decoders but starting without feedback took 0.001, the lower one." in PAGE


def test_peek_is_fourth_of_sums_with_equal_parameters():
    means = {
        decoder: fmean(of.values())
        for (metric, _, decoder), of in cells("matched_addition").items()
        if metric == "test_exact_match"
    }
    assert sorted(means, key=means.__getitem__, reverse=True)[3] == "peek"


def test_seeds_that_solve_sums_are_counted():
    solved = dict.fromkeys(DRAWN, 0)
    for row in rows("sums_solved"):
        solved[row["variant"]] += float(row["validation_exact_match"]) >= 0.9
    names = [NUMBERS[solved[each]] for each in ("luong", "peek", "every_input", "initial_state")]
    said = "in all ten seeds of RepeatVector, {} of attention, {} of `peek`, {} of repeating"
    assert solved["repeat_vector"] == 10
    starting = [row for row in rows("sums_solved") if row["variant"] == "initial_state"]
    short = [round(300 * float(row["validation_exact_match"])) == 269 for row in starting]
    assert sum(short) == 2  # of 300 sums, of which 270 are 0.9
    assert (
        f"{said.format(*names)} with feedback, and {names[3]} of starting (two more were one sum"
        in PAGE
    )


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


def test_how_far_another_is_ahead_of_peek_after_more_updates_is_what_the_runs_show():
    scores, gaps = cells("budgets"), []
    for task, other in (
        ("echo", "initial_state"),
        ("addition", "repeat_vector"),
        ("g2p", "every_input"),
    ):
        pair = [scores["test_exact_match", f"{task}_15000", each] for each in (other, "peek")]
        gaps.append(compared(*pair).mean)
    again = cells("sums_solved")
    pair = [
        again["test_exact_match", "addition_2digits", each] for each in ("repeat_vector", "peek")
    ]
    gaps.append(compared(*pair).mean)
    said = f"by {min(gaps):.3f} to {max(gaps):.3f} (not corrected)"
    assert f"attention is ahead of it, each time another one, {said}" in PAGE


def test_leaders_after_more_updates_are_those_after_few():
    for task in ("echo", "addition", "g2p"):
        leaders = set()
        for budget in (1500, 5000, 15000):
            means = {
                decoder: fmean(
                    cells("budgets")["test_exact_match", f"{task}_{budget}", decoder].values()
                )
                for decoder in DRAWN
            }
            leaders.add(max(means, key=means.__getitem__))
        assert len(leaders) == 1
    assert "is that of the same decoder as after 1,500 updates." in PAGE


def test_ways_to_start_without_feedback_are_counted():
    signs = {
        task: [
            sign("bridges", task, f"initial_{each} no_feedback", "repeat_zero no_feedback")
            for each in ("copy", "dense", "summary", "nonlinear")
        ]
        for task in ("echo", "g2p", "addition_2digits")
    }
    assert signs == {
        "echo": [1, 0, -1, -1],
        "g2p": [1, -1, -1, -1],
        "addition_2digits": [-1, -1, -1, -1],
    }
    assert (
        "it is ahead of repeating from zeros by a copy alone, on echo and G2P; on sums of two"
        in PAGE
    )
    assert "digits it is behind with each of four ways to make it." in PAGE
    learned = [
        sign("bridges", task, "initial_copy no_feedback", "repeat_learned no_feedback")
        for task in signs
    ]
    assert learned == [1, 0, 0]


def test_attention_that_starts_from_zeros_takes_away_what_the_page_says():
    known = [
        sign(
            "echo_attention",
            "echo",
            f"{each} zero_start attention",
            f"{each} zero_start no_attention",
        )
        for each in (
            "lstm no_feedback",
            "lstm softmax_feedback",
            "gru no_feedback",
            "gru softmax_feedback",
        )
    ]
    assert known == [-1, -1, -1, 0]
