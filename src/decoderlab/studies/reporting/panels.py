"""What all figures of a report share: the variants shown, their styles, panels and a legend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.variant_styles import shown_variants, styles
from decoderlab.training import probes


class Panels:
    """The panels of one study's figures, usually one for each task.

    Args:
        analysis: of the study.
        output_dir: as in `run.output_dir`.
    """

    def __init__(self, analysis: Analysis, output_dir: Path) -> None:
        self.analysis = analysis
        self.output_dir = output_dir
        self.shown = shown_variants(analysis)
        self.styles = styles(analysis, self.shown)
        self.label = analysis.scale.label
        # Whether targets are real values.
        self.real_values = any(
            "correct" not in row.result.probes
            for row in analysis.rows
            if row.result and row.result.probes
        )
        self.coloured_by = "mean target" if self.real_values else "target length"

    def grid(
        self, rows: int, height: float, columns: int | None = None, sharey: Any = False
    ) -> tuple[Figure, np.ndarray]:
        """Return a figure with its axes, (rows, columns); a column a task if not given."""
        columns = columns or len(self.analysis.tasks)
        figure = Figure(figsize=(2.2 + 3.1 * columns, height), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False, sharey=sharey)

    def add_legend(self, figure: Figure, axes: np.ndarray) -> None:
        """Add one legend for all axes, at the right."""
        handles: dict[str, Any] = {}
        for axis in axes.flat:
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        figure.legend(
            handles.values(), handles.keys(), loc="outside right upper", frameon=False, fontsize=8
        )

    def first_probes(self, variant: str, task: str) -> dict[str, np.ndarray]:
        """Return the probes of the first finished seed; {} without any."""
        for row in self.analysis.by_cell.get((variant, task), []):
            if row.result is not None:
                return probes.read(RunFolder(self.output_dir / row.cell.folder).probes)
        return {}
