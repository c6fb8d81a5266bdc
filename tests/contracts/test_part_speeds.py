"""The page of speeds has the figures that were measured, of all parts, and says which are slow."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import benchmark_parts
from measuring.speed_tables import Marks, with_table

ROOT = Path(__file__).parents[2]
FIGURES, PAGE = ROOT / "docs/part_speeds.csv", ROOT / "docs/performance.md"
SLOW = 1.5


@pytest.fixture(scope="module")
def rows():
    with FIGURES.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_is_that_of_the_figures():
    page = PAGE.read_text()
    assert with_table(page, benchmark_parts.table(FIGURES), benchmark_parts.MARKS) == page


def test_all_parts_were_measured_as_they_are_declared(rows):
    declared = {
        name: (" ".join(pair.newer), " ".join(pair.older))
        for name, pair in benchmark_parts.PAIRS.items()
    }
    assert {row["part"]: (row["newer"], row["older"]) for row in rows} == declared


def test_the_page_names_what_costs_more_than_it_may(rows):
    said = PAGE.read_text().partition("Above 1.5 are:")[2]
    of_objectives = {"minimum_risk", "reinforce", "optimal_completion"}
    slow = {row["part"] for row in rows if float(row["ratio"]) > SLOW}
    assert {name for name in slow - of_objectives if f"`{name}`" not in said} == set()
    named = {row["part"] for row in rows if f"`{row['part']}`" in said}
    assert named <= slow


def test_nothing_of_a_page_is_lost():
    marks = Marks("<!-- a -->", "<!-- end of a -->")
    page = "before\n\n<!-- a -->\n\n<!-- end of a -->\n\nafter\n"
    made = with_table(page, "| a |\n", marks)
    assert made == "before\n\n<!-- a -->\n\n| a |\n\n<!-- end of a -->\n\nafter\n"
    assert with_table(made, "| a |\n", marks) == made
    with pytest.raises(SystemExit, match="no place for the table"):
        with_table("nothing", "", marks)
