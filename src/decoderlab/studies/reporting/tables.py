"""The tables of scores and comparisons."""

from __future__ import annotations

from collections.abc import Sequence

from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.blocks import Block, Grid, Linked, Paragraph
from decoderlab.studies.reporting.columns import Column, TableKind, TableRow, columns_of

NOT_PLANNED = "not planned"
MAX_LISTED = 300  # rows whose settings and runs a page lists


def score_tables(analysis: Analysis) -> list[Block]:
    """Return the table of each task, and below it what rules without trained weights score."""
    blocks: list[Block] = []
    for task in analysis.tasks:
        blocks.append(task_table(analysis, task, "report"))
        if rules := analysis.baselines(task):
            scores = "; ".join(f"{name} {score:.3f}" for name, score in rules.items())
            several = len(analysis.data_of(task))
            mean = f" (the mean over the {several} data sets of its runs)" if several > 1 else ""
            blocks.append(Paragraph(f"Rules without trained weights, on {task}{mean}: {scores}."))
    return blocks


def task_table(analysis: Analysis, task: str, kind: TableKind) -> Grid:
    """Return the table of one task.

    Args:
        analysis: of the study.
        task: a task of it.
        kind: which columns it has.
    """
    columns = columns_of(analysis, kind)
    if kind == "report":
        columns = sorted(columns, key=lambda column: not column.main)
    rows = [table_row(analysis, variant, task) for variant in analysis.variants]
    texts = [texts_of_row(columns, row) for row in rows]
    if kind == "report":
        for index, text in enumerate(texts[:MAX_LISTED]):
            text[0] = Linked(text[0], f"#{variant_anchor(index)}")
    return Grid(
        header=[column.heading_of(analysis) for column in columns],
        rows=texts,
        title=task,
        strong=[index for index, row in enumerate(rows) if row.is_baseline],
        align=[column.align for column in columns],
        main=sum(column.main for column in columns) if kind == "report" else None,
    )


def variant_anchor(index: int) -> str:
    """Return the id under which a page has the settings, equations and runs of a row.

    Args:
        index: of the variant in the study.
    """
    return f"variant-{index + 1}"


def table_row(analysis: Analysis, variant: str, task: str) -> TableRow:
    """Return what the row of a variant on a task is about."""
    return TableRow(
        variant,
        analysis.entries.get((variant, task)),
        analysis.comparisons.get((variant, task)),
        is_baseline=variant == analysis.baseline,
    )


def texts_of_row(columns: Sequence[Column], row: TableRow, missing: str = "") -> list[str]:
    """Return the texts of a row; the second cell says if the variant is not planned.

    Args:
        columns: of the table, the variant's name first.
        row: of the table.
        missing: for a comparison without pairs of seeds.
    """
    if row.entry is None:
        return [columns[0].text(row), NOT_PLANNED, *[""] * (len(columns) - 2)]
    return [column.cell(row, missing) for column in columns]
