"""Reports speak of budgets, updates and losses as the runs had them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from decoderlab.config.study_settings import Published
from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.answer import answer
from decoderlab.studies.reporting.cautions import warnings
from decoderlab.studies.reporting.headline import headline
from decoderlab.studies.reporting.json_record import report_record
from decoderlab.studies.reporting.paper_table import paper_table
from decoderlab.studies.reporting.provenance import ended_early, provenance
from tests.unit.studies import analysis, measured_as, signature, study

A = [0.50, 0.52, 0.48, 0.51, 0.49, 0.50, 0.53, 0.47]
UP = [one + 0.1 + place / 100 for place, one in enumerate(A)]
SHORT_LONG = {"short": {"training.max_steps": 10}, "long": {"training.max_steps": 20}}
WIDER = {"short": {}, "long": {"training.max_steps": 20, "decoder.hidden_size": 99}}


@pytest.mark.parametrize(
    ("factor", "levels", "studied"),
    [
        ("training.max_steps", [10, 20], True),
        ("length", SHORT_LONG, True),
        ("length", WIDER, False),
        ("decoder", ["short", "long"], False),
        ("decoder", None, False),
    ],
)
def test_budgets_that_a_factor_sets_are_compared(tmp_path, factor, levels, studied):
    factors = {name: {factor: name} for name in ("short", "long")}
    plan = study(tmp_path, {"short": A, "long": UP}, factors=factors, baseline="short")
    cells = [replace(cell, steps={"short": 10, "long": 20}[cell.variant]) for cell in plan.cells]
    rows = read_rows(plan, tmp_path)
    rows = [replace(row, cell=cell) for row, cell in zip(rows, cells, strict=True)]
    asked = replace(plan.study, factors=None if levels is None else {factor: levels})
    found = Analysis(replace(plan, study=asked, cells=tuple(cells)), rows)
    assert found.comparisons["long", "echo"].unequal is not studied
    rows = [  # beside the grid, as references are
        replace(row, cell=replace(row.cell, factors={"decoder": "long"}))
        if row.cell.variant == "long"
        else row
        for row in rows
    ]
    beside = Analysis(replace(found.plan, cells=tuple(row.cell for row in rows)), rows)
    assert beside.comparisons["long", "echo"].unequal
    assert beside.compare("short", "long", "echo").unequal


def test_updates_are_those_that_were_done_not_those_that_were_planned(tmp_path):
    plan = study(tmp_path, {"a": A, "b": UP})
    cells = [replace(cell, steps=20, flops=1.0) for cell in plan.cells]
    rows = read_rows(plan, tmp_path)
    rows = [replace(row, cell=cell) for row, cell in zip(rows, cells, strict=True)]
    found = Analysis(replace(plan, cells=tuple(cells)), rows)
    assert found.entries["b", "echo"].updates == (10, 10)
    assert found.entries["b", "echo"].flops == 1000.0
    said = "callbacks ended 16 of 16 runs after 10 updates"
    assert ended_early(rows).startswith(said)
    assert any(said in line for line in provenance(found, tmp_path))
    assert said in str(warnings(found))
    assert report_record(found)["ended_early"].startswith(said)
    assert said.capitalize() in paper_table(found).note
    assert ended_early(read_rows(plan, tmp_path)) == ""


def test_the_lowest_loss_is_of_a_row_of_which_no_run_failed(tmp_path):
    scores = {"a": [0.1, 0.2, 0.1, 0.1, 0.1, 0.1], "b": [0.9, 0.8, "FAILED", 0.9, 0.9, 0.9]}
    found = analysis(tmp_path, scores, metric="loss")
    means = {name: entry.summary.mean for (name, _), entry in found.entries.items()}
    assert means["b"] < means["a"]
    assert "Lowest mean loss: a, not shown" in " ".join(headline(found))
    text = " ".join(answer(found))
    assert "a has the lowest mean loss" in text
    assert "1 of 12 runs failed or diverged. They have no score." in text
    rows = [
        replace(row, status="FAILED", result=None) if row.cell.seed == 5 else row
        for row in found.rows
    ]
    assert headline(Analysis(found.plan, rows))[1] == "No row has a mean over all of its runs."


def test_a_published_difference_of_rows_measured_otherwise_is_not_comparable(tmp_path):
    published = [Published(row="b", against="a", value=0.1, tolerance=0.2, source="somebody")]
    found = analysis(tmp_path, {"a": A, "b": UP}, published=published)
    assert found.published[0].word == "reproduced"
    other = measured_as(found, lambda index, _: signature(f"d{index // 8}"))
    assert other.published[0].word == "not comparable"
