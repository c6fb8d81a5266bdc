"""A study's tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from decoderlab.common.progress import output, plain, say
from decoderlab.metrics.shipped import recorded_scores
from decoderlab.studies.analysis.comparisons import BARRING
from decoderlab.studies.analysis.results import RunRow
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.build import Report
from decoderlab.studies.reporting.cautions import not_independent, without_baseline
from decoderlab.studies.reporting.columns import Column, columns_of
from decoderlab.studies.reporting.row_parts import joint_differences
from decoderlab.studies.reporting.table_texts import STAR
from decoderlab.studies.reporting.tables import table_row, texts_of_row
from decoderlab.studies.reporting.variant_styles import shown_variants

MAX_ROWS = 60
SHOWN = 10
MEASURED = 10_000  # columns of a terminal that cuts nothing
# From narrow terminals, where the verdict stays, to wide ones.
ROOMS = ("narrow", "small", "medium", "wide")


def print_table(report: Report, *, written: bool = True) -> None:
    """Print the tables in the terminal, on standard output; narrow ones show less.

    Args:
        report: of a study.
        written: whether its files were written, which is said.
    """
    analysis, console = report.analysis, output()
    left_out: dict[str, None] = {}
    for task in analysis.tasks:
        table, columns = _fitting_table(analysis, task, console)
        left_out |= dict.fromkeys(column.heading_of(analysis) for column in columns)
        console.print(table)
    if any(BARRING in each.verdict for each in analysis.comparisons.values()):
        console.print(plain(f"{STAR} {BARRING}: so few seeds do not exclude that runs collapse"))
    if left_out:
        message = (
            f"columns left out: {', '.join(left_out)} (use a wider terminal, or see report.md)"
        )
        console.print(plain(message))
    if len(analysis.variants) > MAX_ROWS:
        say(f"the {MAX_ROWS} best of {len(analysis.variants)} rows; the report has them all")
    if missing := without_baseline(analysis):
        say(missing)
    for line in joint_differences(analysis):
        say(line)
    for line in not_independent(analysis)[:SHOWN]:
        say(f"not independent: {line}")
    failed = sum(row.failed for row in analysis.rows)
    if failed:
        counts = "they count with the worst score" if analysis.worst else "they have no score"
        say(f"{failed} runs failed; {counts}:")
        _list_failures([row for row in analysis.rows if row.failed])
    for damage in analysis.plan.damage[:SHOWN]:
        say(f"damaged: {damage}")
    invalid = [row for row in analysis.rows if row.status == "INVALID"]
    for row in invalid[:SHOWN]:
        say(f"INVALID: {row.cell.title}: {row.reason}")
    if len(invalid) > SHOWN:
        say(f"... and {len(invalid) - SHOWN} more that are INVALID; the report names them")
    unfinished = sum(row.status != "FINISHED" and not row.failed for row in analysis.rows)
    if unfinished:
        say(f"{unfinished} of {len(analysis.rows)} runs are not finished")
    if analysis.pilot:
        say("fewer than 6 seeds: a pilot, from which nothing can be concluded")
    for task, folder in _best_runs(report):
        of = f" on {task}" if len(analysis.tasks) > 1 else ""
        say(f"best on validation{of}, for decoderlab-predict and the like: {folder}")
    if written:
        say(f"report: {report.folder / 'report.html'} (also .md, .tex, results.csv)")


def _best_runs(report: Report) -> Iterator[tuple[str, Path]]:
    """Yield the first tasks, each with the folder of the run that is best on validation."""
    analysis = report.analysis
    for task in analysis.tasks[:SHOWN]:
        rows = [(row.cell, row.result) for row in analysis.rows if row.cell.task == task]
        done = [(cell, result) for cell, result in rows if result is not None]
        if len({result.selected_by for _, result in done}) == 1:
            by, scores = done[0][1].selected_by, recorded_scores(done[0][1].scores)
            pick = max if scores[by].better == "max" else min
            cell, _ = pick(done, key=lambda pair: pair[1].metrics.validation[by])
            yield task, cell.run_folder(report.folder.parents[1]).path


def _list_failures(rows: Sequence[RunRow]) -> None:
    for row in rows[:SHOWN]:
        say(f"  {row.cell.title}: {row.status.lower()}: {row.reason} ({row.cell.folder})")
    if len(rows) > SHOWN:
        say(f"  ... and {len(rows) - SHOWN} more, all in results.csv")


def _fitting_table(
    analysis: Analysis, task: str, console: Console
) -> tuple[Table, Sequence[Column]]:
    """Return the widest table that the terminal has room for, and the columns that are left out.

    Columns for wide terminals go first, from the right; those for narrow ones are folded.
    """
    unbounded = console.options.update(max_width=MEASURED)
    columns = columns_of(analysis, "terminal")
    order = sorted(columns, key=lambda column: ROOMS.index(column.room))
    while True:
        table = _table(analysis, task, columns)
        left_out = [column for column in order if column not in columns]
        if table.__rich_measure__(console, unbounded).maximum <= console.width:
            return table, left_out
        last = [column for column in order if column in columns][-1]
        if last.room == ROOMS[0]:
            return _table(analysis, task, columns, folded=True), left_out
        columns = [column for column in columns if column is not last]


def _table(analysis: Analysis, task: str, columns: list[Column], folded: bool = False) -> Table:
    title = f"{analysis.plan.study.name}, {task}: test {analysis.scale.label}"
    table = Table(title=plain(title, "table.title"), title_justify="left")
    for column in columns:
        heading = plain(column.heading_of(analysis))
        table.add_column(heading, justify=column.align, overflow="fold", no_wrap=not folded)
    for variant in shown_variants(analysis, MAX_ROWS):
        row = table_row(analysis, variant, task)
        texts = texts_of_row(columns, row, missing="–")
        styles = [
            column.style(row) if row.entry or column.group == "name" else "" for column in columns
        ]
        table.add_row(*(plain(text, style) for text, style in zip(texts, styles, strict=True)))
    return table
