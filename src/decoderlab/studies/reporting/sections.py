"""What a report says, as blocks that Markdown, LaTeX and HTML show each in their way."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decoderlab.config.errors import ConfigError
from decoderlab.data.task_data import counts_text
from decoderlab.metrics.shipped import score_label
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.analysis.comparisons import Analysis, Comparison, Entry
from decoderlab.studies.analysis.factorial import Factorial, Step
from decoderlab.studies.analysis.results import parts_of, read_rows
from decoderlab.studies.design.plan_file import Plan, amendments, read_plan
from decoderlab.studies.reporting.figures import Picture, shown_variants
from decoderlab.studies.statistics import (
    ALPHA,
    EXACT_SEEDS,
    PILOT_SEEDS,
    Interval,
    Paired,
    Summary,
)

PROTOCOL = "1"
NUM_SAMPLES = 5
MAX_STEPS = 60


@dataclass(frozen=True)
class Text:
    """A paragraph; `*` around words for emphasis has no meaning here."""

    text: str
    strong: str = ""


@dataclass(frozen=True)
class Items:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True)
class Grid:
    """A table.

    Args:
        header: column names.
        rows: cells as text.
        title: above it; empty for none.
        strong: row numbers to set off, as the baseline's.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    strong: Sequence[int] = ()


@dataclass(frozen=True)
class Shown:
    """A figure."""

    picture: Picture


@dataclass(frozen=True)
class Listing:
    """Text whose spaces matter, under a line that opens it."""

    title: str
    text: str


