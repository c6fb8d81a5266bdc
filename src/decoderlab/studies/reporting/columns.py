"""The columns of a report's tables, each defined once.

A new column is another `Column` in `COLUMNS`, at its position in the tables, and a line in
docs/reports.md; with `main` it is always shown, else behind a switch. Markdown, LaTeX, HTML, the
table for a paper, the terminal and the comparison of two studies all take their columns from here,
and the legend takes its explanations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from decoderlab.studies.analysis.comparisons import BARRING, Comparison
from decoderlab.studies.analysis.entries import Entry
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.attainable import EXACT_SEEDS
from decoderlab.studies.reporting.explanations import (
    explain_difference,
    explain_holm,
    explain_score,
    explain_verdict,
)
from decoderlab.studies.reporting.table_texts import (
    compared_text,
    count_text,
    decimal_text,
    difference_text,
    finished_text,
    mean_text,
    p_text,
    score_text,
    starred_text,
    starred_verdict,
    summary_text,
    updates_text,
    verdict_text,
    whole_text,
    wins_text,
)
from decoderlab.studies.reporting.terminal_text import Room
from decoderlab.studies.statistics import Paired

# Which table: of the report (Markdown, LaTeX, HTML), of a paper (table.tex), in the terminal, or
# of two studies side by side.
TableKind = Literal["report", "paper", "terminal", "two_studies"]
# What a column speaks of. `comparison` and `verdict` are empty for the baseline, and left out where
# there is none. The legend explains them in the order of LEGEND_ORDER in legend.py.
Group = Literal["name", "score", "cost", "comparison", "verdict"]

VERDICT_STYLES = {"better": "green", "worse": "red", "no difference": "cyan", "tie": "cyan"}
VERDICT_STYLES |= {f"better {BARRING}": "green", f"worse {BARRING}": "red"}


@dataclass(frozen=True)
class TableRow:
    """What a row of a table is about: one variant on one task.

    Args:
        variant: its name.
        entry: its scores; None where the variant is not planned on the task.
        comparison: with the baseline; None for the baseline, and where there is none.
        is_baseline: whether it is the baseline.
    """

    variant: str
    entry: Entry | None
    comparison: Comparison | None = None
    is_baseline: bool = False


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the tables.

    Args:
        key: its name in code.
        heading: above it; `{metric}` stands for the words of the study's metric.
        group: what it speaks of.
        text: its cell in a row. A row without an entry is never asked; in the group `comparison`
            neither is a row without a paired difference, in the group `verdict` none without a
            comparison.
        explanation: what the legend says of it, with the punctuation that ends it; may depend on
            the study; empty for a column that explains itself.
        shown: whether a study has it.
        tables: the tables that have it.
        room: the narrowest terminal that shows it.
        main: whether a report always shows it; the others stand behind a switch.
        align: `left` or `right`.
        style: of a cell in the terminal, a style of rich; empty for none.
        changes: arguments that are others in a kind of table.
    """

    key: str
    heading: str
    group: Group
    text: Callable[[TableRow], str]
    explanation: str | Callable[[Analysis], str] = ""
    shown: Callable[[Analysis], bool] = lambda analysis: True
    tables: tuple[TableKind, ...] = ("report",)
    room: Room = "wide"
    main: bool = False
    align: Literal["left", "right"] = "right"
    style: Callable[[TableRow], str] = lambda row: ""
    changes: Mapping[TableKind, Mapping[str, Any]] = field(default_factory=dict)

    def heading_of(self, analysis: Analysis) -> str:
        """Return the heading in a study."""
        return self.heading.replace("{metric}", analysis.scale.label)

    def explanation_of(self, analysis: Analysis) -> str:
        """Return what the legend says in a study."""
        return self.explanation if isinstance(self.explanation, str) else self.explanation(analysis)

    def in_table(self, kind: TableKind) -> Column:
        """Return the column as one kind of table has it."""
        return replace(self, **self.changes.get(kind, {}))

    def in_study(self, analysis: Analysis) -> bool:
        """Whether the tables of a study have it."""
        if self.group in ("comparison", "verdict") and not analysis.comparisons:
            return False
        return self.shown(analysis)

    def cell(self, row: TableRow, missing: str = "") -> str:
        """Return the text of a cell.

        Args:
            row: whose cell it is.
            missing: where a comparison has no pairs of seeds.
        """
        if self.group in ("comparison", "verdict"):
            if row.comparison is None:
                return ""
            if self.group == "comparison" and row.comparison.paired is None:
                return missing
        return self.text(row)


