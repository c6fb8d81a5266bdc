"""The tables of scores and comparisons: of the report, and of a paper."""

from __future__ import annotations

from collections.abc import Sequence

from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.blocks import Block, Grid, Paragraph
from decoderlab.studies.reporting.columns import Column, TableKind, TableRow, columns_of

NOT_PLANNED = "not planned"


def score_tables(analysis: Analysis) -> list[Block]:
    """Return the table of each task, and below it what rules without trained weights score."""
    blocks: list[Block] = []
    for task in analysis.tasks:
        blocks.append(task_table(analysis, task, "report"))
        if rules := analysis.baselines(task):
            scores = "; ".join(f"{name} {score:.3f}" for name, score in rules.items())
            blocks.append(Paragraph(f"Rules without trained weights, on {task}: {scores}."))
    return blocks


def paper_tables(analysis: Analysis) -> list[Grid]:
    """Return what a paper has room for, a table a task."""
    return [task_table(analysis, task, "paper") for task in analysis.tasks]


def task_table(analysis: Analysis, task: str, kind: TableKind) -> Grid:
    """Return the table of one task.

    Args:
        analysis: of the study.
        task: a task of it.
        kind: which columns it has.
    """
    columns = columns_of(analysis, kind)
    rows = [table_row(analysis, variant, task) for variant in analysis.variants]
    return Grid(
        header=[column.heading_of(analysis) for column in columns],
        rows=[cells(columns, row) for row in rows],
        title=task,
        strong=[index for index, row in enumerate(rows) if row.is_baseline],
        align=[column.align for column in columns],
    )


def table_row(analysis: Analysis, variant: str, task: str) -> TableRow:
    """Return what the row of a variant on a task is about."""
    return TableRow(
        variant,
        analysis.entries.get((variant, task)),
        analysis.comparisons.get((variant, task)),
        is_baseline=variant == analysis.baseline,
    )


def cells(columns: Sequence[Column], row: TableRow, missing: str = "") -> list[str]:
    """Return the texts of a row; the second cell says if the variant is not planned.

    Args:
        columns: of the table, the variant's name first.
        row: of the table.
        missing: for a comparison without pairs of seeds.
    """
    if row.entry is None:
        return [columns[0].text(row), NOT_PLANNED, *[""] * (len(columns) - 2)]
    return [column.cell(row, missing) for column in columns]
