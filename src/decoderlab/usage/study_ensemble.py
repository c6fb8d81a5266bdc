"""The seeds of a study's row as one model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.common.require import did_you_mean
from decoderlab.metrics.signature import signature_parts
from decoderlab.studies.analysis.results import RunRow, read_rows
from decoderlab.studies.design.plan_file import read_plan
from decoderlab.training.loading import LoadedRun, load_run
from decoderlab.usage.ensemble import ensemble


class RowEnsemble(NamedTuple):
    """The finished seeds of a row as one model.

    Args:
        run: all of them, which predicts by the mean of their probabilities at each step.
        seeds: of its members.
        missing: seeds that are planned and not finished, each with its status.
        damage: what is damaged of the study.
    """

    run: LoadedRun
    seeds: list[int]
    missing: dict[int, str]
    damage: tuple[str, ...]


def row_ensemble(
    study: str,
    variant: str,
    task: str | None = None,
    *,
    output_dir: str | Path = "outputs",
    trust: bool = False,
) -> RowEnsemble:
    """Open the finished seeds of a variant of a study as one model; see `ensemble`.

    Args:
        study: its name.
        variant: a row of its table.
        task: a column of it; None where there is only one.
        output_dir: as in `run.output_dir`.
        trust: as for `load_run`.

    Raises:
        ConfigError: if there is no such study, variant or task, no seed of it is finished, or the
            seeds have data of their own.
        Invalid: for a seed that is damaged, or cannot be read: without it, it would be another
            ensemble; and as `load_run` does.
    """
    plan = read_plan(Path(output_dir), study)
    _check_known(f"variant of {study}", variant, [cell.variant for cell in plan.cells])
    tasks = list(dict.fromkeys(cell.task for cell in plan.cells if cell.variant == variant))
    if task is None and len(tasks) > 1:
        raise ConfigError(f"{study} has several tasks; give --task, one of {', '.join(tasks)}")
    chosen = tasks[0] if task is None else task
    _check_known(f"task of {study}", chosen, tasks)
    cells = [cell for cell in plan.cells if (cell.variant, cell.task) == (variant, chosen)]
    rows = read_rows(replace(plan, cells=tuple(cells)), Path(output_dir))
    for row in rows:
        if row.result is None:  # a status that cannot be read now counts as interrupted there
            row.cell.run_folder(Path(output_dir)).recorded_status()
    if damaged := next((row for row in rows if row.status == "INVALID"), None):
        what = f"(seed {damaged.cell.seed} of {variant}) is not in order: {damaged.reason}"
        raise Invalid(damaged.cell.run_folder(Path(output_dir)).path, what)
    finished = [row for row in rows if row.result is not None]
    if not finished:
        states = ", ".join(f"seed {row.cell.seed} {row.status}" for row in rows)
        raise ConfigError(f"no seed of {variant} on {chosen} is finished ({states})")
    _check_same_data(finished)
    folders = [row.cell.run_folder(Path(output_dir)).path for row in finished]
    runs = [load_run(folder, data=index == 0, trust=trust) for index, folder in enumerate(folders)]
    missing = {row.cell.seed: row.status for row in rows if row.result is None}
    seeds = [row.cell.seed for row in finished]
    return RowEnsemble(ensemble(runs), seeds, missing, tuple(plan.damage))


def _check_known(what: str, name: str, known: list[str]) -> None:
    if name not in known:
        names = list(dict.fromkeys(known))
        raise ConfigError(
            f"there is no {what} {name!r}; there are {', '.join(names)}.{did_you_mean(name, names)}"
        )


def _check_same_data(rows: list[RunRow]) -> None:
    data = {signature_parts(row.signature or "")["data"] for row in rows}
    if len(data) > 1:
        raise ConfigError(
            "the seeds have data of their own, so that one's test examples can be another's "
            "training examples; an ensemble needs seeds that share their data"
        )
