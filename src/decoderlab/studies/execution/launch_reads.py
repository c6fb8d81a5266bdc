"""What a launch reads, as Python's audit events tell: files, each as it was when it was opened."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import OmegaConf
from omegaconf.resolvers import oc

State = list[Any]
# Python's names of what opens a file, and of what lists a folder.
EVENTS = ("open", "os.listdir", "os.scandir", "sqlite3.connect")
WRITING = os.O_WRONLY | os.O_RDWR
NO_FILES = ("/proc/", "/sys/", "/dev/")


class LaunchReads:
    """Files that were opened for reading, and folders that were listed.

    What C code opens by itself is not known.
    """

    def __init__(self) -> None:
        self.states: dict[str, State] = {}  # by absolute path, see `state_of_file`
        self.asked = False  # for a variable of the environment

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note an event of Python's."""
        path = arguments[0] if arguments else None
        if event not in EVENTS or not isinstance(path, str | bytes | os.PathLike):
            return
        if event == "open" and _is_writing(*arguments[1:3]):
            return
        name = os.path.abspath(os.fsdecode(path))
        if not name.startswith(NO_FILES) and name not in self.states:
            self.states[name] = state_of_file(name)


_active: LaunchReads | None = None
_hooks: list[Any] = []


def state_of_file(path: str | os.PathLike[str]) -> State:
    """Return what changes with the contents of a file, or the names in a folder; [] if missing."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return []
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


@contextmanager
def reads_noted() -> Iterator[LaunchReads]:
    """Note what this process reads, and whether a config asks for the environment."""
    global _active
    if not _hooks:  # there is no way to remove one
        _hooks.append(_hook)
        sys.addaudithook(_hook)
    _active = noted = LaunchReads()

    def environment(*given: Any) -> Any:
        noted.asked = noted.asked or _active is noted
        return oc.env(*given)

    OmegaConf.register_new_resolver("oc.env", environment, replace=True)
    try:
        yield noted
    finally:
        _active = None
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


@contextmanager
def reads_ignored() -> Iterator[None]:
    """Note nothing for a while, as of runs that are trained in this process."""
    global _active
    before, _active = _active, None
    try:
        yield
    finally:
        _active = before


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _active is not None:
        _active.note(event, arguments)


def _is_writing(mode: Any = None, flags: Any = None) -> bool:
    if isinstance(mode, str):
        return bool(set(mode) & set("wax+"))
    return isinstance(flags, int) and bool(flags & WRITING)
