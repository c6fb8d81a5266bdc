"""The tables of docs/answer.md by kind of task name the decoders that the results put first."""

from __future__ import annotations

import re
from collections import Counter
from statistics import fmean

import pytest

from tests.contracts.test_answer_counts import NUMBERS, PAGE, WITHOUT_ATTENTION, tasks
from tests.contracts.test_quotes import ROOT, cells, compared

ALL = ("luong", *WITHOUT_ATTENTION)
LONGER = {
    "letters to sounds": ("converged_g2p", "g2p", "test_word_error_rate", -1),
    "the same": ("converged_translation", "translation", "test_bleu", 1),
}
ATTENTION_IS_NOT_FIRST = {"addition_2digits", "captioning", "conversation", "reverse"}


def table() -> list[tuple[str, str, str, str]]:
    """Return the kind, the first decoders, their scores and the others of each row."""
    lines = (ROOT / "docs/answer.md").read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| kind of task"))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return found
        kind, first, score, others, _ = (cell.strip() for cell in line.split("|")[1:-1])
        found.append((kind, first, score, others))
    return found


def source(kind: str) -> tuple[str, str, str, float]:
    """Return the study, task, metric and sign of a row, by the first name in its kind."""
    if "until validation" in kind:
        return LONGER[kind.split(",")[0]]
    task = re.findall(r"`(\w+)`", kind)[0]
    if "of the study rates" in kind or task == "addition_2digits":
        return "rates", task, "test_exact_match", 1
    analysis = tasks()[f"task_{task}"]
    return f"task_{task}", task, f"test_{analysis.plan.metric}", analysis.sign


def leading(study: str, task: str, metric: str, sign: float, pool: tuple[str, ...]) -> list[str]:
    """Return the first by mean of some decoders and, by mean, those not told apart from it."""
    scores = {each: cells(study).get((metric, task, each)) for each in pool}
    means = {each: sign * fmean(of.values()) for each, of in scores.items() if of}
    order = sorted(means, key=means.__getitem__, reverse=True)
    told = {each: compared(scores[order[0]], scores[each]) for each in order[1:]}
    return [order[0], *(each for each, of in told.items() if not of.sign)]


ROWS = [(*row, source(row[0])) for row in table() if row[0]]


@pytest.mark.parametrize("row", ROWS, ids=[row[0][:40] for row in ROWS])
def test_a_kind_of_task_names_all_that_are_first(row):
    _, first, score, others, known = row
    named = [re.findall(r"`(\w+)`", part) for part in first.split("without attention")]
    every, without = leading(*known, ALL), leading(*known, WITHOUT_ATTENTION)
    assert named == ([every] if len(named) == 1 else [every, without])
    assert len(named) == 2 or known[1] in {*ATTENTION_IS_NOT_FIRST, "digits", "forecasting"}
    quoted = re.findall(r"-?\d+\.\d{3}(?= \[| in all seeds)", score)
    study, task, metric, _ = known
    wanted = dict.fromkeys(each for part in named for each in part)
    means = [fmean(cells(study)[metric, task, each].values()) for each in wanted]
    assert quoted == [f"{mean:.3f}" for mean in means]
    pool = every if len(named) == 1 else [*every, *without]
    assert not set(re.findall(r"`(\w+)`", others.split(";")[0])) & set(pool)


def test_the_kinds_are_twenty_and_the_rest_are_counted():
    assert len(ROWS) == 20
    left = set(tasks()) - {known[0] for *_, known in ROWS}
    assert f"The other {NUMBERS[len(left)]} tasks stand on the" in PAGE


def test_the_best_without_attention_are_counted():
    pair = ("peek", "initial_state")
    first = [
        leading(name, one.tasks[0], f"test_{one.plan.metric}", one.sign, WITHOUT_ATTENTION)
        for name, one in tasks().items()
    ]
    copies = {"task_autoencoder", "task_echo"}
    starting = [name for name, each in zip(tasks(), first, strict=True) if each == [pair[1]]]
    assert (len(starting), len(copies.intersection(starting))) == (3, 2)
    best = Counter(each[0] for each in first)
    alone = Counter(each[0] for each in first if len(each) == 1)
    others = alone.total() - alone["peek"] - alone["initial_state"]
    said = (
        "attention `peek` is first by mean on {} of 22 tasks, and not told apart from the first"
        " on {}, `initial_state` on {} and {}; ahead"
    )
    with_first = Counter(each for pool in first for each in pool[1:])
    numbers = (NUMBERS[of[each]] for each in pair for of in (best, with_first))
    assert said.format(*numbers) in PAGE
    said = "of the other four are `peek` on {}, `initial_state` on {}, others on {} (not corrected"
    numbers = (NUMBERS[each] for each in (alone["peek"], alone["initial_state"], others))
    assert said.format(*numbers) in PAGE


def test_starting_is_behind_four_of_five_on_rows_of_digits():
    scores = cells("task_digits")
    start = scores["test_exact_match", "digits", "initial_state"]
    others = [each for each in ALL if each != "initial_state"]
    behind = [
        each
        for each in others
        if compared(scores["test_exact_match", "digits", each], start).sign == 1
    ]
    assert behind == [each for each in others if each != "luong"]
    assert "the sixth, starting, is behind four of these" in PAGE
