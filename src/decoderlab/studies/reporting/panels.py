"""What all figures of a report share: the variants shown, their styles, panels and a legend."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from decoderlab.common.escapes import visible
from decoderlab.studies.analysis.solving import two_groups
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.attention_maps import attention_maps
from decoderlab.studies.reporting.variant_names import name_lines, short_names
from decoderlab.studies.reporting.variant_styles import best_variants, shown_variants, styles
from decoderlab.training import probes

T = TypeVar("T")
# A panel in a browser is so wide that its letters stay legible on a telephone of 390 pixels.
PANEL_INCHES = 4.0
MAX_NAME = 52  # letters of a name above its row
ROW_INCHES, LINE_INCHES = 0.42, 0.13  # of a row, and of another line of its name
FEW_ROWS, LOW_ROW_INCHES = 8, 0.3  # more rows are lower, so that a screen has them
NAME_SIZE = 8


class Panels:
    """The panels of one study's figures, usually one for each task.

    A figure of a paper or of Markdown has all tasks side by side; in a browser each task is a
    figure of its own, so that they stand below each other on a narrow page.

    Args:
        analysis: of the study.
        output_dir: as in `run.output_dir`.
    """

    def __init__(self, analysis: Analysis, output_dir: Path) -> None:
        self.analysis = analysis
        self.output_dir = output_dir
        self.tasks: Sequence[str] = analysis.tasks
        self.shown = shown_variants(analysis)
        self.styles = styles(analysis)
        self.short = {name: visible(each) for name, each in short_names(analysis.variants).items()}
        self.label = analysis.scale.label
        self.alone = False  # whether a figure has one task alone
        self.piece: int | None = None  # which row, or example, a figure has alone; None: all
        self.panel_inches = PANEL_INCHES
        # Whether targets are real values.
        self.real_values = any(
            "correct" not in row.result.probes
            for row in analysis.rows
            if row.result and row.result.probes
        )
        self.coloured_by = "mean target" if self.real_values else "target length"
        self._kept: dict[Any, Any] = {}

    def part(
        self,
        task: str,
        shown: Sequence[str] | None = None,
        piece: int | None = None,
        inches: float = PANEL_INCHES,
    ) -> Panels:
        """Return the panels of one task, of some variants and one row if given, for a page."""
        part = copy.copy(self)
        part.tasks, part.alone, part.piece = [task], True, piece
        part.shown = self.shown if shown is None else list(shown)
        part.panel_inches = inches
        return part

    def pieces(self, all_of: Sequence[T]) -> Sequence[T]:
        """Return the rows or examples that a figure has: one where it is a piece."""
        return all_of if self.piece is None else all_of[self.piece : self.piece + 1]

    def kept(self, key: Any, make: Callable[[], T]) -> T:
        """Return what was made for a key; several figures and formats ask for the same."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def grid(
        self, rows: int, height: float, columns: int | None = None, sharey: Any = False
    ) -> tuple[Figure, np.ndarray]:
        """Return a figure with its axes, (rows, columns); a column a task if not given."""
        columns = columns or len(self.tasks)
        width = self.panel_inches * columns if self.alone else 2.2 + 3.1 * columns
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False, sharey=sharey)

    def add_legend(self, figure: Figure, axes: np.ndarray) -> None:
        """Add one legend for all axes: at the right, on a narrow page below."""
        handles: dict[str, Any] = {}
        for axis in axes.flat:
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        looks: dict[str, Any] = {"frameon": False, "fontsize": 8}
        if self.alone:
            longest = max(map(len, handles), default=0)
            columns = 3 if longest < 14 else 2 if longest < 24 else 1
            width, height = figure.get_size_inches()
            lines = -(-len(handles) // columns)
            figure.set_size_inches(width, height + 0.17 * lines)
            looks |= {"loc": "outside lower left", "ncols": columns, "columnspacing": 1.2}
        else:
            looks |= {"loc": "outside right upper"}
        labels = [label[:MAX_NAME] for label in handles]
        figure.legend(handles.values(), labels, **looks)

    def rows_axis(self, axis: Axes, notes: Sequence[tuple[str, str]]) -> None:
        """Give an axis a row for each variant, with its name above it, and a note at the right.

        Args:
            axis: whose rows are at 0, 1, 2 and so on, from the top.
            notes: name and note of each row.
        """
        axis.set_yticks([])
        axis.set_ylim(len(notes) - 0.55, -0.75)
        for index, (name, note) in enumerate(notes):
            lines = name_lines(self.short[name], MAX_NAME, MAX_NAME - len(note))
            at: dict[str, Any] = {"transform": axis.get_yaxis_transform(), "fontsize": NAME_SIZE}
            at |= {"linespacing": 1.1}
            axis.text(0.0, index - 0.28, "\n".join(lines), va="bottom", ha="left", **at)
            axis.text(1.0, index - 0.28, note, va="bottom", ha="right", style="italic", **at)
        for side in ("left", "right", "top"):
            axis.spines[side].set_visible(False)
        axis.grid(axis="x", alpha=0.4)
        # So few that their numbers do not run into each other.
        axis.xaxis.set_major_locator(
            MaxNLocator(nbins=round(1.3 * self.panel_inches), steps=[1, 2, 2.5, 5, 10])
        )

    def dots(self, axis: Axes, values: Sequence[float], row: int, colour: str) -> None:
        """Draw a dot for each seed in a row; equal ones lie side by side, in the order of seeds."""
        offsets = np.linspace(-0.16, 0.16, len(values)) if len(values) > 1 else np.zeros(1)
        looks: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.5}
        axis.plot(values, row + offsets, "o", color=colour, markersize=4.6, **looks)

    def rows_figure(self, names: Sequence[str], longest_note: int) -> tuple[Figure, np.ndarray]:
        """Return a figure with a row of `rows_axis` for each variant, in the panel of each task.

        Args:
            names: of the variants.
            longest_note: letters of it; beside it a long name takes two lines.
        """
        two_lines = any(len(self.short[name]) > MAX_NAME - longest_note for name in names)
        row_inches = ROW_INCHES if len(names) <= FEW_ROWS else LOW_ROW_INCHES
        row_inches += LINE_INCHES * two_lines
        columns, height = len(self.tasks), 0.9 + row_inches * len(names)
        width = (self.panel_inches if self.alone else PANEL_INCHES + 0.2) * columns
        figure = Figure(figsize=(width, height))
        # The letters stand in the panels, so that nothing has to be measured.
        # Half of a number such as -0.025 stands beside the end of an axis.
        ends = {"left": 0.23 / width, "right": 1 - 0.23 / width, "wspace": 0.1}
        ends |= {"top": 1 - 0.28 / height, "bottom": 0.5 / height}
        return figure, figure.subplots(1, columns, squeeze=False, gridspec_kw=ends)

    def two_groups(self, variant: str, task: str) -> bool:
        """Whether the seeds of a variant fall into two groups."""
        return two_groups(self.analysis, variant, task)

    def chosen(self, name: str, room: int) -> dict[str, list[str]]:
        """Return for each task the variants whose first run has a probe, as many as there is room.

        Args:
            name: of an array of the probes.
            room: for so many on each task: the baseline and the best.
        """
        having = self.having(name)
        return {
            task: best_variants(self.analysis, variants, [task], room)
            for task, variants in having.items()
            if variants
        }

    def having(self, name: str) -> dict[str, list[str]]:
        """Return for each task the variants whose first finished run has an array to be drawn."""

        def shows(arrays: dict[str, np.ndarray]) -> bool:
            return bool(attention_maps(arrays)) if name == "attention" else name in arrays

        return {
            task: [each for each in self.shown if shows(self.first_probes(each, task))]
            for task in self.tasks
        }

    def first_probes(self, variant: str, task: str) -> dict[str, np.ndarray]:
        """Return the probes of the first finished seed; {} without any."""
        return self.kept(("probes", variant, task), lambda: self._first_probes(variant, task))

    def _first_probes(self, variant: str, task: str) -> dict[str, np.ndarray]:
        for row in self.analysis.by_cell.get((variant, task), []):
            if row.result is not None and row.result.probes is not None:
                return probes.read(row.cell.run_folder(self.output_dir).probes)
        return {}
