"""Figures of what single models do: attention maps, forecasts, their summaries."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from decoderlab.common.escapes import visible
from decoderlab.studies.analysis import curves
from decoderlab.studies.reporting.panels import Panels

MAX_PANELS = 4  # models of a task
MAX_TITLE = 60
MAX_TICKS = 24  # labels beside an attention map


def attention(panels: Panels) -> Figure | None:
    """Draw attention maps of the first seeds' models; None without attention."""
    maps = _chosen(panels, "attention")
    if not maps:
        return None
    columns = max(len(arrays["attention"]) for *_, arrays in maps)
    # On a narrow page the examples of a model stand below each other.
    shape = (columns, 1) if panels.alone else (len(maps), columns)
    figure = Figure(figsize=(2.9 * shape[1], 2.7 * shape[0]), layout="constrained")
    grid = figure.subplots(*shape, squeeze=False)
    for axis in grid.flat:
        axis.set_axis_off()
    for row, (variant, task, arrays) in zip(grid.reshape(-1, columns), maps, strict=True):
        for index, axis in enumerate(row[: len(arrays["attention"])]):
            source = json.loads(str(arrays["attention_source"][index]))
            target = json.loads(str(arrays["attention_target"][index]))
            weights = arrays["attention"][index][: len(target), : len(source)]
            axis.set_axis_on()
            # Over a hundred positions no weight is near 1.
            most = 1.0 if len(source) <= MAX_TICKS else float(weights.max()) or 1.0
            looks = {"cmap": "Greys", "aspect": "auto", "interpolation": "none"}
            axis.imshow(weights.astype(float), vmin=0, vmax=most, **looks)
            if len(source) <= MAX_TICKS:
                axis.set_xticks(range(len(source)), list(map(visible, source)), fontsize=7)
            if len(target) <= MAX_TICKS:
                axis.set_yticks(range(len(target)), list(map(visible, target)), fontsize=7)
        row[0].set_title(f"{task}: {panels.short[variant]}"[:MAX_TITLE], loc="left", fontsize=8)
    return figure


def _chosen(panels: Panels, name: str) -> list[tuple[str, str, dict[str, np.ndarray]]]:
    return [
        (variant, task, panels.first_probes(variant, task))
        for task, variants in panels.chosen(name, MAX_PANELS).items()
        for variant in variants
    ]


def chosen_caption(panels: Panels, name: str) -> str:
    """Return which models of those that could be are drawn, and why; empty if all are."""
    drawn = sum(map(len, panels.chosen(name, MAX_PANELS).values()))
    could = sum(map(len, panels.having(name).values()))
    if drawn == could:
        return ""
    return (
        f" Drawn are {drawn} of {could} rows that could be: on each task the baseline and the "
        f"best, {MAX_PANELS} at most."
    )


def forecasts(panels: Panels) -> Figure | None:
    """Draw generated values beside the true ones; None where targets are not values."""
    series = {
        (variant, task): arrays
        for task in panels.tasks
        for variant in panels.shown
        if "forecast" in (arrays := panels.first_probes(variant, task))
    }
    if not series:
        return None
    tasks = list(dict.fromkeys(task for _, task in series))
    columns = max(len(arrays["forecast"]) for arrays in series.values())
    # On a narrow page the examples of a task stand below each other.
    shape = (columns, 1) if panels.alone else (len(tasks), columns)
    figure, axes = panels.grid(shape[0], 2.6 * shape[0] + 0.4, columns=shape[1])
    for row, task in zip(axes.reshape(-1, columns), tasks, strict=True):
        for (variant, of), arrays in series.items():
            for index, axis in enumerate(row[: len(arrays["forecast"]) if of == task else 0]):
                steps = np.arange(1, len(arrays["truth"][index]) + 1)
                if not axis.lines:
                    axis.plot(steps, arrays["truth"][index], color="black", label="target")
                    axis.set_title(f"{task}, example {index + 1}")
                    axis.grid(alpha=0.3)
                style = panels.styles[variant] | {"marker": None}
                axis.plot(
                    steps,
                    arrays["forecast"][index],
                    label=panels.short[variant],
                    linewidth=1.2,
                    **style,
                )
    for axis in axes[-1]:
        axis.set_xlabel("position in the target")
    panels.add_legend(figure, axes)
    return figure


def summaries(panels: Panels) -> Figure | None:
    """Draw the encoder's summaries on two axes; None without any."""
    chosen = panels.chosen("summaries", MAX_PANELS)
    if not chosen:
        return None
    columns = max(map(len, chosen.values()))
    size = (0.9 + 2.3 * columns, 0.4 + 2.2 * len(chosen))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(chosen), columns, squeeze=False)
    for axis in grid.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    for row, (task, variants) in zip(grid, chosen.items(), strict=True):
        scatter = None
        for axis, variant in zip(row, variants, strict=False):
            arrays = panels.first_probes(variant, task)
            points, share = curves.plane(arrays["summaries"])
            colours = arrays.get("level", arrays["lengths"])
            # An edge, as the lightest dots would be lost on white and the darkest on black.
            looks: dict[str, Any] = {"linewidths": 0.6, "edgecolors": "#808080"}
            looks |= {"s": 12, "cmap": "viridis", "rasterized": True}
            scatter = axis.scatter(*points.T, c=colours, **looks)
            name = textwrap.fill(panels.short[variant][:MAX_TITLE], 30)
            axis.set_title(f"{name} ({share:.0%})", fontsize=7)
        row[0].set_ylabel(task)
        if scatter is not None:
            ticks = MaxNLocator(nbins=5, integer=True)
            figure.colorbar(scatter, ax=row, label=panels.coloured_by, ticks=ticks)
    return figure
