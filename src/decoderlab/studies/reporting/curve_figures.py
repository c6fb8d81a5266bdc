"""Figures of curves: learning, by target length, by position, memory of the summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from decoderlab.studies.analysis import curves
from decoderlab.studies.analysis.curves import Curve
from decoderlab.studies.analysis.results import Row
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


def learning(panels: Panels) -> Figure | None:
    """Draw the validation score by update; None without any."""
    metric = panels.analysis.metric
    return _lines(
        panels,
        [lambda rows: curves.learning_curve(rows, panels.output_dir, metric)],
        "update",
        [f"validation {panels.label}"],
    )


def lengths(panels: Panels) -> Figure | None:
    """Draw the share of correct examples by target length; None without any."""
    return _lines(panels, [curves.by_length], "target length", ["correct"])


def positions(panels: Panels) -> Figure | None:
    """Draw correctness by position, and the exposure bias; None without any."""
    return _lines(
        panels,
        [
            lambda rows: curves.by_position(rows, "free"),
            lambda rows: curves.by_position(rows, "bias"),
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
    panels: Panels, of: Sequence[Callable[[list[Row]], Curve]], along: str, labels: Sequence[str]
) -> Figure | None:
    figure, axes = panels.grid(len(of), 2.6 * len(of) + 0.4, sharey="row")
    drawn = False
    for row, curve_of in zip(axes, of, strict=True):
        for axis, task in zip(row, panels.analysis.tasks, strict=True):
            for variant in panels.shown:
                curve = curve_of(panels.analysis.by_cell.get((variant, task), []))
                if not len(curve.positions):
                    continue
                drawn, style = True, panels.styles[variant]
                axis.plot(
                    curve.positions,
                    curve.mean,
                    color=style["color"],
                    linestyle=style["linestyle"],
                    marker=style["marker"] if len(curve.positions) == 1 else None,
                    linewidth=1.4,
                    label=variant,
                )
                band = {"color": style["color"], "alpha": 0.13, "linewidth": 0}
                axis.fill_between(curve.positions, curve.low, curve.high, **band)
            axis.grid(alpha=0.3)
    if not drawn:
        return None
    for axis, task in zip(axes[0], panels.analysis.tasks, strict=True):
        axis.set_title(task)
    for axis in axes[-1]:
        axis.set_xlabel(along)
    for axis in axes.flat:
        axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    for row, label in zip(axes, labels, strict=True):
        row[0].set_ylabel(label)
    panels.add_legend(figure, axes)
    return figure
