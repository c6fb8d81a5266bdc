"""What the page to explore a study shows, as plain numbers and texts: no verdict is made here.

Every number is one of `results.csv`, of the runs' metrics and of their predictions. What would make
the page too large is left out by rules, and what that was is said in `notes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from decoderlab.common.bounded_reading import read_json_lines
from decoderlab.common.errors import Invalid
from decoderlab.common.escapes import visible
from decoderlab.metrics.shipped import score_label
from decoderlab.metrics.signature import num_examples, signature_parts
from decoderlab.records.run_result import MAX_DRAWABLE
from decoderlab.studies.analysis.curves import can_be_drawn, share_by_position
from decoderlab.studies.analysis.results import RunRow, ways_of_measuring
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.explore_predictions import Written, read_written
from decoderlab.studies.reporting.explore_steps import first_runs, steps_of
from decoderlab.studies.reporting.variant_styles import shown_variants, styles

MAX_SEED_RUNS = 512  # from here on curves and examples are those of variants, not of runs
MAX_POINTS = 24  # of a curve
MEAN_OF = 3  # seeds whose curves are read where there are many runs
MAX_EXAMPLES = 120  # of a task
MAX_READ = 200_000  # lines of predictions, of all runs together
MAX_LETTERS = 400_000  # of texts
MAX_STEP_LETTERS = 200_000  # of what is shown step by step
MAX_NAME = 200  # letters of a name
# Of lines, by matplotlib's name: lengths of strokes and gaps, in pixels.
DASHES = {"-": [1, 0], "--": [7, 4], ":": [2, 3], "-.": [8, 3, 2, 3]}


def explore_data(analysis: Analysis, output_dir: Path) -> dict[str, Any]:
    """Return all that the page shows, for JSON.

    Args:
        analysis: of the study.
        output_dir: as in `run.output_dir`.

    Returns:
        `colours` and `dashes`: of each variant's lines. `runs`: [variant, task, seed, score,
        failed, number of its way of measuring or -1]; variants and tasks stand for positions in
        `variants` and `tasks`. `curves`, by name: [variant, task, seed or null for the mean,
        updates, values]. `positions`: [variant, task, position, generated freely, given the true
        tokens before]. `examples`, by task: see `_examples`. `steps`, by task: see `steps_of`.
        `errors`: [variant, task, seed, right ones, with one edit, with two, with more].
    """
    numbers = {name: index for index, name in enumerate(analysis.variants)}
    tasks = {name: index for index, name in enumerate(analysis.tasks)}
    many = len(analysis.rows) > MAX_SEED_RUNS
    notes: list[str] = []
    shown = shown_variants(analysis)
    if many:
        notes.append(
            f"There are {len(analysis.rows):,} runs: examples are shown as means over seeds; "
            f"curves (of {MEAN_OF} seeds) and positions are those of the {len(shown)} variants "
            "chosen at first."
        )
    named = styles(analysis)
    drawn = [named[name] for name in analysis.variants]
    written = {task: _written(analysis, task, shown, output_dir, notes) for task in analysis.tasks}
    letters = MAX_LETTERS // max(len(analysis.tasks), 1)
    return {
        "study": _name(analysis.plan.name),
        "question": _name(analysis.plan.study.question or ""),
        "metric": score_label(analysis.metric, {analysis.metric: analysis.scale.record()}),
        "margin": analysis.margin,
        "most": min(float(analysis.bounds[1]), MAX_DRAWABLE),
        "baseline": numbers.get(analysis.baseline or "", 0),
        "variants": [_name(name) for name in analysis.variants],
        "colours": [style["color"] for style in drawn],
        "dashes": [DASHES[style["linestyle"]] for style in drawn],
        "shown": [numbers[name] for name in shown],
        "tasks": [_name(name) for name in analysis.tasks],
        "seeds": sorted({row.cell.seed for row in analysis.rows}),
        "t": [0.0, 0.0, *(round(float(stats.t.ppf(0.975, n - 1)), 6) for n in range(2, 101))],
        "runs": _runs(analysis, numbers, tasks),
        "curves": _curves(analysis, shown, output_dir, many),
        "positions": _positions(analysis, shown if many else analysis.variants),
        "errors": [
            [numbers[row.cell.variant], tasks[task], row.cell.seed, *predictions.edits]
            for task in analysis.tasks
            for row, predictions in written[task]
            if predictions.edits is not None
        ],
        "examples": [
            _examples(analysis, task, numbers, written[task], letters, many)
            for task in analysis.tasks
        ],
        "steps": [
            steps_of(
                first_runs(_same_data(analysis, task), shown),
                numbers,
                output_dir,
                MAX_STEP_LETTERS // len(analysis.tasks),
            )
            for task in analysis.tasks
        ],
        "notes": notes,
    }


def _name(text: str) -> str:
    return visible(text if len(text) <= MAX_NAME else f"{text[: MAX_NAME - 1]}…")


def _runs(
    analysis: Analysis, numbers: Mapping[str, int], tasks: Mapping[str, int]
) -> list[list[Any]]:
    ways: dict[str, int] = {}
    made = []
    for row, way in zip(analysis.rows, ways_of_measuring(analysis.rows), strict=True):
        score, cell = analysis.score(row), row.cell
        if score is None:
            continue
        number = -1 if way is None else ways.setdefault(way, len(ways))
        where = [numbers[cell.variant], tasks[cell.task], cell.seed]
        made.append([*where, _short(score), int(row.failed), number])
    return made


def _short(value: float) -> float:
    """Return a number with eight digits, which are enough for a picture and a table."""
    return float(f"{value:.8g}")


def _curves(
    analysis: Analysis, shown: Sequence[str], output_dir: Path, many: bool
) -> dict[str, list[list[Any]]]:
    """Return the training loss and the validation score by update."""
    names = {"training loss": "train/loss", "validation": f"validation/{analysis.metric}"}
    made: dict[str, list[list[Any]]] = {name: [] for name in names}
    for (variant, task), rows in analysis.by_cell.items():
        if many and variant not in shown:  # to read them all would take minutes
            continue
        where = [analysis.variants.index(variant), analysis.tasks.index(task)]
        lines = {
            row.cell.seed: metrics_by_update(row, output_dir, list(names.values()))
            for row in (rows[:MEAN_OF] if many else rows)
            if row.result is not None
        }
        for name, key in names.items():
            curves = {seed: of[key] for seed, of in lines.items() if of[key]}
            if many and curves:
                common = sorted(set.intersection(*(set(curve) for curve in curves.values())))
                mean = {x: float(np.mean([curve[x] for curve in curves.values()])) for x in common}
                curves = {None: mean}
            for seed, curve in curves.items():
                points = _thinned(sorted(curve), MAX_POINTS // 3 if many else MAX_POINTS)
                values = [float(f"{curve[x]:.4g}") for x in points]
                made[name].append([*where, seed, points, values])
    return {name: curves for name, curves in made.items() if curves}


def metrics_by_update(
    row: RunRow, output_dir: Path, names: Sequence[str]
) -> dict[str, dict[int, float]]:
    """Return numbers of a run's metrics, by name and update; what is damaged is left out."""
    by_name: dict[str, dict[int, float]] = {name: {} for name in names}
    try:
        for line in read_json_lines(row.cell.run_folder(output_dir).metrics):
            step = line.get("step")
            for name in names:
                value = line.get(name)
                if type(step) is int and isinstance(value, int | float):
                    by_name[name] |= {step: value} if can_be_drawn(step, value) else {}
    except Invalid:
        pass  # a curve less; a finished run has a manifest
    return by_name


