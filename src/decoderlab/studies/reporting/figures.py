"""The figures of a report, with their titles and captions: same runs, same bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure
from matplotlib.text import Text

from decoderlab.common.escapes import visible
from decoderlab.common.safe_names import plain_name
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.curve_figures import (
    learning,
    learning_caption,
    lengths,
    memory,
    memory_caption,
    positions,
    positions_caption,
    solved,
    solved_caption,
)
from decoderlab.studies.reporting.forest_figure import forest, forest_caption
from decoderlab.studies.reporting.model_figures import (
    MAX_PANELS,
    MAX_TICKS,
    attention,
    chosen_caption,
    forecasts,
    most_examples,
    summaries,
)
from decoderlab.studies.reporting.panels import Panels
from decoderlab.studies.reporting.score_figures import (
    cost,
    interaction,
    scores,
    variance,
    variance_caption,
)
from decoderlab.studies.reporting.themed_svg import themed_svg

DPI, DPI_ALONE = 100, 160
MAX_COLUMNS = 3  # parts of a figure that stand side by side on a page
BROAD_INCHES = {1: 9.0, 2: 5.9}  # of each, where a page has room for so many side by side
MAX_LETTERS = 300  # of a text in a figure
BAND = "Line: mean over the seeds that finished; band: its 95 % interval."
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "text.parse_math": False,
    "pdf.fonttype": 42,
    # A figure's own engine lays it out, once.
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
}


class Drawing(NamedTuple):
    """A figure before it is drawn.

    Args:
        name, title, caption: as of a `Picture`.
        draw: returns the figure; None where the runs do not allow it.
        each_variant: of the array of the probes that has this name, a page has a figure for each
            variant; empty: for each task.
        pieces: a page has each row, or each example, as a figure of its own, so many.
        rows: whether each variant has a row, which may be as broad as the page.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Panels], Figure | None]
    each_variant: str = ""
    pieces: int = 1
    rows: bool = False


class Picture(NamedTuple):
    """A figure of the report.

    Args:
        name: of its file, without the ending.
        title, caption: what it shows, and how to read it.
        png: the file for Markdown.
        pdf: the file for a paper.
        svgs: the same for a page, in parts that stand side by side where there is room.
        columns: of them stand side by side at most.
    """

    name: str
    title: str
    caption: str
    png: bytes
    pdf: bytes = b""
    svgs: tuple[str, ...] = ()
    columns: int = 1


def pictures(analysis: Analysis, output_dir: Path) -> list[Picture]:
    """Draw all figures that the runs allow.

    Args:
        analysis: of the study.
        output_dir: as in `run.output_dir`.
    """
    panels = Panels(analysis, output_dir)
    drawings = [*_of_scores(panels), *_of_curves(panels), *_of_models(panels)]
    # A token or a name such as $x$ is no formula.
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # Scripts that matplotlib's own font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # Names that are longer than the figure is wide.
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        drawn = [_picture(drawing, panels, number) for number, drawing in enumerate(drawings)]
    return [picture for picture in drawn if picture is not None]


def _picture(drawing: Drawing, panels: Panels, number: int) -> Picture | None:
    alone = len(panels.tasks) == 1 and not drawing.each_variant
    figure = _drawn(drawing.draw, panels.part(panels.tasks[0]) if alone else panels)
    if figure is None:
        return None
    png, pdf = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI_ALONE if alone else DPI, metadata={"Software": None})
    metadata = dict.fromkeys(("Creator", "Producer", "CreationDate"))
    figure.savefig(pdf, format="pdf", metadata=metadata)
    svgs, columns = _svgs(drawing, panels, figure if alone else None, f"f{number}")
    texts = drawing.name, drawing.title, drawing.caption
    return Picture(*texts, png.getvalue(), pdf.getvalue(), svgs, columns)


def _svgs(
    drawing: Drawing, panels: Panels, whole: Figure | None, name: str
) -> tuple[tuple[str, ...], int]:
    """Return the parts of a figure on a page, and how many of them stand side by side at most.

    Args:
        drawing: the figure.
        panels: of the study.
        whole: the figure of the only task, if it is drawn already.
        name: that their ids begin with.
    """
    if drawing.rows:
        return _svgs_of_rows(drawing, panels, name)
    parts = _parts(drawing, panels)
    if whole is not None and len(parts) == 1:
        plots = [whole]
    else:
        plots = [plot for part in parts if (plot := _drawn(drawing.draw, part))]
    svgs = tuple(themed_svg(plot, f"{name}.{index}") for index, plot in enumerate(plots))
    if drawing.each_variant:  # they are small
        return svgs, MAX_COLUMNS
    # The pieces of a task stand side by side.
    several = drawing.pieces > 1
    return svgs, min(_columns(drawing.pieces if several else len(svgs)), max(len(svgs), 1))