Block = Text | Items | Grid | Shown | Listing


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Args:
        title: of the part.
        blocks: what it says.
        appendix: whether only the report that opens in a browser has it.
    """

    title: str
    blocks: Sequence[Block]
    appendix: bool = False


def sections(analysis: Analysis, drawn: Sequence[Picture], output_dir: Path) -> list[Section]:
    """Return the whole report.

    Args:
        analysis: of the study.
        drawn: its figures.
        output_dir: as in `run.output_dir`.
    """
    by_name = {picture.name: picture for picture in drawn}
    scores = by_name.pop(analysis.metric)
    interaction = by_name.pop("interaction", None)
    parts = [
        Section("Answer", [Text(one) for one in answer(analysis)]),
        Section("Table", [*_tables(analysis), Text(_legend(analysis)), *_warnings(analysis)]),
        Section(scores.title, [Shown(scores), Text(scores.caption)]),
        _factors(analysis, interaction),
        _overall(analysis),
        _published(analysis),
        _failures(analysis),
        *(Section(one.title, [Shown(one), Text(one.caption)]) for one in by_name.values()),
        _models(analysis),
        _samples(analysis, output_dir),
        Section("Where the numbers come from", [Items(_provenance(analysis, output_dir))]),
    ]
    return [part for part in parts if part is not None and part.blocks]


# The answer in words


def answer(analysis: Analysis) -> list[str]:
    """Return what the study found, in sentences; nothing that its intervals do not carry."""
    if not any(entry.finished for entry in analysis.entries.values()):
        over = all(row.failed for row in analysis.rows)
        return ["Every run failed or diverged." if over else "No run is finished yet."]
    lines = []
    if failed := sum(row.failed for row in analysis.rows):
        how = "They count with the worst score." if analysis.worst else "They have no score."
        lines.append(f"{failed} of {len(analysis.rows)} runs failed or diverged. {how}")
    if analysis.pilot:
        lines.append(
            f"This is a pilot: with fewer than {PILOT_SEEDS} seeds no exact paired test can reach "
            f"p < {ALPHA:g}. The table shows sizes; it settles nothing."
        )
    for task in analysis.tasks:
        lines.append(_best(analysis, task))
        if analysis.comparisons and not analysis.pilot:
            lines += _against_baseline(analysis, task)
        factorial = analysis.factorials[task]
        if isinstance(factorial, Factorial) and len(factorial.levels) > 1:
            lines.append(f"{task}: {_factor_words(factorial)}")
    return lines


def _best(analysis: Analysis, task: str) -> str:
    entries = {
        variant: analysis.entries[variant, task]
        for variant in analysis.variants
        if (variant, task) in analysis.entries and analysis.entries[variant, task].finished
    }
    if not entries:
        return f"{task}: no run is finished."
    best = max(entries, key=lambda one: analysis.sign * entries[one].summary.mean)
    word = "highest" if analysis.sign > 0 else "lowest"
    metric = analysis.scale.label
    mean = entries[best].summary.mean
    if others := [one for one in entries if one != best and entries[one].summary.mean == mean]:
        names = " and ".join([best, *others] if len(others) < 8 else [best, f"{len(others)} more"])
        return f"{task}: {names} have the {word} mean {metric}, {mean:.3f}."
    return f"{task}: {best} has the {word} mean {metric}, {score_text(entries[best])}."


def _against_baseline(analysis: Analysis, task: str) -> list[str]:
    by_verdict: dict[str, list[Comparison]] = {}
    for (_, of), comparison in analysis.comparisons.items():
        if of == task:
            by_verdict.setdefault(comparison.verdict, []).append(comparison)
    margin = f" by {analysis.margin:g} or more" if analysis.margin else ""
    said = {
        "better": f"Better than {analysis.baseline}{margin}",
        "worse": f"Worse than {analysis.baseline}{margin}",
        "no difference": f"Different from it by less than {analysis.margin or 0:g}",
        "tie": "The same in every seed",
        "inconclusive": "Inconclusive",
        "pilot": f"A pilot, with fewer than {PILOT_SEEDS} seeds of both",
        "not comparable": "Not comparable, since measured in another way",
        "not run": "Not run on both sides",
    }
    parts = []
    for verdict, words in said.items():
        if found := by_verdict.get(verdict):
            order = sorted(found, key=lambda one: -abs(one.paired.mean) if one.paired else 0.0)
            shown = [
                one.variant + (f" ({difference_text(one.paired)})" if one.paired else "")
                for one in order[:8]
            ]
            more = f" and {len(order) - 8} more" if len(order) > 8 else ""
            parts.append(f"{words}: {'; '.join(shown)}{more}.")
    return [f"{task}: {' '.join(parts)}"] if parts else []


def _factor_words(factorial: Factorial) -> str:
    real = [one for one in factorial.effects if one.real]
    if not real:
        return "no effect of any factor, and no interaction, is certain."
    named = ", ".join(f"{_named(one.factors)} ({p_text(one.p_holm)} after Holm)" for one in real)
    if not factorial.interactions:
        return f"certain effects: {named}; no interaction is certain."
    return (
        f"certain effects: {named}. As factors interact, no main effect holds by itself: what "
        "each does under each condition is in the table of simple effects."
    )


# Tables


def _tables(analysis: Analysis) -> list[Block]:
    blocks: list[Block] = []
    for task in analysis.tasks:
        blocks.append(_table(analysis, task))
        if rules := analysis.baselines(task):
            told = "; ".join(f"{name} {score:.3f}" for name, score in rules.items())
            blocks.append(Text(f"Rules without trained weights, on {task}: {told}."))
    return blocks


def _table(analysis: Analysis, task: str) -> Grid:
    compared = bool(analysis.comparisons)
    crossed = any(not math.isnan(one.crossed.low) for one in analysis.comparisons.values())
    models = any(not math.isnan(one.p_models) for one in analysis.comparisons.values())
    failed = any(entry.completed for entry in analysis.entries.values())
    header = ["variant", f"{analysis.scale.label} [95 % CI]", "n"]
    header += ["completed only"] if failed else []
    if compared:
        header += ["difference [95 % CI]", "p", "p Holm", "dz", "P(better) [95 % CI]", "verdict"]
        header += ["over seeds and examples"] if crossed else []
        header += ["p of the two models"] if models else []
    header += ["parameters", "operations", "updates", "seconds"]
    rows, strong = [], []
    for variant in analysis.variants:
        entry = analysis.entries.get((variant, task))
        name = _row_name(analysis, variant)
        if variant == analysis.baseline:
            strong.append(len(rows))
        if entry is None:
            rows.append([name, "not planned", *[""] * (len(header) - 2)])
            continue
        cells = [name, score_text(entry), count_text(entry)]
        cells += [summary_text(entry.completed)] if failed else []
        if compared:
            cells += _comparison_texts(analysis.comparisons.get((variant, task)), crossed, models)
        rows.append([*cells, *_cost_texts(entry)])
    return Grid(header, rows, task, strong)


def short_tables(analysis: Analysis) -> list[Grid]:
    """Return what a paper has room for, a table a task: score, difference, p, verdict."""
    header = ["variant", f"{analysis.scale.label} [95 % CI]", "n"]
    header += ["difference [95 % CI]", "p Holm", "verdict"] if analysis.comparisons else []
    return [
        Grid(
            header,
            [_short_row(analysis, one, task, len(header)) for one in analysis.variants],
            task,
        )
        for task in analysis.tasks
    ]


def _short_row(analysis: Analysis, variant: str, task: str, width: int) -> list[str]:
    """Return a score without how many seeds solved the task, a verdict without its reasons."""
    entry, name = analysis.entries.get((variant, task)), _row_name(analysis, variant)
    cells = [name, "not planned"]
    if entry is not None:
        cells = [name, mean_text(entry), count_text(entry)]
    comparison = analysis.comparisons.get((variant, task))
    if comparison is not None:
        found = comparison.paired
        tested = (
            [difference_text(found), p_text(comparison.p_holm, bare=True)] if found else ["", ""]
        )
        cells += [*tested, comparison.verdict]
    return cells + [""] * (width - len(cells))


def _row_name(analysis: Analysis, variant: str) -> str:
    return variant + (" (baseline)" if variant == analysis.baseline else "")


def _comparison_texts(comparison: Comparison | None, crossed: bool, models: bool) -> list[str]:
    number = 6 + crossed + models
    if comparison is None:
        return [""] * number
    found = comparison.paired
    if found is None:
        return [*[""] * 5, comparison.verdict, *[""] * (number - 6)]
    texts = [
        difference_text(found),
        p_text(found.p, bare=True),
        p_text(comparison.p_holm, bare=True),
        "–" if math.isnan(found.dz) else f"{found.dz:.2f}",
        f"{found.wins:.2f} [{found.wins_low:.2f}, {found.wins_high:.2f}]",
        verdict_text(comparison),
    ]
    if crossed:
        texts.append(interval_text(comparison.crossed))
    if models:
        texts.append(p_text(comparison.p_models, bare=True))
    return texts


def _cost_texts(entry: Entry) -> list[str]:
    return [
        "varies" if entry.parameters is None else f"{entry.parameters:,}",
        "varies" if entry.flops is None else f"{entry.flops:,.0f}",
        "by time" if entry.steps is None else f"{entry.steps:,}",
        "–" if math.isnan(entry.seconds) else f"{entry.seconds:.1f}",
    ]


def verdict_text(comparison: Comparison) -> str:
    """Return the verdict; where it is open, with what would have been seen."""
    if comparison.verdict != "inconclusive":
        return comparison.verdict
    if comparison.lost:
        return f"inconclusive ({comparison.lost} seeds lost to failures)"
    if math.isinf(comparison.detectable):
        return f"inconclusive (n={comparison.paired.n}: too few for so many comparisons)"
    return f"inconclusive (n={comparison.paired.n}, MDE {comparison.detectable:.3f})"


def interval_text(interval: Interval, digits: int = 3) -> str:
    """Return an interval, `n/a` where there is none.

    Example:
        >>> interval_text(Interval(0.1, 0.25))
        '[0.100, 0.250]'
    """
    if math.isnan(interval.low):
        return "[n/a]"
    return f"[{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def summary_text(summary: Summary | None) -> str:
    """Return a mean with its t interval."""
    if summary is None or summary.n == 0:
        return "–"
    return f"{summary.mean:.3f} {interval_text(Interval(summary.low, summary.high))}"


def mean_text(entry: Entry) -> str:
    """Return a cell's mean with its interval."""
    if entry.summary.n == 0:
        return "–"
    return f"{entry.summary.mean:.3f} {interval_text(entry.interval)}"


