"""Measured figures as a CSV file beside a page, and as a table between two marks in the page."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

Row = dict[str, str]


class Marks(NamedTuple):
    """The lines of a page between which its table stands."""

    begin: str
    end: str


def with_table(page: str, made: str, marks: Marks) -> str:
    """Return a page with a table in place of what is between its marks."""
    if page.count(marks.begin) != 1 or page.count(marks.end) != 1:
        raise SystemExit(
            f"the page has no place for the table; give it {marks.begin} and {marks.end}, once each"
        )
    before, after = page.partition(marks.begin)[0], page.partition(marks.end)[2]
    return f"{before}{marks.begin}\n\n{made}\n{marks.end}{after}"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown.

    Example:
        >>> print(markdown(["a", "b"], [["1", "2"]]), end="")
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def read_figures(figures: Path) -> list[Row]:
    """Return the rows of a CSV."""
    with figures.open(newline="") as file:
        return list(csv.DictReader(file))


def write_figures(
    page: Path,
    name: str,
    rows: Sequence[Row],
    table: Callable[[Path], str],
    marks: Marks,
) -> None:
    """Write rows into a CSV beside a page, and the table that is made of it into the page.

    Args:
        page: the page, which has the marks.
        name: of the CSV.
        rows: all with the same columns, at least one.
        table: makes the table, from the CSV.
        marks: where it stands.
    """
    figures = page.with_name(name)
    text = page.read_text()
    with_table(text, "", marks)  # a page without marks is said before anything is written
    with figures.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    page.write_text(with_table(text, table(figures), marks))
