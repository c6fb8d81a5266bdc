"""A study's tables in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from decoderlab.common.progress import output, say
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.build import Report
from decoderlab.studies.reporting.columns import Column, columns_of
from decoderlab.studies.reporting.tables import cells, table_row
from decoderlab.studies.reporting.variant_styles import shown_variants

MAX_ROWS = 60
MEASURED = 10_000  # columns of a terminal that cuts nothing
# The columns that a terminal of a width has room for.
ROOMS = {
    "wide": ("narrow", "medium", "wide"),
    "medium": ("narrow", "medium"),
    "narrow": ("narrow",),
}


def print_table(report: Report) -> None:
    """Print the tables in the terminal, on standard output; narrow ones show less."""
    analysis, console = report.analysis, output()
    for task in analysis.tasks:
        console.print(_fitting_table(analysis, task, console))
    if len(analysis.variants) > MAX_ROWS:
        say(f"the {MAX_ROWS} best of {len(analysis.variants)} rows; the report has them all")
    failed = sum(row.failed for row in analysis.rows)
    if failed:
        counts = "they count with the worst score" if analysis.worst else "they have no score"
        say(f"{failed} runs failed; {counts}")
    unfinished = sum(row.status != "FINISHED" and not row.failed for row in analysis.rows)
    if unfinished:
        say(f"{unfinished} of {len(analysis.rows)} runs are not finished")
    if analysis.pilot:
        say("fewer than 6 seeds: a pilot, which settles nothing")
    say(f"report: {report.folder / 'report.html'} (also .md, .tex, results.csv)")


def _fitting_table(analysis: Analysis, task: str, console: Console) -> Table:
    """Return the widest table that the terminal has room for; a folded one if there is none."""
    unbounded = console.options.update(max_width=MEASURED)
    every = columns_of(analysis, "terminal")
    columns = every
    for rooms in ROOMS.values():
        columns = [column for column in every if column.room in rooms]
        table = _table(analysis, task, columns)
        if table.__rich_measure__(console, unbounded).maximum <= console.width:
            return table
    return _table(analysis, task, columns, folded=True)


def _table(analysis: Analysis, task: str, columns: list[Column], folded: bool = False) -> Table:
    title = f"{analysis.plan.study.name}, {task}: test {analysis.scale.label}"
    table = Table(title=escape(title), title_justify="left")
    for column in columns:
        heading = escape(column.heading_of(analysis))
        table.add_column(heading, justify=column.align, overflow="fold", no_wrap=not folded)
    for variant in shown_variants(analysis, MAX_ROWS):
        row = table_row(analysis, variant, task)
        texts = map(escape, cells(columns, row, missing="–"))
        styles = [
            column.style(row) if row.entry or column.group == "name" else "" for column in columns
        ]
        table.add_row(
            *(
                f"[{style}]{text}[/]" if style else text
                for text, style in zip(texts, styles, strict=True)
            )
        )
    return table
