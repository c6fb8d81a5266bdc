"""What a person, or a program, is shown of a study before it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from decoderlab.common import progress
from decoderlab.common.number_ranges import ranges_text
from decoderlab.common.progress import duration, say
from decoderlab.records.opened_run import finished
from decoderlab.studies.design.plan_file import StudyCell
from decoderlab.studies.design.preparation import Planned
from decoderlab.studies.execution.tuning import Tuner


def estimate(plans: Sequence[Planned], jobs: int) -> str:
    """Return how long the pending runs will take, as far as that is known."""
    seconds = sum(plan.seconds for plan in plans)
    if math.isnan(seconds):
        return "how long it takes is not known"
    at_a_time = max(min(jobs, sum(len(plan.pending) for plan in plans)), 1)
    return f"about {duration(seconds / at_a_time)} with {at_a_time} at a time"


def plan_record(planned: Planned, tuner: Tuner | None) -> dict[str, Any]:
    """Return what `decoderlab-plan --json` prints of a study: its runs, and what is to be done."""
    pending = {cell.run_id for cell in planned.pending}
    runs = [
        asdict(cell) | {"title": cell.title, "pending": cell.run_id in pending}
        for cell in planned.plan.cells
    ]
    return {
        "study": planned.plan.name,
        "question": planned.plan.study.question,
        "baseline": planned.plan.study.baseline,
        "output_dir": str(planned.output_dir),
        "pending": len(pending),
        "seconds_of_computing": planned.seconds if math.isfinite(planned.seconds) else None,
        "tuning_runs": 0 if tuner is None else tuner.num_runs,
        "impossible": planned.impossible,
        "notes": planned.notes,
        "runs": runs,
    }


def show_plan(planned: Planned, jobs: int) -> None:
    """Print what a study consists of, a line for each row and column of its table."""
    rows: dict[tuple[str, str], list[StudyCell]] = {}
    for cell in planned.plan.cells:
        rows.setdefault((cell.variant, cell.task), []).append(cell)
    names = ("variant", "task", "parameters", "operations", "updates", "seeds", "finished")
    table = Table(*names, box=None)
    for (variant, task), cells in rows.items():
        done = sum(finished(cell.run_folder(planned.output_dir)) for cell in cells)
        first, seeds = cells[0], ranges_text(cell.seed for cell in cells)
        table.add_row(
            progress.plain(variant),
            progress.plain(task),
            f"{first.parameters:,}",
            f"{first.flops:,.0f}",
            f"{first.steps:,}" if first.steps else "by time",
            seeds,
            str(done),
        )
    progress.output().print(table)
    number = len(planned.pending)
    left = f"; {estimate([planned], jobs)}" if number else ""
    say(f"{number} of {len(planned.plan.cells)} runs to do{left}")
