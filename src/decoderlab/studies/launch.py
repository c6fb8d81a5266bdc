"""Launching a study: plan everything, run what is not finished, make the report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobStatus
from omegaconf import DictConfig
from rich.markup import escape
from rich.table import Table

from decoderlab import process, progress
from decoderlab.config import ConfigError
from decoderlab.progress import say
from decoderlab.records import RunFolder
from decoderlab.runs import Prepared, prepare
from decoderlab.studies.plan import Cell, Plan, factors, labels
from decoderlab.studies.report import build_report, print_table


def launch(
    cells: Sequence[Sequence[str]],
    *,
    compose: Callable[[Sequence[str]], DictConfig],
    start: Callable[[Sequence[Sequence[str]]], Sequence[Any]],
    max_batch_size: int | None,
) -> int:
    """Plan, run and report a study.

    Args:
        cells: the overrides of each cell.
        compose: from overrides to a config with its `hydra` node.
        start: runs cells with the launcher and returns Hydra's job returns.
        max_batch_size: Hydra's setting, which is refused.

    Returns:
        The exit code: 0 if everything planned is finished, else 1.

    Raises:
        ConfigError: if any cell cannot work; nothing has been written then.
    """
    if max_batch_size is not None:
        raise ConfigError(
            f"hydra.sweeper.max_batch_size is {max_batch_size}; leave it out: with it, one failed "
            "run would keep all later batches from starting"
        )
    plan, pending, output_dir = make_plan(cells, compose)
    if process.plan_only:
        _show(plan, output_dir)
        return 0
    plan.write(output_dir)
    name = plan.study["name"]
    finished = sum(RunFolder(output_dir / cell.folder).finished() for cell in plan.cells)
    failed = len(plan.cells) - len(pending) - finished
    told = f"study {name}: {len(plan.cells)} runs planned, {finished} finished before"
    if failed:
        told += f", {failed} failed before (study.retry=failed runs them again)"
    say(told)
    problems: list[str] = []
    if pending:
        progress.tally = progress.Tally(total=len(pending), reused=finished)
        try:
            returns = start([cells[place] for place in pending])
        finally:
            progress.tally = None
        problems = [str(one._return_value) for one in returns if one.status != JobStatus.COMPLETED]
    report = build_report(plan, output_dir)
    print_table(report)
    for problem in problems:
        say(f"a run could not be started: {problem}")
    return 0 if report.complete and not problems else 1


def make_plan(
    cells: Sequence[Sequence[str]], compose: Callable[[Sequence[str]], DictConfig]
) -> tuple[Plan, list[int], Path]:
    """Check every cell and return the plan, the places of unfinished cells, and the output folder.

    Raises:
        ConfigError: naming the first cell that cannot work.
    """
    as_mappings = [dict(override.split("=", 1) for override in cell) for cell in cells]
    varied = factors(as_mappings)
    planned: dict[str, Cell] = {}
    say(f"planning {len(cells)} runs")
    pending, study, output_dir = [], {}, Path()
    for place, (cell, mapping) in enumerate(zip(cells, as_mappings, strict=True)):
        config = compose(cell)
        choices = dict(config.hydra.runtime.choices)
        try:
            prepared = prepare(config, choices)
        except ConfigError as error:
            of_cell = " ".join(f"{key}={mapping[key]}" for key in varied)
            raise ConfigError(f"{error} (in the cell {of_cell or 'of this sweep'})") from error
        study = prepared.config["study"]
        output_dir = Path(prepared.config["run"]["output_dir"])
        row, column = labels(mapping, varied, choices)
        if prepared.run_id in planned:
            twin = planned[prepared.run_id]
            say(
                f"note: {row}, {column}, seed {prepared.config['seed']} is the same run as "
                f"{twin.variant}, {twin.task}, seed {twin.seed}; it is planned once"
            )
            continue
        planned[prepared.run_id] = _cell(prepared, row, column, tuple(cell), output_dir)
        if not _is_settled(prepared):
            pending.append(place)
    if study["name"] is None:
        digest = hashlib.sha256(" ".join(planned).encode()).hexdigest()
        study = study | {"name": f"sweep-{digest[:8]}"}
    rows = {cell.variant for cell in planned.values()}
    if study["baseline"] is not None and study["baseline"] not in rows:
        say(f"note: the baseline {study['baseline']} is not one of {', '.join(sorted(rows))}")
    return Plan(study, tuple(planned.values())), pending, output_dir


def _show(plan: Plan, output_dir: Path) -> None:
    """Print what a study consists of, a line for each row and column of its table."""
    told: dict[tuple[str, str], list[Cell]] = {}
    for cell in plan.cells:
        told.setdefault((cell.variant, cell.task), []).append(cell)
    table = Table("variant", "task", "parameters", "seeds", "finished", box=None)
    for (variant, task), cells in told.items():
        finished = sum(RunFolder(output_dir / cell.folder).finished() for cell in cells)
        seeds = ", ".join(str(cell.seed) for cell in cells)
        table.add_row(
            escape(variant), escape(task), f"{cells[0].parameters:,}", seeds, str(finished)
        )
    progress.output().print(table)


def _cell(
    prepared: Prepared, row: str, column: str, overrides: tuple[str, ...], output_dir: Path
) -> Cell:
    return Cell(
        run_id=prepared.run_id,
        folder=str(prepared.folder.path.relative_to(output_dir)),
        variant=row,
        task=column,
        seed=prepared.config["seed"],
        parameters=prepared.num_parameters,
        overrides=overrides,
    )


def _is_settled(prepared: Prepared) -> bool:
    """Whether a launch leaves this run as it is."""
    status = prepared.folder.status()["status"]
    if status in ("FAILED", "DIVERGED"):
        return prepared.config["study"]["retry"] == "none"
    return prepared.folder.finished()
