"""How planned runs reach a launcher: our own pool, or any launcher of Hydra's."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import loky
import torch
from hydra.core.utils import JobStatus

from decoderlab.common import process, progress
from decoderlab.common.errors import ConfigError, LaunchError
from decoderlab.common.folders import add_to_path
from decoderlab.common.lean_imports import in_root_folder
from decoderlab.common.progress import say
from decoderlab.config.lightning_settings import TrainerSettings
from decoderlab.config.run_config import run_of, trainer_of
from decoderlab.config.run_sections import Run
from decoderlab.config.study_settings import PoolSettings
from decoderlab.records.outcome import outcome
from decoderlab.records.run_folder import TERMINAL
from decoderlab.studies.design.grid import as_value
from decoderlab.studies.design.plan_file import job_digest, read_job, read_study_cells
from decoderlab.studies.execution.job import Job, bring_to_end, demand_room, has_failed
from decoderlab.studies.execution.live_table import LiveTable
from decoderlab.studies.execution.submitit_jobs import all_awaited
from decoderlab.studies.execution.sweep import Start
from decoderlab.studies.execution.worker_pool import run_all
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
    pool = PoolSettings(jobs=launcher.jobs, time_limit_seconds=launcher.time_limit_seconds)
    gpus = visible_gpus(trainer_of(launcher.config))
    number = pool.jobs or len(gpus) or _cores(run_of(launcher.config))

    def start(jobs: Sequence[Job], plan: Path) -> None:
        with LiveTable(progress.tally or progress.Tally(len(jobs), reused=0)) as table:
            run_all(
                jobs,
                num_workers=number,
                time_limit_seconds=pool.time_limit_seconds,
                config_dir=process.user_config_dir,
                gpus=gpus,
                show=table.update,
            )

    return start, number


def visible_gpus(trainer: TrainerSettings) -> list[str]:
    """Return what to set CUDA_VISIBLE_DEVICES to for each GPU; [] for runs on the CPU.

    Args:
        trainer: what the config says to Lightning.
    """
    if trainer.accelerator == "cpu" or not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    given = [name for name in visible.split(",") if name]
    return given or [str(number) for number in range(torch.cuda.device_count())]


def _cores(run: Run) -> int:
    """Return how many runs the cores do best at a time."""
    return max(loky.cpu_count() // run.threads, 1)


def _guess_jobs(launcher: Any) -> int:
    """Return how many runs a launcher of Hydra's does at a time, for the estimate alone."""
    return 1 if type(launcher).__name__ == "BasicLauncher" else loky.cpu_count()


def _start_with(launcher: Any, jobs: Sequence[Job], plan: Path) -> None:
    """Run jobs with a launcher of Hydra's, which starts `train` with a reference to each."""
    shared = {
        "plan": _path_text(plan.absolute()),
        "cwd": _path_text(os.getcwd()),
        "config_dir": process.user_config_dir and _path_text(process.user_config_dir),
        "failed": _failed(plan, jobs[0]),
        "launcher": os.getpid(),
    }
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's makers unasked
    # Runs of other classes depend on other code: each has a digest of its own.
    own = [
        {
            "run_id": job.cell.run_id,
            "code": job.code,
            "before": job.before,
            "planned": job_digest(job.cell, job.config),
            "siblings": [sibling.run_id for sibling in job.siblings],
        }
        for job in jobs
    ]
    overrides = [[f"+cell={as_value(reference | shared)}"] for reference in own]
    before = signal.getsignal(signal.SIGTERM)
    if before != signal.SIG_IGN:  # what was ignored at the start stays ignored
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        _begin_ray(launcher)
        with all_awaited(launcher):
            returns = launcher.launch(overrides, initial_job_idx=0)
    except SystemExit as error:  # runs catch theirs: this is how Ray answers a signal
        raise Interrupted(signal.SIGTERM) from error
    except KeyboardInterrupt as error:
        raise Interrupted(signal.SIGINT) from error
    except (ConfigError, LaunchError):
        raise
    except Exception as error:  # what is left to do stands in the run folders
        if hidden := process.hidden_interrupt(error):
            raise Interrupted(getattr(hidden, "signum", signal.SIGINT)) from error
        say(f"the launcher stopped: {type(error).__name__}: {error}")
        return
    finally:
        signal.signal(signal.SIGTERM, before)
    for job_return in returns:
        if job_return.status != JobStatus.COMPLETED:
            say(f"a run did not finish: {job_return._return_value}")


