"""Two studies side by side that declare differently how their rows are judged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from decoderlab.studies.reporting import two_studies
from decoderlab.studies.reporting.two_studies import compare_studies
from tests.unit.studies import UPDATES, signature, study, write

A = [0.50, 0.52, 0.48, 0.51, 0.49, 0.50, 0.53, 0.47]


def written(tmp_path, name: str, match: str = "updates", flops: float = 1e3, **settings) -> None:
    """Write a study of the row a; no run of t is one of s."""
    scores = {"a": A} if name == "s" else {"bb": A, "a": [A[1], A[0], *A[2:]]}
    changes = {"flops_per_example": flops}
    made = study(tmp_path, scores, name=name, result_changes=changes, **settings)
    write(replace(made, budget=replace(UPDATES, match=match)), tmp_path)


def verdict(tmp_path, first: str, second: str) -> tuple[str, list[str]]:
    """Return the verdict on row a, and what is said of the sides."""
    grid, sides, path = compare_studies(first, second, tmp_path)
    assert all(side.replace("_", r"\_") in path.read_text() for side in sides)
    return dict(zip(grid.header, grid.rows[0], strict=True))["verdict"], sides[2:]


def test_what_is_declared_otherwise_is_said(tmp_path):
    written(tmp_path, "s", minimum_effect=0.4, family="task")
    written(tmp_path, "t", minimum_effect=None, family="study")
    forth, back = verdict(tmp_path, "s", "t"), verdict(tmp_path, "t", "s")
    assert forth == (
        "inconclusive (n=8, MDE 0.412)",
        [
            "study.minimum_effect is 0.4 in s and null in t: judged by that of s",
            "study.family is task in s and study in t: judged by that of s",
        ],
    )
    assert back == (
        "inconclusive (n=8, MDE 0.013)",
        [
            "study.minimum_effect is null in t and 0.4 in s: judged by that of t",
            "study.family is study in t and task in s: judged by that of t",
        ],
    )


def test_how_a_whole_study_searches_is_no_question_of_two(tmp_path, monkeypatch):
    """Wherever it was written; in one study rows that search otherwise may be what it asks."""
    written(tmp_path, "s")
    changes = {"signature": signature(search="beam:3")}
    write(study(tmp_path, {"a": A}, name="t", result_changes=changes), tmp_path)
    read_rows = two_studies.read_rows

    def overridden(plan, output_dir):
        own = ("evaluation.beam_width=3",) if plan.name == "t" else ()
        return [
            replace(row, cell=replace(row.cell, overrides=(*row.cell.overrides, *own)))
            for row in read_rows(plan, output_dir)
        ]

    monkeypatch.setattr(two_studies, "read_rows", overridden)
    assert verdict(tmp_path, "s", "t")[0] == "not comparable"


def test_nothing_is_said_of_what_is_declared_alike(tmp_path):
    written(tmp_path, "s", minimum_effect=0.4)
    written(tmp_path, "t", minimum_effect=0.4)
    assert verdict(tmp_path, "s", "t") == ("inconclusive (n=8, MDE 0.412)", [])


@pytest.mark.parametrize(
    ("match", "other", "flops", "seconds", "word"),
    [
        ("flops", "flops", 1e3, 0.5, "inconclusive"),
        ("flops", "flops", 1.01e3, 0.5, "inconclusive"),  # within the tolerance
        ("flops", "flops", 2e3, 0.5, "unequal budget"),
        ("flops", "updates", 1e3, 4.0, "unequal budget"),
        ("flops", "updates", 2e3, 0.5, "inconclusive"),
        ("seconds", "seconds", 1e3, 4.0, "unequal budget"),
        ("seconds", "seconds", 1e3, 0.5, "inconclusive"),
    ],
)
def test_budgets_are_compared_in_either_order(
    tmp_path, monkeypatch, match, other, flops, seconds, word
):
    written(tmp_path, "s", match)
    written(tmp_path, "t", other, flops)
    settings_by_row = two_studies.settings_by_row

    def in_seconds(plan, output_dir):
        budget = {"max_steps": None, "max_seconds": {"s": 0.5, "t": seconds}[plan.name]}
        return {
            run_id: replace(config, training=replace(config.training, **budget))
            for run_id, config in settings_by_row(plan, output_dir).items()
        }

    monkeypatch.setattr(two_studies, "settings_by_row", in_seconds)
    for names in (("s", "t"), ("t", "s")):
        judged, said = verdict(tmp_path, *names)
        assert judged.split(" (")[0] == word
        lines = [line.split(" is ")[0] for line in said if not line.startswith("the settings of")]
        assert lines == ["budget.match"] * (match != other)


def test_failed_and_missing_runs_of_either_side_are_counted(tmp_path):
    write(study(tmp_path, {"a": A, "b": A}, name="s"), tmp_path)
    gone = {"bb": A, "a": ["FAILED"] * 8, "b": [*A[1:7], "PLANNED", A[0]]}
    write(study(tmp_path, gone, name="t"), tmp_path)
    grid, sides, path = compare_studies("s", "t", tmp_path)
    numbers = [dict(zip(grid.header, row, strict=True))["n"] for row in grid.rows]
    assert numbers == ["8/8 and 0/8, 8 failed", "8/8 and 7/8"]
    assert "8 of 32 runs failed or diverged. They count with the worst score" in sides
    assert "b on echo is compared without the seeds 6" in sides
    assert all(side in path.read_text() for side in sides)


def test_a_row_that_failed_always_is_no_tie_with_one_that_scores_nothing(tmp_path):
    write(study(tmp_path, {"a": [0.0] * 8}, name="s"), tmp_path)
    write(study(tmp_path, {"bb": A, "a": ["FAILED"] * 8}, name="t"), tmp_path)
    assert verdict(tmp_path, "s", "t")[0].startswith("inconclusive")
