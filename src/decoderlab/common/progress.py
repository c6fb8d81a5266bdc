"""Progress of training: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from decoderlab.common.escapes import visible

console = Console(stderr=True, highlight=False, soft_wrap=True)
PLAIN_SECONDS = 10.0
FEW_SECONDS = 5
SLOWER = 1.5  # than the number that is shown: what is said then
PRIOR = 0.05  # of all the work: what a plan's estimate counts as
LINE_WIDTH = 100  # columns that the line of a finished run of a sweep has
SHOWN_AFTER_SECONDS = 2.0
T = TypeVar("T")


class _Output(Console):
    """Standard output; rich would end the process with exit code 1 once nobody reads it."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def output() -> Console:
    """Return a console on standard output, for what a command was asked to print.

    Letters that its encoding does not have are shown by their codes.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    made = _Output(highlight=False)
    if not made.is_terminal:  # a file or a pipe has no edge to fold at
        made.width = 10_000
    return made


def track(items: Sequence[T], what: str) -> Iterator[T]:
    """Yield the items; show the progress if it takes longer than a few seconds."""
    started = last = time.perf_counter()
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
    )
    row = bar.add_task(what, total=len(items))
    try:
        for index, item in enumerate(items):
            yield item
            bar.update(row, completed=index + 1)
            now = time.perf_counter()
            if sys.stderr.isatty() and now - started > SHOWN_AFTER_SECONDS:
                bar.start()
            elif now - last > PLAIN_SECONDS:
                last = now
                say(f"{what}: {index + 1} of {len(items)}")
    finally:
        if bar.live.is_started:
            bar.stop()


def counted(items: Iterable[T], what: str) -> Iterator[T]:
    """Yield items of unknown number; print every few seconds how many there were."""
    last = time.perf_counter()
    for number, item in enumerate(items, start=1):
        yield item
        if number % 10_000 == 0 and time.perf_counter() - last > SHOWN_AFTER_SECONDS:
            last = time.perf_counter()
            say(f"{what}: {number:,} so far")


@dataclass
class Tally:
    """Progress of a sweep.

    Args:
        total: runs that this launch has to do.
        reused: runs that had ended before.
        failed_before: of them, those that failed.
        ended: statuses of the runs that have ended since, by run id.
        estimate: seconds that the plan says all of it takes; NaN where it does not.
        updates: of each run that this launch has to do, by run id; {} where they are not known.
        running: updates that the runs going on have done, by whatever names them.
    """

    total: int
    reused: int
    failed_before: int = 0
    ended: dict[str, str] = field(default_factory=dict)
    estimate: float = math.nan
    updates: Mapping[str, int] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)
    _least: float = math.inf
    _begun: float | None = None  # when the first update was seen, in seconds since the start
    _pace: float = 0.0  # seconds left at the pace since then

    def line(self) -> str:
        """Return done, failed, and the time left."""
        done = len(self.ended)
        text = f"{done + self.reused} of {self.total + self.reused} done, {self.failed} failed"
        left = self.left(time.perf_counter() - self.started)
        span = duration(left) if left >= FEW_SECONDS else "a few seconds"
        if self._pace > SLOWER * max(left, FEW_SECONDS):  # the number never rises
            span = f"more than {span}"
        elif left >= FEW_SECONDS:
            span = f"about {span}"
        return text + (f", {span} left" if left < math.inf else "")

    def left(self, seconds: float) -> float:
        """Return the seconds left after so many; it never rises, infinite where nothing is known.

        It is the plan's estimate at first, and then the pace of the updates that were done; what
        it takes to start, before the first of them, makes it no longer.
        """
        if not math.isnan(self.estimate):
            self._least = min(self._least, self.estimate)
        whole = sum(self.updates.values()) or self.total
        done = sum(self.updates.get(name, 0) for name in self.ended) + sum(self.running.values())
        done = min(done, whole) if self.updates else len(self.ended)
        # The estimate counts as much as a twentieth of the work.
        known = 0.0 if math.isnan(self.estimate) else PRIOR
        if len(self.ended) < self.total and (worked := done / whole + known):
            spent = seconds + (known * self.estimate if known else 0.0)
            to_do = (1 - done / whole) / worked
            if done and self._begun is None:
                self._begun = seconds
            self._pace = (spent - self._begun) * to_do if self._begun is not None else 0.0
            self._least = min(self._least, spent * to_do)
        return self._least if len(self.ended) < self.total else math.inf

    @property
    def failed(self) -> int:
        """Runs that have failed, before and since."""
        return self.failed_before + sum(status != "FINISHED" for status in self.ended.values())


# Set by a sweep for the runs of its own process.
tally: Tally | None = None


def duration(seconds: float) -> str:
    """Return a span of time in readable units.

    Example:
        >>> duration(8.4), duration(200), duration(9000)
        ('8 s', '3 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class RunProgress:
    """Shows one run. Call it with (step, values) as values come; use it as a context manager.

    Args:
        title: what a person calls the run.
        total_steps: the budget in updates, None for a budget in seconds.
        max_seconds: the budget in seconds, or None.
        selected: name of the score that chooses the checkpoint; it is shown beside the loss.
    """

    def __init__(
        self, title: str, total_steps: int | None, max_seconds: float | None, selected: str
    ) -> None:
        self.title, self.total_steps, self.max_seconds = title, total_steps, max_seconds
        score = f"validation {selected}" if selected == "loss" else selected.replace("_", " ")
        self._labels = {"train/loss": "loss", f"validation/{selected}": score}
        self.values: dict[str, float] = {}
        self._started = time.perf_counter()
        self._next_line = self._started + min(SHOWN_AFTER_SECONDS, PLAIN_SECONDS)
        self._bar: Progress | None = None
        self._first: tuple[int, float] | None = None  # update and time since which is counted
        self._least = math.inf

    def __enter__(self) -> RunProgress:
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=10),
                TextColumn("{task.fields[values]}", markup=False),
                console=console,
                transient=True,
            )
            self._row = self._bar.add_task(
                visible(self.title), total=self.total_steps or self.max_seconds, values="starting"
            )
            self._bar.start()
        elif tally is None:
            say(f"{self.title}: starting")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if tally is not None:
            tally.running.pop(self.title, None)

    def __call__(self, step: int, values: dict[str, float]) -> None:
        """Take new values of metrics at a step."""
        self.values |= values
        now = time.perf_counter()
        if tally is not None:
            tally.running[self.title] = step
        if self._bar is not None:
            done = step if self.total_steps else now - self._started
            text = f"{self._text()}{self._left(step, now)}"
            self._bar.update(self._row, completed=done, values=text)
        elif now >= self._next_line:
            self._next_line = now + PLAIN_SECONDS
            of = f" of {self.total_steps}" if self.total_steps else ""
            say(f"{self.title}: update {step}{of}, {self._text()}{self._left(step, now)}")
        self._first = self._first or (step, now)

    def _left(self, step: int, now: float) -> str:
        """Return how long it will take at the pace so far; it never rises."""
        if self.max_seconds is not None:
            left = self.max_seconds - (now - self._started)
        elif self.total_steps and self._first and step > self._first[0]:
            first, began = self._first
            left = (now - began) / (step - first) * (self.total_steps - step)
        else:
            return ""
        self._least = max(min(self._least, left), 0.0)
        return f", about {duration(self._least)} left"

    def _text(self) -> str:
        return ", ".join(
            f"{label} {self.values[name]:.4g}"
            for name, label in self._labels.items()
            if name in self.values
        )


