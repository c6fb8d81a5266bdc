"""Runs in worker processes, each of which can die without harm to the others.

Every worker is an executor of its own (loky, BSD licence): when a worker is killed, its executor
gives up all of its jobs, and here it has only that worker's one. loky starts workers by exec, with
an environment of their own, so that torch is never forked and the number of threads is set before
it is imported; and it says how a worker died. (Pebble, the other library that can do this, is
LGPL.)
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import itertools
import os
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from typing import Any

import loky
from loky.process_executor import BrokenProcessPool, TerminatedWorkerError

from decoderlab.common import process
from decoderlab.common.disk import is_full
from decoderlab.common.errors import LaunchError
from decoderlab.common.progress import say
from decoderlab.studies.execution.job import (
    Job,
    bring_to_end,
    demand_room,
    give_up,
    has_failed,
    obstacle,
)
from decoderlab.studies.execution.worker_start import prepare_worker
from decoderlab.training.interruption import Interrupted, Interruption

GRACE_SECONDS = 15.0  # for a run that has to stop, to save what it has
LOOK_SECONDS = 1.0  # the pool looks at its workers more often than this
MAX_START_FAILURES = 3
NOT_BEGUN = "NOT BEGUN"
MANY_OBJECTS = 50_000  # more than the runs before leave behind


Show = Callable[[Sequence[Job], Sequence[tuple[Job, str]]], None]


def run_all(
    jobs: Sequence[Job],
    *,
    num_workers: int,
    time_limit_seconds: float | None,
    config_dir: str | None,
    gpus: Sequence[str],
    show: Show,
) -> None:
    """Do all jobs; whatever happens to a job is in its run folder, and costs only that job.

    Args:
        jobs: in the order in which they begin.
        num_workers: jobs at a time, at least 1.
        time_limit_seconds: of a job, None for none.
        config_dir: folder of the user's own classes, None for none.
        gpus: to be shared by the workers in turn; [] for none.
        show: called a few times a second with the jobs that are running, and with those that have
            ended since the last call, each with its status.

    Where `study.on_failure` says so, the first job that fails stops the others as a signal would.

    Raises:
        Interrupted: by SIGINT or SIGTERM, once every running job has saved what it has.
        LaunchError: if no worker can be started; or if there is no room on the disk for another
            run, once the running ones have ended.
    """
    waiting, failed, text = deque(jobs), False, None
    num_workers = min(num_workers, len(jobs))
    shares = itertools.islice(itertools.cycle(gpus or [None]), num_workers)
    workers = [Worker(config_dir, gpu) for gpu in shares]
    warned = False
    with Interruption() as interruption, warnings.catch_warnings():

        def stopping() -> bool:
            return failed or interruption.signum is not None

        # loky's way to say that it has replaced a worker which had grown.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
        try:
            while waiting or any(worker.job for worker in workers):
                if stopping() and not warned:
                    warned = True
                    _stop(workers)
                if stopping() and not any(worker.job for worker in workers):
                    break
                for worker in workers:
                    if waiting and worker.free and not stopping():
                        if text := obstacle(waiting[0]):
                            waiting.clear()
                        elif worker.begin(waiting[0], time_limit_seconds):
                            waiting.popleft()
                busy = [worker.future for worker in workers if worker.future is not None]
                wait(busy, timeout=0.25, return_when="FIRST_COMPLETED")
                ended = []
                for worker in workers:
                    done = worker.poll(stopping)
                    if done is None:
                        continue
                    job, status = done
                    if status == NOT_BEGUN:
                        waiting.appendleft(replace(job, starts=job.starts + 1))
                    else:
                        ended.append((job, status))
                        failed = failed or has_failed(job, status)
                at_work = [worker.running_job for worker in workers]
                show([job for job in at_work if job is not None], ended)
                if all(worker.lost for worker in workers):
                    raise LaunchError("no worker process can be started; see the messages above")
        finally:
            for worker in workers:
                worker.close()
        interruption.check()
    if text is not None:
        raise LaunchError(text)


def _stop(workers: Sequence[Worker]) -> None:
    say("stopping: the runs save what they have; a second time stops them at once")
    for worker in workers:
        worker.ask_to_stop()


class Worker:
    """A process, started anew whenever it has died.

    Args:
        config_dir: see `run_all`.
        gpu: which it sees, None for whatever there is.
    """

    def __init__(self, config_dir: str | None, gpu: str | None) -> None:
        self.config_dir, self.gpu = config_dir, gpu
        self.job: Job | None = None
        self.future: Future | None = None
        self._limit: float | None = None
        self._deadline = self._kill_at = float("inf")
        self._age, self._looked = 0.0, time.monotonic()  # of the job, in seconds
        self._failures = 0
        self.lost = False
        self._start()

    def _start(self) -> None:
        environment = {"OMP_NUM_THREADS": "1"}  # before torch is imported; run.threads sets it then
        if self.gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpu
        self._executor = loky.ProcessPoolExecutor(
            max_workers=1,
            timeout=None,
            env=environment,
            initializer=prepare_worker,
            initargs=(self.config_dir, os.getpid()),
        )
        self._warm = False
        self.future = self._executor.submit(warm_up)

    @property
    def free(self) -> bool:
        """Whether the process is there and has nothing to do."""
        return self._warm and self.job is None

    @property
    def running_job(self) -> Job | None:
        """The job that it is at; None if it is at none."""
        return self.job if self._warm else None

    def begin(self, job: Job, time_limit_seconds: float | None) -> bool:
        """Give the process a job; return False if it has died in the meantime."""
        try:
            self.future = self._executor.submit(work, job)
        except BrokenProcessPool:
            self._restart(stopping=False)
            return False
        self.job, self._limit = job, time_limit_seconds
        self._age, self._looked = 0.0, time.monotonic()
        self._deadline, self._kill_at = time_limit_seconds or float("inf"), float("inf")
        return True

    def poll(self, stopping: Callable[[], bool]) -> tuple[Job, str] | None:
        """Return the job that has ended, with its status; None if none has.

        Args:
            stopping: whether the sweep has to stop.
        """
        if self.future is None:
            return None
        if not self.future.done():
            self._enforce_limits()
            return None
        future, self.future = self.future, None
        error = future.exception()
        if error is not None:
            time.sleep(0.1)  # a signal to all may have reached the worker first
        dead = isinstance(error, BrokenProcessPool)
        job, self.job = self.job, None
        if job is None:  # the process has started, or could not
            if error is None:
                self._warm, self._failures = True, 0
            elif not stopping():
                self._try_again(error)
            return None
        status, stale = (None, False) if error else future.result()
        if dead or stale:
            self._restart(stopping())
        over = self._kill_at < float("inf") and not stopping()
        try:
            return job, self._final_status(job, status, error, over, stopping())
        except OSError as problem:  # nothing can be written about it either
            say(f"{job.cell.title}: {problem}")
            return job, "INTERRUPTED" if is_full(problem) else "FAILED"

    def _final_status(
        self,
        job: Job,
        status: str | None,
        error: BaseException | None,
        over: bool,
        stopping: bool,
    ) -> str:
        """Return the status of a job that has ended; write it where its process could not."""
        if over and status in (None, "INTERRUPTED"):
            reason = f"took longer than hydra.launcher.time_limit_seconds={self._limit:g}"
            return give_up(job, reason)
        if status is not None:
            return status
        if isinstance(error, LaunchError):
            say(f"{job.cell.title}: {error}")
            return "INTERRUPTED"
        if stopping:
            return job.folder.status()["status"]
        record = job.folder.recorded_status(lenient=True)
        began = record["status"] == "RUNNING" and record.get("at") != job.before
        if isinstance(error, BrokenProcessPool) and not began and job.starts < MAX_START_FAILURES:
            return NOT_BEGUN
        return give_up(job, _cause_of_death(error))

    def ask_to_stop(self) -> None:
        """Let a running job save what it has and end; it is killed if it does not."""
        if self.running_job:
            self._signal(signal.SIGTERM)
            self._kill_at = self._age + GRACE_SECONDS

    def close(self) -> None:
        """End the process."""
        self._executor.shutdown(wait=True, kill_workers=True)

    def _enforce_limits(self) -> None:
        # Time in which this process was stopped, and its workers with it, does not count.
        now = time.monotonic()
        self._age += min(now - self._looked, LOOK_SECONDS)
        self._looked = now
        if self.running_job and self._age > self._kill_at:
            self._signal(signal.SIGKILL)
        elif self.running_job and self._age > self._deadline:
            self._deadline = float("inf")
            self.ask_to_stop()

    def _signal(self, signum: int) -> None:
        # Asked for anew: loky replaces a worker that has grown, between two jobs.
        for pid in list(self._executor._processes):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def _try_again(self, error: BaseException) -> None:
        self._failures += 1
        if self._failures == MAX_START_FAILURES:
            say(f"a worker process cannot be started: {_cause_of_death(error)}")
            self.lost = True
        else:
            self._restart(stopping=False)

    def _restart(self, stopping: bool) -> None:
        self._executor.shutdown(wait=False, kill_workers=True)
        self._warm = False
        if not stopping:
            self._start()


def _cause_of_death(error: BaseException | None) -> str:
    if not isinstance(error, TerminatedWorkerError):
        return f"{type(error).__name__}: {error}"
    text = str(error)
    if "SIGKILL" in text:
        return (
            "its process was killed (SIGKILL), as the system does when memory is short; "
            "then take a smaller training.batch_size"
        )
    codes = text.rpartition("{")[2].partition("}")[0]
    return f"its process ended with {codes or 'an unknown exit code'}"


def warm_up() -> None:
    """Import what a run needs, by being found in this module."""


def work(job: Job) -> tuple[str, bool]:
    """Bring one run to its end in a worker process.

    What it prints goes into `log.txt` of its folder.

    Returns:
        Its status, and whether the process must do no other run.
    """
    if len(gc.get_objects(generation=2)) > MANY_OBJECTS:  # libraries: the first run imports some
        gc.collect()
        gc.freeze()  # they are no garbage, which loky looks for between runs
    demand_room(job)
    job.folder.path.mkdir(parents=True, exist_ok=True)
    with job.folder.open_log() as log, _printing_to(log):
        faulthandler.enable(log)
        try:
            return bring_to_end(job, report=lambda step, values: None), process.stale
        except Interrupted:
            return "INTERRUPTED", process.stale
        finally:
            faulthandler.disable()


@contextlib.contextmanager
def _printing_to(log: Any) -> Iterator[None]:
    """Send what the process writes, in Python or below it, to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, descriptor in zip((1, 2), kept, strict=True):
            os.dup2(descriptor, stream)
            os.close(descriptor)
