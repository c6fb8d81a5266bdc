"""The figure that answers a study: each variant's difference to the baseline, seed by seed."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from decoderlab.studies.reporting.panels import Panels
from decoderlab.studies.reporting.table_texts import tuned_text

MAX_BASELINE = 34  # letters of its name below the axis


def forest_caption(panels: Panels) -> str:
    """Return how to read `forest`."""
    margin = panels.analysis.margin
    band = (
        f" Shaded: differences below the minimum effect of {margin:g}, which nobody would care "
        "about."
        if margin
        else ""
    )
    return (
        f"Difference to {panels.analysis.baseline} in test {panels.label}. Each dot is a seed, the "
        f"tick their mean, the bar its 95 % interval; at the right the verdict.{band}"
        f"{tuned_text(panels.analysis.plan.study.tuning)}"
    )


def forest(panels: Panels) -> Figure | None:
    """Draw the paired differences of each variant; None without a baseline and another variant."""
    analysis = panels.analysis
    variants = [name for name in panels.shown if name != analysis.baseline]
    if not analysis.comparisons or not variants:
        return None
    compared = analysis.comparisons
    verdicts = {
        key: compared[key].verdict if key in compared else "not planned"
        for key in ((variant, task) for variant in variants for task in panels.tasks)
    }
    figure, axes = panels.rows_figure(variants, max(map(len, verdicts.values())))
    for axis, task in zip(axes[0], panels.tasks, strict=True):
        if analysis.margin:
            axis.axvspan(-analysis.margin, analysis.margin, color="#808080", alpha=0.2, linewidth=0)
        axis.axvline(0, color="#808080", linewidth=1)
        for index, variant in enumerate(variants):
            _row(panels, axis, index, variant, task)
        panels.rows_axis(axis, [(variant, verdicts[variant, task]) for variant in variants])
        axis.set_title(task, loc="left", fontweight="bold")
        name = panels.short[str(analysis.baseline)]
        against = name if len(name) <= MAX_BASELINE else "the baseline"
        axis.set_xlabel(f"difference to {against}")
    return figure


def _row(panels: Panels, axis: Axes, index: int, variant: str, task: str) -> None:
    analysis = panels.analysis
    compared = analysis.comparisons.get((variant, task))
    if compared is None or compared.paired is None or analysis.baseline is None:
        return
    differences = list(analysis.differences(variant, analysis.baseline, task).values())
    colour = panels.styles[variant]["color"]
    panels.dots(axis, differences, index, colour)
    mean, (low, high) = compared.paired.mean, compared.interval
    if not math.isnan(low):
        axis.plot([low, high], [index, index], "-", color=colour, linewidth=2.2)
    axis.plot([mean], [index], "|", color="black", markersize=11, markeredgewidth=1.6)
    # The whole of what is drawn is seen, and so is 0.
    ends = [*differences, 0.0] + ([] if math.isnan(low) else [low, high])
    axis.update_datalim(np.column_stack([ends, [index] * len(ends)]))