def print_outcome(title: str, status: str, text: str, on: Console | None = None) -> None:
    """Print the final line of a run.

    Args:
        title: of the run.
        status: of it.
        text: its scores, or the reason.
        on: where; None for standard error.
    """
    color = {"FINISHED": "green", "INTERRUPTED": "yellow"}.get(status, "red")
    head = "" if tally is None else f"[{tally.line()}] "
    # A run of a sweep has one line; how far the sweep is stands in the next one that has room.
    if status == "FINISHED" and len(f"{head}{title}: finished {text}") > LINE_WIDTH:
        head = ""
        if tally is not None:
            room = LINE_WIDTH - len(f": finished {text}")
            title = title if len(title) <= room else _cut(title, max(room, 20))
    parts = (plain(f"{head}{title}: "), plain(status.lower(), color), plain(f" {text}"))
    (on or console).print(Text.assemble(*parts), soft_wrap=True)


def _cut(text: str, room: int) -> str:
    """Return a text without its middle, where it has more letters than there is room for.

    Example:
        >>> _cut("g2p · training.learning_rate=0.001 luong · seed 3", 30)
        'g2p · training.…luong · seed 3'
    """
    ahead = room // 2
    return f"{text[:ahead]}…{text[len(text) - (room - ahead - 1) :]}"


def say(text: str) -> None:
    """Print a line; markup in it is shown as text."""
    console.print(plain(text))


def plain(text: object, style: str = "") -> Text:
    """Return an untrusted text for a console or a table; it cannot control the terminal.

    Args:
        text: which stays on one line.
        style: of rich; empty for none.
    """
    return Text.assemble((visible(text), style))  # the style is not that of what fills a cell
