"""Launching a study: plan everything, run what is not finished, make the report."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.prompt import Confirm

from decoderlab.common import process, progress
from decoderlab.common.errors import ConfigError, Invalid, Unreadable
from decoderlab.common.progress import say
from decoderlab.config.code_identity import looking_once
from decoderlab.config.messages import training_notes
from decoderlab.config.run_identity import sorted_json
from decoderlab.config.scientific import training_of
from decoderlab.config.study_settings import TUNING, Study
from decoderlab.records.held_folder import tidy_semaphores, tidy_shared
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.design.composed_cells import Composer
from decoderlab.studies.design.grid import GridCell
from decoderlab.studies.design.plan_file import Plan, StudyCell, plan_file, read_plan, study_folder
from decoderlab.studies.design.planned_and_run import is_left_alone, note_all_planned
from decoderlab.studies.design.preparation import Planned, make_plan
from decoderlab.studies.design.replanning_checks import check_changes
from decoderlab.studies.design.sealed_plan import settings_of
from decoderlab.studies.design.shared_starts import dependent_seeds
from decoderlab.studies.execution.finished_launch import LaunchNote
from decoderlab.studies.execution.job import Job, demand_room, give_up, has_failed
from decoderlab.studies.execution.launch_reads import LaunchReads, reads_ignored
from decoderlab.studies.execution.shown_plan import estimate, plan_record, show_plan
from decoderlab.studies.execution.tuning import Tuner
from decoderlab.training.code_changes import code_digest
from decoderlab.training.prepared_run import check_writable

Start = Callable[[Sequence[Job], Path], None]
LOOK_AGAIN_SECONDS = 1.0
MAX_DEATHS = 3
# When the processes that died were started, by run and newest checkpoint.
Deaths = defaultdict[tuple[str, str], set[float]]


def launch(
    cells: Sequence[GridCell],
    *,
    study: Study,
    compose: Composer,
    start: Start,
    jobs: int,
    plan_only: bool,
    key: str | None,
    reads: LaunchReads,
) -> int:
    """Plan, run and report a study.

    Args:
        cells: of the grid.
        study: its settings.
        compose: from overrides to a config.
        start: runs jobs with the launcher; given the jobs, and where the plan lies.
        jobs: how many runs at a time the launcher does, for the estimate.
        plan_only: show the plan and write nothing.
        key: of the launch, see `launch_key`; None for one that is never repeated.
        reads: what is read on the way.

    Returns:
        The exit code: 0 if everything planned is finished, else 1.

    Raises:
        ConfigError: if any cell cannot work; nothing has been written then.
        Interrupted: by a signal.
    """
    if study.name is not None and study.name.endswith(TUNING):
        raise ConfigError(f"study.name is {study.name!r}; {TUNING} is for the trials of a study")
    chosen = compose.master.hydra.runtime.choices.get("study", "adhoc")
    default_name = None if chosen == "adhoc" else chosen
    if study.tuning and not (study.name or default_name):
        raise ConfigError("a study that tunes needs a name; give study.name=NAME")
    planned = make_plan(cells, compose, default_name)
    planned = replace(planned, notes=notes_of(planned))
    for note in planned.notes:
        say(f"note: {note}")
    tuner = Tuner(cells, planned, compose, study.tuning) if study.tuning else None
    if plan_only and process.plan_as_json:
        print(json.dumps(plan_record(planned, tuner), indent=2))  # noqa: T201
    elif plan_only:
        show_plan(planned, jobs)
        if tuner is not None:
            say(f"before them, {tuner.num_runs} runs of tuning (the table is of untuned settings)")
    planned.demand_possible()
    if plan_only:
        return 0
    # They import matplotlib, which no plan needs.
    from decoderlab.studies.reporting.build import build_report
    from decoderlab.studies.reporting.terminal_table import terminal_report

    check_writable(planned.output_dir, [study_folder(planned.output_dir, planned.plan.name)])
    if tuner is None:
        confirm([planned], jobs)
    else:
        planned = _tuned(tuner, planned, start, jobs, default_name)
    planned = check_changes(planned)
    run_pending(planned, start, jobs)
    failed = tuner is not None and any(map(any, tuner.failures.values()))  # of which it has said
    notes = [note for note in planned.notes if note not in _once(planned)]
    launched = LaunchNote(None if failed else key, planned, reads, notes)
    say("writing the report")
    report = build_report(_plan_now(planned), planned.output_dir)
    shown = terminal_report(report)
    shown.print()
    launched.leave(report, shown)
    return 0 if report.complete else 1


def notes_of(planned: Planned) -> list[str]:
    """Return what a person should know of a plan before it is run.

    Raises:
        ConfigError: for two runs of one row, task and seed.
    """
    settings = {run: settings_of(config.to_dict()) for run, config in planned.configs.items()}
    shared = dependent_seeds(planned.plan.cells, settings)
    return [*planned.notes, *_once(planned), *planned.check_seeds(), *shared]


def _once(planned: Planned) -> list[str]:
    """Return which runs have a single validation, or do without their objective, by reason."""
    runs: Counter[str] = Counter()
    for cell in planned.pending:
        config = planned.configs[cell.run_id]
        every, objective = config.evaluation.every_steps, config.training.objective
        runs.update(training_notes(cell.steps, every, objective))
    return [f"{number} runs are {what}" for what, number in runs.items()]


def _plan_now(planned: Planned) -> Plan:
    """Return the plan that lies on the disk, as whoever reports on it later sees it."""
    try:
        read = read_plan(planned.output_dir, planned.plan.name)
    except (ConfigError, Invalid):  # somebody has just deleted it, or is at it
        return planned.plan
    if read.cells != planned.plan.cells:
        say(
            f"the study was planned anew meanwhile, with {len(read.cells)} runs in place of "
            f"{len(planned.plan.cells)}; the report is of these"
        )
    return read


def _tuned(
    tuner: Tuner, planned: Planned, start: Start, jobs: int, default_name: str | None
) -> Planned:
    """Run the trials of a study's tuning; return the study's plan with the best settings."""
    confirmed = False

    def do(trials: Planned) -> Planned:
        nonlocal confirmed
        trials = check_changes(trials)
        if trials.pending and not confirmed:
            confirm([trials, planned], jobs)
            confirmed = True
        run_pending(trials, start, jobs)
        return trials

    tuned, record, changes = tuner.tune(planned.output_dir, do)
    best = make_plan(tuned, tuner.compose, default_name)
    best.demand_possible()
    # Such as rows that tuning made the same run.
    for note in (notes := [note for note in best.notes if note not in planned.notes]):
        say(f"note: {note}")
    if not confirmed:
        confirm([best], jobs)
    plan = replace(best.plan, tuning=record, accepted_changes=changes)
    return replace(best, plan=plan, notes=[*planned.notes, *notes])


def run_pending(planned: Planned, start: Start, jobs: int) -> None:
    """Write the plan and do what is pending, with whoever else has launched the same study."""
    plan, output_dir = planned.plan, planned.output_dir
    path = plan_file(output_dir, plan.name)
    plan.write(output_dir, planned.configs)
    pending = {cell.run_id for cell in planned.pending}
    note_all_planned(plan, output_dir, {cell.run_id for cell in plan.cells} - pending)
    tidy_shared(path.parent)
    tidy_semaphores()
    failed = _failed_before(planned)
    say(_announcement(planned, failed, jobs))
    configs, siblings = planned.configs, _siblings(planned)
    with looking_once():
        todo = [
            Job(cell, config, code_digest(config), before, siblings=siblings[cell.run_id])
            for cell in planned.pending
            for config in [configs[cell.run_id]]
            for before in [cell.run_folder(output_dir).recorded_status(lenient=True).get("at")]
        ]
    todo.sort(key=lambda job: bool(job.siblings))  # what is trained goes before what is only tested
    reused = len(plan.cells) - len(todo)
    tally = progress.tally = progress.Tally(len(todo), reused=reused, failed_before=failed)
    tally.estimate = planned.seconds / max(min(jobs, len(todo)), 1)
    steps = {cell.run_id: cell.steps for cell in planned.pending}
    tally.updates = {name: number for name, number in steps.items() if number}
    if len(tally.updates) < len(steps):
        tally.updates = {}  # budgets in seconds
    deaths: Deaths = defaultdict(set)
    try:
        while todo:
            free = _wait_for_free(todo)
            demand_room(free[0])
            before = _standing(todo, deaths)
            with reads_ignored():
                start(free, path)
            _note_deaths(todo, deaths)
            # What failed in this launch is not tried again in it.
            ended = [job for job in todo if is_left_alone(job.folder, "none")]
            for job in ended:
                tally.ended.setdefault(job.cell.run_id, job.folder.status()["status"])
            todo = [job for job in todo if job not in ended]
            if todo and any(has_failed(job, tally.ended[job.cell.run_id]) for job in ended):
                say(f"stopped at the first failure (study.on_failure=stop): {len(todo)} left to do")
                break
            elsewhere = any(job.folder.locked(unknown=False) for job in todo)
            if not elsewhere and _standing(todo, deaths) == before:
                break  # nothing gets anywhere: the report says what is missing
    finally:
        progress.tally = None
    if not path.exists() and output_dir.exists():
        say(f"{path.parent} was deleted while the sweep was running; its plan is written again")
        plan.write(output_dir, planned.configs)


def _siblings(planned: Planned) -> dict[str, tuple[StudyCell, ...]]:
    """Return for each run those that are trained alike and come before it, see `take_training`.

    Their order is that of their ids, in every study and launch: no two can wait for each other.
    """
    alike: dict[str, tuple[StudyCell, ...]] = {}
    siblings = {}
    for cell in sorted(planned.plan.cells, key=lambda cell: cell.run_id):
        training = training_of(planned.configs[cell.run_id].scientific())
        key = cell.run_id if training is None else sorted_json(training)
        siblings[cell.run_id] = alike.get(key, ())
        alike[key] = (*siblings[cell.run_id], cell)
    return siblings


def _wait_for_free(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs that no other launch is at, once there are any.

    Where that cannot be known, a job is tried: what it then says is what to do.
    """
    said = False
    while not (free := [job for job in jobs if not job.folder.locked(unknown=False)]):
        if not said:
            say(f"waiting for {len(jobs)} runs of another launch")
            said = True
        time.sleep(LOOK_AGAIN_SECONDS)
    return free


