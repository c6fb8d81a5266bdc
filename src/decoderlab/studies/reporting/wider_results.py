"""Results beyond one task's table: over all tasks, and beside published values."""

from __future__ import annotations

from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.blocks import Block, Grid, Paragraph, Section
from decoderlab.studies.reporting.cell_texts import difference_text, interval_text, p_text


def over_all_tasks(analysis: Analysis) -> Section | None:
    """Return the mean differences over all tasks; None without a baseline or with one task."""
    if not analysis.overall:
        return None
    rows = [
        [variant, difference_text(difference), str(difference.n), p_text(difference.p, bare=True)]
        for variant, difference in analysis.overall.items()
    ]
    blocks: list[Block] = [
        Grid(["variant", "mean difference over tasks [95 % CI]", "seeds", "p"], rows),
        Paragraph(
            f"Difference to {analysis.baseline}, averaged over the tasks for each seed; raw p of "
            "the sign-flip test. Tasks are not alike, and an average over them is only as good as "
            "their choice."
        ),
    ]
    if analysis.over_tasks is not None:
        held = ", ".join(
            f"{name} {p_text(p)}" for name, p in analysis.over_tasks["variants"].items()
        )
        blocks.append(
            Paragraph(
                f"Over tasks: Friedman {p_text(analysis.over_tasks['friedman_p'])}; Wilcoxon "
                f"against {analysis.baseline}, Holm: {held}."
            )
        )
    return Section("Over all tasks", blocks)


def published_values(analysis: Analysis) -> Section | None:
    """Return the published values beside ours; None where none is declared."""
    if not analysis.published:
        return None
    rows = [
        [
            f"{verdict.published.row} minus {verdict.published.against}"
            if verdict.published.against
            else verdict.published.row,
            f"{verdict.published.value:g}",
            f"{verdict.published.tolerance:g}",
            "–"
            if not verdict.n
            else f"{verdict.mean:.3f} {interval_text(verdict.interval)}, n={verdict.n}",
            verdict.word,
            verdict.published.source,
        ]
        for verdict in analysis.published
    ]
    header = ["of", "published", "tolerance", "ours [95 % CI]", "verdict", "source"]
    return Section(
        "Published values",
        [
            Grid(header, rows),
            Paragraph(
                "reproduced: our interval lies within the tolerance, which was stated beforehand; "
                "direction agrees: a difference is certainly on the published side of 0; "
                "contradicts: it is on the other side of 0 or, where the value is no difference, "
                "the interval lies outside the tolerance."
            ),
        ],
    )
