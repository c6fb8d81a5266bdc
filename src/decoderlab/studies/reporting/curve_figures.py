"""Figures of curves: learning, when seeds solve a task, by length and position, memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from decoderlab.studies.analysis import curves
from decoderlab.studies.analysis.curves import Curve
from decoderlab.studies.analysis.results import RunRow
from decoderlab.studies.analysis.solving import Solving, solved_in_part, solving, threshold
from decoderlab.studies.reporting.panels import Panels


def positions_caption(panels: Panels) -> str:
    """Return how to read `positions`."""
    if panels.real_values:
        return (
            "First: mean absolute error by position in free-running generation. Second: how "
            "much it changes when the true values before are given (the exposure bias)."
        )
    return (
        "First: share of right tokens by position in free-running generation; positions after "
        "its end count as wrong, and of several right targets the nearest counts. Second: how "
        "much larger it is when the true tokens before are given (the exposure bias)."
    )


def memory_caption(panels: Panels) -> str:
    """Return how to read `memory`."""
    if panels.real_values:
        between = "Mean absolute difference, in standard deviations, between the output"
    else:
        between = "Total variation distance (0 to 1) between the decoder's distribution"
    return (
        f"{between} at a position and the one it has when summary and state are those of "
        "another example, drawn at random; what the target has before and the memory stay as they "
        "are. Positions of ends are left out."
    )


def learning_caption(panels: Panels) -> str:
    """Return how to read `learning`."""
    validations = learning_rows(panels)[0]
    if max((num_points(panels, validations, task) for task in panels.tasks), default=0) == 1:
        return "Training loss by update; of a single validation there is no curve."
    return (
        f"Validation {panels.label} by update, and the training loss where enough of it was "
        "logged: what each row minimises, so that its height tells nothing between rows whose "
        "objectives, label smoothing or further losses differ. Where seeds fall into two groups, "
        f"each has a line of its own. Fewer than {curves.MIN_POINTS} validations are marks, which "
        "no line joins: nobody knows what lies between them."
    )


class CurveRow(NamedTuple):
    """A row of a figure of curves.

    Args:
        label: words beside it.
        of: the curve of a variant's runs.
        name: of the number in `metrics.jsonl`, of which seeds in two groups have curves of their
            own; empty where they have none.
    """

    label: str
    of: Callable[[list[RunRow]], Curve]
    name: str = ""


def learning_rows(panels: Panels) -> list[CurveRow]:
    """Return what `learning` draws: the validation score, and the training loss."""
    metric, output_dir = panels.analysis.metric, panels.output_dir
    return [
        CurveRow(
            f"validation {panels.label}",
            lambda rows: curves.learning_curve(rows, output_dir, metric),
            f"validation/{metric}",
        ),
        CurveRow("training loss", lambda rows: curves.loss_curve(rows, output_dir), "train/loss"),
    ]


def position_rows(panels: Panels) -> list[CurveRow]:
    """Return what `positions` draws: correctness, and the exposure bias."""
    labels = ["right, free-running", "given the true tokens:\nmore right by"]
    if panels.real_values:
        labels = ["absolute error,\nfree-running", "given the true values:\nerror changes by"]
    return [
        CurveRow(labels[0], lambda rows: curves.share_by_position(rows, "free")),
        CurveRow(labels[1], lambda rows: curves.share_by_position(rows, "bias")),
    ]


LENGTHS = CurveRow("correct", curves.share_by_length)
MEMORY = CurveRow("distance", curves.summary_influence)


def num_points(panels: Panels, row: CurveRow, task: str) -> int:
    """Return how many points the longest curve has that is shown of a task."""
    lines = (_curve(panels, row, variant, task) for variant in panels.shown)
    return max((len(curve.positions) for curve in lines), default=0)


def learning(panels: Panels) -> Figure | None:
    """Draw the validation score and the training loss by update; None without any."""
    return _lines(panels, learning_rows(panels), "update")


def lengths(panels: Panels) -> Figure | None:
    """Draw the share of correct examples by target length; None without any."""
    return _lines(panels, [LENGTHS], "target length")


def positions(panels: Panels) -> Figure | None:
    """Draw correctness by position, and the exposure bias; None without any."""
    return _lines(panels, position_rows(panels), "position in the target")


def memory(panels: Panels) -> Figure | None:
    """Draw how far another example's summary moves the output, by position; None without any."""
    return _lines(panels, [MEMORY], "position in the target")


