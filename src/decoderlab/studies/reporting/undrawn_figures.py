"""Which figures a report does not draw although there are numbers for them, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from decoderlab.common.escapes import visible
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.attention_maps import attention_maps
from decoderlab.studies.reporting.blocks import Bullets, Section
from decoderlab.studies.reporting.curve_figures import (
    LENGTHS,
    MEMORY,
    learning_rows,
    num_points,
    position_rows,
)
from decoderlab.studies.reporting.panels import Panels

ONE_POSITION = "targets have one position, and a single point is no curve"


def undrawn(analysis: Analysis, output_dir: Path) -> Section | None:
    """Return the section that names them; None if all are drawn.

    Args:
        analysis: of the study.
        output_dir: as in `run.output_dir`.
    """
    panels = Panels(analysis, output_dir)
    tasks: dict[str, list[str]] = {}
    for task in panels.tasks:
        for reason in _reasons(panels, task):
            tasks.setdefault(reason, []).append(visible(task))
    several = len(panels.tasks) > 1
    items = [
        f"{reason} ({', '.join(of)})." if several else f"{reason}." for reason, of in tasks.items()
    ]
    return Section("What is not drawn", [Bullets(items)]) if items else None


def _reasons(panels: Panels, task: str) -> Iterator[str]:
    """Yield what has one point where a figure needs two."""
    for row, reason in (
        (
            learning_rows(panels)[0],
            f"The {learning_rows(panels)[0].label} by update: each run was validated once; a "
            "smaller evaluation.every_steps gives a curve",
        ),
        (LENGTHS, "By target length: all test targets have one length"),
        (position_rows(panels)[0], f"By position: {ONE_POSITION}"),
        (MEMORY, f"How long the decoder remembers the summary: {ONE_POSITION}"),
    ):
        if num_points(panels, row, task) == 1:
            yield reason
    without = [variant for variant in panels.shown if _attends_to_one(panels, variant, task)]
    if without:
        names = ", ".join(panels.short[variant] for variant in without)
        yield (
            f"Where attention looks, of {names}: each of the first test sources has one position, "
            "whose weight is always 1"
        )


def _attends_to_one(panels: Panels, variant: str, task: str) -> bool:
    """Whether a model has attention, and nothing to choose from."""
    arrays = panels.first_probes(variant, task)
    return "attention" in arrays and not attention_maps(arrays)
