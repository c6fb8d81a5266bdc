"""The figures of a report, with their titles and captions: same runs, same bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure

from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.curve_figures import (
    learning,
    lengths,
    memory,
    memory_caption,
    positions,
    positions_caption,
)
from decoderlab.studies.reporting.model_figures import MAX_TICKS, attention, forecasts, summaries
from decoderlab.studies.reporting.panels import Panels
from decoderlab.studies.reporting.score_figures import cost, interaction, scores

DPI = 100
BAND = "Line: mean over the seeds that finished; band: its 95 % interval."


class Drawing(NamedTuple):
    """A figure before it is drawn.

    Args:
        name, title, caption: as of a `Picture`.
        draw: returns the figure; None where the runs do not allow it.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Panels], Figure | None]


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
    panels = Panels(analysis, output_dir)
    drawings = [*_of_scores(panels), *_of_curves(panels), *_of_models(panels)]
    made = []
    # A token or a name such as $x$ is no formula.
    with (
        matplotlib.rc_context({"font.size": 9, "axes.titlesize": 9, "text.parse_math": False}),
        warnings.catch_warnings(),
    ):
        # Scripts that matplotlib's own font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for name, title, caption, draw in drawings:
            figure = draw(panels)
            if figure is not None:
                buffer = io.BytesIO()
                figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
                made.append(Picture(name, title, caption, buffer.getvalue()))
    return made


def _of_scores(panels: Panels) -> list[Drawing]:
    """Return the figures of scores."""
    return [
        Drawing(
            panels.analysis.metric,
            "Every seed",
            f"Each dot is a seed, the bar the 95 % interval of the mean of the test "
            f"{panels.label}; dotted: the best rule without trained weights.{_fewer(panels)}",
            scores,
        ),
        Drawing(
            "interaction",
            "The factors together",
            f"Mean test {panels.label} with its 95 % interval. Parallel lines: the factors act "
            "independently of each other.",
            interaction,
        ),
    ]


def _of_curves(panels: Panels) -> list[Drawing]:
    """Return the figures of curves."""
    return [
        Drawing(
            "learning",
            "Learning",
            f"Validation {panels.label} by update. {BAND}{_fewer(panels)}",
            learning,
        ),
        Drawing(
            "lengths",
            "By target length",
            f"Share of correct test examples by target length in tokens. {BAND}{_fewer(panels)}",
            lengths,
        ),
        Drawing(
            "positions",
            "By position, and the exposure bias",
            f"{positions_caption(panels)} {BAND}{_fewer(panels)}",
            positions,
        ),
        Drawing(
            "memory",
            "How long the decoder remembers the summary",
            f"{memory_caption(panels)} {BAND}{_fewer(panels)}",
            memory,
        ),
    ]


def _of_models(panels: Panels) -> list[Drawing]:
    """Return the figures of what models cost and do."""
    return [
        Drawing(
            "cost",
            "Cost against quality",
            f"Mean test {panels.label} with its 95 % interval, by trained parameters and by "
            "floating-point operations of one forward pass, per example.",
            cost,
        ),
        Drawing(
            "attention",
            "Where attention looks",
            "Attention weights of the first test examples while the first seed's model generated "
            "them: a row is a generated token, a column a position of the source (of an image, a "
            f"place of its grid, row by row); dark is 1, or of more than {MAX_TICKS} positions the "
            "largest weight.",
            attention,
        ),
        Drawing(
            "forecasts",
            "Some predictions",
            "The first number of the first test examples (black) and what the first seed's model "
            "of each variant generates, in the data's units.",
            forecasts,
        ),
        Drawing(
            "summaries",
            "The summaries in two dimensions",
            "The encoder's summaries of test examples on their two principal axes, first seed; "
            f"coloured by {panels.coloured_by}. In brackets the share of their variance.",
            summaries,
        ),
    ]


def _fewer(panels: Panels) -> str:
    """Return the sentence that says that not all variants are shown, if so."""
    if len(panels.shown) == len(panels.analysis.variants):
        return ""
    return f" Shown are the {len(panels.shown)} best variants, the baseline among them."
