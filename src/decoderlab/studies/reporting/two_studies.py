"""Two studies side by side: the rows that both have, seed by seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from decoderlab.config.errors import ConfigError
from decoderlab.metrics.shipped import score_label
from decoderlab.records.run_folder import write_text
from decoderlab.studies.analysis.comparisons import Analysis
from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.design.plan_file import Plan, read_plan
from decoderlab.studies.reporting import render
from decoderlab.studies.reporting.sections import (
    Grid,
    Items,
    Section,
    Text,
    difference_text,
    p_text,
    score_text,
    verdict_text,
)


def compare_studies(first: str, second: str, output_dir: Path) -> tuple[Grid, Path]:
    """Compare each row of one study with the row of that name in another, and write what is found.

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
    metrics = {name: plan.study.metric for name, plan in plans.items()}
    if len(set(metrics.values())) > 1:
        raise ConfigError(
            f"{first} is about {metrics[first]}, {second} about {metrics[second]}; studies are "
            "compared by one metric"
        )
    keys = {
        name: dict.fromkeys((cell.variant, cell.task) for cell in plan.cells)
        for name, plan in plans.items()
    }
    common = [key for key in keys[first] if key in keys[second]]
    if not common:
        raise ConfigError(
            f"{first} and {second} have no row in common; {first} has "
            f"{', '.join(dict.fromkeys(variant for variant, _ in keys[first]))}, {second} "
            f"{', '.join(dict.fromkeys(variant for variant, _ in keys[second]))}"
        )
    by_task = plans[first].study.family == "task"
    families: dict[str, list[tuple[str, str]]] = {}
    for variant, task in common:
        families.setdefault(task if by_task else "", []).append((variant, task))
    found: dict[tuple[str, str], list[str]] = {}
    for family in families.values():
        analysis = _side_by_side(plans, family, output_dir)
        for key in family:
            place = "\0".join(key)
            scores = (score_text(analysis.entries[name, place]) for name in plans)
            found[key] = [*key, *scores, *_compared(analysis, second, place)]
    rows = [found[key] for key in common]
    metric = score_label(metrics[first], plans[first].scores)
    header = ["variant", "task", f"{first}: {metric} [95 % CI]", second]
    grid = Grid([*header, "difference [95 % CI]", "p", "p Holm", "verdict"], rows)
    alone = [
        f"only in {name}: {variant}, {task}"
        for name, other in ((first, second), (second, first))
        for variant, task in keys[name]
        if (variant, task) not in keys[other]
    ]
    explained = Text(
        f"Difference: {second} minus {first}, seed by seed, with its t interval; exact sign-flip "
        f"test, Holm over the rows of {'a task' if by_task else 'this table'}. not comparable: a "
        "seed was measured on other data, or in another way."
    )
    path = output_dir / "studies" / first / f"compared_with_{second}.md"
    title = f"{first} and {second}"
    blocks = [grid, explained, *([Items(alone)] if alone else [])]
    write_text(path, render.markdown(title, None, [Section("Row by row", blocks)]))
    return grid, path


def _side_by_side(
    plans: dict[str, Plan], common: Iterable[tuple[str, str]], output_dir: Path
) -> Analysis:
    """Return an analysis whose variants are the studies, and whose tasks their rows."""
    rows, wanted = [], set(common)
    for name, plan in plans.items():
        shared = [cell for cell in plan.cells if (cell.variant, cell.task) in wanted]
        for row in read_rows(replace(plan, cells=tuple(shared)), output_dir):
            place = f"{row.cell.variant}\0{row.cell.task}"
            rows.append(replace(row, cell=replace(row.cell, variant=name, task=place, factors={})))
    first, *_ = plans.values()
    study = replace(first.study, baseline=first.study.name, family="study", published=None)
    return Analysis(replace(first, study=study), rows)


def _compared(analysis: Analysis, second: str, place: str) -> list[str]:
    comparison = analysis.comparisons[second, place]
    if comparison.paired is None:
        return ["–", "–", "–", comparison.verdict]
    return [
        difference_text(comparison.paired),
        p_text(comparison.paired.p, bare=True),
        p_text(comparison.p_holm, bare=True),
        verdict_text(comparison),
    ]