def score_text(entry: Entry) -> str:
    """Return a cell's mean with its interval, and how many seeds solved the task."""
    text = mean_text(entry)
    if not math.isnan(entry.pooled.low):
        text += f" pooled, {entry.solved}/{entry.summary.n} solved"
    return text + (" mixed" if entry.mixed else "")


def count_text(entry: Entry) -> str:
    """Return finished of planned runs, and how many failed."""
    failed = f", {entry.failed} failed" if entry.failed else ""
    return f"{entry.finished}/{entry.planned}{failed}"


def difference_text(found: Paired | None) -> str:
    """Return a difference with its interval and its sign."""
    if found is None:
        return "–"
    if math.isnan(found.low):
        return f"{found.mean:+.3f} [n/a]"
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def p_text(p: float, bare: bool = False) -> str:
    """Return a p-value.

    Example:
        >>> p_text(2 / 2**10), p_text(0.2, bare=True), p_text(float("nan"), bare=True)
        ('p = 0.0020', '0.2000', '–')
    """
    if math.isnan(p):
        return "–" if bare else "no p"
    text = f"{p:.4f}" if p >= 0.0001 else "< 0.0001"
    return text if bare else f"p {text if p < 0.0001 else f'= {text}'}"


def _legend(analysis: Analysis) -> str:
    metric = analysis.scale.label
    better = "higher" if analysis.scale.better == "max" else "lower"
    signatures = [row.signature for row in analysis.rows if row.signature]
    search = {parts_of(one).get("generation", "?") for one in signatures}
    way = f"from free-running generation ({', '.join(sorted(search)) or 'none yet'})"
    if analysis.scale.teacher_forced:
        way = "each token given the true ones before it"
    text = (
        f"Test {metric} ({better} is better), {way}, at the update chosen on validation: mean "
        "over seeds with the Student-t 95 % interval. n: runs finished of planned. operations: "
        "floating-point operations of one forward pass, per example. seconds: mean training time "
        "of a run."
    )
    if any(not math.isnan(entry.pooled.low) for entry in analysis.entries.values()):
        text += (
            " pooled: all seeds score the same, so that there is no t interval; Wilson's interval "
            "over the test examples in its place."
        )
    if not analysis.comparisons:
        return text + (
            " No baseline is declared, so nothing is tested; give study.baseline=ROW."
            if len(analysis.variants) > 1
            else ""
        )
    family = "task" if analysis.by_task else "study"
    text += (
        f" difference: to {analysis.baseline}, seed by seed, with its t interval; p: exact "
        f"sign-flip test (100,000 drawn patterns above {EXACT_SEEDS} seeds), Holm: adjusted over "
        f"all comparisons of the {family}; dz: mean over "
        "standard deviation of the differences; P(better): share of seeds, ties half, with "
        "Wilson's interval."
    )
    if any(not math.isnan(one.crossed.low) for one in analysis.comparisons.values()):
        text += (
            " over seeds and examples: 95 % interval of the difference when both are resampled "
            f"(crossed bootstrap, {analysis.draws:,} draws)."
        )
    if any(not math.isnan(one.p_models) for one in analysis.comparisons.values()):
        text += (
            " p of the two models: McNemar's exact test; it speaks of these two trained models, "
            "not of the methods."
        )
    margin = (
        f"{analysis.margin:g}, the declared minimum effect"
        if analysis.margin
        else "0, as no minimum effect is declared"
    )
    return text + (
        f" better, worse: adjusted p < {ALPHA:g} and the interval beyond {margin}; no difference: "
        "two one-sided tests within it, adjusted too; else inconclusive, with the smallest "
        "difference that the sign-flip test of so many seeds would find with power 0.8 (MDE)."
    )


