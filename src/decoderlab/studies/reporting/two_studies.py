"""Two studies side by side: the rows that both have, seed by seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from decoderlab.common.errors import ConfigError
from decoderlab.metrics.shipped import score_label
from decoderlab.records.run_folder import write_text
from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import Plan, read_plan
from decoderlab.studies.reporting import render
from decoderlab.studies.reporting.blocks import Bullets, Grid, Paragraph, Section
from decoderlab.studies.reporting.cell_texts import score_text
from decoderlab.studies.reporting.columns import columns_of
from decoderlab.studies.reporting.tables import cells, table_row

# A variant and a task.
Key = tuple[str, str]


def compare_studies(first: str, second: str, output_dir: Path) -> tuple[Grid, Path]:
    """Compare each row of one study with the row of that name in another, and write the table.

    Only seeds that were measured in the same way, on the same data, are compared.

    Args:
        first: name of a study.
        second: name of the other; differences are this one minus the first.
        output_dir: as in `run.output_dir`.

    Returns:
        The table, and the Markdown file in the first study's folder.

    Raises:
        ConfigError: if a study is not there, or nothing in them can be compared.
    """
    if first == second:
        raise ConfigError(f"both studies are {first}; give two")
    plans = {name: read_plan(output_dir, name) for name in (first, second)}
    metric = _common_metric(plans)
    keys = {
        name: dict.fromkeys((cell.variant, cell.task) for cell in plan.cells)
        for name, plan in plans.items()
    }
    by_task = plans[first].study.family == "task"
    families: dict[str, list[Key]] = {}
    common = _common_keys(keys)
    for variant, task in common:
        families.setdefault(task if by_task else "", []).append((variant, task))
    rows: dict[Key, list[str]] = {}
    headings: list[str] = []
    for family in families.values():
        analysis = _side_by_side(plans, family, output_dir)
        columns = columns_of(analysis, "two_studies")
        headings = [column.heading_of(analysis) for column in columns]
        for key in family:
            joined = "\0".join(key)
            scores = [score_text(analysis.entries[name, joined]) for name in plans]
            compared = cells(columns, table_row(analysis, second, joined), missing="–")
            rows[key] = [*key, *scores, *compared]
    header = [
        "variant",
        "task",
        f"{first}: {score_label(metric, plans[first].scores)} [95 % CI]",
        second,
        *headings,
    ]
    grid = Grid(header, [rows[key] for key in common])
    alone = [
        f"only in {name}: {variant}, {task}"
        for name, other in ((first, second), (second, first))
        for variant, task in keys[name]
        if (variant, task) not in keys[other]
    ]
    explained = Paragraph(
        f"Difference: {second} minus {first}, seed by seed, with its t interval; exact sign-flip "
        f"test, Holm over the rows of {'a task' if by_task else 'this table'}. not comparable: a "
        "seed was measured on other data, or in another way."
    )
    path = output_dir / "studies" / first / f"compared_with_{second}.md"
    blocks = [grid, explained, *([Bullets(alone)] if alone else [])]
    write_text(
        path, render.markdown(f"{first} and {second}", None, [Section("Row by row", blocks)])
    )
    return grid, path


def _common_metric(plans: Mapping[str, Plan]) -> str:
    (first, metric), (second, other) = ((name, plan.metric) for name, plan in plans.items())
    if metric != other:
        raise ConfigError(
            f"{first} is about {metric}, {second} about {other}; studies are compared by one metric"
        )
    return metric


def _common_keys(keys: Mapping[str, Mapping[Key, None]]) -> list[Key]:
    """Return the variants and tasks that both studies have."""
    (first, mine), (second, theirs) = keys.items()
    if common := [key for key in mine if key in theirs]:
        return common
    raise ConfigError(
        f"{first} and {second} have no row in common; {first} has "
        f"{', '.join(dict.fromkeys(variant for variant, _ in mine))}, {second} "
        f"{', '.join(dict.fromkeys(variant for variant, _ in theirs))}"
    )


def _side_by_side(plans: Mapping[str, Plan], common: Iterable[Key], output_dir: Path) -> Analysis:
    """Return an analysis whose variants are the studies, and whose tasks their rows."""
    rows, wanted = [], set(common)
    for name, plan in plans.items():
        shared = [cell for cell in plan.cells if (cell.variant, cell.task) in wanted]
        for row in read_rows(replace(plan, cells=tuple(shared)), output_dir):
            joined = f"{row.cell.variant}\0{row.cell.task}"
            rows.append(replace(row, cell=replace(row.cell, variant=name, task=joined, factors={})))
    first, *_ = plans.values()
    study = replace(first.study, baseline=first.study.name, family="study", published=None)
    return Analysis(replace(first, study=study), rows)
