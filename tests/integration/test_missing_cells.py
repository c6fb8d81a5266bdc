"""Studies in which some rows are not planned on some tasks, or the baseline is not."""

from __future__ import annotations

import pytest

from decoderlab.studies.reporting.build import build_report
from decoderlab.studies.reporting.json_record import report_record
from decoderlab.studies.reporting.terminal_table import terminal_report
from tests.integration.reports import A, report_text
from tests.unit.studies import study

CELLS = [(variant, task) for task in ("echo", "reverse") for variant in "abc"]
LEAST = 2 / 2 ** len(A)  # p of a row that is ahead in each seed


@pytest.mark.usefixtures("undrawn")
@pytest.mark.thinned(7)
@pytest.mark.parametrize("family", ["study", "task"])
@pytest.mark.parametrize(
    ("left_out", "compared"),
    [
        ("a echo", "b reverse, c reverse"),
        ("b echo", "c echo, b reverse, c reverse"),
        ("a echo, b reverse", "c reverse"),
        ("a echo, b echo", "b reverse, c reverse"),
        ("b echo, c echo", "b reverse, c reverse"),
        ("a echo, b reverse, c reverse", ""),
        ("b echo, c reverse", "c echo, b reverse"),
    ],
)
def test_a_study_without_some_cells_has_its_report(tmp_path, capsys, family, left_out, compared):
    kept = [cell for cell in CELLS if " ".join(cell) not in left_out.split(", ")]
    scores = {cell: [score + 0.1 * (cell[0] == "b") for score in A] for cell in kept}
    plan = study(tmp_path, scores, family=family, minimum_effect=0.02)
    text = report_text(tmp_path, plan)
    made = build_report(plan, tmp_path)
    terminal_report(made).print()
    cautions = " ".join(report_record(made.analysis)["cautions"])
    comparisons = made.analysis.comparisons
    assert [" ".join(key) for key in comparisons] == [some for some in compared.split(", ") if some]
    printed = capsys.readouterr().err
    for task in ("echo", "reverse"):
        said = f"on {task} the baseline a has no run, so that no row is compared there"
        assert (said in text) == (said in printed) == (("a", task) not in kept)
        for row in "bc":
            assert (f"{row} has no run on {task}" in text) == ((row, task) not in kept)
            assert (f"{row} has no run on {task}" in cautions) == ((row, task) not in kept)
    for (variant, task), comparison in comparisons.items():  # a family is of those that there are
        number = sum(family == "study" or of == task for _, of in comparisons)
        if variant == "b":
            assert comparison.p_holm == pytest.approx(LEAST * number)


@pytest.mark.slow  # figures
def test_pictures_do_without_the_cells_too(tmp_path):
    scores = dict.fromkeys([cell for cell in CELLS if cell not in (("a", "echo"), CELLS[-1])], A)
    assert "figures/forest.png" in report_text(tmp_path, study(tmp_path, scores))


@pytest.mark.usefixtures("undrawn")
def test_a_row_that_lacks_seeds_is_named(tmp_path):
    whole = report_text(tmp_path / "whole", study(tmp_path / "whole", {"a": A, "b": A}))
    assert "has no run of the seeds" not in whole
    text = report_text(tmp_path / "less", study(tmp_path / "less", {"a": A, "b": A[:6]}))
    assert "b on echo has no run of the seeds 6, 7, which other rows have" in text
