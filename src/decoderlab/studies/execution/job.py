"""A planned run that is to be done, in whichever process."""

from __future__ import annotations

import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from decoderlab.common.disk import (
    MEGABYTE,
    free_bytes,
    full_message,
    is_full,
    passing_error,
    room_for,
)
from decoderlab.common.errors import ConfigError, EditedSource, Invalid, LaunchError, Unreadable
from decoderlab.common.part_building import find_target
from decoderlab.common.process import hidden_interrupt
from decoderlab.common.progress import say
from decoderlab.config.code_identity import own_name
from decoderlab.config.run_config import RunConfig
from decoderlab.config.secret_settings import redacted
from decoderlab.records.folder_owner import check_owner
from decoderlab.records.planned_as import note_planned
from decoderlab.records.run_folder import TERMINAL, RunFolder, write_text
from decoderlab.studies.design.plan_file import StudyCell, as_planned
from decoderlab.training.code_changes import code_digest
from decoderlab.training.prepared_run import prepare_planned
from decoderlab.training.recorder import ProgressReport
from decoderlab.training.run_lifecycle import execute


@dataclass(frozen=True)
class Job:
    """A run to be done.

    Args:
        cell: as planned.
        config: of the run.
        code: what the code was when the run was planned, see `code_digest`.
        before: when the status was written that the run had when the sweep was launched; None where
            it had none. Another status is of this launch, whatever the clocks say.
        starts: how often it was given to a process that died before it began.
        siblings: runs of the study before it that are trained alike.
    """

    cell: StudyCell
    config: RunConfig
    code: str
    before: float | None
    starts: int = 0
    siblings: tuple[StudyCell, ...] = ()

    @property
    def folder(self) -> RunFolder:
        """Where the run's records are."""
        return RunFolder(Path(self.config.run.output_dir) / self.cell.folder)


def obstacle(job: Job) -> str | None:
    """Return why no run can begin now; None if nothing speaks against it."""
    root, floor = Path(job.config.run.output_dir), job.config.run.min_free_megabytes * MEGABYTE
    if not root.is_dir():
        return (
            f"{root} was deleted or moved while the sweep was running; move it back, or give the "
            "same command again to start again"
        )
    needed = max(floor, room_for(job.cell.parameters))
    if free_bytes(root) >= needed:
        return None
    return f"no more runs are started: {full_message(root, needed)} (run.min_free_megabytes)"


def demand_room(job: Job) -> None:
    """Raise LaunchError where a run cannot begin now, see `obstacle`."""
    if text := obstacle(job):
        raise LaunchError(text)


def has_failed(job: Job, status: str) -> bool:
    """Whether the sweep is to stop, now that a job has ended with a status."""
    return status in ("FAILED", "DIVERGED") and job.config.study.on_failure == "stop"


def bring_to_end(job: Job, report: ProgressReport) -> str:
    """Bring a planned run to its end and return its status: RUNNING if another process is at it.

    Args:
        job: what was planned.
        report: called with (step, values) as training goes on.

    Raises:
        Interrupted: by a signal.
        LaunchError: if the disk is full, or somebody has deleted or moved the run's folder: how the
            run ended may not be written then; if a record of the run cannot be read now; if data
            or code were edited since the plan, which is no failure of a run.
    """
    folder, study, kept = job.folder, job.config.study, (job.config.logger, job.config.callbacks)
    root = Path(job.config.run.output_dir)
    changed = "changed after the study was planned"
    again = (
        "put it back and give the same command again, or give what is new a study of its own: "
        "study.name=NAME"
    )
    try:
        prepared = prepare_planned(job.config, folder)
        if prepared.run_id != job.cell.run_id:
            own = own_name(find_target("task", job.config.task.target)) is None
            hint = "; if nobody edited anything, the data of the task are others in each process: "
            hint += "sort what comes from sets, and draw from a seed"
            raise LaunchError(
                f"the data, or a class of yours, {changed}; {again}{hint if own else ''}"
            )
        if job.code != code_digest(job.config) and not study.allow_changes:
            raise LaunchError(
                f"the code {changed}; {again}, or accept both with study.allow_changes=true"
            )
        check_owner(folder, prepared.run_id, prepared.identity)  # before anything is written there
        if study.name is not None:
            note_planned(folder, study.name, as_planned(job.cell, study, job.config.budget))
        # What failed in this launch, here or in another process, is not tried again in it.
        older = folder.recorded_status().get("at") == job.before
        return execute(
            prepared,
            report=report,
            retry=study.retry == "failed" and older,
            wait=False,
            allow_changes=study.allow_changes,
            siblings=[sibling.run_folder(root) for sibling in job.siblings],
        )
    except LaunchError:
        raise
    except EditedSource as error:
        raise LaunchError(f"{error}; or give the same command again") from error
    except Exception as error:  # before or after training, which has a handler of its own
        if hidden := hidden_interrupt(error):
            raise hidden from error
        if is_full(error, folder.path):
            raise LaunchError(full_message(folder.path, room_for(job.cell.parameters))) from error
        if passing := passing_error(error, folder.path):
            raise LaunchError(redacted(passing, kept)) from error
        if isinstance(error, ConfigError | Invalid):  # of a folder that another version has made
            return give_up(job, redacted(str(error), kept))
        with suppress(OSError):
            write_text(folder.traceback, redacted(traceback.format_exc(), kept))
        return give_up(job, redacted(f"{type(error).__name__}: {error}", kept))


def give_up(job: Job, reason: str) -> str:
    """Record that a run has failed, unless it has ended otherwise, or another process is at it.

    Nothing is written into the folder of another run, which somebody has given this one's name.

    Returns:
        The run's status.
    """
    folder, own = job.folder, job.cell.run_id
    try:
        with folder.lock().acquire(timeout=0.5):
            record = folder.recorded_status()
            if record.get("run_id", own) != own:
                say(f"{job.cell.title}: {reason}")
                return "FAILED"
            if record["status"] not in TERMINAL:
                folder.set_status("FAILED", reason=reason, run_id=own)
            return folder.recorded_status()["status"]
    except Unreadable as error:  # how the run has ended is not known, and may be well
        say(f"{job.cell.title}: {reason}; {error}")
        return "INTERRUPTED"
    except Timeout:
        return "RUNNING"