def _standing(jobs: Sequence[Job], deaths: Deaths) -> tuple[list[tuple[str, str, str]], int]:
    """Return what some job changes in every round of progress: its status, checkpoint or deaths."""
    where = [
        (
            job.cell.run_id,
            job.folder.recorded_status(lenient=True)["status"],
            _newest_checkpoint(job.folder),
        )
        for job in jobs
    ]
    return where, sum(map(len, deaths.values()))


def _newest_checkpoint(folder: RunFolder) -> str:
    try:
        return next((path.name for path in folder.resume_checkpoints()), "")
    except Unreadable:
        return ""


def _note_deaths(jobs: Sequence[Job], deaths: Deaths) -> None:
    """Add the deaths of runs under a launcher that does not say so.

    Only a run that dies where it died before is given up: it may have gone down with another run.
    """
    for job in jobs:
        record = job.folder.recorded_status(lenient=True)
        if record["status"] == "RUNNING" and not job.folder.locked():
            died = deaths[job.cell.run_id, _newest_checkpoint(job.folder)]
            died.add(record.get("started", 0.0))
            if len(died) == MAX_DEATHS:
                give_up(job, f"its process died {MAX_DEATHS} times at the same update")


def _failed_before(planned: Planned) -> int:
    """Return how many runs failed in an earlier launch and are left as they are."""
    pending = {cell.run_id for cell in planned.pending}
    left = [cell for cell in planned.plan.cells if cell.run_id not in pending]
    ended = [cell.run_folder(planned.output_dir).status()["status"] for cell in left]
    return sum(status != "FINISHED" for status in ended)


