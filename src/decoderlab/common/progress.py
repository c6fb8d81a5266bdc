"""What a person sees while training goes on: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True, highlight=False, soft_wrap=True)
PLAIN_SECONDS = 10.0
SHOWN_AFTER_SECONDS = 2.0
T = TypeVar("T")


def output() -> Console:
    """Return a console on standard output, for what a command was asked to print."""
    made = Console(highlight=False)
    if not made.is_terminal:  # a file or a pipe has no edge to fold at
        made.width = 10_000
    return made


def track(items: Sequence[T], what: str) -> Iterator[T]:
    """Yield the items; show how far it is once that takes longer than a few seconds."""
    started = last = time.perf_counter()
    bar = Progress(
        TextColumn("{task.description}"),
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
    """Yield items of which nobody knows the number; say every few seconds how many there were."""
    last = time.perf_counter()
    for number, item in enumerate(items, start=1):
        yield item
        if number % 10_000 == 0 and time.perf_counter() - last > SHOWN_AFTER_SECONDS:
            last = time.perf_counter()
            say(f"{what}: {number:,} so far")


@dataclass
class Tally:
    """How far a sweep is.

    Args:
        total: runs that this launch has to do.
        reused: runs that had ended before.
        failed_before: of them, those that failed.
        ended: statuses of the runs that have ended since, by run id.
    """

    total: int
    reused: int
    failed_before: int = 0
    ended: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def line(self) -> str:
        """Return done, failed, and the time left at the pace so far."""
        done = len(self.ended)
        all_done, total = done + self.reused, self.total + self.reused
        failed = self.failed
        left = (time.perf_counter() - self.started) / max(done, 1) * (self.total - done)
        text = f"{all_done} of {total} done, {failed} failed"
        return text + (f", about {duration(left)} left" if 0 < done < self.total else "")

    @property
    def failed(self) -> int:
        """Runs that have failed, before and since."""
        return self.failed_before + sum(status != "FINISHED" for status in self.ended.values())


# Set by a sweep for the runs of its own process.
tally: Tally | None = None


def duration(seconds: float) -> str:
    """Return a span of time as a person would say it.

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
    """

    def __init__(self, title: str, total_steps: int | None, max_seconds: float | None) -> None:
        self.title, self.total_steps, self.max_seconds = title, total_steps, max_seconds
        self.values: dict[str, float] = {}
        self._started = self._last_line = time.perf_counter()
        self._bar: Progress | None = None

    def __enter__(self) -> RunProgress:
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=10),
                TextColumn("{task.fields[values]}"),
                TimeRemainingColumn(compact=True),
                console=console,
                transient=True,
            )
            head = escape(self.title)
            self._row = self._bar.add_task(
                head, total=self.total_steps or self.max_seconds, values="starting"
            )
            self._bar.start()
        elif tally is None:
            say(f"{self.title}: starting")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, step: int, values: dict[str, float]) -> None:
        """Take new values of metrics at a step."""
        self.values |= values
        now = time.perf_counter()
        if self._bar is not None:
            done = step if self.total_steps else now - self._started
            self._bar.update(self._row, completed=done, values=self._text())
        elif now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            of = f" of {self.total_steps}" if self.total_steps else ""
            say(f"{self.title}: update {step}{of}, {self._text()}")

    def _text(self) -> str:
        names = {
            "train/loss": "loss",
            "validation/exact_match": "exact match",
            "validation/mean_absolute_error": "mean absolute error",
        }
        return ", ".join(
            f"{label} {self.values[name]:.4g}"
            for name, label in names.items()
            if name in self.values
        )


def print_outcome(title: str, status: str, text: str) -> None:
    """Print the line that a run leaves behind."""
    color = {"FINISHED": "green", "INTERRUPTED": "yellow"}.get(status, "red")
    head = "" if tally is None else f"[{tally.line()}] "
    console.print(f"{escape(head + title)}: [{color}]{status.lower()}[/] {escape(text)}")


def say(text: str) -> None:
    """Print a line; brackets in it are text, not markup."""
    console.print(escape(text))
