"""The columns of a report's tables, each defined once.

A new column is another `Column` in `COLUMNS`, at its position in the tables, and a line in
docs/reports.md. Markdown, LaTeX, HTML, the table for a paper, the terminal and the comparison of
two studies all take their columns from here, and the legend takes its explanations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from decoderlab.studies.analysis.comparisons import Comparison
from decoderlab.studies.analysis.entries import Entry
from decoderlab.studies.analysis.results import parts_of
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.cell_texts import (
    count_text,
    decimal_text,
    difference_text,
    interval_text,
    mean_text,
    p_text,
    score_text,
    summary_text,
    verdict_text,
    whole_text,
    wins_text,
)
from decoderlab.studies.statistics import ALPHA, EXACT_SEEDS, Paired

# Which table: of the report (Markdown, LaTeX, HTML), of a paper (table.tex), in the terminal, or
# of two studies side by side.
TableKind = Literal["report", "paper", "terminal", "two_studies"]
# What a column speaks of. `comparison` and `verdict` are empty for the baseline, and left out where
# there is none. The legend explains them in the order of LEGEND_ORDER in legend.py.
Group = Literal["name", "score", "cost", "comparison", "verdict"]
# The narrowest terminal that shows a column.
Room = Literal["narrow", "medium", "wide"]

VERDICT_STYLES = {"better": "green", "worse": "red", "no difference": "cyan", "tie": "cyan"}


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
        column.in_table(kind)
        for column in COLUMNS
        if kind in column.tables and column.in_study(analysis)
    ]


# When a column is shown


def has_completed(analysis: Analysis) -> bool:
    """Whether a failed run stands beside completed ones."""
    return any(entry.completed for entry in analysis.entries.values())


def has_crossed(analysis: Analysis) -> bool:
    """Whether a comparison has an interval over seeds and examples."""
    return any(
        not math.isnan(comparison.crossed.low) for comparison in analysis.comparisons.values()
    )


def has_two_models(analysis: Analysis) -> bool:
    """Whether a comparison has a p-value of two trained models."""
    return any(not math.isnan(comparison.p_models) for comparison in analysis.comparisons.values())


# Explanations that depend on the study


def explain_score(analysis: Analysis) -> str:
    """Say how the score was measured."""
    metric = analysis.scale.label
    better = "higher" if analysis.scale.better == "max" else "lower"
    signatures = [row.signature for row in analysis.rows if row.signature]
    search = {parts_of(text).get("generation", "?") for text in signatures}
    way = f"from free-running generation ({', '.join(sorted(search)) or 'none yet'})"
    if analysis.scale.teacher_forced:
        way = "each token given the true ones before it"
    return (
        f"Test {metric} ({better} is better), {way}, at the update chosen on validation: mean "
        "over seeds with the Student-t 95 % interval."
    )


def explain_holm(analysis: Analysis) -> str:
    """Say over which comparisons p is adjusted."""
    family = "task" if analysis.by_task else "study"
    return f"Holm: adjusted over all comparisons of the {family};"


def explain_crossed(analysis: Analysis) -> str:
    """Say how seeds and examples were resampled."""
    return (
        "over seeds and examples: 95 % interval of the difference when both are resampled "
        f"(crossed bootstrap, {analysis.draws:,} draws)."
    )


def explain_verdict(analysis: Analysis) -> str:
    """Say what each verdict claims."""
    margin = (
        f"{analysis.margin:g}, the declared minimum effect"
        if analysis.margin
        else "0, as no minimum effect is declared"
    )
    return (
        f"better, worse: adjusted p < {ALPHA:g} and the interval beyond {margin}; no difference: "
        "two one-sided tests within it, adjusted too; else inconclusive, with the smallest "
        "difference that the sign-flip test of so many seeds would find with power 0.8 (MDE)."
    )


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
        group="name",
        text=lambda row: row.variant + (" (baseline)" if row.is_baseline else ""),
        tables=("report", "paper", "terminal"),
        room="narrow",
        align="left",
        style=lambda row: "bold" if row.is_baseline else "",
    ),
    Column(
        key="score",
        heading="{metric} [95 % CI]",
        group="score",
        text=of_entry(score_text),
        explanation=explain_score,
        tables=("report", "paper", "terminal"),
        room="narrow",
        # A paper has no room for how many seeds solved the task.
        changes={
            "paper": {"text": of_entry(mean_text)},
            "terminal": {"heading": "mean [95 % CI]"},
        },
    ),
    Column(
        key="n",
        heading="n",
        group="score",
        text=of_entry(count_text),
        explanation="n: runs finished of planned.",
        tables=("report", "paper", "terminal"),
        room="narrow",
        style=of_entry(lambda entry: "red" if entry.failed else ""),
    ),
    Column(
        key="completed",
        heading="completed only",
        group="score",
        text=of_entry(lambda entry: summary_text(entry.completed)),
        shown=has_completed,
    ),
    Column(
        key="difference",
        heading="difference [95 % CI]",
        group="comparison",
        text=of_comparison(lambda comparison: difference_text(comparison.paired)),
        explanation=lambda analysis: (
            f"difference: to {analysis.baseline}, seed by seed, with its t interval;"
        ),
        tables=("report", "paper", "terminal", "two_studies"),
        room="medium",
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
        tables=("report", "paper", "terminal", "two_studies"),
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
        key="verdict",
        heading="verdict",
        group="verdict",
        text=of_comparison(verdict_text),
        explanation=explain_verdict,
        tables=("report", "paper", "terminal", "two_studies"),
        room="medium",
        style=of_comparison(lambda comparison: VERDICT_STYLES.get(comparison.verdict, "")),
        # The reasons of an inconclusive verdict are in the report.
        changes={
            "paper": {
                "text": of_comparison(lambda comparison: comparison.verdict),
                "align": "left",
            },
            "terminal": {"text": of_comparison(lambda comparison: comparison.verdict)},
        },
    ),
    Column(
        key="crossed",
        heading="over seeds and examples",
        group="comparison",
        text=of_comparison(lambda comparison: interval_text(comparison.crossed)),
        explanation=explain_crossed,
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
        text=of_entry(lambda entry: whole_text(entry.steps, "by time")),
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
