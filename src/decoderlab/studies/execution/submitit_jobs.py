"""Waiting for jobs of submitit's such that a dead one costs only itself.

submitit asks `sacct` whether a job is still there, which a cluster without accounting does not
have: the command would wait for ever for a job that was cancelled or killed. And the launcher gives
up on the first dead job while the others go on, which the sweep would then hand in once more.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from decoderlab.common.safe_names import stay_below

SQUEUE = ("squeue", "--me", "--noheader", "--array", "--format=%i")
LOOK_AGAIN_SECONDS = 30  # at most: submitit begins with every two seconds


@contextlib.contextmanager
def all_awaited(launcher: Any) -> Iterator[None]:
    """Let a launcher of submitit's wait for all of its jobs, and ask the queue which are left.

    Args:
        launcher: any of Hydra's; nothing changes for the others.
    """
    if ".hydra_submitit_launcher." not in type(launcher).__module__:
        yield
        return
    from submitit.core import core
    from submitit.slurm import slurm

    given = launcher.params["submitit_folder"]
    jobs: Any = core.Job
    watchers: Any = slurm.SlurmInfoWatcher
    watcher = slurm.SlurmJob.watcher
    results, update, delay = jobs.results, watchers.update, watcher._delay_s

    def results_or_failure(job: Any) -> list[Any]:
        try:
            return results(job)
        except Exception as error:
            said = str(error).strip().splitlines()
            text = f"{said[0] if said else type(error).__name__}; it printed: {job.paths.stdout}"
            return [JobReturn(status=JobStatus.FAILED, _return_value=RuntimeError(text))]

    launcher.params["submitit_folder"] = fresh_folder(given)
    jobs.results, watchers.update = results_or_failure, _ask_queue
    watcher._delay_s = LOOK_AGAIN_SECONDS
    try:
        yield
    finally:
        launcher.params["submitit_folder"] = given
        jobs.results, watchers.update, watcher._delay_s = results, update, delay


def fresh_folder(folder: str) -> str:
    """Return a folder for jobs in a new folder, whose name nobody can know before.

    submitit unpickles, so executes, what lies where a job of a number is to put its result. The
    numbers of jobs can be guessed, and the output folder may be a stranger's.

    Args:
        folder: of submitit's, with `%j` for the number of a job.

    Raises:
        ConfigError: if it lies behind a link that leads out of the output folder.
    """
    from submitit.core.utils import JobPaths

    given = Path(folder).expanduser().absolute()
    root = JobPaths.get_first_id_independent_folder(given)
    stay_below(root, root.parent)
    root.mkdir(parents=True, exist_ok=True)
    begun = time.strftime("%Y%m%d-%H%M%S-")
    return str(Path(tempfile.mkdtemp(prefix=begun, dir=root), given.relative_to(root)))


def _ask_queue(watcher: Any) -> None:
    """Note which jobs `squeue` lists: they are waiting or running, and the others have ended."""
    watcher._last_status_check = time.time()
    try:
        listed = subprocess.run(SQUEUE, capture_output=True, text=True, check=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return  # the controller is busy, or starts anew
    there = set(listed.stdout.split())
    for job in watcher._registered:
        watcher._info_dict[job] = {"State": "RUNNING" if job in there else "ENDED"}
