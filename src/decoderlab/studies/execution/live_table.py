"""What a person sees of a sweep: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from rich.console import Group
from rich.live import Live
from rich.table import Table

from decoderlab.common import progress
from decoderlab.common.progress import PLAIN_SECONDS, duration, say
from decoderlab.records.outcome import outcome
from decoderlab.records.run_folder import TERMINAL
from decoderlab.studies.execution.job import Job

LOOK_SECONDS = 1.0


class LiveTable:
    """Shows a sweep while it runs; a context manager whose `update` is called all the time.

    Args:
        tally: how far the sweep is.
    """

    def __init__(self, tally: progress.Tally) -> None:
        self.tally = tally
        self._looked = self._said = time.monotonic()
        self._began: dict[str, float] = {}
        self._live: Live | None = None

    def __enter__(self) -> LiveTable:
        if sys.stderr.isatty():
            self._live = Live(console=progress.console, transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, running: Sequence[Job], ended: Sequence[tuple[Job, str]]) -> None:
        """Print what has ended, and show what is running."""
        for job, status in ended:
            self._began.pop(job.cell.run_id, None)
            self.tally.running.pop(job.cell.run_id, None)
            if status == "RUNNING":
                record = job.folder.status()
                who = f"pid {record.get('pid')} on {record.get('host')}"
                say(f"{job.cell.title}: another launch is running it ({who})")
                continue
            if status in TERMINAL:
                self.tally.ended[job.cell.run_id] = status
            message = outcome(job.folder, job.config.study.metric or job.config.evaluation.select)
            progress.print_outcome(job.cell.title, status, message)
        now = time.monotonic()
        for job in running:
            self._began.setdefault(job.cell.run_id, now)
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        lines = {job.cell.run_id: job.folder.last_metrics() for job in running}
        self.tally.running = {name: line["step"] for name, line in lines.items() if "step" in line}
        if self._live is not None:
            self._live.update(self._table(running), refresh=True)
        elif running and now - self._said > PLAIN_SECONDS:
            self._said = now
            texts = [f"{job.cell.title}: {_how_far(job)}" for job in running]
            say(f"[{self.tally.line()}] running: {'; '.join(texts)}")

    def _table(self, running: Sequence[Job]) -> Group:
        table = Table("running", "update", "loss", "for", box=None, pad_edge=False)
        for job in running:
            step, loss = job.cell.progress(job.folder.last_metrics())
            seconds = time.monotonic() - self._began[job.cell.run_id]
            table.add_row(progress.plain(job.cell.title), step, loss, duration(seconds))
        head = progress.plain(self.tally.line(), "red" if self.tally.failed else "green")
        return Group(head, table if running else "starting the workers")


def _how_far(job: Job) -> str:
    step, loss = job.cell.progress(job.folder.last_metrics())
    return f"update {step}, loss {loss}" if loss else step
