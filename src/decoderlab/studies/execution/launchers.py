"""How planned runs reach a launcher: our own pool, or any launcher of Hydra's."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import loky
import torch
from hydra.core.utils import JobStatus

from decoderlab.common import process, progress
from decoderlab.common.errors import ConfigError
from decoderlab.common.folders import add_to_path
from decoderlab.common.progress import say
from decoderlab.records.outcome import outcome
from decoderlab.records.run_folder import TERMINAL
from decoderlab.studies.design.grid import as_value
from decoderlab.studies.design.plan_file import read_job
from decoderlab.studies.execution.job import Job, bring_to_end
from decoderlab.studies.execution.live_table import LiveTable
from decoderlab.studies.execution.pool import run_all
from decoderlab.studies.execution.sweep import Start
from decoderlab.training.interruption import Interrupted


def starter(launcher: Any, max_batch_size: int | None) -> tuple[Start, int]:
    """Return what runs jobs with a launcher, and how many at a time.

    Args:
        launcher: Hydra's, or our pool.
        max_batch_size: Hydra's setting, which is refused.

    Raises:
        ConfigError: for settings that cannot work.
    """
    if max_batch_size is not None:
        raise ConfigError(
            f"hydra.sweeper.max_batch_size is {max_batch_size}; leave it out: with it, one failed "
            "run would keep all later batches from starting"
        )
    if not hasattr(launcher, "time_limit_seconds"):
        return lambda jobs, plan: _start_with(launcher, jobs, plan), _guess_jobs(launcher)
    limit = launcher.time_limit_seconds
    number, gpus = launcher.jobs, visible_gpus(launcher.config.trainer)
    if number is None:
        number = len(gpus) or _cores(launcher.config.run)
    for name, value, kinds in (("jobs", number, int), ("time_limit_seconds", limit, int | float)):
        right = isinstance(value, kinds) and not isinstance(value, bool) and value > 0
        if value is not None and not right:
            raise ConfigError(f"hydra.launcher.{name} is {value!r}; it must be a number above 0")

    def start(jobs: Sequence[Job], plan: Path) -> None:
        with LiveTable(progress.tally or progress.Tally(len(jobs), reused=0)) as table:
            run_all(
                jobs,
                num_workers=number,
                time_limit_seconds=limit,
                config_dir=process.user_config_dir,
                gpus=gpus,
                show=table.update,
            )

    return start, number


def visible_gpus(trainer: Any) -> list[str]:
    """Return what to set CUDA_VISIBLE_DEVICES to for each GPU; [] for runs on the CPU.

    Args:
        trainer: the section of the config, as Hydra has it.
    """
    if trainer.accelerator == "cpu" or not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    given = [name for name in visible.split(",") if name]
    return given or [str(number) for number in range(torch.cuda.device_count())]


def _cores(run: Any) -> int:
    """Return how many runs the cores do best at a time."""
    threads = run.threads if isinstance(run.threads, int) else 1
    return max(loky.cpu_count() // max(threads, 1), 1)


def _guess_jobs(launcher: Any) -> int:
    """Return how many runs a launcher of Hydra's does at a time, for the estimate alone."""
    return 1 if type(launcher).__name__ == "BasicLauncher" else loky.cpu_count()


def _start_with(launcher: Any, jobs: Sequence[Job], plan: Path) -> None:
    """Run jobs with a launcher of Hydra's, which starts `train` with a reference to each."""
    shared = {
        "plan": str(plan.absolute()),
        "cwd": os.getcwd(),
        "config_dir": process.user_config_dir,
        "launched": jobs[0].launched,
    }
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's makers unasked
    # Runs of other classes depend on other code: each has a digest of its own.
    own = [{"run_id": job.cell.run_id, "code": job.code} for job in jobs]
    overrides = [[f"+cell={as_value(reference | shared)}"] for reference in own]
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        returns = launcher.launch(overrides, initial_job_idx=0)
    except SystemExit as error:  # runs catch theirs: this is how Ray answers a signal
        raise Interrupted(signal.SIGTERM) from error
    except KeyboardInterrupt as error:
        raise Interrupted(signal.SIGINT) from error
    except ConfigError:
        raise
    except Exception as error:  # what is left to do stands in the run folders
        say(f"the launcher stopped: {type(error).__name__}: {error}")
        return
    finally:
        signal.signal(signal.SIGTERM, before)
    for job_return in returns:
        if job_return.status != JobStatus.COMPLETED:
            say(f"a run was not brought to its end: {job_return._return_value}")


def _interrupt(signum: int, frame: object) -> None:
    raise Interrupted(signum)


def train_cell(reference: Mapping[str, Any]) -> str:
    """Bring one planned run to its end, wherever a launcher has put it; return its status.

    Args:
        reference: `run_id`, `plan` (its file), `code` and `launched` (see `Job`), `cwd` (where the
            study was launched, which relative paths are about), `config_dir` (of the user's own
            classes).
    """
    os.chdir(reference["cwd"])
    process.user_config_dir = add_to_path(reference["config_dir"])
    cell, config = read_job(Path(reference["plan"]), reference["run_id"])
    return _shown(Job(cell, config, reference["code"], reference["launched"]))


def _shown(job: Job) -> str:
    """Bring a run to its end and show it."""
    cell, config, folder, status = job.cell, job.config, job.folder, None
    shown = progress.RunProgress(cell.title, cell.steps, config.training.max_seconds)
    try:
        with shown:
            status = bring_to_end(job, report=shown)
        return status
    except Interrupted:
        if progress.tally is None:  # a process of the launcher's, which wants an ordinary end
            return "INTERRUPTED"
        raise
    finally:
        if status in TERMINAL and progress.tally is not None:
            progress.tally.ended[cell.run_id] = status
        progress.print_outcome(cell.title, status or folder.status()["status"], outcome(folder))