def solved_caption(panels: Panels) -> str:
    """Return how to read `solved`."""
    return (
        f"Share of all seeds of which a validation had reached {threshold(panels.analysis):g} "
        f"{panels.label} by that update, on tasks that some seeds of a row solve and others do "
        "not: a survival curve, drawn upwards. Runs that failed, or ended before, count as not "
        "reaching it."
    )


def solved(panels: Panels) -> Figure | None:
    """Draw the share of seeds that solved a task by update; None where no row is solved in part."""
    tasks = [task for task in panels.tasks if any(_solving(panels, task).values())]
    if not tasks:
        return None
    figure, axes = panels.grid(1, 3.0, columns=len(tasks), sharey=True)
    for axis, task in zip(axes[0], tasks, strict=True):
        for variant, known in _solving(panels, task).items():
            style, (steps, share) = panels.styles[variant], known.steps()
            looks = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 1.4}
            axis.step(steps, share, where="post", label=panels.short[variant], **looks)
        axis.set_ylim(-0.03, 1.03)
        axis.set_xlim(left=0)
        axis.set_title(task, loc="left", fontweight="bold")
        axis.set_xlabel("update")
        axis.grid(alpha=0.4)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes[0][0].set_ylabel("seeds that solved it")
    panels.add_legend(figure, axes)
    return figure


def _solving(panels: Panels, task: str) -> dict[str, Solving]:
    """Return when each variant's seeds solved a task; {} where no row is solved in part."""

    def of_row(variant: str) -> Solving | None:
        return solving(panels.analysis, variant, task, panels.output_dir)

    if not solved_in_part(panels.analysis, task):
        return {}
    each = {
        name: panels.kept(("solved", name, task), lambda n=name: of_row(n)) for name in panels.shown
    }
    if not any(known and known.number for known in each.values()):
        return {}
    return {name: known for name, known in each.items() if known}


def _curve(panels: Panels, row: CurveRow, variant: str, task: str) -> Curve:
    rows = panels.analysis.by_cell.get((variant, task), [])
    return panels.kept((row.label, variant, task), lambda: row.of(rows))


def _lines(panels: Panels, rows: Sequence[CurveRow], along: str) -> Figure | None:
    """Draw curves over a number; None where none has two points.

    Args:
        panels: of the study.
        rows: of the figure.
        along: words below the axis.
    """
    rows = [
        row
        for row in panels.pieces(rows)
        if any(num_points(panels, row, task) > 1 for task in panels.tasks)
    ]
    if not rows:
        return None
    figure, axes = panels.grid(len(rows), 2.6 * len(rows) + 0.4, sharey="row")
    for line, row in zip(axes, rows, strict=True):
        for axis, task in zip(line, panels.tasks, strict=True):
            if num_points(panels, row, task) > 1:
                _panel(panels, axis, row, task)
            else:
                axis.set_axis_off()
        line[0].set_ylabel(row.label)
    for axis, task in zip(axes[0], panels.tasks, strict=True):
        axis.set_title(task, loc="left", fontweight="bold")
    for axis in axes[-1]:
        axis.set_xlabel(along)
    panels.add_legend(figure, axes)
    return figure


def _panel(panels: Panels, axis: Axes, row: CurveRow, task: str) -> None:
    """Draw the curves of all variants on a task."""
    for variant in panels.shown:
        curve = _curve(panels, row, variant, task)
        if not len(curve.positions):
            continue
        if row.name and panels.two_groups(variant, task):
            _seed_lines(panels, axis, variant, task, row.name)
        else:
            few = bool(row.name) and len(curve.positions) < curves.MIN_POINTS
            _mean_line(axis, curve, panels.styles[variant], panels.short[variant], few)
    axis.grid(alpha=0.4)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if axis.dataLim.height == 0:
        # Nothing but 0, which stands at the bottom of what could have been, and not amid nothing.
        axis.set_ylim(axis.dataLim.y0 - 0.05, axis.dataLim.y0 + 1)


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
