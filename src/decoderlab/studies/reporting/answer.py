"""The answer of a study in words."""

from __future__ import annotations

from collections.abc import Mapping

from decoderlab.studies.analysis.comparisons import BARRING, Comparison
from decoderlab.studies.analysis.entries import Entry
from decoderlab.studies.analysis.factorial import Factorial
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.attainable import ALPHA, PILOT_SEEDS
from decoderlab.studies.reporting.cautions import failures_text
from decoderlab.studies.reporting.table_texts import compared_text, p_text, score_text


def answer(analysis: Analysis) -> list[str]:
    """Return the answer in sentences; nothing that the intervals do not support."""
    if not any(entry.finished for entry in analysis.entries.values()):
        over = all(row.failed for row in analysis.rows)
        return ["Every run failed or diverged." if over else "No run is finished yet."]
    lines = []
    if failed := failures_text(analysis):
        lines.append(failed)
    if analysis.pilot:
        lines.append(
            f"This is a pilot: with fewer than {PILOT_SEEDS} seeds no exact paired test can reach "
            f"p < {ALPHA:g}. The table shows sizes; nothing can be concluded from it."
        )
    for task in analysis.tasks:
        lines.append(_best(analysis, task))
        if analysis.comparisons and not analysis.pilot:
            lines += _against_baseline(analysis, task)
        factorial = analysis.factorials[task]
        if isinstance(factorial, Factorial) and len(factorial.levels) > 1:
            lines.append(f"{task}: {_factor_words(factorial)}")
        elif task in analysis.withheld and len(analysis.grid[1]) > 1:
            lines.append(f"{task}: of the factors nothing is claimed, since {factorial}.")
    return lines


def _best(analysis: Analysis, task: str) -> str:
    entries = analysis.ranked(task)
    if not entries:
        return f"{task}: no row has a mean over all of its runs."
    best = max(entries, key=lambda variant: analysis.sign * entries[variant].summary.mean)
    word = "highest" if analysis.sign > 0 else "lowest"
    metric = analysis.scale.label
    mean = entries[best].summary.mean
    if others := _ties(entries, best):
        names = " and ".join([best, *others] if len(others) < 8 else [best, f"{len(others)} more"])
        return f"{task}: {names} have the {word} mean {metric}, {mean:.3f}."
    return f"{task}: {best} has the {word} mean {metric}, {score_text(entries[best])}."


def _ties(entries: Mapping[str, Entry], best: str) -> list[str]:
    mean = entries[best].summary.mean
    return [name for name, entry in entries.items() if name != best and entry.summary.mean == mean]


def _size(comparison: Comparison) -> float:
    return abs(comparison.paired.mean) if comparison.paired else 0.0


def _against_baseline(analysis: Analysis, task: str) -> list[str]:
    by_verdict: dict[str, list[Comparison]] = {}
    for (_, of), comparison in analysis.comparisons.items():
        if of == task:
            by_verdict.setdefault(comparison.verdict, []).append(comparison)
    margin = f" by {analysis.margin:g} or more" if analysis.margin else ""
    phrases = {
        "better": f"Better than {analysis.baseline}{margin}",
        "worse": f"Worse than {analysis.baseline}{margin}",
        f"better {BARRING}": f"Better than {analysis.baseline}{margin}, if no run collapses",
        f"worse {BARRING}": f"Worse than {analysis.baseline}{margin}, if no run collapses",
        "no difference": f"Different from it by less than {analysis.margin or 0:g}",
        "tie": "The same in every seed",
        "inconclusive": "Inconclusive",
        "pilot": f"A pilot, with fewer than {PILOT_SEEDS} seeds of both",
        "not comparable": "Not comparable, since measured in another way",
        "unequal budget": "Nothing is claimed, since the budgets differ",
        "not run": "Not run on both sides",
    }
    parts = []
    for verdict, words in phrases.items():
        if compared := by_verdict.get(verdict):
            order = sorted(compared, key=_size, reverse=True)
            shown = [
                each.variant + (f" ({compared_text(each)})" if each.paired else "")
                for each in order[:8]
            ]
            more = f" and {len(order) - 8} more" if len(order) > 8 else ""
            parts.append(f"{words}: {'; '.join(shown)}{more}.")
    return [f"{task}: {' '.join(parts)}"] if parts else []


def _factor_words(factorial: Factorial) -> str:
    certain = [effect for effect in factorial.effects if effect.real]
    if not certain:
        return "no effect of any factor, and no interaction, is certain."
    named = ", ".join(
        f"{' x '.join(effect.factors)} ({p_text(effect.p_holm)} after Holm)" for effect in certain
    )
    if not factorial.interactions:
        return f"certain effects: {named}; no interaction is certain."
    return (
        f"certain effects: {named}. As factors interact, no main effect holds by itself: what "
        "each does under each condition is in the table of simple effects."
    )
