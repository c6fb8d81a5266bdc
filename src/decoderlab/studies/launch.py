"""Launching a study: plan everything, run what is not finished, make the report."""

from __future__ import annotations

import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.prompt import Confirm
from rich.table import Table

from decoderlab import progress
from decoderlab.config import ConfigError, call, complete
from decoderlab.drift import drift
from decoderlab.progress import duration, say
from decoderlab.records import RunFolder
from decoderlab.settings import Study
from decoderlab.studies.compose import Composer
from decoderlab.studies.grid import grid
from decoderlab.studies.plan import (
    Cell,
    configs_file,
    plan_file,
    read_configs,
    read_plan,
)
from decoderlab.studies.planning import Planned, is_settled, make_plan
from decoderlab.studies.pool import Job, give_up
from decoderlab.studies.report import build_report, print_table
from decoderlab.studies.tuning import Tuner

Start = Callable[[Sequence[Job], Path], None]
LOOK_AGAIN_SECONDS = 1.0
MAX_DEATHS = 3
# When the processes that died were started, by run and newest checkpoint.
Deaths = defaultdict[tuple[str, str], set[float]]
SHOWN_DRIFTS = 3


def launch(
    arguments: Sequence[str],
    *,
    params: Mapping[str, Any],
    study: Mapping[str, Any],
    compose: Composer,
    start: Start,
    jobs: int,
    plan_only: bool,
) -> int:
    """Plan, run and report a study.

    Args:
        arguments: of the command line.
        params: `hydra.sweeper.params`.
        study: the settings of the study.
        compose: from overrides to a config.
        start: runs jobs with the launcher; given the jobs, and where the plan lies.
        jobs: how many runs at a time the launcher does, for the estimate.
        plan_only: show the plan and write nothing.

    Returns:
        The exit code: 0 if everything planned is finished, else 1.

    Raises:
        ConfigError: if any cell cannot work; nothing has been written then.
        Interrupted: by a signal.
    """
    study = complete("study", Study, study)
    call("study", Study, **study)
    cells = grid(study, params, arguments, compose.parse)
    planned = make_plan(cells, compose)
    for note in planned.notes:
        say(f"note: {note}")
    tuner = Tuner(cells, planned, compose) if study["tuning"] else None
    times = 1 if tuner is None else 1 + tuner.num_runs / len(planned.plan.cells)
    if plan_only:
        show(planned, jobs)
        if tuner is not None:
            say(f"before them, {tuner.num_runs} runs of tuning; all in {times:.1f} times that")
        planned.demand_possible()
        return 0
    planned.demand_possible()

    def do(one: Planned) -> None:
        run(check_drift(one), start, jobs)

    confirm(planned, jobs, times)
    if tuner is not None:
        tuned, record = tuner.tune(planned.output_dir, do)
        planned = make_plan(tuned, compose, record)
        planned.demand_possible()
    planned = check_drift(planned)
    run(planned, start, jobs)
    report = build_report(planned.plan, planned.output_dir)
    print_table(report)
    return 0 if report.complete else 1


def run(planned: Planned, start: Start, jobs: int) -> None:
    """Write the plan and do what is pending, with whoever else has launched the same study."""
    plan, output_dir = planned.plan, planned.output_dir
    plan.write(output_dir, planned.configs)
    say(_told(planned, jobs))
    if not planned.pending:
        return
    todo = [Job(cell, planned.configs[cell.run_id]) for cell in planned.pending]
    path = plan_file(output_dir, plan.study["name"])
    progress.tally = progress.Tally(len(todo), reused=len(plan.cells) - len(todo))
    deaths: Deaths = defaultdict(set)
    try:
        while todo:
            before = _standing(todo, deaths)
            start(todo, path)
            todo = _left(todo, deaths)
            if _standing(todo, deaths) == before:
                break  # nothing gets anywhere: the report says what is missing
    finally:
        progress.tally = None


