"""A run folder that a process works in: cleaned when it is taken, and checked while it is held.

What is here is for whoever holds the folder's lock.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from decoderlab.common.errors import LaunchError
from decoderlab.common.process import is_alive
from decoderlab.records.run_folder import ASIDE, RunFolder, is_file_or_link, is_litter

SEMAPHORES = Path("/dev/shm")  # where Linux has them


class FolderGone(LaunchError):
    """The folder of a run was deleted, moved or replaced while the run was training."""


class HeldFolder:
    """A run folder whose lock this process holds.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._mark = self._look()

    def check(self) -> None:
        """Raise FolderGone if the folder is gone, or was replaced by another folder.

        Whoever writes asks first: to write would make a folder anew that somebody has deleted, or
        disturb the run that another process has begun in its place.
        """
        if self._look() != self._mark:
            raise FolderGone(
                f"{self.folder.path} was deleted, moved or replaced while the run was training; "
                "nothing "
                "more is written there: give the same command again to train it again, or move the "
                "folder back first to resume from its last checkpoint"
            )

    def _look(self) -> int | None:
        try:
            return os.stat(self.folder.path / ".lock").st_ino
        except (FileNotFoundError, NotADirectoryError):
            return None

    def tidy(self) -> None:
        """Remove what a killed process left: half-written files, hashes without their files."""
        for where in (self.folder.path, self.folder.checkpoints):
            if not where.is_symlink():
                _remove_litter(where.glob(".*.tmp"))
        for path in self.folder.lost_hashes():
            path.unlink(missing_ok=True)


def tidy_shared(folder: Path) -> None:
    """Remove what killed processes of this machine left in a folder that nobody's lock protects."""
    _remove_litter(folder.rglob(".*.tmp"))


def _remove_litter(paths: Iterable[Path]) -> None:
    for path in paths:
        if is_litter(path):
            path.unlink(missing_ok=True)


def tidy_semaphores(folder: Path = SEMAPHORES) -> None:
    """Remove the semaphores of pools that were killed with all of their processes.

    loky names them after the process that made them. Other users' are left alone.
    """
    for path in folder.glob("sem.loky-*-*"):
        pid = path.name.split("-")[1]
        try:
            ours = path.stat().st_uid == os.getuid()
            if ours and pid.isdecimal() and not is_alive(int(pid)):
                path.unlink(missing_ok=True)
        except OSError:  # somebody was quicker
            continue


def special_files(folder: Path) -> list[Path]:
    """Return the pipes, sockets and devices in a folder, but for what was set aside."""
    return [
        path
        for where, _, names in os.walk(folder)
        for path in (Path(where, name) for name in sorted(names))
        if not ASIDE.search(path.name) and not is_file_or_link(path) and os.path.lexists(path)
    ]
