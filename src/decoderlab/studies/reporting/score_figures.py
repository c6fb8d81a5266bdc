"""Figures of scores: every seed, the factors together, cost against quality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from decoderlab.studies.analysis.factorial import Factorial
from decoderlab.studies.reporting.panels import Panels
from decoderlab.studies.reporting.variant_styles import style_at


def scores(panels: Panels) -> Figure:
    """Draw every seed's score, with the interval of the mean, for each variant."""
    tasks, analysis = panels.analysis.tasks, panels.analysis
    height = 1.2 + 0.33 * len(panels.shown)
    figure, axes = panels.grid(1, height, sharey=True)
    for axis, task in zip(axes[0], tasks, strict=True):
        for index, variant in enumerate(panels.shown):
            entry = analysis.entries.get((variant, task))
            if entry is None or not entry.summary.n:
                continue
            values = list(entry.scores.values())
            colour = panels.styles[variant]["color"]
            # Seeds with equal scores lie side by side, in the order of the seeds.
            offsets = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else [0.0]
            axis.plot(
                values,
                index + np.asarray(offsets),
                "o",
                color=colour,
                alpha=0.6,
                markersize=3.5,
            )
            low, high = entry.interval
            if not math.isnan(low):
                axis.plot([low, high], [index, index], "-", color="black", linewidth=1.6)
            axis.plot([entry.summary.mean], [index], "|", color="black", markersize=13)
        if rules := analysis.baselines(task).values():
            best = max(rules) if analysis.sign > 0 else min(rules)
            axis.axvline(best, color="black", linestyle=":", linewidth=1)
        axis.set_title(task)
        axis.set_xlabel(f"test {panels.label}")
        axis.grid(axis="x", alpha=0.3)
    axes[0][0].set_yticks(range(len(panels.shown)), panels.shown)
    axes[0][0].invert_yaxis()
    return figure


def interaction(panels: Panels) -> Figure | None:
    """Draw the mean at each combination of levels; None without a grid of two factors."""
    levels = {
        task: factorial.levels
        for task, factorial in panels.analysis.factorials.items()
        if isinstance(factorial, Factorial) and len(factorial.levels) >= 2
    }
    if not levels:
        return None
    figure, axes = panels.grid(1, 3.4, columns=len(levels))
    for axis, (task, names) in zip(axes[0], levels.items(), strict=True):
        along = max(names, key=lambda name: len(names[name]))
        beside = [name for name in names if name != along]
        for index, others in enumerate(_combinations(names, beside)):
            heights, ends = [], []
            for level in names[along]:
                entry = _entry_at(panels, task, {**others, along: level})
                heights.append(entry.summary.mean)
                ends.append(
                    [
                        entry.summary.mean - entry.interval.low,
                        entry.interval.high - entry.summary.mean,
                    ]
                )
            steps = np.arange(len(heights)) + 0.04 * (index - 0.5)
            axis.errorbar(
                steps,
                heights,
                yerr=np.nan_to_num(np.clip(np.array(ends).T, 0, None)),
                label=", ".join(others.values()),
                capsize=2,
                **style_at(index),
            )
        axis.set_xticks(range(len(names[along])), names[along], rotation=20, ha="right")
        axis.set_title(task)
        axis.grid(axis="y", alpha=0.3)
    axes[0][0].set_ylabel(f"test {panels.label}")
    panels.add_legend(figure, axes)
    return figure


def _entry_at(panels: Panels, task: str, levels: dict[str, str]) -> Any:
    variant = next(
        row.cell.variant
        for row in panels.analysis.grid[0]
        if row.cell.task == task and levels.items() <= row.cell.factors.items()
    )
    return panels.analysis.entries[variant, task]


def cost(panels: Panels) -> Figure | None:
    """Draw the score against parameters and operations; None without a score."""
    figure, axes = panels.grid(2, 5.2, sharey="row")
    drawn = False
    for row, (name, label) in zip(
        axes, (("parameters", "parameters"), ("flops", "operations an example")), strict=True
    ):
        for axis, task in zip(row, panels.analysis.tasks, strict=True):
            for variant in panels.shown:
                entry = panels.analysis.entries.get((variant, task))
                if entry is None or not entry.summary.n or not getattr(entry, name):
                    continue
                mean, (low, high) = entry.summary.mean, entry.interval
                ends = [[max(mean - low, 0)], [max(high - mean, 0)]]
                style = panels.styles[variant] | {"linestyle": "none"}
                at = [getattr(entry, name)]
                axis.errorbar(at, [mean], yerr=np.nan_to_num(ends), label=variant, **style)
                drawn = True
            axis.set_xlabel(label)
            axis.xaxis.set_major_locator(MaxNLocator(nbins=5))
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
            axis.grid(alpha=0.3)
    for axis, task in zip(axes[0], panels.analysis.tasks, strict=True):
        axis.set_title(task)
    for row in axes:
        row[0].set_ylabel(f"test {panels.label}")
    panels.add_legend(figure, axes)
    return figure if drawn else None


def _combinations(levels: dict[str, list[str]], names: Sequence[str]) -> list[dict[str, str]]:
    combinations: list[dict[str, str]] = [{}]
    for name in names:
        combinations = [{**held, name: level} for held in combinations for level in levels[name]]
    return combinations