def _standing(jobs: Sequence[Job], deaths: Deaths) -> tuple[list[tuple[str, str]], int]:
    """Return what changes in a round that gets anywhere; it cannot do so for ever."""
    where = [(job.cell.run_id, _newest_checkpoint(job.folder)) for job in jobs]
    return where, sum(map(len, deaths.values()))


def _newest_checkpoint(folder: RunFolder) -> str:
    return next((path.name for path in folder.resume_checkpoints()), "")


def _left(jobs: Sequence[Job], deaths: Deaths) -> list[Job]:
    """Return the jobs that another round has to do, once there is something to do.

    Args:
        jobs: of the last round.
        deaths: those of runs under a launcher that does not say so are added. Only a run that dies
            where it died before is given up: it may have gone down with another one.
    """
    # What failed in this launch is not tried again in it.
    left = [job for job in jobs if not is_settled(job.folder, "none")]
    elsewhere = [job for job in left if job.folder.locked()]
    if elsewhere and len(elsewhere) == len(left):
        say(f"waiting for {len(elsewhere)} runs that another launch is at")
        while all(job.folder.locked() for job in elsewhere):
            time.sleep(LOOK_AGAIN_SECONDS)
    for job in left:
        record = job.folder.recorded_status()
        if record["status"] == "RUNNING" and not job.folder.locked():
            died = deaths[job.cell.run_id, _newest_checkpoint(job.folder)]
            died.add(record["started"])
            if len(died) == MAX_DEATHS:
                give_up(job.folder, f"its process died {MAX_DEATHS} times at the same place")
    return [job for job in left if not is_settled(job.folder, "none")]


def _told(planned: Planned, jobs: int) -> str:
    """Return what is about to happen, in a line."""
    cells, pending = planned.plan.cells, planned.pending
    waiting = {cell.run_id for cell in pending}
    settled = [cell for cell in cells if cell.run_id not in waiting]
    finished = sum(RunFolder(planned.output_dir / cell.folder).finished() for cell in settled)
    name = planned.plan.study["name"]
    text = f"study {name}: {len(cells)} runs planned, {finished} finished before"
    if len(settled) > finished:
        text += f", {len(settled) - finished} failed before (study.retry=failed runs them again)"
    if pending:
        text += f"; {estimate(planned, jobs)}"
    return text


def estimate(planned: Planned, jobs: int) -> str:
    """Return how long the pending runs will take, as far as that is known."""
    if math.isnan(planned.seconds):
        return "how long it takes is not known"
    at_a_time = max(min(jobs, len(planned.pending)), 1)
    return f"about {duration(planned.seconds / at_a_time)} with {at_a_time} at a time"


def confirm(planned: Planned, jobs: int, times: float) -> None:
    """Ask a person about a very large sweep.

    Args:
        planned: what is to be done.
        jobs: runs at a time.
        times: how much more there is, with tuning.

    Raises:
        ConfigError: if the answer is no, or there is nobody to ask.
    """
    study, number = planned.plan.study, len(planned.pending)
    planned = replace(planned, seconds=planned.seconds * times)
    number = round(number * times)
    hours = planned.seconds / 3600 / max(min(jobs, number), 1)
    too_many = number > study["max_runs"]
    if not too_many and not hours > study["max_hours"]:
        return
    size = f"{number:,} runs are to be done, {estimate(planned, jobs)}"
    if sys.stdin.isatty() and sys.stderr.isatty():
        if Confirm.ask(f"{size}. Go on?", console=progress.console, default=False):
            return
        raise ConfigError("not confirmed; nothing was started")
    name, value = ("max_runs", number) if too_many else ("max_hours", math.ceil(hours))
    raise ConfigError(
        f"{size}, which is above study.{name}={study[name]:g}; if that is meant, give "
        f"study.{name}={value}"
    )


