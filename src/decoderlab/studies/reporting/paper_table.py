"""The table for a paper: one tabular, the tasks as groups, with what a reader has to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from decoderlab.common.safe_names import plain_name
from decoderlab.studies.analysis.comparisons import BARRING
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.blocks import Grid
from decoderlab.studies.reporting.cautions import failures_text, not_independent
from decoderlab.studies.reporting.columns import has_uneven
from decoderlab.studies.reporting.provenance import ended_early
from decoderlab.studies.reporting.table_texts import BARRED, STARS, tuned_text
from decoderlab.studies.reporting.tables import task_table
from decoderlab.studies.reporting.variant_names import short_names


@dataclass(frozen=True)
class PaperTable:
    """What `table.tex` has.

    Args:
        groups: a table a task, with the same columns.
        caption: above it.
        label: that `ref` finds it by.
        note: below it.
    """

    groups: Sequence[Grid]
    caption: str = ""
    label: str = ""
    note: str = ""


def paper_table(analysis: Analysis) -> PaperTable:
    """Return what a paper has room for.

    Args:
        analysis: of the study.
    """
    short = short_names(analysis.variants)
    groups = [task_table(analysis, task, "paper") for task in analysis.tasks]
    groups = [
        replace(group, rows=[[short[row[0]], *row[1:]] for row in group.rows]) for group in groups
    ]
    compared = bool(analysis.comparisons)
    caption = f"Test {analysis.scale.label} with 95 % intervals: mean over seeds"
    if compared:
        caption += f", and the difference to {short[str(analysis.baseline)]}, seed by seed"
    return PaperTable(
        groups,
        f"{caption}.{tuned_text(analysis.plan.study.tuning)}",
        f"tab:{plain_name(analysis.plan.name)}",
        _note(analysis) if compared else _seeds(analysis),
    )


def _seeds(analysis: Analysis) -> str:
    """Return how many seeds there are, how failures count, and whether each seed counts as one."""
    numbers = {entry.finished for entry in analysis.entries.values()}
    number = "" if has_uneven(analysis) else f"n = {numbers.pop()} seeds."
    shared = "Some seeds are not independent of each other." if not_independent(analysis) else ""
    early = ended_early(analysis.rows)
    texts = number, failures_text(analysis), early and f"{early.capitalize()}.", shared
    return " ".join(text for text in texts if text)


def _note(analysis: Analysis) -> str:
    """Return what the signs beside a difference mean, and how many seeds there are."""
    margin = analysis.margin
    levels = ", ".join(f"{'*' * (index + 1)} p < {p:g}" for index, p in enumerate(STARS))
    beyond = f", with the interval beyond the minimum effect of {margin:g}" if margin else ""
    family = "task" if analysis.by_task else "study"
    barred = any(each.verdict.endswith(BARRING) for each in analysis.comparisons.values())
    texts = [
        _seeds(analysis),
        f"{levels}: exact sign-flip test, Holm over the comparisons of the {family}{beyond}.",
        f"{BARRED} if no run collapses, which so few seeds do not exclude." if barred else "",
        f"= smaller than {margin:g} (two one-sided tests), or a tie." if margin else "= a tie.",
    ]
    return " ".join(text for text in texts if text)