def _warnings(analysis: Analysis) -> list[Block]:
    blocks: list[Block] = []
    if analysis.pilot:
        blocks.append(Text(f"fewer than {PILOT_SEEDS} seeds, so nothing is claimed.", "Pilot: "))
    open_ = [row for row in analysis.rows if row.status not in ("FINISHED", "FAILED", "DIVERGED")]
    if open_:
        blocks.append(
            Text(
                f"{len(open_)} of {len(analysis.rows)} runs are not finished; they are missing "
                "from the means.",
                "Incomplete: ",
            )
        )
    for task in analysis.tasks:
        if any(entry.mixed for (_, of), entry in analysis.entries.items() if of == task):
            blocks.append(
                Text(
                    f"on {task} the runs were not all measured in the same way; cells that mix "
                    "ways are marked, and rows that differ in a seed are not compared.",
                    "Mixed: ",
                )
            )
    apart = [
        f"{variant} on {task}, seed {seed}: {entry.scores[seed]:.3f}, median "
        f"{entry.summary.median:.3f}"
        for (variant, task), entry in analysis.entries.items()
        for seed in entry.apart
    ]
    if apart:
        more = [f"and {len(apart) - 20} more"] if len(apart) > 20 else []
        blocks.append(Text("seeds that lie far from the others of their cell:", "Apart: "))
        blocks.append(Items([*apart[:20], *more]))
    return blocks


