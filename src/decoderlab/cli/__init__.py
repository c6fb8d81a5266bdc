"""The commands; each is thin."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from types import TracebackType

MODULE = "decoderlab.cli."


def _without_traceback(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Say in a word that a command was interrupted while it was still importing."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
    else:
        sys.__excepthook__(kind, error, traceback)


def _once_more(lost: sys.UnraisableHookArgs) -> None:
    """Deliver a signal again whose exception was lost in a callback, as imports have some."""
    interrupted = issubclass(lost.exc_type, KeyboardInterrupt)
    signum = signal.SIGINT if interrupted else getattr(lost.exc_value, "signum", None)
    if signum is None:
        sys.__unraisablehook__(lost)
        return
    main = threading.main_thread().ident or 0
    timer = threading.Timer(0.05, signal.pthread_kill, (main, signum))
    timer.daemon = True
    timer.start()


# Of a command alone: what imports its module has hooks of its own.
if Path(sys.argv[0]).name.startswith("decoderlab-") or (
    sys.argv[0] == "-m" and any(word.startswith(MODULE) for word in sys.orig_argv)
):
    sys.excepthook = _without_traceback
    sys.unraisablehook = _once_more
