"""Two studies side by side: the rows that both have, seed by seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from decoderlab.common.errors import ConfigError
from decoderlab.common.number_ranges import ranges_text
from decoderlab.common.safe_names import inside
from decoderlab.config.study_settings import Budget
from decoderlab.metrics.shipped import recorded_scores
from decoderlab.records.run_folder import write_text
from decoderlab.studies.analysis.results import read_rows, settings_by_row
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import Plan, read_plan, study_folder
from decoderlab.studies.design.shared_starts import dependent_seeds
from decoderlab.studies.reporting import render
from decoderlab.studies.reporting.blocks import Bullets, Grid, Paragraph, Section
from decoderlab.studies.reporting.cautions import failures_text
from decoderlab.studies.reporting.columns import column_of, columns_of
from decoderlab.studies.reporting.provenance import ended_early
from decoderlab.studies.reporting.row_parts import differing_parts
from decoderlab.studies.reporting.tables import table_row, texts_of_row

# What two metrics of one name may mean differently.
MEANING = ("better", "low", "high", "worst", "unit", "teacher_forced")
# A variant and a task.
Key = tuple[str, str]


def compare_studies(first: str, second: str, output_dir: Path) -> tuple[Grid, list[str], Path]:
    """Compare each row of one study with the row of that name in another, and write the table.

    Only seeds that were measured in the same way, on the same data, are compared.

    Args:
        first: name of a study.
        second: name of the other; differences are this one minus the first.
        output_dir: as in `run.output_dir`.

    Returns:
        The table; what each study has, in a line; the Markdown file in the first study's folder.

    Raises:
        ConfigError: if a study is not there, or nothing in them can be compared.
    """
    if first == second:
        raise ConfigError(f"both studies are {first}; give two")
    plans = {name: read_plan(output_dir, name) for name in (first, second)}
    _check_metric(plans)
    keys = {
        name: dict.fromkeys((cell.variant, cell.task) for cell in plan.cells)
        for name, plan in plans.items()
    }
    by_task = plans[first].study.family == "task"
    families: dict[str, list[Key]] = {}
    common = _common_keys(keys)
    for variant, task in common:
        families.setdefault(task if by_task else "", []).append((variant, task))
    header, rows, left_out = _table(plans, families, output_dir)
    grid = Grid(header, [rows[key] for key in common])
    sides = [*(_side(name, plan) for name, plan in plans.items()), *_declared_otherwise(plans)]
    sides += [*_settings_apart(plans, common, output_dir), *left_out]
    for name, plan in plans.items():
        sides += [f"{name}: {line}" for line in dependent_seeds(plan.cells, plan.settings)]
    alone = [
        f"only in {name}: {_named(mine)}"
        for name, other in ((first, second), (second, first))
        for task in dict.fromkeys(task for _, task in keys[name])
        if (mine := [key for key in keys[name] if key[1] == task and key not in keys[other]])
    ]
    explained = Paragraph(
        f"Difference: {second} minus {first}, seed by seed, with its interval over seeds, and over "
        "examples too where the seeds share them; n: runs finished of planned; exact sign-flip "
        f"test, Holm over the rows of {'a task' if by_task else 'this table'}. not comparable: a "
        "seed was measured on other data, or in another way."
    )
    file = f"compared_with_{second.replace('/', '_')}.md"
    path = inside(study_folder(output_dir, first), file)
    blocks = [Bullets(sides), grid, explained, *([Bullets(alone)] if alone else [])]
    write_text(
        path, render.markdown(f"{first} and {second}", None, [Section("Row by row", blocks)])
    )
    return grid, sides, path


def _table(
    plans: Mapping[str, Plan], families: Mapping[str, Sequence[Key]], output_dir: Path
) -> tuple[list[str], dict[Key, list[str]], list[str]]:
    """Return the header, the rows by key, and what is said of failed and missing runs."""
    rows: dict[Key, list[str]] = {}
    header: list[str] = []
    said: list[str] = []
    first, second = plans
    score, count = column_of("score"), column_of("n")
    for family in families.values():
        analysis = _side_by_side(plans, family, output_dir)
        columns = columns_of(analysis, "two_studies")
        header = [
            column_of("variant").heading,
            "task",
            f"{first}: {score.heading_of(analysis)}",
            second,
            count.heading,
            *(column.heading_of(analysis) for column in columns),
        ]
        for key in family:
            joined = "\0".join(key)
            sides = [table_row(analysis, name, joined) for name in plans]
            compared = texts_of_row(columns, sides[1], missing="–")
            numbers = " and ".join(dict.fromkeys(map(count.cell, sides)))
            rows[key] = [*key, *map(score.cell, sides), numbers, *compared]
            comparison = analysis.comparisons.get((second, joined))
            if comparison is not None and comparison.unpaired:
                seeds = ranges_text(comparison.unpaired)
                said.append(f"{' on '.join(key)} is compared without the seeds {seeds}")
        if early := ended_early(analysis.rows):
            said.append(early)
        if failed := failures_text(analysis):
            said.append(failed.rstrip("."))
    return header, rows, said


def _side(name: str, plan: Plan) -> str:
    """Return a study's tasks, rows, seeds and updates."""
    tasks = ", ".join(dict.fromkeys(cell.task for cell in plan.cells))
    variants = len({cell.variant for cell in plan.cells})
    steps = sorted({cell.steps for cell in plan.cells if cell.steps is not None})
    ends = dict.fromkeys(f"{number:,}" for number in (*steps[:1], *steps[-1:]))
    budget = f"a budget of {' to '.join(ends)} updates" if ends else "a budget in seconds"
    seeds = ranges_text({cell.seed for cell in plan.cells})
    return f"{name}: {variants} variants on {tasks}; seeds {seeds}; {budget}"


