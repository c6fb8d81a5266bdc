"""Figures of what single models do: attention maps, forecasts, their summaries."""

from __future__ import annotations

import json

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from decoderlab.studies.analysis import curves
from decoderlab.studies.reporting.panels import Panels

MAX_PANELS = 6
MAX_TICKS = 24  # labels beside an attention map


def attention(panels: Panels) -> Figure | None:
    """Draw attention maps of the first seeds' models; None without attention."""
    maps = []
    for variant in panels.shown:
        for task in panels.analysis.tasks:
            arrays = panels.first_probes(variant, task)
            if "attention" in arrays and len(maps) < MAX_PANELS:
                maps.append((variant, task, arrays))
    if not maps:
        return None
    columns = max(len(arrays["attention"]) for *_, arrays in maps)
    figure = Figure(figsize=(2.9 * columns, 2.7 * len(maps)), layout="constrained")
    grid = figure.subplots(len(maps), columns, squeeze=False)
    for row, (variant, task, arrays) in zip(grid, maps, strict=True):
        for axis in row:
            axis.set_axis_off()
        for index, axis in enumerate(row[: len(arrays["attention"])]):
            source = json.loads(str(arrays["attention_source"][index]))
            target = json.loads(str(arrays["attention_target"][index]))
            weights = arrays["attention"][index][: len(target), : len(source)]
            axis.set_axis_on()
            # Over a hundred positions no weight is near 1.
            most = 1.0 if len(source) <= MAX_TICKS else float(weights.max()) or 1.0
            looks = {"cmap": "Greys", "aspect": "auto", "interpolation": "nearest"}
            axis.imshow(weights.astype(float), vmin=0, vmax=most, **looks)
            if len(source) <= MAX_TICKS:
                axis.set_xticks(range(len(source)), source, fontsize=7)
            if len(target) <= MAX_TICKS:
                axis.set_yticks(range(len(target)), target, fontsize=7)
        row[0].set_title(f"{task}: {variant}", loc="left")
    return figure


def forecasts(panels: Panels) -> Figure | None:
    """Draw generated values beside the true ones; None where targets are not values."""
    series = {
        (variant, task): arrays
        for task in panels.analysis.tasks
        for variant in panels.shown
        if "forecast" in (arrays := panels.first_probes(variant, task))
    }
    if not series:
        return None
    tasks = list(dict.fromkeys(task for _, task in series))
    columns = max(len(arrays["forecast"]) for arrays in series.values())
    figure, axes = panels.grid(len(tasks), 2.6 * len(tasks) + 0.4, columns=columns)
    for row, task in zip(axes, tasks, strict=True):
        for (variant, of), arrays in series.items():
            for index, axis in enumerate(row[: len(arrays["forecast"]) if of == task else 0]):
                steps = np.arange(1, len(arrays["truth"][index]) + 1)
                if not axis.lines:
                    axis.plot(steps, arrays["truth"][index], color="black", label="target")
                    axis.set_title(f"{task}, example {index + 1}")
                    axis.grid(alpha=0.3)
                style = panels.styles[variant] | {"marker": None}
                axis.plot(steps, arrays["forecast"][index], label=variant, linewidth=1.2, **style)
    for axis in axes[-1]:
        axis.set_xlabel("position in the target")
    panels.add_legend(figure, axes)
    return figure


def summaries(panels: Panels) -> Figure | None:
    """Draw the encoder's summaries on two axes; None without any."""
    variants = panels.shown[:MAX_PANELS]
    arrays_of = {
        (variant, task): arrays
        for task in panels.analysis.tasks
        for variant in variants
        if "summaries" in (arrays := panels.first_probes(variant, task))
    }
    if not arrays_of:
        return None
    tasks = panels.analysis.tasks
    figure = Figure(figsize=(1 + 2.1 * len(variants), 0.4 + 2.1 * len(tasks)), layout="constrained")
    grid = figure.subplots(len(tasks), len(variants), squeeze=False)
    for row, task in zip(grid, tasks, strict=True):
        scatter = None
        for axis, variant in zip(row, variants, strict=True):
            axis.set_xticks([])
            axis.set_yticks([])
            if (variant, task) not in arrays_of:
                continue
            arrays = arrays_of[variant, task]
            points, share = curves.plane(arrays["summaries"])
            colours = arrays.get("level", arrays["lengths"])
            scatter = axis.scatter(*points.T, c=colours, s=6, cmap="viridis", linewidths=0)
            axis.set_title(f"{variant}\n({share:.0%})", fontsize=7)
        row[0].set_ylabel(task)
        if scatter is not None:
            ticks = MaxNLocator(nbins=5, integer=True)
            figure.colorbar(scatter, ax=row, label=panels.coloured_by, ticks=ticks)
    return figure