def _thinned(points: Sequence[int], number: int) -> list[int]:
    """Return at most so many of some points, the first and the last among them.

    Example:
        >>> _thinned([1, 2, 3, 4, 5], 3), _thinned([1, 2], 3)
        ([1, 3, 5], [1, 2])
    """
    if len(points) <= number:
        return list(points)
    return [points[round(index)] for index in np.linspace(0, len(points) - 1, number)]


def _positions(analysis: Analysis, shown: Sequence[str]) -> list[list[Any]]:
    made = []
    for (variant, task), rows in analysis.by_cell.items():
        if variant not in shown:
            continue
        free, forced = (share_by_position(rows, how) for how in ("free", "forced"))
        where = [analysis.variants.index(variant), analysis.tasks.index(task)]
        for position, free_mean, forced_mean in zip(
            free.positions, free.mean, forced.mean, strict=True
        ):
            made.append(
                [*where, int(position), float(f"{free_mean:.4g}"), float(f"{forced_mean:.4g}")]
            )
    return made


def _data_of(row: RunRow) -> str:
    return signature_parts(row.signature or "data:")["data"]


def _same_data(analysis: Analysis, task: str) -> list[RunRow]:
    """Return the finished runs of a task on the test examples that most of them have."""
    rows = [row for row in analysis.rows if row.cell.task == task and row.result is not None]
    known = Counter(_data_of(row) for row in rows)
    most = known.most_common(1)[0][0] if known else ""
    return [row for row in rows if _data_of(row) == most]