def _svgs_of_rows(drawing: Drawing, panels: Panels, name: str) -> tuple[tuple[str, ...], int]:
    """Return as `_svgs` does what need not become higher where there is room to be broader."""
    columns = _columns(len(panels.tasks))
    svgs = []
    for index, task in enumerate(panels.tasks):
        parts = {"rows": panels.part(task)}
        if columns in BROAD_INCHES:
            broad = panels.part(task, inches=BROAD_INCHES[columns])
            parts = {f"rows narrow{columns}": parts["rows"], f"rows broad{columns}": broad}
        for number, (kind, part) in enumerate(parts.items()):
            if plot := _drawn(drawing.draw, part):
                svgs.append(themed_svg(plot, f"{name}.{index}.{number}", kind))
    return tuple(svgs), columns


def _columns(number: int) -> int:
    """Return how many of so many figures stand side by side."""
    return 2 if number == 4 else max(min(number, MAX_COLUMNS), 1)


def _parts(drawing: Drawing, panels: Panels) -> list[Panels]:
    """Return the panels of each part of a figure on a page."""
    of: list[tuple[str, list[str] | None]] = [(task, None) for task in panels.tasks]
    if drawing.each_variant:
        chosen = panels.chosen(drawing.each_variant, MAX_PANELS)
        of = [(task, [each]) for task, variants in chosen.items() for each in variants]
    pieces = range(drawing.pieces) if drawing.pieces > 1 else (None,)
    return [panels.part(task, shown, piece) for task, shown in of for piece in pieces]


def _drawn(draw: Callable[[Panels], Figure | None], panels: Panels) -> Figure | None:
    figure = draw(panels)
    if figure is not None:
        for label in figure.findobj(Text):
            label.set_text(visible(label.get_text()[:MAX_LETTERS], keep="\n"))
        if engine := figure.get_layout_engine():
            engine.execute(figure)  # once; with an engine each file would be drawn twice
            figure.set_layout_engine(None)
    return figure


def _of_scores(panels: Panels) -> list[Drawing]:
    """Return the figures of scores."""
    return [
        Drawing(
            "forest",
            "Difference to the baseline",
            f"{forest_caption(panels)}{_fewer(panels)}",
            forest,
            rows=True,
        ),
        Drawing(
            plain_name(panels.analysis.metric),
            "Every seed",
            f"Each dot is a seed, the tick the mean of the test {panels.label}, which stands at "
            "the right, the bar its 95 % interval; dotted: the best rule without trained weights. "
            "Where seeds fall into two groups (a gap of 0.4 of what the metric can be between "
            "them), the share in the better one stands there in place of mean and interval."
            f"{_fewer(panels)}",
            scores,
            rows=True,
        ),
        Drawing(
            "interaction",
            "The factors together",
            f"Mean test {panels.label} with its 95 % interval. The same distance between the marks "
            "of each level: the factors act independently of each other. Levels that are numbers "
            "are joined.",
            interaction,
        ),
        Drawing("variance", "What the seeds draw", variance_caption(), variance),
    ]


def _of_curves(panels: Panels) -> list[Drawing]:
    """Return the figures of curves."""
    return [
        Drawing(
            "learning",
            "Learning",
            f"{learning_caption(panels)} {BAND}{_fewer(panels)}",
            learning,
            pieces=2,
        ),
        Drawing(
            "solved",
            "Solved by update",
            f"{solved_caption(panels)}{_fewer(panels)}",
            solved,
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
            pieces=2,
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
            f"floating-point operations of one forward pass, per example.{_fewer(panels)}",
            cost,
            pieces=2,
        ),
        Drawing(
            "attention",
            "Where attention looks",
            "Attention weights of the first test examples while the first seed's model generated "
            "them: a row is a generated token, a column a position of the source (of an image, a "
            f"place of its grid, row by row); dark is 1, or of more than {MAX_TICKS} positions the "
            f"largest weight.{chosen_caption(panels, 'attention')}",
            attention,
            "attention",
            most_examples(panels, "attention"),
        ),
        Drawing(
            "forecasts",
            "Some predictions",
            "The first number of the first test examples (the line without a colour) and what the "
            "first seed's model of each variant generates, in the data's units."
            f"{_fewer(panels)}",
            forecasts,
            pieces=most_examples(panels, "forecast"),
        ),
        Drawing(
            "summaries",
            "The summaries in two dimensions",
            "The encoder's summaries of test examples on their two principal axes, first seed; "
            f"coloured by {panels.coloured_by}. In brackets the share of their variance."
            f"{chosen_caption(panels, 'summaries')}",
            summaries,
            "summaries",
        ),
    ]


def _fewer(panels: Panels) -> str:
    """Return the sentence that says that not all variants are shown, if so."""
    if len(panels.shown) == len(panels.analysis.variants):
        return ""
    extreme = "highest" if panels.analysis.sign > 0 else "lowest"
    return (
        f" Drawn are {len(panels.shown)} of {len(panels.analysis.variants)} rows: the baseline, "
        f"and those that have the {extreme} means on any task."
    )
