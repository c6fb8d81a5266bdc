"""Signals that stop a run between two updates."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class Interrupted(BaseException):
    """SIGINT or SIGTERM reached a run. Not an Exception, since it is not a failure.

    Args:
        signum: number of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.signum = signum


class Interruption:
    """Turns SIGINT and SIGTERM into a flag that training checks between two updates.

    A second signal stops at once, unless `patient`. Where a scheduler has put a handler on SIGUSR1
    or SIGUSR2, which announces that the machine will be taken away, that signal means to stop, and
    SIGTERM is left to the scheduler, who may send it first; its handler gets the announcement once
    everything is saved. What was ignored at the start (`nohup`, `command &` in a script) stays
    ignored. Used as a context manager around everything that may be interrupted; outside the main
    thread, where Python delivers no signals, it does nothing.
    """

    # In the workers of a pool, which get the signals of a terminal twice: directly, and passed on.
    patient = False

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, Any] = {}
        self.left: dict[int, Any] = {}  # to whoever started the process, with its handlers

    def __enter__(self) -> Interruption:
        announced = [s for s in (signal.SIGUSR1, signal.SIGUSR2) if callable(signal.getsignal(s))]
        for signum in (signal.SIGINT, *(announced or [signal.SIGTERM])):
            if signal.getsignal(signum) == signal.SIG_IGN:
                self.left[signum] = signal.SIG_IGN
                continue
            try:
                self._before[signum] = signal.signal(signum, self._handle)
            except ValueError:  # not the main thread
                break
        else:
            if announced:
                self.left[signal.SIGTERM] = signal.getsignal(signal.SIGTERM)
        return self

    def listen(self) -> None:
        """Install the handlers again, where other code has replaced them."""
        for signum in self._before:
            signal.signal(signum, self._handle)
        for signum, handler in self.left.items():
            signal.signal(signum, handler)

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        if self.signum is not None and self.signum in (signal.SIGUSR1, signal.SIGUSR2):
            signal.raise_signal(self.signum)

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self.signum is not None:
            raise Interrupted(self.signum)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None and not self.patient:
            raise Interrupted(signum)
        self.signum = self.signum or signum
