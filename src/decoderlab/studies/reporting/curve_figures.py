"""Figures of curves: learning, by target length, by position, memory of the summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from decoderlab.studies.analysis import curves
from decoderlab.studies.analysis.curves import Curve
from decoderlab.studies.analysis.results import RunRow
from decoderlab.studies.reporting.panels import Panels


def positions_caption(panels: Panels) -> str:
    """Return how to read `positions`."""
    if panels.real_values:
        return (
            "Above: mean absolute error by position in free-running generation. Below: how "
            "much it changes when the true values before are given (the exposure bias)."
        )
    return (
        "Above: share of right tokens by position in free-running generation; positions after "
        "its end count as wrong. Below: how much larger it is when the true tokens before are "
        "given (the exposure bias)."
    )


def memory_caption(panels: Panels) -> str:
    """Return how to read `memory`."""
    if panels.real_values:
        between = "Mean absolute difference, in standard deviations, between the output"
    else:
        between = "Total variation distance (0 to 1) between the decoder's distribution"
    return (
        f"{between} at a position and the one it has when summary and state are those of "
        "another example, what the target has before and the memory staying as they are."
    )


def learning_caption(panels: Panels) -> str:
    """Return how to read `learning`."""
    return (
        f"Validation {panels.label} by update, and below it the training loss where enough of it "
        "was logged. Where seeds fall into two groups, each has a line of its own. Fewer than "
        f"{curves.MIN_POINTS} validations are marks, which no line joins: nobody knows what lies "
        "between them."
    )


def learning(panels: Panels) -> Figure | None:
    """Draw the validation score and the training loss by update; None without any."""
    metric, output_dir = panels.analysis.metric, panels.output_dir
    of: list[Callable[[list[RunRow]], Curve]] = [
        lambda rows: curves.learning_curve(rows, output_dir, metric),
        lambda rows: curves.loss_curve(rows, output_dir),
    ]
    labels = [f"validation {panels.label}", "training loss"]
    names = [f"validation/{metric}", "train/loss"]
    shown = [(variant, task) for variant in panels.shown for task in panels.tasks]
    logged = any(len(_curve(panels, of[1], labels[1], *each).positions) for each in shown)
    rows = 2 if logged else 1
    return _lines(panels, of[:rows], "update", labels[:rows], names[:rows])


def _curve(
    panels: Panels, of: Callable[[list[RunRow]], Curve], label: str, variant: str, task: str
) -> Curve:
    rows = panels.analysis.by_cell.get((variant, task), [])
    return panels.kept((label, variant, task), lambda: of(rows))


def lengths(panels: Panels) -> Figure | None:
    """Draw the share of correct examples by target length; None without any."""
    return _lines(panels, [curves.share_by_length], "target length", ["correct"])


def positions(panels: Panels) -> Figure | None:
    """Draw correctness by position, and the exposure bias; None without any."""
    return _lines(
        panels,
        [
            lambda rows: curves.share_by_position(rows, "free"),
            lambda rows: curves.share_by_position(rows, "bias"),
        ],
        "position in the target",
        ["absolute error,\nfree-running", "given the true values:\nerror changes by"]
        if panels.real_values
        else ["right, free-running", "given the true tokens:\nmore right by"],
    )


def memory(panels: Panels) -> Figure | None:
    """Draw how far another example's summary moves the output, by position; None without any."""
    return _lines(panels, [curves.summary_influence], "position in the target", ["distance"])


def _lines(
    panels: Panels,
    of: Sequence[Callable[[list[RunRow]], Curve]],
    along: str,
    labels: Sequence[str],
    names: Sequence[str] = (),
) -> Figure | None:
    """Draw curves over a number.

    Args:
        panels: of the study.
        of: of the runs of a variant, for each row of the figure.
        along: words below the axis.
        labels: words beside each row.
        names: of the metrics of each row, of which seeds in two groups have curves of their own.
    """
    figure, axes = panels.grid(len(of), 2.6 * len(of) + 0.4, sharey="row")
    drawn = False
    for number, (row, curve_of) in enumerate(zip(axes, of, strict=True)):
        for axis, task in zip(row, panels.tasks, strict=True):
            for variant in panels.shown:
                curve = _curve(panels, curve_of, labels[number], variant, task)
                if not len(curve.positions):
                    continue
                drawn = True
                if names and panels.two_groups(variant, task):
                    _seed_lines(panels, axis, variant, task, names[number])
                else:
                    few = bool(names) and len(curve.positions) < curves.MIN_POINTS
                    _mean_line(axis, curve, panels.styles[variant], panels.short[variant], few)
            axis.grid(alpha=0.4)
    if not drawn:
        return None
    for axis, task in zip(axes[0], panels.tasks, strict=True):
        axis.set_title(task, loc="left", fontweight="bold")
    for axis in axes[-1]:
        axis.set_xlabel(along)
    for axis in axes.flat:
        axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    for row, label in zip(axes, labels, strict=True):
        row[0].set_ylabel(label)
    panels.add_legend(figure, axes)
    return figure


def _mean_line(
    axis: Axes, curve: Curve, style: Mapping[str, Any], label: str, few: bool = False
) -> None:
    """Draw a mean over seeds with its interval: a line and a band, or marks and bars if `few`."""
    if few or len(curve.positions) == 1:
        ends = [curve.mean - curve.low, curve.high - curve.mean]
        looks = {"color": style["color"], "marker": style["marker"], "markersize": 4}
        axis.errorbar(
            curve.positions, curve.mean, yerr=ends, linestyle="", elinewidth=1, label=label, **looks
        )
        return
    looks = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 1.4}
    axis.plot(curve.positions, curve.mean, label=label, **looks)
    band = {"color": style["color"], "alpha": 0.13, "linewidth": 0}
    axis.fill_between(curve.positions, curve.low, curve.high, **band)


def _seed_lines(panels: Panels, axis: Axes, variant: str, task: str, name: str) -> None:
    """Draw a number of each seed by update, with a dot at the last; few are dots alone."""
    style = panels.styles[variant]
    looks = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 0.8}
    for row in panels.analysis.by_cell[variant, task]:
        if row.result is None:
            continue
        scores = curves.by_update(row.cell.run_folder(panels.output_dir), name)
        steps, values = list(scores), list(scores.values())
        last = 0 if len(scores) < curves.MIN_POINTS else -1
        if last:
            axis.plot(steps, values, **looks)
        axis.plot(steps[last:], values[last:], "o", color=style["color"], markersize=3)
    axis.plot(
        [], [], label=f"{panels.short[variant]} (each seed)", **looks, marker="o", markersize=3
    )
