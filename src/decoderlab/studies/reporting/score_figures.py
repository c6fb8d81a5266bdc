"""Figures of scores: every seed, the factors together, what seeds draw, cost against quality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from decoderlab.common.escapes import visible
from decoderlab.studies.analysis.entries import Entry
from decoderlab.studies.analysis.factorial import Factorial
from decoderlab.studies.analysis.seed_groups import better_group, share_text
from decoderlab.studies.analysis.seed_variance import ALL, SeedVariance, seed_variance
from decoderlab.studies.reporting.panels import Panels
from decoderlab.studies.reporting.variant_styles import MARKS

DOTS_REACH = 0.24  # of a row: the seeds lie within, names and notes beyond


def scores(panels: Panels) -> Figure:
    """Draw every seed's score, with the interval of the mean, for each variant."""
    analysis = panels.analysis
    notes = {
        (variant, task): _note(panels, analysis.entries.get((variant, task)))
        for variant in panels.shown
        for task in panels.tasks
    }
    figure, axes = panels.rows_figure(panels.shown, max(map(len, notes.values())))
    for axis, task in zip(axes[0], panels.tasks, strict=True):
        for index, variant in enumerate(panels.shown):
            _score_row(panels, axis, index, variant, task)
        if rules := analysis.baselines(task).values():
            best = max(rules) if analysis.sign > 0 else min(rules)
            _rule(axis, best, len(panels.shown))
        panels.rows_axis(axis, [(variant, notes[variant, task]) for variant in panels.shown])
        axis.set_title(task, loc="left", fontweight="bold")
        axis.set_xlabel(f"test {panels.label}")
    return figure


def _rule(axis: Axes, score: float, rows: int) -> None:
    """Draw a dotted line beside the seeds of each row, and none through the names between."""
    for index in range(rows):
        ends = [index - DOTS_REACH, index + DOTS_REACH]
        axis.plot([score, score], ends, color="black", linestyle=":", linewidth=1)


def _note(panels: Panels, entry: Entry | None) -> str:
    """Return what stands beside a row: the mean, or the share of seeds in the better group."""
    if entry is None:
        return "not planned"
    if not entry.summary.n:
        return "no score"
    values, bounds = list(entry.scores.values()), panels.analysis.scale.bounds
    # No seed is where the mean of two groups is.
    if better := better_group(values, bounds, panels.analysis.sign):
        return share_text(better, len(values), bounds, panels.analysis.sign)
    return f"{entry.summary.mean:.3f}"


def _score_row(panels: Panels, axis: Axes, index: int, variant: str, task: str) -> None:
    """Draw the row of a variant; of two groups of seeds no mean and no interval."""
    entry = panels.analysis.entries.get((variant, task))
    if entry is None or not entry.summary.n:
        return
    panels.dots(axis, list(entry.scores.values()), index, panels.styles[variant]["color"])
    if panels.two_groups(variant, task):
        return
    low, high = entry.interval
    if not math.isnan(low):
        looks: dict[str, Any] = {"color": panels.styles[variant]["color"], "linewidth": 2.2}
        axis.plot([low, high], [index, index], "-", **looks)
    axis.plot([entry.summary.mean], [index], "|", color="black", markersize=11, markeredgewidth=1.6)


def interaction(panels: Panels) -> Figure | None:
    """Draw the mean at each combination of levels; None without a grid of two factors."""
    levels = {
        task: factorial.levels
        for task in panels.tasks
        if isinstance(factorial := panels.analysis.factorials[task], Factorial)
        and len(factorial.levels) >= 2
    }
    if not levels:
        return None
    figure, axes = panels.grid(1, 3.4, columns=len(levels))
    for axis, (task, names) in zip(axes[0], levels.items(), strict=True):
        along = max(names, key=lambda name: len(names[name]))
        beside = [name for name in names if name != along]
        combinations = _combinations(names, beside)
        for index, others in enumerate(combinations):
            offset = 0.5 * ((index + 0.5) / len(combinations) - 0.5)
            _levels(panels, axis, task, (along, names[along]), others, (offset, index))
        levels_shown = list(map(visible, names[along]))
        axis.set_xticks(range(len(levels_shown)), levels_shown, rotation=20, ha="right")
        axis.set_title(task, loc="left", fontweight="bold")
        axis.grid(axis="y", alpha=0.4)
    axes[0][0].set_ylabel(f"test {panels.label}")
    panels.add_legend(figure, axes)
    return figure


