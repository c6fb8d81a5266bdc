"""Running a run to its end: its lock, its status, and its records."""

from __future__ import annotations

import math
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from signal import SIGTERM
from typing import Any

import torch
from filelock import Timeout
from pytorch_lightning.utilities.exceptions import SIGTERMException

from decoderlab.common.disk import full_message, is_full, passing_error, room_for
from decoderlab.common.errors import (
    ConfigError,
    Invalid,
    LaunchError,
    Missing,
    Unreadable,
    lacks_memory,
)
from decoderlab.common.escapes import visible
from decoderlab.common.process import printing_to_anybody, without_trainer_variables
from decoderlab.common.progress import say
from decoderlab.common.torch_settings import torch_as_before
from decoderlab.config.secret_settings import redacted
from decoderlab.metrics.shipped import recorded_scores
from decoderlab.records.agreement import out_of_range
from decoderlab.records.folder_owner import check_owner
from decoderlab.records.held_folder import FolderGone, HeldFolder, special_files
from decoderlab.records.manifest import check_file, write_manifest
from decoderlab.records.opened_run import open_run
from decoderlab.records.run_folder import RunFolder, make_way, write_text
from decoderlab.training.assembly import build_model
from decoderlab.training.code_changes import changed_code, changed_since_parent, sign
from decoderlab.training.continued_training import begin_from_parent
from decoderlab.training.distributed import Ranks
from decoderlab.training.gradient_watch import GradientWatch, clipped_text
from decoderlab.training.interruption import Interrupted, Interruption
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.prepared_run import Prepared
from decoderlab.training.recorder import Diverged, ProgressReport, worst_loss
from decoderlab.training.shared_training import take_training
from decoderlab.training.train_and_test import train_and_test


def execute(
    prepared: Prepared,
    *,
    report: ProgressReport,
    retry: bool,
    wait: bool = True,
    allow_changes: bool = False,
    siblings: Sequence[RunFolder] = (),
) -> str:
    """Run a run to its end, from its newest checkpoint if it has any, and return its status.

    A finished run is left alone. An interrupted one goes on from its last valid checkpoint. Of
    several ranks the first alone writes; the others follow it.

    Args:
        prepared: from `prepare`.
        report: called with (step, values) as training goes on.
        retry: whether to go on with a run that failed or diverged before.
        wait: if another process is at the run, wait for that; else return its status, RUNNING.
        allow_changes: whether to take over what other code has left.
        siblings: runs that may have been trained alike, see `take_training`.

    Raises:
        Interrupted: by a signal, once the run's state is on the disk; in a validation at once, and
            the run goes on from the checkpoint before.
        ConfigError: if other code has left a result or checkpoints, without `allow_changes`.
        FolderGone: if somebody deleted or moved the run's folder meanwhile.
        LaunchError: if how the run ended cannot be written; or if the environment sets another
            precision.
    """
    ranks = Ranks.of(prepared.config.trainer)
    room = room_for(prepared.num_parameters)
    lock = nullcontext() if ranks.rank else _acquired(prepared.folder, wait, room)
    if lock is None:
        return "RUNNING"
    with (
        lock,
        Interruption() as interruption,
        ranks,
        printing_to_anybody(),
        without_trainer_variables() as unused,
        torch_as_before(),
    ):
        if unused:
            say(
                f"note: {', '.join(unused)} of the environment is not used: a run's settings are "
                "those of its config; give trainer.NAME=VALUE"
            )
        return _locked(prepared, interruption, ranks, report, retry, allow_changes, siblings)


def _acquired(folder: RunFolder, wait: bool, room: float) -> AbstractContextManager[object] | None:
    """Return the lock of a run, held; None if another process has it and that is not waited for."""
    try:
        lock = folder.lock()
        if wait and folder.locked():
            say(f"another process trains {folder.path}; waiting for it")
        # Whoever only looks whether the run is locked holds the lock for a moment.
        return lock.acquire(timeout=-1 if wait else 0.5)
    except Timeout:
        return None
    except OSError as error:
        if is_full(error):
            raise LaunchError(full_message(folder.path, room)) from error
        raise LaunchError(
            f"{folder.path} cannot be written ({error.strerror}); fix that, or give another "
            "folder: run.output_dir=FOLDER"
        ) from error