def _written(
    analysis: Analysis, task: str, shown: Sequence[str], output_dir: Path, notes: list[str]
) -> list[tuple[RunRow, Written]]:
    """Return what the runs of the variants shown have written, as many as there is time for."""
    rows = _same_data(analysis, task)
    every = sum(row.cell.task == task and row.result is not None for row in analysis.rows)
    if len(rows) < every:
        notes.append(
            f"{task}: {every - len(rows)} runs have other test examples, which are not shown."
        )
    wanted = [row for row in rows if row.cell.variant in set(shown)]
    left = MAX_READ // len(analysis.tasks)
    read: list[tuple[RunRow, Written]] = []
    # Seed by seed, so that all variants have the same seeds.
    for row in sorted(wanted, key=lambda row: row.cell.seed):
        left -= num_examples(row.signature or "n:0")
        if left < 0 and read:
            notes.append(
                f"{task}: predictions are those of {len(read)} of {len(rows)} runs, lowest seeds "
                "first."
            )
            break
        read.append((row, read_written(row.cell.run_folder(output_dir))))
    return read


def _examples(
    analysis: Analysis,
    task: str,
    numbers: Mapping[str, int],
    written: Sequence[tuple[RunRow, Written]],
    letters: int,
    many: bool,
) -> dict[str, Any]:
    """Return the test examples of a task that are shown, easy ones first.

    Returns:
        `number`: how many there are. `rows`: those shown, by their numbers. `right`: [variant, seed
        or null, for each example shown whether it is right, or how many seeds], `of`: how many
        seeds those are. `texts`: for each example with texts its source, its targets, and for each
        variant [prediction, whether it is right, the seeds that wrote it].
    """
    bits = _bits(_same_data(analysis, task))
    if not bits:
        return {"number": 0, "rows": [], "right": [], "texts": []}
    total = min(len(right) for _, right in bits)
    by_variant: dict[str, list[np.ndarray]] = {}
    for row, right in bits:
        by_variant.setdefault(row.cell.variant, []).append(right[:total])
    means = [np.mean(some, axis=0) for some in by_variant.values()]
    ease = np.mean(means, axis=0) if total else np.zeros(0)
    order = sorted(range(total), key=lambda example: (-round(float(ease[example]), 9), example))
    chosen = _thinned(order, MAX_EXAMPLES)
    if many:
        right = [
            [numbers[variant], None, np.sum(some, axis=0)[chosen].astype(int).tolist(), len(some)]
            for variant, some in by_variant.items()
        ]
    else:
        right = [
            [numbers[row.cell.variant], row.cell.seed, correct[chosen].astype(int).tolist(), 1]
            for row, correct in bits
        ]
    return {
        "number": total,
        "rows": chosen,
        "right": right,
        "texts": _texts(chosen, numbers, written, letters),
    }


def _bits(rows: Iterable[RunRow]) -> list[tuple[RunRow, np.ndarray]]:
    known = ((row, row.correct()) for row in rows)
    return [(row, right) for row, right in known if right is not None]


def _texts(
    chosen: Sequence[int],
    numbers: Mapping[str, int],
    written: Sequence[tuple[RunRow, Written]],
    letters: int,
) -> list[dict[str, Any] | None]:
    """Return what stands to be read of each example; None where there is no room."""
    made: dict[int, dict[str, Any]] = {}
    # Spread over all examples, in case there is not room for all.
    for example in sorted(chosen, key=lambda number: (number % 7, number)):
        text = _text_of(example, numbers, written)
        letters -= len(str(text))
        if letters < 0:
            break
        if text is not None:
            made[example] = text
    return [made.get(example) for example in chosen]


def _text_of(
    example: int, numbers: Mapping[str, int], written: Sequence[tuple[RunRow, Written]]
) -> dict[str, Any] | None:
    lines = [
        (row, predictions.lines[example])
        for row, predictions in written
        if example < len(predictions.lines)
    ]
    if not lines:
        return None
    source, targets = lines[0][1].source, lines[0][1].targets
    said: dict[tuple[int, str, bool], list[int]] = {}
    for row, line in lines:
        if line.source == source:
            key = numbers[row.cell.variant], line.prediction, line.right
            said.setdefault(key, []).append(row.cell.seed)
    variants: dict[int, list[list[Any]]] = {}
    for (variant, prediction, right), seeds in said.items():
        variants.setdefault(variant, []).append([visible(prediction), int(right), seeds])
    return {
        "source": visible(source),
        "targets": [visible(target) for target in targets],
        "said": [
            [variant, sorted(some, key=lambda entry: (-len(entry[2]), entry[0]))]
            for variant, some in sorted(variants.items())
        ],
    }