# Factors


def _named(factors: Sequence[str]) -> str:
    return " x ".join(factors)


def _factors(analysis: Analysis, picture: Picture | None) -> Section | None:
    blocks: list[Block] = []
    for task, found in analysis.factorials.items():
        if isinstance(found, Factorial):
            blocks += _factorial(task, found)
    if not blocks and len(analysis.grid[1]) < 2:
        return None
    blocks += [
        Text(f"{task} is not analysed: {reason}.")
        for task, reason in analysis.factorials.items()
        if isinstance(reason, str)
    ]
    if picture is not None:
        blocks = [Shown(picture), Text(picture.caption), *blocks]
    blocks.append(
        Text(
            "Repeated-measures analysis of variance with the seed as block; p with Greenhouse and "
            "Geisser's correction, adjusted by Holm over the effects of the task; beside it the "
            "exact test that flips the signs of each seed's contrasts. An effect is certain if "
            "both are below 0.05. In size: one level of a factor against its first, seed by seed, "
            "over the mean of all else (main effects; Holm over those of the task) or with all "
            "else held (simple effects; Holm over those of the factor)."
        )
    )
    return Section("Factors", blocks)


def _factorial(task: str, found: Factorial) -> list[Block]:
    effects = [
        [
            _named(one.factors),
            f"{one.f:.2f}",
            f"{one.freedom * one.epsilon:.1f}, {one.freedom_error * one.epsilon:.1f}",
            p_text(one.p, bare=True),
            p_text(one.p_holm, bare=True),
            p_text(one.p_sign_flip, bare=True),
            f"{one.partial_eta_squared:.3f}",
            "yes" if one.real else "no",
        ]
        for one in found.effects
    ]
    header = ["effect", "F", "df", "p", "p Holm", "p sign flip", "partial eta squared", "certain"]
    blocks: list[Block] = [Grid(header, effects, f"{task}: effects")]
    if found.left_out:
        blocks.append(Text(f"Seeds left out: {', '.join(map(str, found.left_out))}.", ""))
    if len(found.levels) > 1:
        blocks += _steps(found.main, f"{task}: main effects in size")
        if found.interactions:
            blocks += _steps(found.simple, f"{task}: simple effects")
    return blocks


