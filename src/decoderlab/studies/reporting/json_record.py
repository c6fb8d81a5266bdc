"""What `decoderlab-report --json` prints: the numbers of the tables, for programs."""

from __future__ import annotations

import math
from typing import Any

from decoderlab.studies.analysis.comparisons import Comparison
from decoderlab.studies.analysis.entries import Entry
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.blocks import Bullets, Paragraph
from decoderlab.studies.reporting.cautions import cautions, not_independent, warnings
from decoderlab.studies.reporting.headline import headline
from decoderlab.studies.reporting.provenance import ended_early

VERSION = 2


def report_record(analysis: Analysis) -> dict[str, Any]:
    """Return a study's answer and tables; what there is no number for is None.

    Args:
        analysis: of the study.

    Returns:
        With `rows`: a variant on a task each, with `n` seeds, mean, interval, and against the
        baseline the difference, its interval, the simultaneous one and the verdict; and with
        `cautions`: what the report says to beware of, a line each.
    """
    plan = analysis.plan
    rows = []
    for (variant, task), entry in analysis.entries.items():
        row = {"variant": variant, "task": task} | _of_entry(entry)
        comparison = analysis.comparisons.get((variant, task))
        row["comparison"] = None if comparison is None else _of_comparison(comparison)
        rows.append(row)
    record = {
        "version": VERSION,
        "study": plan.name,
        "question": plan.study.question,
        "answer": headline(analysis),
        "metric": plan.study.metric,
        "baseline": plan.study.baseline,
        "minimum_effect": plan.study.minimum_effect,
        "family": plan.study.family,
        "complete": analysis.complete,
        "damage": list(plan.damage),
        "not_independent": not_independent(analysis),
        "ended_early": ended_early(analysis.rows),
        "cautions": _cautions(analysis),
        "rows": rows,
    }
    return _plain(record)


def _cautions(analysis: Analysis) -> list[str]:
    lines = []
    for block in [*warnings(analysis), *cautions(analysis)]:
        if isinstance(block, Paragraph):
            lines.append(f"{block.strong}{block.text}")
        elif isinstance(block, Bullets):
            lines += block.items
    return lines


def _of_entry(entry: Entry) -> dict[str, Any]:
    return {
        "planned": entry.planned,
        "finished": entry.finished,
        "failed": entry.failed,
        "n": entry.summary.n,
        "mean": entry.summary.mean,
        "interval": [*entry.interval],
        "over": "seeds and examples" if entry.crossed else "seeds",
        "scores": {str(seed): score for seed, score in sorted(entry.scores.items())},
        "parameters": entry.parameters,
        "flops": entry.flops,
        "updates": entry.updates and [*entry.updates],
        "seconds": entry.seconds,
    }


def _of_comparison(comparison: Comparison) -> dict[str, Any]:
    paired = comparison.paired
    return {
        "against": comparison.against,
        "verdict": comparison.verdict,
        "n": 0 if paired is None else paired.n,
        "difference": comparison.estimate.mean,
        "interval": [*comparison.interval],
        "simultaneous_interval": [*comparison.simultaneous],
        "over": "seeds and examples" if comparison.crossed else "seeds",
        "p_holm": comparison.p_holm,
        "p_equivalent": comparison.p_equivalent,
        "detectable": comparison.detectable,
    }


def _plain(value: Any) -> Any:
    """Return a value with None for what is not finite, as JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
