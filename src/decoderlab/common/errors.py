"""Errors: of settings before a run begins, of launching, and of damaged records."""

from __future__ import annotations

import os
import re

# What torch, its libraries and the system say where there is no memory.
NO_MEMORY = re.compile(
    r"can't allocate|Cannot allocate|out of memory|bad_alloc|could not create a primitive"
    r"|can't start new thread"
)


class ConfigError(ValueError):
    """A config that cannot run. The message names field, value, what is allowed and the fix."""


class EditedSource(ConfigError):
    """A class of one's own whose file is not what was imported."""


class LaunchError(Exception):
    """A sweep that cannot go on, with a config that is right; the same command may help."""


class Invalid(Exception):
    """A record or checkpoint that is damaged, foreign, or no file that can be read.

    Args:
        path: of the file or folder.
        what: is wrong with it, said of the path: `is no JSON`, `does not agree with ...`.
        advice: what to do about it; empty where the caller knows better.
    """

    def __init__(self, path: str | os.PathLike[str], what: str, advice: str = "") -> None:
        self.path, self.what, self.advice = os.fspath(path), what, advice
        super().__init__(f"{self.path} {what}" + (f"; {advice}" if advice else ""))

    def advised(self, advice: str) -> Invalid:
        """Return the same error with advice, unless it has some."""
        return type(self)(self.path, self.what, self.advice or advice)


class Missing(Invalid):
    """A record that is not there."""


class Unreadable(Invalid):
    """A record or checkpoint that cannot be read now, and may be whole: nothing is given up."""


def lacks_memory(error: BaseException) -> bool:
    """Whether an error means that no memory is left, of Python or of torch."""
    return isinstance(error, MemoryError) or NO_MEMORY.search(str(error)) is not None
