"""A cell on its way into the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from decoderlab.config.run_config import RunConfig
from decoderlab.studies.design.grid import GridCell
from decoderlab.studies.design.plan_file import StudyCell


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
