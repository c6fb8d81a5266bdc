"""A planned run that is to be done, in whichever process."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from decoderlab.common.errors import ConfigError
from decoderlab.config.run_config import RunConfig
from decoderlab.records.run_folder import TERMINAL, RunFolder, write_text
from decoderlab.studies.design.plan_file import Cell
from decoderlab.training.code_changes import code_digest
from decoderlab.training.prepared_run import prepare_planned
from decoderlab.training.recorder import Report
from decoderlab.training.run_lifecycle import execute


@dataclass(frozen=True)
class Job:
    """A run to be done.

    Args:
        cell: as planned.
        config: of the run.
        code: what the code was when the run was planned, see `code_digest`.
        launched: when the sweep was launched, in seconds since the epoch.
        starts: how often it was given to a process that died before it began.
    """

    cell: Cell
    config: RunConfig
    code: str
    launched: float
    starts: int = 0

    @property
    def folder(self) -> RunFolder:
        """Where the run's records are."""
        return RunFolder(Path(self.config.run.output_dir) / self.cell.folder)


def bring_to_end(job: Job, report: Report) -> str:
    """Bring a planned run to its end and return its status: RUNNING if another process is at it.

    Args:
        job: what was planned; what is not what was planned is given up.
        report: called with (step, values) as training goes on.

    Raises:
        Interrupted: by a signal.
    """
    folder, study = job.folder, job.config.study
    again = "; give the same command again, with study.retry=failed"
    try:
        prepared = prepare_planned(job.config, folder)
        if prepared.run_id != job.cell.run_id:
            what = "the data, or a class of yours,"
            return give_up(folder, f"{what} changed after the study was planned{again}")
        if job.code != code_digest(job.config) and not study.allow_drift:
            return give_up(folder, f"the code changed after the study was planned{again}")
        # What failed in this launch, here or in another process, is not tried again in it.
        older = folder.recorded_status().get("at", 0.0) < job.launched
        return execute(
            prepared,
            report=report,
            retry=study.retry == "failed" and older,
            wait=False,
            allow_drift=study.allow_drift,
        )
    except ConfigError as error:  # the disk, or a folder that another version has made
        return give_up(folder, str(error))
    except Exception as error:  # before or after training, which has a handler of its own
        write_text(folder.traceback, traceback.format_exc())
        return give_up(folder, f"{type(error).__name__}: {error}")


def give_up(folder: RunFolder, reason: str) -> str:
    """Record that a run has failed, unless it has ended otherwise, or another process is at it.

    Returns:
        The run's status.
    """
    try:
        with folder.lock().acquire(timeout=0.5):
            if folder.recorded_status()["status"] not in TERMINAL:
                folder.set_status("FAILED", reason=reason)
            return folder.recorded_status()["status"]
    except Timeout:
        return "RUNNING"
