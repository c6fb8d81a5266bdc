"""What a study prints in the terminal, as plain texts: they can be kept, and printed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from decoderlab.common.progress import output, plain, say

# The narrowest terminal that shows a column, from narrow ones, where the verdict stays, to wide.
Room = Literal["narrow", "small", "medium", "wide"]
ROOMS: tuple[Room, ...] = ("narrow", "small", "medium", "wide")
MEASURED = 10_000  # columns of a terminal that cuts nothing


@dataclass(frozen=True)
class TerminalColumn:
    """A column of a table.

    Args:
        heading: above it.
        align: of its cells.
        room: the narrowest terminal that shows it.
    """

    heading: str
    align: Literal["left", "right"]
    room: Room


@dataclass(frozen=True)
class TerminalTable:
    """The table of a task.

    Args:
        title: above it.
        columns: of all terminals.
        rows: of cells, each a text and a style of rich's; the style may be empty.
    """

    title: str
    columns: Sequence[TerminalColumn]
    rows: Sequence[Sequence[tuple[str, str]]]

    def fitting(self, console: Console) -> tuple[Table, list[str]]:
        """Return the widest table that a terminal has room for, and the headings left out.

        Columns for wide terminals go first, from the right; those for narrow ones are folded.
        """
        unbounded = console.options.update(max_width=MEASURED)
        order = sorted(
            range(len(self.columns)), key=lambda index: ROOMS.index(self.columns[index].room)
        )
        shown = order[:]
        while True:
            table = self._of_columns(shown)
            left_out = [self.columns[index].heading for index in order[len(shown) :]]
            if table.__rich_measure__(console, unbounded).maximum <= console.width:
                return table, left_out
            if self.columns[shown[-1]].room == ROOMS[0]:
                return self._of_columns(shown, folded=True), left_out
            shown.pop()

    def _of_columns(self, shown: Sequence[int], folded: bool = False) -> Table:
        table = Table(title=plain(self.title, "table.title"), title_justify="left")
        columns = sorted(shown)
        for index in columns:
            column = self.columns[index]
            heading = plain(column.heading)
            table.add_column(heading, justify=column.align, overflow="fold", no_wrap=not folded)
        for row in self.rows:
            table.add_row(*(plain(*row[index]) for index in columns))
        return table


@dataclass(frozen=True)
class TerminalReport:
    """What is printed of a study.

    Args:
        tables: one for each task.
        below: what explains them; empty for nothing.
        said: lines about the study, which go to standard error.
    """

    tables: Sequence[TerminalTable]
    below: str
    said: Sequence[str]

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TerminalReport:
        """Return what `dataclasses.asdict` has made a record of, perhaps in a file since."""
        tables = [
            TerminalTable(
                title=table["title"],
                columns=[TerminalColumn(**column) for column in table["columns"]],
                rows=table["rows"],
            )
            for table in record["tables"]
        ]
        return cls(tables, record["below"], record["said"])

    def print(self) -> None:
        """Print the tables on standard output; narrow terminals show less."""
        console = output()
        left_out: dict[str, None] = {}
        for each in self.tables:
            table, headings = each.fitting(console)
            left_out |= dict.fromkeys(headings)
            console.print(table)
        if self.below:
            console.print(plain(self.below))
        if left_out:
            message = (
                f"columns left out: {', '.join(left_out)} (use a wider terminal, or see report.md)"
            )
            console.print(plain(message))
        for line in self.said:
            say(line)
