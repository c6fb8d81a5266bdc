"""What a study says of its seeds: what they draw, and when they solve a task."""

from __future__ import annotations

import math
from pathlib import Path

from decoderlab.studies.analysis.seed_variance import ALL, SeedVariance, Spread, seed_variance
from decoderlab.studies.analysis.solving import Solving, solved_in_part, solving
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.blocks import Block, FigureBlock, Grid, Paragraph, Section
from decoderlab.studies.reporting.figures import Picture
from decoderlab.studies.reporting.table_texts import interval_text
from decoderlab.studies.statistics import Interval


def variance_section(analysis: Analysis, picture: Picture | None) -> Section | None:
    """Return what the scores vary with; None where no rows differ in what their seeds draw.

    Args:
        analysis: of the study.
        picture: the figure of `variance`.
    """
    by_task = {task: known for task in analysis.tasks if (known := seed_variance(analysis, task))}
    if not by_task:
        return None
    blocks: list[Block] = [_shares(by_task)]
    if picture is not None:
        blocks += [FigureBlock(picture), Paragraph(picture.caption)]
    blocks += [_deviations(task, known) for task, known in by_task.items()]
    blocks += [
        Paragraph(f"Left out on {task}, as runs are missing: {', '.join(known.left_out)}.")
        for task, known in by_task.items()
        if known.left_out
    ]
    blocks.append(
        Paragraph(
            f"Standard deviations of the test {analysis.scale.label} over seeds, which draw all, "
            "or what the column says while the rest is that of one fixed seed; other data have "
            "other test examples too. What else a run draws as it trains, as dropout, differs "
            "between the seeds of every column. In percent: the variance over that where seeds "
            "draw all, each the mean over the rows. They need not add up to 100 %: what is held is "
            "one draw of many, and draws act together. Intervals by the jackknife of the logarithm "
            "over seeds; none where seeds fall into two groups, and those in percent are then less "
            "sure than they look."
        )
    )
    return Section("What the seeds draw", blocks)


def solved_section(analysis: Analysis, picture: Picture | None, output_dir: Path) -> Section | None:
    """Return after how many updates seeds solved a task; None without the figure of it.

    Args:
        analysis: of the study.
        picture: the figure of `solved`.
        output_dir: as in `run.output_dir`.
    """
    if picture is None:
        return None
    rows = [
        [task, variant, *_solving_texts(known)]
        for task in analysis.tasks
        if solved_in_part(analysis, task)
        for variant in analysis.variants
        if (known := solving(analysis, variant, task, output_dir))
    ]
    header = ["task", "row", "solved", "share [95 % CI]", "updates of half of the seeds"]
    align = ["left", "left", "right", "right", "right"]
    blocks: list[Block] = [FigureBlock(picture), Paragraph(picture.caption)]
    return Section(picture.title, [*blocks, Grid(header, rows, align=align)])


def _solving_texts(known: Solving) -> list[str]:
    seeds, half = len(known.solved_at), known.median
    share = f"{known.number / seeds:.2f} {interval_text(known.share, 2)}"
    return [f"{known.number} of {seeds}", share, f"{half:,.0f}" if math.isfinite(half) else "–"]


def _shares(by_task: dict[str, SeedVariance]) -> Grid:
    kinds = list(dict.fromkeys(kind for known in by_task.values() for kind in known.shares))
    rows = [
        [task, *(_share_text(known.shares.get(kind)) for kind in kinds), str(len(known.seeds))]
        for task, known in by_task.items()
    ]
    header = ["task", *(f"{kind} [95 % CI]" for kind in kinds), "seeds"]
    return Grid(header, rows, "Variance, in percent of that of drawing all")


def _deviations(task: str, known: SeedVariance) -> Grid:
    kinds = [ALL, *known.shares]
    rows = [
        [name, *(_spread_text(row[kind]) for kind in kinds)]
        for name, row in known.deviations.items()
    ]
    return Grid(
        ["row", *(f"{kind} [95 % CI]" for kind in kinds)], rows, f"{task}: standard deviation"
    )


def _spread_text(spread: Spread) -> str:
    return f"{spread.value:.4f} {interval_text(spread.interval, 4)}"


def _share_text(spread: Spread | None) -> str:
    """Return a ratio of variances in percent.

    Example:
        >>> _share_text(Spread(0.42, Interval(0.2, 0.9)))
        '42 % [20, 90]'
    """
    if spread is None or math.isnan(spread.value):
        return "–"
    low, high = (100 * end for end in spread.interval)
    return f"{100 * spread.value:.0f} % {interval_text(Interval(low, high), 0)}"