def _steps(steps: Sequence[Step], title: str) -> list[Block]:
    rows = [
        [
            one.factor,
            f"{one.level} against {one.against}",
            ", ".join(one.held.values()) or "mean over all",
            difference_text(one.difference),
            p_text(one.difference.p, bare=True),
            p_text(one.p_holm, bare=True),
        ]
        for one in steps[:MAX_STEPS]
    ]
    header = ["factor", "level", "held", "difference [95 % CI]", "p", "p Holm"]
    blocks: list[Block] = [Grid(header, rows, title)]
    if len(steps) > MAX_STEPS:
        blocks.append(Text(f"{len(steps) - MAX_STEPS} more are not shown."))
    return blocks


def _overall(analysis: Analysis) -> Section | None:
    if not analysis.overall:
        return None
    rows = [
        [variant, difference_text(found), str(found.n), p_text(found.p, bare=True)]
        for variant, found in analysis.overall.items()
    ]
    blocks: list[Block] = [
        Grid(["variant", "mean difference over tasks [95 % CI]", "seeds", "p"], rows),
        Text(
            f"Difference to {analysis.baseline}, averaged over the tasks for each seed; raw p of "
            "the sign-flip test. Tasks are not alike, and an average over them is only as good as "
            "their choice."
        ),
    ]
    if analysis.over_tasks is not None:
        held = ", ".join(
            f"{name} {p_text(p)}" for name, p in analysis.over_tasks["variants"].items()
        )
        blocks.append(
            Text(
                f"Over tasks: Friedman {p_text(analysis.over_tasks['friedman_p'])}; Wilcoxon "
                f"against {analysis.baseline}, Holm: {held}."
            )
        )
    return Section("Over all tasks", blocks)


def _published(analysis: Analysis) -> Section | None:
    if not analysis.published:
        return None
    rows = [
        [
            f"{one.published.row} minus {one.published.against}"
            if one.published.against
            else one.published.row,
            f"{one.published.value:g}",
            f"{one.published.tolerance:g}",
            "–" if not one.n else f"{one.mean:.3f} {interval_text(one.interval)}, n={one.n}",
            one.word,
            one.published.source,
        ]
        for one in analysis.published
    ]
    header = ["of", "published", "tolerance", "ours [95 % CI]", "verdict", "source"]
    return Section(
        "Published values",
        [
            Grid(header, rows),
            Text(
                "reproduced: our interval lies within the tolerance, which was stated beforehand; "
                "direction agrees: a difference is certainly on the published side of 0; "
                "contradicts: it is on the other side of 0 or, where the value is no difference, "
                "the interval lies outside the tolerance."
            ),
        ],
    )


def _failures(analysis: Analysis) -> Section | None:
    unfinished = [row for row in analysis.rows if row.status != "FINISHED"]
    if not unfinished:
        return None
    scores = ", ".join(dict.fromkeys(f"{one:g}" for one in analysis.worst.values()))
    worst = (
        f"A run that failed counts with the score {scores}"
        if analysis.worst
        else "A failed run has no worst loss: it is left out of the mean, and nothing is claimed "
        "of a row against another where a seed is lost so"
    )
    items = [
        f"{row.cell.variant}, {row.cell.task}, seed {row.cell.seed}: {row.status} {row.reason}"
        for row in unfinished[:100]
    ]
    more = [f"and {len(unfinished) - 100} more"] if len(unfinished) > 100 else []
    return Section("Failures", [Text(f"{worst}."), Items([*items, *more])])


# The appendix