def check_drift(planned: Planned) -> Planned:
    """Refuse runs of other code, and a plan that loses runs, unless `study.allow_drift`.

    Returns:
        The same, with the drift that was allowed in its plan.
    """
    drifted = [*_other_code(planned), *_other_plan(planned)]
    if drifted and not planned.plan.study["allow_drift"]:
        raise ConfigError("\n".join(drifted))
    plan = replace(planned.plan, drift=tuple(one.split("; ")[0] for one in drifted))
    return replace(planned, plan=plan)


def _other_code(planned: Planned) -> list[str]:
    found: dict[str, list[Path]] = {}
    for cell in planned.plan.cells:
        path = planned.output_dir / cell.folder
        if path.is_dir() and (changed := drift(RunFolder(path))):
            found.setdefault(", ".join(changed), []).append(path)
    return [
        f"{len(paths)} of {len(planned.plan.cells)} runs were made by other code: {what}; delete "
        f"their folders ({', '.join(map(str, paths[:SHOWN_DRIFTS]))}"
        f"{', ...' if len(paths) > SHOWN_DRIFTS else ''}) to train them anew, give another "
        "run.output_dir, or take them as they are with study.allow_drift=true, which is recorded"
        for what, paths in found.items()
    ]


def _other_plan(planned: Planned) -> list[str]:
    name, output_dir = planned.plan.study["name"], planned.output_dir
    try:
        before = read_plan(output_dir, name)
        configs = read_configs(configs_file(plan_file(output_dir, name)))
    except (ConfigError, OSError, ValueError):
        return []
    kept = {cell.run_id for cell in planned.plan.cells}
    lost = [cell for cell in before.cells if cell.run_id not in kept]
    if not lost:
        return []
    now = {(cell.variant, cell.task, cell.seed): cell for cell in planned.plan.cells}
    twin = now.get((lost[0].variant, lost[0].task, lost[0].seed))
    if twin is None or lost[0].run_id not in configs:
        what = f"such as {lost[0].title}"
    else:
        changed = _changed(configs[lost[0].run_id], planned.configs[twin.run_id])
        what = f"since {changed or 'the data'} changed"
    return [
        f"{len(lost)} of {len(before.cells)} runs that study {name} consists of are not in this "
        f"sweep, {what}; give this one a name of its own (study.name=NAME), or replace the plan "
        "with study.allow_drift=true (the old one is kept beside it)"
    ]


def _changed(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> str:
    """Return the settings that differ between two configs, with both values."""
    texts = []
    for key in dict.fromkeys([*before, *now]):
        one, other, name = before.get(key), now.get(key), f"{prefix}{key}"
        if name in ("run", "study", "budget", "choices") or one == other:
            continue
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            texts.append(_changed(one, other, f"{name}."))
        else:
            texts.append(f"{name} {one} -> {other}")
    return ", ".join(texts)


def show(planned: Planned, jobs: int) -> None:
    """Print what a study consists of, a line for each row and column of its table."""
    told: dict[tuple[str, str], list[Cell]] = {}
    for cell in planned.plan.cells:
        told.setdefault((cell.variant, cell.task), []).append(cell)
    names = ("variant", "task", "parameters", "operations", "updates", "seeds", "finished")
    table = Table(*names, box=None)
    for (variant, task), cells in told.items():
        finished = sum(RunFolder(planned.output_dir / cell.folder).finished() for cell in cells)
        first, seeds = cells[0], ", ".join(str(cell.seed) for cell in cells)
        table.add_row(
            escape(variant),
            escape(task),
            f"{first.parameters:,}",
            f"{first.flops:,.0f}",
            f"{first.steps:,}" if first.steps else "by time",
            seeds,
            str(finished),
        )
    progress.output().print(table)
    number = len(planned.pending)
    left = f"; {estimate(planned, jobs)}" if number else ""
    say(f"{number} of {len(planned.plan.cells)} runs to do{left}")
