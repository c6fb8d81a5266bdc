"""The first screen's answer: at most three short sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from decoderlab.studies.analysis.comparisons import BARRING, Comparison
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.attainable import EXACT_SEEDS, PILOT_SEEDS, attainable
from decoderlab.studies.reporting.variant_names import short_names

MAX_NAMED = 3  # tasks or rows that a sentence names
MAX_NAME = 60  # letters of a name
ORDER = (
    *("better", "worse", f"better {BARRING}", f"worse {BARRING}", "no difference", "tie"),
    *("inconclusive", "pilot", "not comparable", "unequal budget", "not run"),
)


def headline(analysis: Analysis) -> list[str]:
    """Return at most three short sentences; the rest stands in the answer in full."""
    if not any(entry.finished for entry in analysis.entries.values()):
        over = all(row.failed for row in analysis.rows)
        return ["Every run failed or diverged." if over else "No run is finished yet."]
    if analysis.pilot:
        compared = f"With fewer than {PILOT_SEEDS} seeds this is a pilot: nothing is claimed."
    else:
        compared = _could_be_certain(analysis) or _verdicts(analysis)
    return [text for text in (compared, _highest(analysis), _lost(analysis)) if text]


def _highest(analysis: Analysis) -> str:
    """Say which row has the best mean on each task."""
    tasks_of: dict[str, list[str]] = {}
    for task in analysis.tasks:
        means = {variant: each.summary.mean for variant, each in analysis.ranked(task).items()}
        if means:
            best = max(means, key=lambda variant: analysis.sign * means[variant])
            equal = sum(mean == means[best] for mean in means.values()) - 1
            more = f" and {equal} more (equal)" if equal else ""
            if not equal or best != analysis.baseline:
                more += _not_shown(analysis, best, task)
            tasks_of.setdefault(_name(analysis, best) + more, []).append(task)
    if not tasks_of:
        return "No row has a mean over all of its runs."
    word = "Highest" if analysis.sign > 0 else "Lowest"
    parts = [f"{name} (on {_listed(tasks)})" for name, tasks in tasks_of.items()]
    if len(analysis.tasks) == 1:
        parts = list(tasks_of)
    return f"{word} mean {analysis.scale.label}: {_listed(parts, '; ')}."


def _not_shown(analysis: Analysis, best: str, task: str) -> str:
    """Say of the row with the best mean that it is not shown to be better; empty where it is."""
    others = sum(of == task for _, of in analysis.by_cell) > 1
    if analysis.pilot or analysis.baseline not in analysis.variants or not others:
        return ""  # which is said, or nothing is asked
    compared = {key: each for key, each in analysis.comparisons.items() if key[1] == task}
    if not compared:
        return ", compared with none"
    if best != analysis.baseline:
        compared = {(best, task): compared[best, task]} if (best, task) in compared else {}
    word = "worse" if best == analysis.baseline else "better"
    shown = compared and all(each.verdict.startswith(word) for each in compared.values())
    return "" if shown else ", not shown to be better"


def _verdicts(analysis: Analysis) -> str:
    """Say how many comparisons with the baseline ended how, and which is the clearest."""
    if not analysis.comparisons:
        return ""
    counts = Counter(each.verdict for each in analysis.comparisons.values())
    said = ", ".join(f"{counts[word]} {word}" for word in ORDER if counts[word])
    baseline = _name(analysis, analysis.baseline)
    text = f"Of {len(analysis.comparisons)} comparisons with {baseline}: {said}"
    certain = [each for each in analysis.comparisons.values() if each.certain]
    if not certain:
        return f"{text}."
    most = max(certain, key=_size)
    where = f" on {_short(most.task)}" if len(analysis.tasks) > 1 else ""
    mean, name = most.paired.mean if most.paired else 0.0, _name(analysis, most.variant)
    return f"{text}; the largest difference: {name}{where} ({mean:+.3f})."


def _size(comparison: Comparison) -> float:
    return abs(comparison.paired.mean) if comparison.paired else 0.0


def _could_be_certain(analysis: Analysis) -> str:
    """Say that no comparison could be called better or worse, if so many seeds allow none."""
    families: dict[str, list[Comparison]] = {}
    for (_, task), each in analysis.comparisons.items():
        families.setdefault(task if analysis.by_task else "", []).append(each)
    impossible = []
    for family in families.values():
        n = max((each.paired.n for each in family if each.paired), default=0)
        if n >= PILOT_SEEDS and not attainable(n, len(family)):
            impossible.append((n, len(family)))
    if not impossible or len(impossible) < len(families):
        return ""
    n, number = max(impossible)
    enough = [seeds for seeds in range(n, EXACT_SEEDS + 2) if attainable(seeds, number)]
    need = f"; {enough[0]} seeds could be" if enough else ""
    return (
        f"Nothing can be called better or worse: {n} seeds cannot be certain of any among "
        f"{number} comparisons{need}."
    )


def _lost(analysis: Analysis) -> str:
    """Say how many runs have no score, if any."""
    failed = sum(row.failed for row in analysis.rows)
    invalid = sum(row.status == "INVALID" for row in analysis.rows)
    waiting = sum(row.result is None and not row.failed for row in analysis.rows) - invalid
    counted = " (counted with the worst score)" if analysis.worst else ""
    parts = [
        f"{failed} failed{counted}" if failed else "",
        f"{waiting} are not finished" if waiting else "",
        f"{invalid} are damaged" if invalid else "",
    ]
    said = ", ".join(part for part in parts if part)
    return f"Of {len(analysis.rows)} runs {said}." if said else ""


def _name(analysis: Analysis, variant: str | None) -> str:
    return _short(short_names(analysis.variants).get(str(variant), variant))


def _short(name: str | None) -> str:
    text = str(name)
    return text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 1]}…"


def _listed(items: Iterable[str], between: str = ", ") -> str:
    named = list(map(str, items))
    more = f" and {len(named) - MAX_NAMED} more" if len(named) > MAX_NAMED else ""
    return between.join(named[:MAX_NAMED]) + more