def _locked(
    prepared: Prepared,
    interruption: Interruption,
    ranks: Ranks,
    report: ProgressReport,
    retry: bool,
    allow_changes: bool,
    siblings: Sequence[RunFolder],
) -> str:
    """Do what `execute` does, with the lock held."""
    folder = prepared.folder
    held = HeldFolder(folder)
    if not ranks.rank:
        held.tidy()
    try:
        before = folder.recorded_status()["status"]
    except Unreadable:
        ranks.broadcast("FAILED")  # lets go of ranks that wait for a message
        raise
    left = before in ("FAILED", "DIVERGED") and not retry
    try:
        if not ranks.rank:
            check_owner(folder, prepared.run_id, prepared.identity)
        changed = [] if left or ranks.rank else changed_code(folder, prepared.config)
    except (ConfigError, Unreadable):
        ranks.broadcast("FAILED")
        raise
    except Invalid as error:
        if not allow_changes:
            ranks.broadcast("FAILED")
            raise
        changed = []
        say(f"{error.path} {error.what}; taken as it is, as study.allow_changes says")
    if changed and not allow_changes:
        ranks.broadcast("FAILED")
        raise ConfigError(
            f"{folder.path} was made by other code: {', '.join(changed)}; delete that folder to "
            "train it again, give another run.output_dir, or take it as it is with "
            "study.allow_changes=true, which is recorded"
        )
    try:
        done = before == "FINISHED" and not ranks.rank and _is_whole(prepared)
    except Unreadable:
        ranks.broadcast("FAILED")
        raise
    if terminal := ranks.broadcast(before if done or left else None):
        return terminal
    status, details = _attempt(prepared, interruption, report, ranks, held, siblings)
    if not ranks.rank:
        _record(prepared, held, status, details)
    interruption.check()
    return status


def _record(prepared: Prepared, held: HeldFolder, status: str, details: Mapping[str, Any]) -> None:
    """Write how a run ended."""
    held.check()
    try:
        prepared.folder.set_status(status, run_id=prepared.run_id, **details)
    except OSError as error:  # the disk is full, or a permission was taken away
        reason = f": {details['reason']}" if "reason" in details else ""
        raise LaunchError(
            f"{prepared.title}: {status.lower()}{reason}; and that cannot be written: {error}"
        ) from error


def _attempt(
    prepared: Prepared,
    interruption: Interruption,
    report: ProgressReport,
    ranks: Ranks,
    held: HeldFolder,
    siblings: Sequence[RunFolder],
) -> tuple[str, dict[str, Any]]:
    """Train and test; return how it ended, with details. Only the result has been written."""
    folder, config = prepared.folder, prepared.config
    without_secrets = partial(redacted, settings=(config.logger, config.callbacks))
    try:
        if not ranks.rank:
            folder.set_status("RUNNING", run_id=prepared.run_id, started=time.time())
            _make_way(folder)
        # Before anything is copied: what a parent has left is no work of unknown code.
        changed = [] if ranks.rank else [*changed_since_parent(config), *sign(folder, config)]
        if not ranks.rank and siblings:
            model = build_model(prepared.config, prepared.task)
            take_training(prepared, model, siblings, interruption)
        if not ranks.rank and prepared.config.training.from_run is not None:
            begin_from_parent(prepared, build_model(prepared.config, prepared.task))
        result = train_and_test(prepared, interruption, GradientWatch(report), ranks)
        if result is not None:
            for wrong in out_of_range(result, recorded_scores(result.scores)):
                raise ValueError(f"{wrong}; correct the metric, or the low and high of its score")
            held.check()
            folder.write_result(replace(result, code_changes=list(dict.fromkeys(changed))))
            clipped = clipped_text(folder.metrics, prepared.config.training.gradient_clip_norm)
            if clipped:
                say(clipped)
            write_manifest(folder, prepared.identity, result)
    except Interrupted as error:
        interruption.signum = error.signum
        return "INTERRUPTED", {"reason": str(error)}
    except Diverged as error:
        return "DIVERGED", {"reason": str(error), "step": error.step}
    except FolderGone:
        raise
    except (Exception, SystemExit) as error:
        # Lightning answers SIGTERM with a SystemExit of its own, wherever it notices it first.
        if interruption.signum is not None or isinstance(error, SIGTERMException):
            return "INTERRUPTED", {"reason": str(Interrupted(interruption.signum or SIGTERM))}
        if ranks.rank:
            sys.stderr.write(visible(f"rank {ranks.rank}: {type(error).__name__}: {error}") + "\n")
        else:
            held.check()  # what went wrong may be that the folder is gone
            if is_full(error, folder.path):  # no fault of the run's: the same command goes on
                room = room_for(prepared.num_parameters)
                return "INTERRUPTED", {"reason": full_message(folder.path, room)}
            if passing := passing_error(error, folder.path):
                return "INTERRUPTED", {"reason": without_secrets(passing)}
            if (step := _diverged_by(prepared)) is not None:
                what = f"the loss was NaN, infinite or absurd by update {step}, which ended in"
                reason = without_secrets(f"{what} {type(error).__name__}: {error}")
                return "DIVERGED", {"reason": reason, "step": step}
            with suppress(OSError):
                write_text(folder.traceback, without_secrets(traceback.format_exc()))
        reason = without_secrets(f"{type(error).__name__}: {error}")
        return "FAILED", {"reason": f"{reason}{_hint(error)}"}
    return "FINISHED", {}


