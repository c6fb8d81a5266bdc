"""The pictures of a report: colour-blind safe, readable in print, same runs same bytes."""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from decoderlab.data.metrics import metric_words
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.analysis import curves
from decoderlab.studies.analysis.comparisons import Analysis
from decoderlab.studies.analysis.curves import Profile
from decoderlab.studies.analysis.factorial import Factorial
from decoderlab.studies.analysis.results import Row
from decoderlab.studies.reporting.variant_styles import shown_variants, style_at, styles
from decoderlab.training import probes

MAX_PANELS = 6
MAX_TICKS = 24  # labels beside an attention map
DPI = 100


class Picture(NamedTuple):
    """A figure of the report.

    Args:
        name: of its file, without the ending.
        title, caption: what it shows, and how to read it.
        png: the file.
    """

    name: str
    title: str
    caption: str
    png: bytes


def pictures(analysis: Analysis, output_dir: Path) -> list[Picture]:
    """Draw all figures that the runs allow.

    Args:
        analysis: of the study.
        output_dir: as in `run.output_dir`.
    """
    artist = _Artist(analysis, output_dir)
    metric = metric_words(analysis.metric)
    few = ""
    if len(artist.shown) < len(analysis.variants):
        few = f" Shown are the {len(artist.shown)} best variants, the baseline among them."
    band = "Line: mean over the seeds that finished; band: its 95 % interval."
    drawn: list[tuple[str, str, str, Callable[[], Figure | None]]] = [
        (
            analysis.metric,
            "Every seed",
            f"Each dot is a seed, the bar the 95 % interval of the mean of the test {metric}; "
            f"dotted: the best rule without trained weights.{few}",
            artist.scores,
        ),
        (
            "interaction",
            "The factors together",
            f"Mean test {metric} with its 95 % interval. Parallel lines: the factors act "
            "independently of each other.",
            artist.interaction,
        ),
        ("learning", "Learning", f"Validation {metric} by update. {band}{few}", artist.learning),
        (
            "lengths",
            "By target length",
            f"Share of correct test examples by target length in tokens. {band}{few}",
            artist.lengths,
        ),
        (
            "positions",
            "By position, and the exposure bias",
            f"{artist.positions_caption} {band}{few}",
            artist.positions,
        ),
        (
            "memory",
            "How long the decoder remembers the summary",
            f"{artist.memory_caption} {band}{few}",
            artist.memory,
        ),
        (
            "cost",
            "Cost against quality",
            f"Mean test {metric} with its 95 % interval, by trained parameters and by "
            "floating-point operations of one forward pass, per example.",
            artist.cost,
        ),
        (
            "attention",
            "Where attention looks",
            "Attention weights of the first test examples while the first seed's model generated "
            "them: a row is a generated token, a column a position of the source (of an image, a "
            f"place of its grid, row by row); dark is 1, or of more than {MAX_TICKS} positions the "
            "largest weight.",
            artist.attention,
        ),
        (
            "forecasts",
            "Some predictions",
            "The first number of the first test examples (black) and what the first seed's model "
            "of each variant generates, in the data's units.",
            artist.forecasts,
        ),
        (
            "summaries",
            "The summaries in two dimensions",
            "The encoder's summaries of test examples on their two principal axes, first seed; "
            f"coloured by {artist.coloured_by}. In brackets the share of their variance.",
            artist.summaries,
        ),
    ]
    made = []
    # A token or a name such as $x$ is no formula.
    looks = {"font.size": 9, "axes.titlesize": 9, "text.parse_math": False}
    with matplotlib.rc_context(looks), warnings.catch_warnings():
        # Scripts that matplotlib's own font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for name, title, caption, draw in drawn:
            figure = draw()
            if figure is not None:
                buffer = io.BytesIO()
                figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
                made.append(Picture(name, title, caption, buffer.getvalue()))
    return made


