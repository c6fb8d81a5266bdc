"""The page of speeds has the figures that were measured, of all parts, and says which are slow."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIGURES, PAGE = ROOT / "docs/part_speeds.csv", ROOT / "docs/performance.md"
SLOW = 1.5


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        file = ROOT / "scripts/benchmark_parts.py"
        spec = importlib.util.spec_from_file_location("benchmark_parts", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    return module


@pytest.fixture(scope="module")
def rows():
    with FIGURES.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_is_that_of_the_figures(benchmark):
    page = PAGE.read_text()
    assert benchmark.with_table(page, benchmark.table(FIGURES)) == page


def test_all_parts_were_measured_as_they_are_declared(benchmark, rows):
    declared = {
        name: (" ".join(pair.newer), " ".join(pair.older)) for name, pair in benchmark.PAIRS.items()
    }
    assert {row["part"]: (row["newer"], row["older"]) for row in rows} == declared


def test_the_page_names_what_costs_more_than_it_may(rows):
    said = PAGE.read_text().partition("Above 1.5 are:")[2]
    of_objectives = {"minimum_risk", "reinforce", "optimal_completion"}
    slow = {row["part"] for row in rows if float(row["ratio"]) > SLOW}
    assert {name for name in slow - of_objectives if f"`{name}`" not in said} == set()
    named = {row["part"] for row in rows if f"`{row['part']}`" in said}
    assert named <= slow


def test_nothing_of_a_page_is_lost(benchmark):
    page = f"before\n\n{benchmark.BEGIN}\n\n{benchmark.END}\n\nafter\n"
    made = benchmark.with_table(page, "| a |\n")
    assert made.startswith("before\n\n")
    assert made.endswith("\n\nafter\n")
    assert benchmark.with_table(made, "| a |\n") == made
    with pytest.raises(SystemExit, match="no place for the table"):
        benchmark.with_table("nothing", "")
