"""A cell on its way into the plan, and the task of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from decoderlab.config.run_config import RunConfig
from decoderlab.data.task import Task
from decoderlab.studies.design.grid import GridCell
from decoderlab.studies.design.plan_file import StudyCell
from decoderlab.training.assembly import build_task


@dataclass
class Draft:
    """A cell on its way into the plan.

    Args:
        grid_cell: what makes it.
        config: of the run.
        row, column: where it stands in the table.
        parameters, flops: of its model, once measured.
        run_id, steps: once its budget is known.
    """

    grid_cell: GridCell
    config: RunConfig
    row: str
    column: str
    parameters: int = 0
    flops: float = 0.0
    run_id: str = ""
    steps: int | None = None

    def cell(self, folder: Path, varied: Sequence[str]) -> StudyCell:
        """Return the cell of the plan."""
        named = self.grid_cell.named
        return StudyCell(
            run_id=self.run_id,
            folder=str(folder),
            variant=self.row,
            task=self.column,
            seed=self.config.seed,
            parameters=self.parameters,
            overrides=tuple(self.grid_cell.overrides),
            factors={key: named[key] for key in varied if key != "seed" and key in named},
            flops=self.flops,
            steps=self.steps,
        )


class TaskOfLast:
    """Builds the task of a config; the one before where all that it depends on is the same.

    But for the seed, which says in what order a task shows its examples.
    """

    def __init__(self) -> None:
        self._made: tuple[tuple, Task] | None = None

    def __call__(self, config: RunConfig) -> Task:
        """Return it, with its data."""
        key = (config.task, config.training, config.evaluation, config.run, config.study)
        if self._made is None or self._made[0] != key:
            self._made = None  # whatever is raised now
            self._made = key, build_task(config)
        return self._made[1]
