"""The page has the growth that was measured, of all sizes, or says that there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark_growth import FIGURES, MARKS, MODELS, SIZES, exponent, table
from measuring.speed_tables import read_figures, with_table

PAGE = Path(__file__).parents[2] / "docs/performance.md"
MEASURED = PAGE.with_name(FIGURES)


def test_the_page_has_the_measured_growth_of_all_sizes():
    page = PAGE.read_text()
    if not MEASURED.exists():
        assert with_table(page, "Not measured yet with this script.\n", MARKS) == page
        return
    assert with_table(page, table(MEASURED), MARKS) == page
    measured = {(row["decoder"], row["varied"], row["size"]) for row in read_figures(MEASURED)}
    declared = {
        (model, name, str(size))
        for model in MODELS
        for name, sizes in SIZES.items()
        for size in sizes
    }
    assert declared | {(model, "a run", "") for model in MODELS} == measured


def test_the_exponent_is_that_of_the_last_two_sizes():
    assert exponent([1, 2, 4], [3, 5, 20]) == pytest.approx(2)
    assert exponent([10, 80], [1, 8**1.5]) == pytest.approx(1.5)
