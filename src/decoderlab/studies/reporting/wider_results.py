"""Results beyond one task's table: over all tasks, and beside published values."""

from __future__ import annotations

from decoderlab.config.study_settings import Published
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.blocks import Block, Grid, Paragraph, Section
from decoderlab.studies.reporting.table_texts import difference_text, interval_text, p_text


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
        held = [f"{name} {p_text(p)}" for name, p in analysis.over_tasks["variants"].items()]
        pairwise = f"Wilcoxon against {analysis.baseline}, Holm: {', '.join(held)}."
        if not held:
            pairwise = (
                "no Wilcoxon test, as of so many comparisons none could be certain with "
                f"{len(analysis.tasks)} tasks."
            )
        friedman = p_text(analysis.over_tasks["friedman_p"])
        blocks.append(Paragraph(f"Over tasks, as the sample: Friedman {friedman}; {pairwise}"))
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
            f"{verdict.published.value:g}{_spread(verdict.published)}",
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
    if len(analysis.tasks) > 1:
        header = ["task", *header]
        tasks = [str(verdict.published.task) for verdict in analysis.published]
        rows = [[task, *row] for task, row in zip(tasks, rows, strict=True)]
    return Section(
        "Published values",
        [
            Grid(header, rows),
            Paragraph(
                "reproduced: by two one-sided tests, ours minus the published value lies within "
                "the tolerance, which was stated beforehand; the published spread counts where one "
                "is given, else the value counts as exact; "
                "direction agrees: a difference is certainly on the published side of 0; "
                "contradicts: it is on the other side of 0 or, where the value is no difference, "
                "the interval lies outside the tolerance."
            ),
        ],
    )


def _spread(published: Published) -> str:
    if published.deviation is None:
        return ""
    return f" (SD {published.deviation:g}, n={published.runs})"