def _diverged_by(prepared: Prepared) -> int | None:
    """Return by which update training has diverged; None where it has not, or nobody can tell.

    What an objective, or a search, draws by probabilities that are NaN is no token: the error that
    follows is another one on every device.
    """
    task, trainer = prepared.task, prepared.task.trainer
    model = None if trainer is None else trainer.lightning_module
    if trainer is None or not isinstance(model, EncoderDecoder):
        return None
    try:
        batch = next(iter(task.evaluation_batches("validation")))
        batch = model.transfer_batch_to_device(batch, model.device, 0)
        with torch.no_grad():
            total, count = model.eval().loss(batch)
        loss = float(total) / max(float(count), 1.0)
    except (Exception, SystemExit):  # as before, such as a GPU that answers nothing any more
        return None
    diverged = not math.isfinite(loss) or loss > worst_loss(model.target_space)
    return trainer.global_step if diverged else None


def _make_way(folder: RunFolder) -> None:
    """Rename what is in the way of the run's records and is not a file or folder."""
    in_the_way = {folder.traceback: False, folder.metrics: False, folder.checkpoints: True}
    in_the_way[folder.events] = True
    in_the_way |= dict.fromkeys(special_files(folder.path), False)  # to open a pipe is to wait
    for path, is_folder in in_the_way.items():
        if aside := make_way(path, folder=is_folder):
            kind = "folder" if is_folder else "regular file"
            say(f"{path} is not a {kind}; it was renamed to {aside.name}")
    for path in (folder.traceback, folder.manifest):  # it is not finished any more
        if path.is_file() or path.is_symlink():
            path.unlink()


def _hint(error: BaseException) -> str:
    """Return what may help against an error."""
    if lacks_memory(error):
        return "; out of memory: take a smaller training.batch_size or run.evaluation_batch_size"
    if isinstance(error, PermissionError):
        return "; give yourself the permission, and run again"
    frames = traceback.extract_tb(error.__traceback__)
    if "DataLoader" not in str(error) and any("dataloader" in each.filename for each in frames):
        return "; a DataLoader worker died"
    return ""


def _is_whole(prepared: Prepared) -> bool:
    """Whether a finished run is undamaged; if not, print what is damaged and what follows.

    Weights that somebody has deleted are no damage: what is left is the record of a finished run.
    """
    folder = prepared.folder
    try:
        manifest = open_run(folder, prepared.run_id).manifest
        with suppress(Missing):
            check_file(folder, manifest.best, manifest.files[manifest.best])
    except Unreadable:  # it is not damaged
        raise
    except Invalid as error:
        say(f"{error.path} {error.what}; the run is repaired: tested again from what is intact")
        return False
    return True
