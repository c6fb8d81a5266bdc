"""What is wrong in a run's folder, with what to do about it: damage, states, litter."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from decoderlab.common.bounded_reading import MIB, opened
from decoderlab.common.errors import Invalid, Unreadable
from decoderlab.common.safe_names import links_out
from decoderlab.records.agreement import check_lengths, check_texts
from decoderlab.records.checkpoints import recorded_sha256, verify
from decoderlab.records.manifest import check_file
from decoderlab.records.opened_run import OpenedRun, open_run
from decoderlab.records.run_folder import ASIDE, RunFolder, is_litter, left_by

AGAIN = "give the same command again to resume from what is intact"
# Of what a glance may take: minutes of hashing, and of TensorBoard's checksums, which are slow.
CHECKPOINT_BYTES = 16 * 1024 * MIB
EVENTS_BYTES = 32 * MIB
HEAD = struct.Struct("<QI")  # of a record of TensorBoard's: its length, and the length's checksum
TAIL = struct.Struct("<I")


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or that a person may want to know.

    Args:
        path: of the file or folder.
        what: is wrong with it, said of the path.
        advice: what to do.
        mend: does the safe part of that; None where a person has to.
        note: whether nothing is wrong.
    """

    path: Path
    what: str
    advice: str
    mend: Callable[[], object] | None = None
    note: bool = False


def run_findings(folder: RunFolder, run_id: str | None = None) -> Iterator[Finding]:
    """Yield what is wrong in the folder of a run; nothing while a process works on it.

    Where a link in it leads out, that alone is said: nothing is read then.

    Args:
        folder: of the run.
        run_id: that it must have; None where that is not known.
    """
    if outward := list(outward_links(folder.path)):
        yield from outward
        return
    if folder.locked(unknown=False):
        return
    lock = folder.path / ".lock"
    if os.path.lexists(lock) and (lock.is_symlink() or not lock.is_file()):
        yield Finding(lock, "is not a file", "give the same command again, which renames it")
    try:
        record = folder.recorded_status()
    except Unreadable as error:
        yield Finding(folder.status_file, error.what, error.advice)
        return
    status, reason = record["status"], str(record.get("reason", ""))
    if not os.path.lexists(folder.status_file) and _has_begun(folder):
        what = "is missing, but the run has begun: a copy broke off, or the file was deleted"
        yield Finding(folder.status_file, what, f"copy the whole folder, or {AGAIN}")
    if status == "RUNNING":
        what = "says RUNNING, but no process is running it: it was killed"
        yield Finding(folder.path, what, AGAIN, lambda: _interrupted(folder))
    elif status == "INTERRUPTED" and reason.endswith("is damaged"):
        yield Finding(folder.status_file, "is damaged", AGAIN, lambda: _interrupted(folder))
    if status == "FINISHED":
        yield from _finished(folder, run_id)
    else:
        yield from _unfinished(folder)
    for lost in folder.lost_hashes():
        what = "is the sha256 of a checkpoint that does not exist"
        yield Finding(lost, what, "delete it", partial(_delete_hash, folder, lost))
    yield from left_behind(folder.path)


def _has_begun(folder: RunFolder) -> bool:
    """Whether there is anything that training writes, whatever the status says."""
    written = (
        *(folder.config, folder.metrics, folder.result_file),
        *(folder.manifest, folder.predictions),
    )
    kept = folder.checkpoints.is_dir() and any(folder.checkpoints.iterdir())
    return kept or any(map(os.path.lexists, written))


def outward_links(folder: Path) -> Iterator[Finding]:
    """Yield the links in a folder that lead out of it; what they lead to is not looked at."""
    for link in links_out(folder):
        what = f"is a link to outside of the folder: {os.path.realpath(link)}"
        yield Finding(Path(link), what, "remove it; nothing is read or written there")