def _levels(
    panels: Panels,
    axis: Axes,
    task: str,
    along: tuple[str, list[str]],
    others: dict[str, str],
    drawn_at: tuple[float, int],
) -> None:
    """Draw a combination of the other factors' levels at each level of a factor."""
    (name, levels), (offset, index) = along, drawn_at
    mark, means = MARKS[index % len(MARKS)], []
    for step, level in enumerate(levels):
        variant = _variant_at(panels, task, {**others, name: level})
        entry = panels.analysis.entries[variant, task]
        mean, (low, high) = entry.summary.mean, entry.interval
        ends = np.nan_to_num(np.clip([[mean - low], [high - mean]], 0, None))
        colour = panels.styles.get(variant, {"color": "#808080"})["color"]
        looks: dict[str, Any] = {"color": colour, "marker": mark, "capsize": 2}
        axis.errorbar([step + offset], [mean], yerr=ends, linestyle="none", **looks)
        means.append(mean)
    steps = np.arange(len(levels)) + offset
    # Names have no order: only numbers are joined.
    line = "-" if all(map(_is_number, levels)) else "none"
    axis.plot(steps, means, color="#808080", linestyle=line, linewidth=0.8, zorder=1)
    label = visible(", ".join(others.values()))
    axis.plot([], [], color="black", marker=mark, linestyle=line, linewidth=0.8, label=label)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _variant_at(panels: Panels, task: str, levels: dict[str, str]) -> str:
    return next(
        row.cell.variant
        for row in panels.analysis.grid[0]
        if row.cell.task == task and levels.items() <= row.cell.factors.items()
    )


def cost(panels: Panels) -> Figure | None:
    """Draw the score against parameters and operations; None without a score."""
    costs = panels.pieces((("parameters", "parameters"), ("flops", "operations an example")))
    figure, axes = panels.grid(len(costs), 2.6 * len(costs), sharey="row")
    drawn = False
    for row, (name, label) in zip(axes, costs, strict=True):
        for axis, task in zip(row, panels.tasks, strict=True):
            for variant in panels.shown:
                entry = panels.analysis.entries.get((variant, task))
                if entry is None or not entry.summary.n or not getattr(entry, name):
                    continue
                mean, (low, high) = entry.summary.mean, entry.interval
                ends = [[max(mean - low, 0)], [max(high - mean, 0)]]
                style = panels.styles[variant] | {"linestyle": "none"}
                at = [getattr(entry, name)]
                axis.errorbar(
                    at, [mean], yerr=np.nan_to_num(ends), label=panels.short[variant], **style
                )
                drawn = True
            axis.set_xlabel(label)
            axis.xaxis.set_major_locator(MaxNLocator(nbins=5))
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
            axis.grid(alpha=0.4)
    for axis, task in zip(axes[0], panels.tasks, strict=True):
        axis.set_title(task, loc="left", fontweight="bold")
    for row in axes:
        row[0].set_ylabel(f"test {panels.label}")
    panels.add_legend(figure, axes)
    return figure if drawn else None


def variance_caption() -> str:
    """Return how to read `variance`."""
    return (
        "Standard deviation over seeds of the test score, with its 95 % interval, where seeds draw "
        "all, or only some of data, initial weights and order. Without an interval: seeds fall "
        "into two groups."
    )


def variance(panels: Panels) -> Figure | None:
    """Draw the standard deviations of each row; None where rows do not differ in their draws."""
    by_task = {
        task: known
        for task in panels.tasks
        if (
            known := panels.kept(
                ("variance", task), lambda task=task: seed_variance(panels.analysis, task)
            )
        )
    }
    if not by_task:
        return None
    most = max(len(known.deviations) for known in by_task.values())
    figure, axes = panels.grid(1, 1.2 + 0.5 * most, columns=len(by_task))
    for axis, (task, known) in zip(axes[0], by_task.items(), strict=True):
        _variance_rows(axis, known)
        axis.set_title(task, loc="left", fontweight="bold")
        axis.set_xlabel(f"standard deviation of {panels.label}")
    panels.add_legend(figure, axes)
    return figure


def _variance_rows(axis: Axes, known: SeedVariance) -> None:
    """Draw the rows of a task below each other, with a mark for each thing that seeds draw."""
    kinds = [ALL, *known.shares]
    offsets = np.linspace(-0.27, 0.27, len(kinds))
    for index, kind in enumerate(kinds):
        spreads = [row[kind] for row in known.deviations.values()]
        values = np.array([each.value for each in spreads])
        ends = np.array([[each.value - each.interval.low for each in spreads]])
        ends = np.vstack([ends, [[each.interval.high - each.value for each in spreads]]])
        # Colours are those of variants.
        looks: dict[str, Any] = {"color": "black", "marker": MARKS[index % len(MARKS)]}
        looks |= {"markerfacecolor": "white"} if index else {}
        looks |= {"linestyle": "none", "elinewidth": 1, "markersize": 5, "label": kind}
        rows = np.arange(len(values)) + offsets[index]
        axis.errorbar(values, rows, xerr=np.nan_to_num(ends), **looks)
    axis.set_yticks(range(len(known.deviations)), list(map(visible, known.deviations)))
    axis.set_ylim(len(known.deviations) - 0.5, -0.5)
    axis.set_xlim(left=0)
    axis.grid(axis="x", alpha=0.4)


def _combinations(levels: dict[str, list[str]], names: Sequence[str]) -> list[dict[str, str]]:
    combinations: list[dict[str, str]] = [{}]
    for name in names:
        combinations = [{**held, name: level} for held in combinations for level in levels[name]]
    return combinations