class _Artist:
    """Draws the figures of one study."""

    def __init__(self, analysis: Analysis, output_dir: Path) -> None:
        self.analysis, self.output_dir = analysis, output_dir
        self.shown = shown_variants(analysis)
        self.styles = styles(analysis, self.shown)
        self.label = metric_words(analysis.metric)
        # Whether targets are real values.
        self.values = any(
            "correct" not in row.result["probes"]
            for row in analysis.rows
            if row.result and row.result.get("probes")
        )
        self.coloured_by = "mean target" if self.values else "target length"

    @property
    def positions_caption(self) -> str:
        if self.values:
            return (
                "Above: mean absolute error by position in free-running generation. Below: how "
                "much it changes when the true values before are given (the exposure bias)."
            )
        return (
            "Above: share of right tokens by position in free-running generation; positions after "
            "its end count as wrong. Below: how much larger it is when the true tokens before are "
            "given (the exposure bias)."
        )

    @property
    def memory_caption(self) -> str:
        if self.values:
            between = "Mean absolute difference, in standard deviations, between the output"
        else:
            between = "Total variation distance (0 to 1) between the decoder's distribution"
        return (
            f"{between} at a position and the one it has when summary and state are those of "
            "another example, what the target has before and the memory staying as they are."
        )

    def scores(self) -> Figure:
        tasks, analysis = self.analysis.tasks, self.analysis
        height = 1.2 + 0.33 * len(self.shown)
        figure, axes = self._panels(1, height, sharey=True)
        for axis, task in zip(axes[0], tasks, strict=True):
            for place, variant in enumerate(self.shown):
                entry = analysis.entries.get((variant, task))
                if entry is None or not entry.summary.n:
                    continue
                values = list(entry.scores.values())
                colour = self.styles[variant]["color"]
                # Seeds with equal scores lie side by side, in the order of the seeds.
                offsets = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else [0.0]
                axis.plot(
                    values,
                    place + np.asarray(offsets),
                    "o",
                    color=colour,
                    alpha=0.6,
                    markersize=3.5,
                )
                low, high = entry.interval
                if not math.isnan(low):
                    axis.plot([low, high], [place, place], "-", color="black", linewidth=1.6)
                axis.plot([entry.summary.mean], [place], "|", color="black", markersize=13)
            if rules := analysis.baselines(task).values():
                best = max(rules) if analysis.sign > 0 else min(rules)
                axis.axvline(best, color="black", linestyle=":", linewidth=1)
            axis.set_title(task)
            axis.set_xlabel(f"test {self.label}")
            axis.grid(axis="x", alpha=0.3)
        axes[0][0].set_yticks(range(len(self.shown)), self.shown)
        axes[0][0].invert_yaxis()
        return figure

    def interaction(self) -> Figure | None:
        found = {
            task: one
            for task, one in self.analysis.factorials.items()
            if isinstance(one, Factorial) and len(one.levels) >= 2
        }
        if not found:
            return None
        figure, axes = self._panels(1, 3.4, columns=len(found))
        for axis, (task, one) in zip(axes[0], found.items(), strict=True):
            names = one.levels
            along = max(names, key=lambda name: len(names[name]))
            beside = [name for name in names if name != along]
            for place, others in enumerate(_combinations(names, beside)):
                heights, ends = [], []
                for level in names[along]:
                    entry = self._entry_at(task, {**others, along: level})
                    heights.append(entry.summary.mean)
                    ends.append(
                        [
                            entry.summary.mean - entry.interval.low,
                            entry.interval.high - entry.summary.mean,
                        ]
                    )
                steps = np.arange(len(heights)) + 0.04 * (place - 0.5)
                axis.errorbar(
                    steps,
                    heights,
                    yerr=np.nan_to_num(np.clip(np.array(ends).T, 0, None)),
                    label=", ".join(others.values()),
                    capsize=2,
                    **style_at(place),
                )
            axis.set_xticks(range(len(names[along])), names[along], rotation=20, ha="right")
            axis.set_title(task)
            axis.grid(axis="y", alpha=0.3)
        axes[0][0].set_ylabel(f"test {self.label}")
        self._legend(figure, axes)
        return figure

    def _entry_at(self, task: str, levels: dict[str, str]) -> Any:
        variant = next(
            row.cell.variant
            for row in self.analysis.grid[0]
            if row.cell.task == task and levels.items() <= row.cell.factors.items()
        )
        return self.analysis.entries[variant, task]

    def learning(self) -> Figure | None:
        metric = self.analysis.metric
        return self._lines(
            [lambda rows: curves.learning_curve(rows, self.output_dir, metric)],
            "update",
            [f"validation {self.label}"],
        )

    def lengths(self) -> Figure | None:
        return self._lines([curves.by_length], "target length", ["correct"])

    def positions(self) -> Figure | None:
        return self._lines(
            [
                lambda rows: curves.by_position(rows, "free"),
                lambda rows: curves.by_position(rows, "bias"),
            ],
            "position in the target",
            ["absolute error,\nfree-running", "given the true values:\nerror changes by"]
            if self.values
            else ["right, free-running", "given the true tokens:\nmore right by"],
        )

    def memory(self) -> Figure | None:
        return self._lines([curves.summary_influence], "position in the target", ["distance"])

    def _lines(
        self, of: Sequence[Callable[[list[Row]], Profile]], along: str, labels: Sequence[str]
    ) -> Figure | None:
        figure, axes = self._panels(len(of), 2.6 * len(of) + 0.4, sharey="row")
        drawn = False
        for row, profile_of in zip(axes, of, strict=True):
            for axis, task in zip(row, self.analysis.tasks, strict=True):
                for variant in self.shown:
                    profile = profile_of(self.analysis.by_cell.get((variant, task), []))
                    if not len(profile.places):
                        continue
                    drawn, style = True, self.styles[variant]
                    axis.plot(
                        profile.places,
                        profile.mean,
                        color=style["color"],
                        linestyle=style["linestyle"],
                        marker=style["marker"] if len(profile.places) == 1 else None,
                        linewidth=1.4,
                        label=variant,
                    )
                    band = {"color": style["color"], "alpha": 0.13, "linewidth": 0}
                    axis.fill_between(profile.places, profile.low, profile.high, **band)
                axis.grid(alpha=0.3)
        if not drawn:
            return None
        for axis, task in zip(axes[0], self.analysis.tasks, strict=True):
            axis.set_title(task)
        for axis in axes[-1]:
            axis.set_xlabel(along)
        for axis in axes.flat:
            axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        for row, label in zip(axes, labels, strict=True):
            row[0].set_ylabel(label)
        self._legend(figure, axes)
        return figure

    def cost(self) -> Figure | None:
        figure, axes = self._panels(2, 5.2, sharey="row")
        drawn = False
        for row, (name, label) in zip(
            axes, (("parameters", "parameters"), ("flops", "operations an example")), strict=True
        ):
            for axis, task in zip(row, self.analysis.tasks, strict=True):
                for variant in self.shown:
                    entry = self.analysis.entries.get((variant, task))
                    if entry is None or not entry.summary.n or not getattr(entry, name):
                        continue
                    mean, (low, high) = entry.summary.mean, entry.interval
                    ends = [[max(mean - low, 0)], [max(high - mean, 0)]]
                    style = self.styles[variant] | {"linestyle": "none"}
                    at = [getattr(entry, name)]
                    axis.errorbar(at, [mean], yerr=np.nan_to_num(ends), label=variant, **style)
                    drawn = True
                axis.set_xlabel(label)
                axis.xaxis.set_major_locator(MaxNLocator(nbins=5))
                axis.xaxis.set_major_formatter(EngFormatter(sep=""))
                axis.grid(alpha=0.3)
        for axis, task in zip(axes[0], self.analysis.tasks, strict=True):
            axis.set_title(task)
        for row in axes:
            row[0].set_ylabel(f"test {self.label}")
        self._legend(figure, axes)
        return figure if drawn else None

    def attention(self) -> Figure | None:
        maps = []
        for variant in self.shown:
            for task in self.analysis.tasks:
                arrays = self._first_probes(variant, task)
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
            for place, axis in enumerate(row[: len(arrays["attention"])]):
                source = json.loads(str(arrays["attention_source"][place]))
                target = json.loads(str(arrays["attention_target"][place]))
                weights = arrays["attention"][place][: len(target), : len(source)]
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

    def forecasts(self) -> Figure | None:
        series = {
            (variant, task): arrays
            for task in self.analysis.tasks
            for variant in self.shown
            if "forecast" in (arrays := self._first_probes(variant, task))
        }
        if not series:
            return None
        tasks = list(dict.fromkeys(task for _, task in series))
        columns = max(len(arrays["forecast"]) for arrays in series.values())
        figure, axes = self._panels(len(tasks), 2.6 * len(tasks) + 0.4, columns=columns)
        for row, task in zip(axes, tasks, strict=True):
            for (variant, of), arrays in series.items():
                for place, axis in enumerate(row[: len(arrays["forecast"]) if of == task else 0]):
                    steps = np.arange(1, len(arrays["truth"][place]) + 1)
                    if not axis.lines:
                        axis.plot(steps, arrays["truth"][place], color="black", label="target")
                        axis.set_title(f"{task}, example {place + 1}")
                        axis.grid(alpha=0.3)
                    style = self.styles[variant] | {"marker": None}
                    axis.plot(
                        steps, arrays["forecast"][place], label=variant, linewidth=1.2, **style
                    )
        for axis in axes[-1]:
            axis.set_xlabel("position in the target")
        self._legend(figure, axes)
        return figure

    def summaries(self) -> Figure | None:
        variants = self.shown[:MAX_PANELS]
        found = {
            (variant, task): arrays
            for task in self.analysis.tasks
            for variant in variants
            if "summaries" in (arrays := self._first_probes(variant, task))
        }
        if not found:
            return None
        tasks = self.analysis.tasks
        figure = Figure(
            figsize=(1 + 2.1 * len(variants), 0.4 + 2.1 * len(tasks)), layout="constrained"
        )
        grid = figure.subplots(len(tasks), len(variants), squeeze=False)
        for row, task in zip(grid, tasks, strict=True):
            scatter = None
            for axis, variant in zip(row, variants, strict=True):
                axis.set_xticks([])
                axis.set_yticks([])
                if (variant, task) not in found:
                    continue
                arrays = found[variant, task]
                points, share = curves.plane(arrays["summaries"])
                colours = arrays.get("level", arrays["lengths"])
                scatter = axis.scatter(*points.T, c=colours, s=6, cmap="viridis", linewidths=0)
                axis.set_title(f"{variant}\n({share:.0%})", fontsize=7)
            row[0].set_ylabel(task)
            if scatter is not None:
                ticks = MaxNLocator(nbins=5, integer=True)
                figure.colorbar(scatter, ax=row, label=self.coloured_by, ticks=ticks)
        return figure

    def _first_probes(self, variant: str, task: str) -> dict[str, np.ndarray]:
        for row in self.analysis.by_cell.get((variant, task), []):
            if row.result is not None:
                return probes.read(RunFolder(self.output_dir / row.cell.folder).probes)
        return {}

    def _panels(
        self, rows: int, height: float, columns: int | None = None, sharey: Any = False
    ) -> tuple[Figure, np.ndarray]:
        columns = columns or len(self.analysis.tasks)
        figure = Figure(figsize=(2.2 + 3.1 * columns, height), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False, sharey=sharey)

    def _legend(self, figure: Figure, axes: np.ndarray) -> None:
        handles: dict[str, Any] = {}
        for axis in axes.flat:
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        figure.legend(
            handles.values(), handles.keys(), loc="outside right upper", frameon=False, fontsize=8
        )


def _combinations(levels: dict[str, list[str]], names: Sequence[str]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = [{}]
    for name in names:
        found = [{**one, name: level} for one in found for level in levels[name]]
    return found
