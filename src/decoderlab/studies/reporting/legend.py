"""What stands below the tables: how to read the columns that are shown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.columns import Group, columns_of

# First what was measured, then what was compared, then what is claimed.
LEGEND_ORDER: Sequence[Sequence[Group]] = (("name", "score", "cost"), ("comparison", "verdict"))


def legend(analysis: Analysis) -> str:
    """Return the explanations of the report's columns, one after another."""
    measured, compared = (
        [text for group in groups for text in _explanations(analysis, group)]
        for groups in LEGEND_ORDER
    )
    return " ".join([*measured, *_remarks(analysis), *compared])


def _explanations(analysis: Analysis, group: Group) -> list[str]:
    columns = [column for column in columns_of(analysis, "report") if column.group == group]
    return [text for column in columns if (text := column.explanation_of(analysis))]


def _remarks(analysis: Analysis) -> list[str]:
    """Return what holds for some cells, or for the table as a whole."""
    remarks = []
    if any(not math.isnan(entry.pooled.low) for entry in analysis.entries.values()):
        remarks.append(
            "pooled: all seeds score the same, so that there is no t interval; Wilson's interval "
            "over the test examples in its place."
        )
    return remarks