def columns_of(analysis: Analysis, kind: TableKind) -> list[Column]:
    """Return the columns of one kind of table in a study, in their order."""
    return [
        column
        for column in (
            candidate.in_table(kind) for candidate in COLUMNS if kind in candidate.tables
        )
        if column.in_study(analysis)
    ]


def column_of(key: str) -> Column:
    """Return the column of a name in code."""
    return next(column for column in COLUMNS if column.key == key)


# When a column is shown


def has_completed(analysis: Analysis) -> bool:
    """Whether a failed run stands beside completed ones."""
    return any(entry.completed for entry in analysis.entries.values())


def has_uneven(analysis: Analysis) -> bool:
    """Whether rows have different numbers of runs, or runs are missing."""
    numbers = {(entry.finished, entry.planned) for entry in analysis.entries.values()}
    return len(numbers) > 1 or any(finished < planned for finished, planned in numbers)


def has_cut(analysis: Analysis) -> bool:
    """Whether an output of any run met the greatest length."""
    return any(entry.met_limit > 0 for entry in analysis.entries.values())


def has_crossed(analysis: Analysis) -> bool:
    """Whether a comparison has an interval over seeds and examples."""
    return any(comparison.crossed for comparison in analysis.comparisons.values())


def has_two_models(analysis: Analysis) -> bool:
    """Whether a comparison has a p-value of two trained models."""
    return any(not math.isnan(comparison.p_models) for comparison in analysis.comparisons.values())


# Cells of what a row may lack: empty where it lacks it


def of_entry(text: Callable[[Entry], str]) -> Callable[[TableRow], str]:
    """Return a cell that shows something of a row's scores."""
    return lambda row: "" if row.entry is None else text(row.entry)


def of_comparison(text: Callable[[Comparison], str]) -> Callable[[TableRow], str]:
    """Return a cell that shows something of a row's comparison with the baseline."""
    return lambda row: "" if row.comparison is None else text(row.comparison)


def of_difference(text: Callable[[Paired], str]) -> Callable[[TableRow], str]:
    """Return a cell that shows something of a row's difference from the baseline, seed by seed."""
    return of_comparison(lambda each: "" if each.paired is None else text(each.paired))