def _models(analysis: Analysis) -> Section | None:
    blocks: list[Block] = []
    flat = {
        row.cell.variant: _flat(analysis.configs[row.cell.run_id].to_dict())
        for row in reversed(analysis.rows)
        if row.cell.run_id in analysis.configs
    }
    shared = set.intersection(*(set(one.items()) for one in flat.values())) if flat else set()
    for variant in shown_variants(analysis):
        first = next((row for row in analysis.rows if row.cell.variant == variant), None)
        done = [
            row for row in analysis.rows if row.cell.variant == variant and row.result is not None
        ]
        own = sorted(set(flat.get(variant, {}).items()) - shared)
        lines = [f"{key}: {value}" for key, value in own] or ["as all others"]
        if first is not None and done and done[0].result.equations:
            for part, text in done[0].result.equations.items():
                lines += ["", f"{part} on {done[0].cell.task}", text]
        blocks.append(Listing(variant, "\n".join(lines)))
    if len(flat) > 1:
        lines = [f"{key}: {value}" for key, value in sorted(shared)]
        blocks.append(Listing("All variants alike", "\n".join(lines)))
    return Section("Settings that differ, and equations", blocks, appendix=True)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in config.items():
        if not prefix and key in ("study", "run", "choices", "seed", "task", "paper"):
            continue
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = json.dumps(value)
    return found


def _samples(analysis: Analysis, output_dir: Path) -> Section | None:
    blocks: list[Block] = []
    for task in analysis.tasks:
        columns: dict[str, list[dict[str, Any]]] = {}
        for variant in shown_variants(analysis):
            for row in analysis.by_cell.get((variant, task), []):
                if row.result is not None:
                    folder = RunFolder(output_dir / row.cell.folder)
                    if lines := samples(folder, NUM_SAMPLES):
                        columns[variant] = lines
                    break
        if not columns:
            continue
        examples = next(iter(columns.values()))
        rows = [
            [
                one["source"],
                one["target"],
                *(
                    lines[place]["prediction"] + (" ✗" if lines[place]["correct"] is False else "")
                    if place < len(lines) and lines[place]["source"] == one["source"]
                    else "(other data)"
                    for lines in columns.values()
                ),
            ]
            for place, one in enumerate(examples)
        ]
        blocks.append(Grid(["source", "target", *columns], rows, task))
    return Section("Sample predictions", blocks, appendix=True) if blocks else None


def samples(folder: RunFolder, number: int) -> list[dict[str, Any]]:
    """Return the first test predictions of a run."""
    try:
        with folder.predictions.open() as file:
            return [json.loads(line) for line, _ in zip(file, range(number), strict=False)]
    except (OSError, ValueError):
        return []


# The footer


def _provenance(analysis: Analysis, output_dir: Path) -> list[str]:
    plan, rows = analysis.plan, analysis.rows
    results = [row.result for row in rows if row.result is not None]
    seeds = sorted({row.cell.seed for row in rows})
    name = plan.study.name
    lines = [
        f"protocol {PROTOCOL}; {len(rows)} runs planned, {len(results)} finished; seeds "
        f"{_ranges(seeds)}",
        *amendments(output_dir, name),
        *_fairness(plan),
    ]
    if not results:
        return lines
    environments = _distinct_dicts([vars(result.environment) for result in results])
    commits = [
        f"{one['git_commit']}{' with changes' if one['git_dirty'] else ''}" for one in environments
    ]
    data: dict[tuple[str, str], set[str]] = {}
    counts: dict[str, set[str]] = {}
    for row in rows:
        if row.result:
            key = row.cell.task, row.cell.variant
            data.setdefault(key, set()).add(row.result.data.fingerprint)
            counts.setdefault(row.cell.task, set()).add(counts_text(row.result.data.counts))
    varied = list(dict.fromkeys(task for (task, _), some in data.items() if len(some) > 1))
    also = f"; on {', '.join(varied)} the data too" if varied else "; fixed: the data"
    signatures = sorted({result.signature for result in results})
    spent = sum(row.seconds for row in rows)
    lost = sum(row.seconds for row in rows if row.result is None)
    tuned = _tuning_seconds(plan, output_dir)
    restarts = sum(result.restarts for result in results)
    lines += [
        f"updates: {_distinct([result.steps for result in results])}; chosen by validation "
        f"{_distinct([result.selected_by for result in results])}; the test split is used once",
        f"varied between seeds: initial weights, order of examples, dropout{also}",
        *(
            f"data of {task}: {' or '.join(sorted(told)[:3])}"
            + (f" and {len(told) - 3} more" if len(told) > 3 else "")
            for task, told in counts.items()
        ),
        *(f"measured as {signature}" for signature in signatures[:10]),
        *([f"and {len(signatures) - 10} more"] if len(signatures) > 10 else []),
        *sorted(
            {
                f"{score_label(name, result.scores)}: {text}"
                for result in results
                for name, text in result.signatures.items()
            }
        ),
        f"code: {_distinct(commits)}",
        f"versions: {_distinct([_pairs(one['versions']) for one in environments])}",
        f"hardware: {_distinct([_hardware(one) for one in environments])}",
        f"computing: {spent + tuned:,.0f} s of training and evaluation in all"
        + (f", {lost:,.0f} s of them in runs without a result" if lost else "")
        + (f", {tuned:,.0f} s in tuning" if tuned else "")
        + (f"; {restarts} restarts" if restarts else ""),
        f"made by decoderlab-report {name}",
    ]
    drifted = [one for result in results for one in result.drift]
    if drifted:
        number = sum(bool(result.drift) for result in results)
        lines.append(
            f"accepted: {number} runs went on with other code than they began with: "
            f"{', '.join(dict.fromkeys(drifted))}"
        )
    for key, what in (("git_commit", "code"), ("versions", "versions"), ("processor", "hardware")):
        if len({str(one[key]) for one in environments}) > 1:
            lines.append(f"mixed {what}: not all runs were made with the same")
    return lines


