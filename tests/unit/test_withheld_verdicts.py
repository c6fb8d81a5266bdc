"""Where verdicts are withheld, nothing else of the report claims what they would have said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from decoderlab.config.study_settings import Published
from decoderlab.studies.analysis.factorial import Factorial
from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.answer import answer
from decoderlab.studies.reporting.factor_effects import factor_effects
from decoderlab.studies.reporting.render import markdown
from decoderlab.studies.reporting.wider_results import over_all_tasks, published_values
from tests.unit.studies import study

TASKS = ("echo", "reverse")
NAMES = [f"{route} {feedback}" for route in "xy" for feedback in ("without", "with")]
FACTORS = {name: dict(zip(("route", "feedback"), name.split(), strict=True)) for name in NAMES}
PUBLISHED = [
    Published(row="y with", against="x without", task="echo", value=v, tolerance=t, source="them")
    for v, t in ((0.3, 0.001), (0.25, 0.2), (-0.3, 0.001))
]


def grid(folder, damage: str, metric: str) -> Analysis:
    """Return the analysis of a grid of certain effects, and what is wrong with it on echo."""
    scores = {
        (name, task): [
            0.3 + 0.1 * ("y" in name) + 0.15 * (" with" in f"{name} "[1:6]) + 0.01 * (seed % 3)
            for seed in range(9)
        ]
        for name in NAMES
        for task in TASKS
    }
    scores = {key: [round(one, 2) for one in some] for key, some in scores.items()}
    if damage == "diverged":
        scores["y with", "echo"][3] = "DIVERGED"
    settings = {"baseline": "x without", "metric": metric, "published": PUBLISHED}
    plan = study(folder, scores, factors=FACTORS, **settings)
    rows = read_rows(plan, folder)
    if damage in ("budget", "seldom", "studied"):
        # of one cell of the grid, which may be no baseline of any comparison
        other = {"budget": "y with", "seldom": "x with", "studied": "y with"}[damage]
        cells = [
            replace(cell, steps=20) if (cell.variant, cell.task) == (other, "echo") else cell
            for cell in plan.cells
        ]
        if damage == "studied":
            cells = [replace(c, factors=c.factors | {"training.max_steps": "1"}) for c in cells]
        plan = replace(plan, cells=tuple(cells))
        rows = [replace(row, cell=cell) for row, cell in zip(rows, plan.cells, strict=True)]
    return Analysis(plan, rows)


WITHHELD = [
    ("budget", "exact_match", "its cells had different budgets"),
    ("seldom", "exact_match", "its cells had different budgets"),
    ("diverged", "loss", "loss has no worst score for runs that failed or diverged (seeds 3)"),
]
JUDGED = [("none", "exact_match"), ("none", "loss"), ("studied", "exact_match")]
# A failure has a score of its own there.
JUDGED += [("diverged", "exact_match")]


@pytest.mark.parametrize(("damage", "metric", "why"), WITHHELD)
def test_of_the_factors_nothing_is_claimed_where_verdicts_are_withheld(
    tmp_path, damage, metric, why
):
    found = grid(tmp_path, damage, metric)
    assert found.factorials["echo"] == why
    assert isinstance(found.factorials["reverse"], Factorial)
    said = answer(found)
    assert f"echo: of the factors nothing is claimed, since {why}." in said
    assert not any(line.startswith("echo: certain") for line in said)
    assert any(line.startswith("reverse: certain effects") for line in said)
    section = markdown("s", None, [factor_effects(found, None)])
    assert f"echo is not analysed: {why}." in section
    assert "echo: effects" not in section


@pytest.mark.parametrize(("damage", "metric"), JUDGED)
def test_of_the_factors_is_claimed_what_verdicts_may_be(tmp_path, damage, metric):
    found = grid(tmp_path, damage, metric)
    assert found.withheld == {}
    assert all(isinstance(factorial, Factorial) for factorial in found.factorials.values())
    assert found.overall.keys() == set(NAMES) - {"x without"}


@pytest.mark.parametrize(
    ("damage", "metric", "out"),
    [
        ("budget", "exact_match", "y with"),
        ("seldom", "exact_match", "x with"),
        ("diverged", "loss", "y with"),
    ],
)
def test_over_tasks_nothing_is_said_of_a_row_that_is_not_judged(tmp_path, damage, metric, out):
    found = grid(tmp_path, damage, metric)
    assert found.overall.keys() == set(NAMES) - {"x without", out}
    text = markdown("s", None, [over_all_tasks(found)])
    assert f"| {out} |" not in text


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("none", ["direction agrees", "reproduced", "contradicts"]),
        ("budget", ["unequal budget"] * 3),
    ],
)
def test_a_published_difference_is_not_judged_by_unequal_budgets(tmp_path, damage, words):
    found = grid(tmp_path, damage, "exact_match")
    assert [verdict.word for verdict in found.published] == words
    text = markdown("s", None, [published_values(found)])
    assert all(f"| {word} |" in text for word in words)


@pytest.mark.parametrize("damage", ["none", "budget"])
def test_tasks_as_a_sample_are_tested_only_where_every_row_is_judged(tmp_path, damage):
    scores = {
        (variant, str(task)): [round(0.3 + 0.1 * at + 0.01 * task, 2)] * 6
        for at, variant in enumerate("abc")
        for task in range(5)
    }
    plan = study(tmp_path, scores, baseline="a")
    rows = read_rows(plan, tmp_path)
    if damage == "budget":
        one = replace(plan.cells[-1], steps=20)
        plan = replace(plan, cells=(*plan.cells[:-1], one))
        rows = [replace(row, cell=cell) for row, cell in zip(rows, plan.cells, strict=True)]
    assert (Analysis(plan, rows).over_tasks is None) == (damage == "budget")