def _path_text(path: str | Path) -> str:
    """Return a path in letters that mean nothing to Hydra, which would resolve `${...}` in it."""
    return quote(os.fsencode(path))


def _path_of(text: str) -> str:
    """Return the path of such a text."""
    return os.fsdecode(unquote_to_bytes(text))


def _begin_ray(launcher: Any) -> None:
    """Start Ray, or reach its cluster, for a launcher of Ray's; nothing is done for the others.

    Ray's workers import from the folder in which that is done before all others. The working
    directory may be a stranger's; a run goes there once all is imported.
    """
    if ".hydra_ray_launcher." in type(launcher).__module__:
        from hydra_plugins.hydra_ray_launcher._launcher_util import start_ray

        with in_root_folder():
            start_ray(launcher.ray_cfg.init)


def _interrupt(signum: int, frame: object) -> None:
    raise Interrupted(signum)


def train_study_cell(reference: Mapping[str, Any]) -> str:
    """Bring one planned run to its end, wherever a launcher has put it; return its status.

    Args:
        reference: `run_id`, `plan` (its file), `planned` (see `job_digest`), `code`, `before` and
            `siblings`, by their ids (see `Job`), `cwd` (where the study was launched, which
            relative paths are about), `failed` (see `_failed`),
            `config_dir` (of the user's own classes), `launcher` (the process that launched it); its
            paths are texts of `_path_text`.

    Raises:
        ConfigError: if the config beside the plan is not the one that was planned. Nothing that it
            names has been imported then.
    """
    if os.getppid() == reference["launcher"]:  # a worker of joblib's
        process.end_with_parent(reference["launcher"])
    os.chdir(_path_of(reference["cwd"]))
    own = reference["config_dir"]
    process.user_config_dir = add_to_path(None if own is None else _path_of(own))
    plan = Path(_path_of(reference["plan"]))
    cell, config = read_job(plan, reference["run_id"])
    if job_digest(cell, config) != reference["planned"]:
        raise ConfigError(
            f"{plan}: the config of run {reference['run_id']} beside it was changed after the "
            "study was launched; launch the study again"
        )
    ids = set(reference["siblings"])
    alike = (other for other in read_study_cells(plan) if other.run_id in ids) if ids else ()
    job = Job(cell, config, reference["code"], reference["before"], siblings=tuple(alike))
    if {*_failed(plan, job)} - {*reference["failed"]}:
        say(f"{cell.title}: not started, since another run failed (study.on_failure=stop)")
        return "PLANNED"
    return _shown(job)


def _failed(plan: Path, job: Job) -> list[str]:
    """Return the runs of a plan that have failed, and when, if the first failure is to stop it."""
    if job.config.study.on_failure != "stop":
        return []
    root = Path(job.config.run.output_dir)
    records = {
        cell.run_id: cell.run_folder(root).recorded_status(lenient=True)
        for cell in read_study_cells(plan)
    }
    return [
        f"{run_id} {record.get('at')}"
        for run_id, record in records.items()
        if has_failed(job, record["status"])
    ]


def _shown(job: Job) -> str:
    """Bring a run to its end and show it."""
    cell, config, folder, status = job.cell, job.config, job.folder, None
    shown = progress.RunProgress(
        cell.title, cell.steps, config.training.max_seconds, config.evaluation.select
    )
    demand_room(job)
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
        now = status or folder.status()["status"]
        message = outcome(folder, config.study.metric or config.evaluation.select)
        progress.print_outcome(cell.title, now, message)