def _declared_otherwise(plans: Mapping[str, Plan]) -> list[str]:
    """Return what the studies declare differently of how rows are judged, and what is done."""
    (first, mine), (second, other) = plans.items()
    settings = (
        ("study.minimum_effect", mine.study.minimum_effect, other.study.minimum_effect),
        ("study.family", mine.study.family, other.study.family),
        ("budget.match", mine.budget.match, other.budget.match),
    )
    done = {"budget.match": "rows are judged only where both have equal updates and seconds"}
    return [
        f"{setting} is {_said(own)} in {first} and {_said(theirs)} in {second}: "
        + done.get(setting, f"judged by that of {first}")
        for setting, own, theirs in settings
        if own != theirs
    ]


def _settings_apart(
    plans: Mapping[str, Plan], common: Sequence[Key], output_dir: Path
) -> list[str]:
    """Return in which settings rows of one name differ, a line for all that differ alike."""
    configs = [settings_by_row(plan, output_dir) for plan in plans.values()]
    alike: dict[tuple[str, ...], list[Key]] = {}
    for key in common:
        settings = [
            known[cell.run_id].to_dict()
            for plan, known in zip(plans.values(), configs, strict=True)
            for cell in plan.cells
            if (cell.variant, cell.task) == key and cell.run_id in known
        ]
        if len(settings) > 1 and (parts := differing_parts(settings[0], settings[-1])):
            alike.setdefault(tuple(parts), []).append(key)
    return [
        f"the settings of {_named(keys)} differ: {', '.join(parts)}"
        for parts, keys in alike.items()
    ]


def _said(value: str | float | None) -> str:
    return "null" if value is None else str(value)


def _shared_budget(plans: Iterable[Plan]) -> Budget:
    """Return by what the budgets of two studies are held against each other, in either order."""
    mine, other = (plan.budget for plan in plans)
    match = mine.match if mine.match == other.match else "updates"
    return replace(mine, match=match, tolerance=max(mine.tolerance, other.tolerance))


def _check_metric(plans: Mapping[str, Plan]) -> None:
    (first, metric), (second, other) = ((name, plan.metric) for name, plan in plans.items())
    if metric != other:
        raise ConfigError(
            f"{first} is about {metric}, {second} about {other}; studies are compared by one metric"
        )
    scores = [recorded_scores(plan.scores)[metric] for plan in plans.values()]
    meanings = [{name: getattr(score, name) for name in MEANING} for score in scores]
    if meanings[0] != meanings[1]:
        raise ConfigError(
            f"{metric} is {meanings[0]} in {first} and {meanings[1]} in {second}; studies are "
            "compared by one metric"
        )


def _common_keys(keys: Mapping[str, Mapping[Key, None]]) -> list[Key]:
    """Return the variants and tasks that both studies have."""
    (first, mine), (second, theirs) = keys.items()
    if common := [key for key in mine if key in theirs]:
        return common
    raise ConfigError(
        f"{first} and {second} have no row (variant and task) in common; {first} has "
        f"{_named(mine)}, {second} {_named(theirs)}"
    )


def _named(keys: Iterable[Key]) -> str:
    """Return the names of variants and tasks."""
    variants, tasks = (", ".join(dict.fromkeys(names)) for names in zip(*keys, strict=True))
    return f"{variants} on {tasks}"


def _side_by_side(plans: Mapping[str, Plan], common: Iterable[Key], output_dir: Path) -> Analysis:
    """Return an analysis whose variants are the studies, and whose tasks their rows.

    What a row's overrides are is left out: they say what one study asks, not two.
    """
    rows, configs, wanted = [], {}, set(common)
    for name, plan in plans.items():
        shared = [cell for cell in plan.cells if (cell.variant, cell.task) in wanted]
        configs |= settings_by_row(plan, output_dir)
        for row in read_rows(replace(plan, cells=tuple(shared)), output_dir):
            joined = f"{row.cell.variant}\0{row.cell.task}"
            own = {"variant": name, "task": joined, "factors": {}, "overrides": ()}
            rows.append(replace(row, cell=replace(row.cell, **own)))
    first, *_ = plans.values()
    study = replace(first.study, baseline=first.study.name, family="study", published=None)
    plan = replace(first, study=study, budget=_shared_budget(plans.values()))
    return Analysis(plan, rows, configs)
