"""The page has the growth, the starts and the alternatives that were measured."""

from __future__ import annotations

from pathlib import Path

import pytest

import benchmark_alternatives
import benchmark_start
import benchmark_sweeps
from benchmark_growth import FIGURES, MARKS, MODELS, SIZES, exponent, table
from decoderlab.studies.statistics import over_seeds
from measuring.speed_tables import read_figures, with_table
from tests.contracts.test_quotes import cells, differences

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


def test_the_exponent_is_the_slope_on_logarithmic_scales():
    assert exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    assert exponent([10, 80], [1, 8**1.5]) == pytest.approx(1.5)


def test_the_page_has_the_measured_starts():
    page, figures = PAGE.read_text(), PAGE.with_name(benchmark_start.FIGURES)
    made = "Not measured yet with this script.\n"
    if figures.exists():
        made = benchmark_start.table(figures)
        commands = [row["command"] for row in read_figures(figures)]
        assert commands[-1] == "the first update"
        assert {f"{name} --help" for name in benchmark_start.NAMES} <= set(commands)
    assert with_table(page, made, benchmark_start.MARKS) == page


def test_the_page_has_the_measured_sweeps():
    page, figures = PAGE.read_text(), PAGE.with_name(benchmark_sweeps.FIGURES)
    assert with_table(page, benchmark_sweeps.table(figures), benchmark_sweeps.MARKS) == page
    runs = [row["runs"] for row in read_figures(figures) if row["what"] == "a sweep"]
    assert set(map(int, runs)) == set(benchmark_sweeps.RUNS)


def test_the_page_has_the_measured_alternatives():
    page, figures = PAGE.read_text(), PAGE.with_name(benchmark_alternatives.FIGURES)
    assert (
        with_table(page, benchmark_alternatives.table(figures), benchmark_alternatives.MARKS)
        == page
    )
    others = {row["other"] for row in read_figures(figures)}
    products = "matrix products by oneDNN"
    slower = {"a loop over steps", "that loop compiled", "its loss compiled"}
    assert others == {*slower, "bfloat16", products}
    assert [row["other"] for row in read_figures(figures)].count(products) == 3
    for row in read_figures(figures):  # what is said below the table
        low, high = map(float, row["range"].split(" to "))
        loop = "loop" in row["other"]
        assert high < 1 if row["other"] in slower else low > 1
        assert not loop or float(row["ratio"]) < 0.5


def test_what_bfloat16_does_to_scores_is_what_its_study_found():
    said = "finds no difference of 0.02 or more in the exact match of G2P"
    assert f"{said} (`luong`, 256 units, 20 seeds)" in " ".join(PAGE.read_text().split())
    scores = cells("precision")
    both = [scores["test_exact_match", "g2p", name] for name in ("bfloat16", "float32")]
    assert [len(each) for each in both] == [20, 20]
    estimate = over_seeds(differences(*both))
    assert estimate.equivalence(0.02) < 0.05
    assert "| no difference | 20/20 |" in (PAGE.parent / "studies/precision/report.md").read_text()