def _announcement(planned: Planned, failed: int, jobs: int) -> str:
    """Return what is about to happen, in a line."""
    number, pending = len(planned.plan.cells), planned.pending
    text = (
        f"study {planned.plan.name}: {number} runs planned, "
        f"{number - len(pending) - failed} finished before"
    )
    if failed:
        text += f", {failed} failed before (study.retry=failed runs them again)"
    return f"{text}; {estimate([planned], jobs)}" if pending else text


def confirm(plans: Sequence[Planned], jobs: int) -> None:
    """Ask a person about a very large sweep.

    Args:
        plans: what is to be done, one after the other.
        jobs: runs at a time.

    Raises:
        ConfigError: if the answer is no, or there is nobody to ask.
    """
    study, number = plans[-1].plan.study, sum(len(plan.pending) for plan in plans)
    hours = sum(plan.seconds for plan in plans) / 3600 / max(min(jobs, number), 1)
    too_many = number > study.max_runs
    if not too_many and not hours > study.max_hours:
        return
    size = f"{number:,} runs are pending, {estimate(plans, jobs)}"
    if sys.stdin.isatty() and sys.stderr.isatty():
        with contextlib.suppress(EOFError):
            if Confirm.ask(f"{size}. Continue?", console=progress.console, default=False):
                return
        raise ConfigError("not confirmed; nothing was started")
    name, limit, value = "max_hours", study.max_hours, math.ceil(hours)
    if too_many:
        name, limit, value = "max_runs", study.max_runs, number
    raise ConfigError(
        f"{size}, which is above study.{name}={limit:g}; if that is intended, give "
        f"study.{name}={value}"
    )
