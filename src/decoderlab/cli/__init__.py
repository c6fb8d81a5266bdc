"""The commands; each is thin."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType


def _without_traceback(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Say in a word that a command was interrupted while it was still importing."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
    else:
        sys.__excepthook__(kind, error, traceback)


# Of a command alone: what imports its module has a hook of its own.
if Path(sys.argv[0]).name.startswith("decoderlab-"):
    sys.excepthook = _without_traceback