def _fairness(plan: Plan) -> list[str]:
    """Return what the variants were given alike, and what was accepted that is not."""
    match = plan.budget.match
    updates: dict[str, set[int | None]] = {}
    for cell in plan.cells:
        updates.setdefault(cell.task, set()).add(cell.steps)
    unequal = [task for task, steps in updates.items() if len(steps) > 1]
    if match != "updates":
        lines = [f"budget: equal {match} (budget.match)"]
    elif unequal:
        lines = [f"budget: the variants have different updates on {', '.join(unequal)}"]
    else:
        by_time = all(steps == {None} for steps in updates.values())
        lines = [f"budget: {'seconds, as each run was given' if by_time else 'equal updates'}"]
    tuning = plan.tuning
    if tuning is None:
        lines.append("tuning: none")
    else:
        chosen = "; ".join(
            f"{name}: "
            + ", ".join(f"{key}={value}" for key, value in one["settings"].items())
            + f" ({one['score']:.3f})"
            for name, one in tuning["chosen"].items()
        )
        lines.append(
            f"tuning: {tuning['trials']} trials ({tuning['sampler']}) of each variant on each "
            f"task, over {', '.join(tuning['space'])}, on seeds "
            f"{', '.join(map(str, tuning['seeds']))}, by {tuning['metric']}: {tuning['runs']} "
            f"runs; chosen: {chosen}"
        )
    return lines + [f"accepted drift: {one}" for one in plan.drift]


def _tuning_seconds(plan: Plan, output_dir: Path) -> float:
    if plan.tuning is None:
        return 0.0
    try:
        tuning = read_plan(output_dir, f"{plan.study.name}/tuning")
    except ConfigError:
        return 0.0
    return sum(row.seconds for row in read_rows(tuning, output_dir))


def _ranges(numbers: Sequence[int]) -> str:
    """Return whole numbers in short.

    Example:
        >>> _ranges([0, 1, 2, 3, 7])
        '0 to 3, 7'
    """
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(
        f"{part[0]} to {part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in parts
    )


def _distinct(values: Sequence[Any]) -> str:
    return ", ".join(sorted({str(value) for value in values}))


def _distinct_dicts(values: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({json.dumps(one, sort_keys=True): one for one in values}.values())


def _pairs(values: Mapping[str, str]) -> str:
    return " ".join(f"{name} {value}" for name, value in values.items())


def _hardware(environment: Mapping[str, Any]) -> str:
    return (
        f"{environment['processor']} ({environment['capability']}), {environment['device']}, "
        f"{environment['threads']} thread(s)"
    )
