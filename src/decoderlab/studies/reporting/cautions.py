"""What a reader should beware of: few seeds, missing, mixed, outlying and failed runs."""

from __future__ import annotations

from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.blocks import Block, Bullets, Paragraph, Section
from decoderlab.studies.statistics import PILOT_SEEDS


def cautions(analysis: Analysis) -> list[Block]:
    """Return what to beware of in the tables: few seeds, missing, mixed and outlying runs."""
    blocks: list[Block] = []
    if analysis.pilot:
        blocks.append(
            Paragraph(f"fewer than {PILOT_SEEDS} seeds, so nothing is claimed.", "Pilot: ")
        )
    waiting = [row for row in analysis.rows if row.result is None and not row.failed]
    if waiting:
        blocks.append(
            Paragraph(
                f"{len(waiting)} of {len(analysis.rows)} runs are not finished; they are missing "
                "from the means.",
                "Incomplete: ",
            )
        )
    for task in analysis.tasks:
        if any(entry.mixed for (_, of), entry in analysis.entries.items() if of == task):
            blocks.append(
                Paragraph(
                    f"on {task} the runs were not all measured in the same way; cells that mix "
                    "ways are marked, and rows that differ in a seed are not compared.",
                    "Mixed: ",
                )
            )
    outlying = [
        f"{variant} on {task}, seed {seed}: {entry.scores[seed]:.3f}, median "
        f"{entry.summary.median:.3f}"
        for (variant, task), entry in analysis.entries.items()
        for seed in entry.outliers
    ]
    if outlying:
        more = [f"and {len(outlying) - 20} more"] if len(outlying) > 20 else []
        blocks.append(Paragraph("seeds that lie far from the others of their cell:", "Apart: "))
        blocks.append(Bullets([*outlying[:20], *more]))
    return blocks


def failures(analysis: Analysis) -> Section | None:
    """Return the runs without a result, and how failures count; None if all are finished."""
    unfinished = [row for row in analysis.rows if row.status != "FINISHED"]
    if not unfinished:
        return None
    scores = ", ".join(dict.fromkeys(f"{score:g}" for score in analysis.worst.values()))
    worst = (
        f"A run that failed counts with the score {scores}"
        if analysis.worst
        else "A failed run has no worst loss: it is left out of the mean, and nothing is claimed "
        "of a row against another where a seed is lost so"
    )
    items = [
        f"{row.cell.variant}, {row.cell.task}, seed {row.cell.seed}: {row.status} {row.reason}"
        for row in unfinished[:100]
    ]
    more = [f"and {len(unfinished) - 100} more"] if len(unfinished) > 100 else []
    return Section("Failures", [Paragraph(f"{worst}."), Bullets([*items, *more])])