COLUMNS = (
    Column(
        key="variant",
        heading="variant",
        main=True,
        group="name",
        text=lambda row: row.variant + (" (baseline)" if row.is_baseline else ""),
        tables=("report", "paper", "terminal"),
        room="narrow",
        align="left",
        style=lambda row: "bold" if row.is_baseline else "",
        # The caption of a paper's table names the baseline.
        changes={"paper": {"text": lambda row: row.variant}},
    ),
    Column(
        key="score",
        heading="{metric} [95 % CI]",
        main=True,
        group="score",
        text=of_entry(score_text),
        explanation=explain_score,
        tables=("report", "paper", "terminal"),
        room="narrow",
        # A paper has no room for how many seeds got all right.
        changes={
            "paper": {"text": of_entry(mean_text), "heading": "{metric}"},
            "terminal": {"heading": "mean [95 % CI]"},
        },
    ),
    Column(
        key="difference",
        heading="difference [95 % CI]",
        main=True,
        group="comparison",
        text=of_comparison(compared_text),
        explanation=explain_difference,
        tables=("report", "paper", "terminal", "two_studies"),
        room="medium",
        # A paper has its p in stars.
        changes={"paper": {"text": of_comparison(starred_text), "heading": "difference"}},
    ),
    Column(
        key="verdict",
        heading="verdict",
        main=True,
        group="verdict",
        text=of_comparison(verdict_text),
        explanation=explain_verdict,
        tables=("report", "terminal", "two_studies"),
        room="narrow",
        style=of_comparison(lambda comparison: VERDICT_STYLES.get(comparison.verdict, "")),
        # The reasons of an inconclusive verdict are in the report; a star has its note below.
        changes={"terminal": {"text": of_comparison(starred_verdict)}},
    ),
    Column(
        key="n",
        heading="n",
        group="score",
        text=of_entry(count_text),
        explanation="n: runs finished of planned.",
        tables=("report", "paper", "terminal"),
        room="small",
        main=True,
        # In the terminal a line below the table counts the failures, and a caption the runs of a
        # paper's table where all rows have as many.
        changes={
            "terminal": {"text": of_entry(finished_text)},
            "paper": {"text": of_entry(finished_text), "shown": has_uneven},
        },
        style=of_entry(lambda entry: "red" if entry.failed else ""),
    ),
    Column(
        key="met_limit",
        heading="cut",
        group="score",
        text=of_entry(lambda entry: decimal_text(entry.met_limit, 3)),
        explanation=(
            "cut: share of test outputs that met the greatest length without an end "
            "(evaluation.max_length)."
        ),
        shown=has_cut,
    ),
    Column(
        key="completed",
        heading="completed only",
        group="score",
        text=of_entry(lambda entry: summary_text(entry.completed)),
        shown=has_completed,
    ),
    Column(
        key="p",
        heading="p",
        group="comparison",
        text=of_difference(lambda difference: p_text(difference.p, bare=True)),
        explanation=f"p: exact sign-flip test (100,000 drawn patterns above {EXACT_SEEDS} seeds),",
        tables=("report", "two_studies"),
    ),
    Column(
        key="p_holm",
        heading="p Holm",
        group="comparison",
        text=of_comparison(lambda comparison: p_text(comparison.p_holm, bare=True)),
        explanation=explain_holm,
        tables=("report", "terminal", "two_studies"),
        room="medium",
    ),
    Column(
        key="dz",
        heading="dz",
        group="comparison",
        text=of_difference(lambda difference: decimal_text(difference.dz, 2)),
        explanation="dz: mean over standard deviation of the differences;",
    ),
    Column(
        key="p_better",
        heading="P(better) [95 % CI]",
        group="comparison",
        text=of_difference(wins_text),
        explanation="P(better): share of seeds, ties half, with Wilson's interval.",
    ),
    Column(
        key="over_seeds",
        heading="over seeds alone",
        group="comparison",
        text=of_difference(difference_text),
        explanation="over seeds alone: with the t interval of new seeds on these examples.",
        shown=has_crossed,
    ),
    Column(
        key="p_models",
        heading="p of the two models",
        group="comparison",
        text=of_comparison(lambda comparison: p_text(comparison.p_models, bare=True)),
        explanation=(
            "p of the two models: McNemar's exact test; it speaks of these two trained models, "
            "not of the methods."
        ),
        shown=has_two_models,
    ),
    Column(
        key="parameters",
        heading="parameters",
        group="cost",
        text=of_entry(lambda entry: whole_text(entry.parameters, "varies")),
        tables=("report", "terminal"),
    ),
    Column(
        key="operations",
        heading="operations",
        group="cost",
        text=of_entry(lambda entry: whole_text(entry.flops, "varies")),
        explanation=("operations: floating-point operations of one forward pass, per example."),
        tables=("report", "terminal"),
    ),
    Column(
        key="updates",
        heading="updates",
        group="cost",
        text=of_entry(updates_text),
    ),
    Column(
        key="seconds",
        heading="seconds",
        group="cost",
        text=of_entry(lambda entry: decimal_text(entry.seconds, 1)),
        explanation="seconds: mean training time of a run.",
        tables=("report", "terminal"),
    ),
)