def left_behind(root: Path) -> Iterator[Finding]:
    """Yield files that a killed process has not completed, and files that were set aside."""
    for where, folders, names in os.walk(root, followlinks=False):
        folders.sort()
        for path in (Path(where, name) for name in sorted(names)):
            if is_litter(path):
                what = "was never completed: its process was killed"
                yield Finding(path, what, "delete it", partial(_delete_litter, path))
            elif host := left_by(path):
                what = f"was started by a process of {host}, which cannot be checked from here"
                yield Finding(path, what, "delete it if that process has ended", note=True)
        for name in sorted([*names, *folders]):
            if ASIDE.search(name):
                what = "was renamed: a file or folder of the run belongs there"
                yield Finding(Path(where, name), what, "check it, then delete it")


def _delete_litter(path: Path) -> None:
    if is_litter(path):
        path.unlink()


def _delete_hash(folder: RunFolder, path: Path) -> None:
    with folder.lock().acquire(timeout=1):
        if path in folder.lost_hashes():
            path.unlink()


def _interrupted(folder: RunFolder) -> None:
    with folder.lock().acquire(timeout=1):  # nobody begins with it meanwhile
        record = folder.recorded_status()
        if record["status"] not in ("RUNNING", "INTERRUPTED"):
            return  # somebody has brought it to its end since it was looked at
        whose = {"run_id": record["run_id"]} if "run_id" in record else {}
        reason = "its process was killed (decoderlab-doctor)"
        folder.set_status("INTERRUPTED", reason=reason, **whose)


def _finished(folder: RunFolder, run_id: str | None) -> Iterator[Finding]:
    try:
        opened = open_run(folder, run_id)
        check_file(folder, opened.manifest.best, opened.manifest.files[opened.manifest.best])
        check_texts(folder)
        check_lengths(folder, opened.result)
    except Invalid as error:
        yield Finding(Path(error.path), error.what, error.advice or AGAIN)
        return
    yield from _events(folder, opened)


def _unfinished(folder: RunFolder) -> Iterator[Finding]:
    for path in [*folder.numbered("step"), *folder.numbered("best")]:
        if finding := _too_large(path, CHECKPOINT_BYTES):
            yield finding
            continue
        try:
            verify(path, recorded_sha256(path), CHECKPOINT_BYTES)
        except Invalid as error:
            yield Finding(path, f"cannot be used: {error.path} {error.what}", AGAIN)


def _events(folder: RunFolder, run: OpenedRun) -> Iterator[Finding]:
    """Yield TensorBoard files that are gone or damaged; no table depends on them."""
    advice = "no table depends on it; its curves are in metrics.jsonl too"
    loggers = run.config.logger.values()
    if not any(logger.target.endswith("TensorBoardLogger") for logger in loggers):
        return
    files = sorted(folder.events.glob("events.out.tfevents.*"))
    if not files:
        yield Finding(folder.events, "has no TensorBoard file: it was deleted", advice)
    for path in files:
        if finding := _too_large(path, EVENTS_BYTES):
            yield finding
        # A killed process may have cut off its own; the last one was closed.
        elif (defect := event_defect(path)) and (defect != "is cut off" or path == files[-1]):
            yield Finding(path, defect, advice)


def _too_large(path: Path, limit: int) -> Finding | None:
    """Return a note on a file that takes too long to look through, if it is one."""
    try:
        size = os.stat(path).st_size
    except OSError:  # which is said when it is opened
        return None
    what = f"has {size:,} bytes, and only files of up to {limit:,} are checked"
    return Finding(path, what, "it may be intact", note=True) if size > limit else None


def event_defect(path: Path) -> str:
    """Return what is wrong with a file of TensorBoard's; empty if it is whole."""
    try:
        with opened(path, EVENTS_BYTES) as file:
            return _defect(file)
    except Invalid as error:
        return error.what


def _defect(file: BinaryIO) -> str:
    size = os.fstat(file.fileno()).st_size
    if not size:
        return "is cut off"
    while head := file.read(HEAD.size):
        if len(head) < HEAD.size:
            return "is cut off"
        length, checksum = HEAD.unpack(head)
        if masked_crc32c(head[:8]) != checksum:
            return "is damaged"
        if file.tell() + length + TAIL.size > size:
            return "is cut off"
        content = file.read(length)
        if masked_crc32c(content) != TAIL.unpack(file.read(TAIL.size))[0]:
            return "is damaged"
    return ""
