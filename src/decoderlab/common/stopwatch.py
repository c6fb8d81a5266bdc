"""Time spent on training, without the time in which the process was stopped."""

from __future__ import annotations

import time

# A lap that takes so many times as long as the others, and longer than a moment, is looked at.
UNUSUAL = 10.0
MOMENT_SECONDS = 0.2


class Stopwatch:
    """Seconds in which a process worked, lap by lap.

    A lap counts as long as it took. One that took more than ten times as long as the mean of those
    before it, and more than 0.2 s, counts as the processor time that it used: a process that is
    stopped (Ctrl-Z, SIGSTOP, a closed laptop) uses none.

    Args:
        seconds: of the laps before.
        laps: their number.
    """

    def __init__(self, seconds: float = 0.0, laps: int = 0) -> None:
        self.seconds, self.laps = seconds, laps
        self.start()

    def start(self) -> None:
        """Begin a lap; the time since the last lap does not count."""
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def lap(self) -> float:
        """End a lap, begin the next, and return all seconds so far."""
        wall = time.perf_counter() - self._wall
        processor = time.process_time() - self._processor
        usual = self.seconds / max(self.laps, 1)
        unusual = wall > max(UNUSUAL * usual, MOMENT_SECONDS)
        self.seconds += min(wall, max(processor, usual)) if unusual else wall
        self.laps += 1
        self.start()
        return self.seconds
