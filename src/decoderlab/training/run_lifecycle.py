"""Bringing a run to its end: who may work on it, how it ended, and what is left of it."""

from __future__ import annotations

import errno
import sys
import time
import traceback
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from signal import SIGTERM
from typing import Any

import torch
from filelock import Timeout
from pytorch_lightning.utilities.exceptions import SIGTERMException

from decoderlab.common.errors import ConfigError
from decoderlab.common.progress import say
from decoderlab.records.run_folder import Invalid, RunFolder, write_text
from decoderlab.training.code_changes import changed_code, sign
from decoderlab.training.distributed import Ranks
from decoderlab.training.interruption import Interrupted, Interruption
from decoderlab.training.prepared_run import Prepared
from decoderlab.training.recorder import Diverged, Report
from decoderlab.training.train_and_test import train_and_test


def execute(
    prepared: Prepared, *, report: Report, retry: bool, wait: bool = True, allow_drift: bool = False
) -> str:
    """Bring a run to its end, from wherever it stands, and return its status.

    A finished run is left alone. An interrupted one goes on from its last valid checkpoint. Of
    several ranks the first alone writes; the others follow it.

    Args:
        prepared: from `prepare`.
        report: called with (step, values) as training goes on.
        retry: whether to go on with a run that failed or diverged before.
        wait: if another process is at the run, wait for that; else return its status, RUNNING.
        allow_drift: whether to take over what other code has left.

    Raises:
        Interrupted: by a signal, once the run's state is on the disk.
        ConfigError: if other code has left a result or checkpoints, without `allow_drift`.
    """
    ranks = Ranks.of(prepared.config.trainer)
    lock = nullcontext() if ranks.rank else _acquired(prepared.folder, wait)
    if lock is None:
        return "RUNNING"
    with lock, Interruption() as interruption, ranks:
        return _locked(prepared, interruption, ranks, report, retry, allow_drift)


def _acquired(folder: RunFolder, wait: bool) -> AbstractContextManager[object] | None:
    """Return the lock of a run, held; None if another process has it and that is not waited for."""
    lock = folder.lock()
    if wait and folder.locked():
        say(f"another process trains {folder.path}; waiting for it")
    try:
        # Whoever only looks whether the run is locked holds the lock for a moment.
        return lock.acquire(timeout=-1 if wait else 0.5)
    except Timeout:
        return None


def _locked(
    prepared: Prepared,
    interruption: Interruption,
    ranks: Ranks,
    report: Report,
    retry: bool,
    allow_drift: bool,
) -> str:
    """Do what `execute` does, with the lock held."""
    folder = prepared.folder
    before = folder.recorded_status()["status"]
    left = before in ("FAILED", "DIVERGED") and not retry
    changed = [] if left or ranks.rank else changed_code(folder, prepared.config)
    if changed and not allow_drift:
        ranks.broadcast("FAILED")  # lets go of ranks that wait for a message
        raise ConfigError(
            f"{folder.path} was made by other code: {', '.join(changed)}; delete that folder to "
            "train it anew, give another run.output_dir, or take it as it is with "
            "study.allow_drift=true, which is recorded"
        )
    done = before == "FINISHED" and _has_result(folder)
    if terminal := ranks.broadcast(before if done or left else None):
        return terminal
    status, details = _attempt(prepared, interruption, report, ranks)
    if not ranks.rank:
        folder.set_status(status, run_id=prepared.run_id, **details)
    interruption.check()
    return status


def _attempt(
    prepared: Prepared, interruption: Interruption, report: Report, ranks: Ranks
) -> tuple[str, dict[str, Any]]:
    """Train and test; return how it ended, with details. Only the result has been written."""
    folder = prepared.folder
    if not ranks.rank:
        folder.set_status("RUNNING", run_id=prepared.run_id, started=time.time())
        folder.traceback.unlink(missing_ok=True)
    try:
        drifted = [] if ranks.rank else sign(folder, prepared.config)
        result = train_and_test(prepared, interruption, report, ranks)
        if result is not None:
            folder.write_result(replace(result, drift=drifted))
    except Interrupted as error:
        interruption.signum = error.signum
        return "INTERRUPTED", {"reason": str(error)}
    except Diverged as error:
        return "DIVERGED", {"reason": str(error), "step": error.step}
    except (Exception, SystemExit) as error:
        # Lightning answers SIGTERM with a SystemExit of its own, wherever it notices it first.
        if interruption.signum is not None or isinstance(error, SIGTERMException):
            return "INTERRUPTED", {"reason": str(Interrupted(interruption.signum or SIGTERM))}
        if ranks.rank:
            sys.stderr.write(f"rank {ranks.rank}: {type(error).__name__}: {error}\n")
        else:
            write_text(folder.traceback, traceback.format_exc())
        return "FAILED", {"reason": f"{type(error).__name__}: {error}{_hint(error)}"}
    return "FINISHED", {}


def _hint(error: BaseException) -> str:
    """Return what may help against an error."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate" in str(error):
        return "; out of memory: take a smaller training.batch_size or run.evaluation_batch_size"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; the disk is full: the last checkpoint is whole, make room and run again"
    return ""


def _has_result(folder: RunFolder) -> bool:
    try:
        return folder.result() is not None
    except Invalid as error:
        say(f"{error}; the run is tested again")
        return False
