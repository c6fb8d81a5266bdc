"""A study's tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from decoderlab.metrics.shipped import recorded_scores
from decoderlab.studies.analysis.comparisons import BARRING
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.build import Report
from decoderlab.studies.reporting.cautions import not_independent, without_baseline
from decoderlab.studies.reporting.columns import columns_of
from decoderlab.studies.reporting.row_parts import joint_differences
from decoderlab.studies.reporting.table_texts import STAR
from decoderlab.studies.reporting.tables import table_row, texts_of_row
from decoderlab.studies.reporting.terminal_text import (
    TerminalColumn,
    TerminalReport,
    TerminalTable,
)
from decoderlab.studies.reporting.variant_styles import shown_variants

MAX_ROWS = 60
SHOWN = 10


def terminal_report(report: Report, *, written: bool = True) -> TerminalReport:
    """Return what is printed of a study: a table for each task, and lines about it.

    Args:
        report: of a study.
        written: whether its files were written, which is said.
    """
    analysis = report.analysis
    barred = any(BARRING in each.verdict for each in analysis.comparisons.values())
    return TerminalReport(
        tables=[_table(analysis, task) for task in analysis.tasks],
        below=f"{STAR} {BARRING}: so few seeds do not exclude that runs collapse" * barred,
        said=[*_lines(report, written)],
    )


def _lines(report: Report, written: bool) -> Iterator[str]:
    analysis = report.analysis
    if len(analysis.variants) > MAX_ROWS:
        yield f"the {MAX_ROWS} best of {len(analysis.variants)} rows; the report has them all"
    if missing := without_baseline(analysis):
        yield missing
    yield from joint_differences(analysis)
    yield from (f"not independent: {line}" for line in not_independent(analysis)[:SHOWN])
    yield from _failures(analysis)
    yield from (f"damaged: {damage}" for damage in analysis.plan.damage[:SHOWN])
    invalid = [row for row in analysis.rows if row.status == "INVALID"]
    yield from (f"INVALID: {row.cell.title}: {row.reason}" for row in invalid[:SHOWN])
    if len(invalid) > SHOWN:
        yield f"... and {len(invalid) - SHOWN} more that are INVALID; the report names them"
    unfinished = sum(row.status != "FINISHED" and not row.failed for row in analysis.rows)
    if unfinished:
        yield f"{unfinished} of {len(analysis.rows)} runs are not finished"
    if analysis.pilot:
        yield "fewer than 6 seeds: a pilot, from which nothing can be concluded"
    for task, folder in _best_runs(report):
        of = f" on {task}" if len(analysis.tasks) > 1 else ""
        yield f"best on validation{of}, for decoderlab-predict and the like: {folder}"
    if written:
        yield f"report: {report.folder / 'report.html'} (also .md, .tex, results.csv)"


def _failures(analysis: Analysis) -> Iterator[str]:
    rows = [row for row in analysis.rows if row.failed]
    if rows:
        counts = "they count with the worst score" if analysis.worst else "they have no score"
        yield f"{len(rows)} runs failed; {counts}:"
    for row in rows[:SHOWN]:
        yield f"  {row.cell.title}: {row.status.lower()}: {row.reason} ({row.cell.folder})"
    if len(rows) > SHOWN:
        yield f"  ... and {len(rows) - SHOWN} more, all in results.csv"


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


def _table(analysis: Analysis, task: str) -> TerminalTable:
    columns = columns_of(analysis, "terminal")
    rows = []
    for variant in shown_variants(analysis, MAX_ROWS):
        row = table_row(analysis, variant, task)
        texts = texts_of_row(columns, row, missing="–")
        styles = [
            column.style(row) if row.entry or column.group == "name" else "" for column in columns
        ]
        rows.append([*zip(texts, styles, strict=True)])
    return TerminalTable(
        title=f"{analysis.plan.study.name}, {task}: test {analysis.scale.label}",
        columns=[
            TerminalColumn(column.heading_of(analysis), column.align, column.room)
            for column in columns
        ],
        rows=rows,
    )
