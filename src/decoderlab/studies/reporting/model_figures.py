"""Figures of what single models do: attention maps, forecasts, their summaries."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from decoderlab.common.escapes import visible
from decoderlab.studies.analysis import curves
from decoderlab.studies.reporting.attention_maps import AttentionMap, attention_maps
from decoderlab.studies.reporting.panels import Panels

MAX_PANELS = 4  # models of a task
MAX_TITLE = 60
MAX_WORD = 16  # letters of a label
MAX_TICKS = 24  # labels beside an attention map
MAX_ROW = 34  # letters of the labels below it, side by side
LETTER_INCHES = 0.06  # of a label


def attention(panels: Panels) -> Figure | None:
    """Draw attention maps of the first seeds' models; None without any that shows something."""
    models = [
        (f"{task}: {panels.short[variant]}", panels.pieces(attention_maps(arrays)))
        for variant, task, arrays in _chosen(panels, "attention")
    ]
    models = [(name, maps) for name, maps in models if maps]
    if not models:
        return None
    columns = max(len(maps) for _, maps in models)
    heights = [max(_inches_high(each) for each in maps) for _, maps in models]
    figure = Figure(figsize=(2.9 * columns, sum(heights)), layout="constrained")
    looks: Any = {"squeeze": False, "gridspec_kw": {"height_ratios": heights}}
    grid = figure.subplots(len(models), columns, **looks)
    for axis in grid.flat:
        axis.set_axis_off()
    for row, (name, maps) in zip(grid, models, strict=True):
        for axis, each in zip(row, maps, strict=False):
            _draw_map(axis, each)
            title = f"example {each.example + 1}"
            if axis is row[0]:
                title = f"{name[:MAX_TITLE]}, {title}"
            axis.set_title(textwrap.fill(title, 42), loc="left", fontsize=8)
    return figure


def _inches_high(each: AttentionMap) -> float:
    """Return how high a map is: two rows need not fill a square."""
    words = _ticks(each.source)[1]
    below = LETTER_INCHES * max(map(len, words)) if _upright(words) else 0.0
    return min(0.9 + 0.22 * len(each.target), 2.7) + below


def _draw_map(axis: Axes, each: AttentionMap) -> None:
    axis.set_axis_on()
    # Over a hundred positions no weight is near 1.
    most = 1.0 if len(each.source) <= MAX_TICKS else float(each.weights.max()) or 1.0
    looks: Any = {"cmap": "Greys", "aspect": "auto", "interpolation": "none"}
    axis.imshow(each.weights, vmin=0, vmax=most, **looks)
    positions, words = _ticks(each.source)
    axis.set_xticks(positions, words, fontsize=7, rotation=90 if _upright(words) else 0)
    axis.set_yticks(*_ticks(each.target), fontsize=7)


def _upright(words: Sequence[str]) -> bool:
    """Whether labels have no room side by side: each takes that of the longest, and a space."""
    return (max(map(len, words)) + 1) * len(words) > MAX_ROW


def _ticks(tokens: Sequence[str]) -> tuple[range, list[str]]:
    """Return where a label stands, and what it says: each token, or as many as there is room."""
    positions = range(0, len(tokens), max(-(-len(tokens) // MAX_TICKS), 1))
    return positions, [visible(tokens[at])[:MAX_WORD] for at in positions]


def most_examples(panels: Panels, name: str) -> int:
    """Return how many examples a figure has of the model that has most.

    Args:
        panels: of the study.
        name: `attention` or `forecast`.
    """
    arrays = [
        panels.first_probes(variant, task) for task in panels.tasks for variant in panels.shown
    ]
    if name == "attention":
        return max((len(attention_maps(each)) for each in arrays), default=0)
    return max((len(each.get(name, ())) for each in arrays), default=0)


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
    examples = panels.pieces(range(columns))
    figure, axes = panels.grid(len(tasks), 2.6 * len(tasks) + 0.4, columns=len(examples))
    for row, task in zip(axes, tasks, strict=True):
        for (variant, of), arrays in series.items():
            for index, axis in zip(examples, row, strict=True):
                if of != task or index >= len(arrays["forecast"]):
                    continue
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
    return figure if any(axis.lines for axis in axes.flat) else None


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
            # Light on a dark page too, where the dark half of the scale would be lost.
            ground: Any = {"transform": axis.transAxes, "color": "#f2f2f2", "zorder": 0}
            axis.add_patch(Rectangle((0, 0), 1, 1, **ground))
            points, share = panels.kept(
                ("plane", variant, task), partial(curves.plane, arrays["summaries"])
            )
            colours = arrays.get("level", arrays["lengths"])
            # An edge, as the lightest dots would be lost on white and the darkest on black.
            looks: dict[str, Any] = {"linewidths": 0.6, "edgecolors": "#808080"}
            looks |= {"s": 12, "cmap": "viridis", "rasterized": True}
            scatter = axis.scatter(*points.T, c=colours, **looks)
            name = textwrap.fill(panels.short[variant][:MAX_TITLE], 30)
            axis.set_title(f"{name} ({share:.0%})", fontsize=7)
        row[0].set_ylabel(task)
        if scatter is not None and np.ptp(scatter.get_array()) > 0:
            ticks = MaxNLocator(nbins=5, integer=True)
            figure.colorbar(scatter, ax=row, label=panels.coloured_by, ticks=ticks)
    return figure
