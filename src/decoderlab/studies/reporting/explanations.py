"""What the legend says of a column, where that depends on the study."""

from __future__ import annotations

from collections.abc import Mapping

from decoderlab.metrics.signature import signature_parts
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.attainable import ALPHA, EQUAL_SEEDS


def explain_score(analysis: Analysis) -> str:
    """Say how the score was measured."""
    metric = analysis.scale.label
    better = "higher" if analysis.scale.better == "max" else "lower"
    signatures = [row.signature for row in analysis.rows if row.signature]
    search = {_search(signature_parts(text)) for text in signatures}
    way = f"from free-running generation ({', '.join(sorted(search)) or 'none yet'})"
    if analysis.scale.teacher_forced:
        way = "each token given the true ones before it"
    crossed = any(entry.crossed for entry in analysis.entries.values())
    examples = ", and of new test examples where seeds share them" if crossed else ""
    return (
        f"Test {metric} ({better} is better), {way}, at the update chosen on validation: mean "
        f"over seeds with the t 95 % interval of new seeds{examples}."
    )


def _search(parts: Mapping[str, str]) -> str:
    """Return how tokens were generated, from the parts of a signature."""
    given = " at the given lengths of the targets" if "lengths" in parts else ""
    return f"{parts.get('generation', '?')}{given}"


def explain_holm(analysis: Analysis) -> str:
    """Say over which comparisons p is adjusted."""
    family = "task" if analysis.by_task else "study"
    return f"Holm: adjusted over all comparisons of the {family};"


def explain_difference(analysis: Analysis) -> str:
    """Say of which population the interval of a difference speaks."""
    crossed = {comparison.crossed for comparison in analysis.comparisons.values()}
    way = {
        frozenset([True]): "of new seeds and new test examples alike",
        frozenset([False]): "of new seeds on these test examples",
    }.get(frozenset(crossed), "of new seeds, and of new test examples where seeds share them")
    return f"difference: to {analysis.baseline}, seed by seed, with the t interval {way};"


def explain_verdict(analysis: Analysis) -> str:
    """Say what each verdict claims."""
    margin = (
        f"{analysis.margin:g}, the declared minimum effect"
        if analysis.margin
        else "0, as no minimum effect is declared"
    )
    return (
        f"better, worse: adjusted p < {ALPHA:g} and the simultaneous interval of the family beyond "
        f"{margin}, even if runs collapsed at the highest rate that so many seeds exclude; barring "
        "collapse: so if none does. no difference: two one-sided tests within it, adjusted too, "
        f"with {EQUAL_SEEDS} seeds at least; else inconclusive, with the smallest difference that "
        "would be found with power 0.8 (MDE)."
    )
