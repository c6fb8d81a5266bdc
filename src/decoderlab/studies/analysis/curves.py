"""Numbers behind the pictures: how scores come about over updates, lengths and positions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from decoderlab.common.bounded_reading import read_json_lines
from decoderlab.common.errors import Invalid
from decoderlab.records.run_folder import RunFolder
from decoderlab.records.run_result import MAX_DRAWABLE
from decoderlab.studies.analysis.results import RunRow, scores_in
from decoderlab.studies.statistics import Bounds, summarise

SHARE = 0.0, 1.0
MOST_POINTS = 2000  # of a curve: more cannot be told apart in a picture
MIN_POINTS = 15  # that a learning curve has; fewer are no curve


class Curve(NamedTuple):
    """A mean over seeds with its Student-t interval, by position.

    Intervals are cut at what the metric can be.

    Shapes:
        positions, mean, low, high: (P,); the ends equal the mean where there is no interval.
    """

    positions: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def learning_curve(rows: Iterable[RunRow], output_dir: Path, metric: str) -> Curve:
    """Return the validation score by update, where all finished runs have it."""
    rows = list(rows)
    values = _by_update(rows, output_dir, f"validation/{metric}")
    return _curve(values, scores_in(rows)[metric].bounds if values else SHARE)


def loss_curve(rows: Iterable[RunRow], output_dir: Path) -> Curve:
    """Return the training loss by update, where all finished runs have it.

    It is empty where fewer than `MIN_POINTS` updates have a loss, which make no curve.
    """
    values = _by_update(rows, output_dir, "train/loss")
    return _curve(values if len(values) >= MIN_POINTS else {}, (-math.inf, math.inf))


def _by_update(rows: Iterable[RunRow], output_dir: Path, name: str) -> dict[int, list[float]]:
    """Return the numbers of all finished runs at each update that all of them have."""
    curves = [
        by_update(row.cell.run_folder(output_dir), name) for row in rows if row.result is not None
    ]
    common = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    return {step: [curve[step] for curve in curves] for step in common}


def validations(folder: RunFolder, metric: str) -> dict[int, float]:
    """Return the validation scores of a run by update."""
    return by_update(folder, f"validation/{metric}")


def by_update(folder: RunFolder, name: str) -> dict[int, float]:
    """Return a number of a run's metrics by update.

    Args:
        folder: of the run.
        name: of the number, as `train/loss`.
    """
    scores: dict[int, float] = {}
    try:
        for line in read_json_lines(folder.metrics, with_text=name):
            step, score = line.get("step"), line.get(name)
            if type(step) is int and isinstance(score, int | float) and can_be_drawn(step, score):
                scores[step] = score
    except Invalid:
        pass  # a figure less; a finished run has a manifest
    return scores


def can_be_drawn(step: int, value: float) -> bool:
    """Whether a picture can have a point at an update, whoever wrote that down."""
    return 0 <= step < 2**53 and abs(value) < MAX_DRAWABLE


def share_by_length(rows: Iterable[RunRow]) -> Curve:
    """Return the share of correct test examples by target length in tokens."""
    values: dict[int, list[float]] = {}
    for probes in _probes(rows):
        for length, (number, correct) in probes.get("by_length", {}).items():
            values.setdefault(int(length), []).append(correct / number)
    return _curve(values)


def share_by_position(rows: Iterable[RunRow], how: str) -> Curve:
    """Return the share of right tokens by target position, counted from 1.

    Of real values it is the mean absolute error, in the data's units.

    Args:
        rows: of one cell.
        how: `free` for free-running generation, `forced` for each token given the true ones before
            it, `bias` for the difference forced minus free, the exposure bias.
    """
    values: dict[int, list[float]] = {}
    most = 1.0
    for probes in _probes(rows):
        counts = probes["by_position"]
        if "correct" not in probes:
            most = math.inf
        for position, number in enumerate(counts["number"], start=1):
            # A handful of very long targets says nothing but noise.
            if number >= max(0.01 * counts["number"][0], 1):
                free, forced = (counts[name][position - 1] / number for name in ("free", "forced"))
                share = {"free": free, "forced": forced, "bias": forced - free}[how]
                values.setdefault(position, []).append(share)
    return _curve(values, (-most if how == "bias" else 0.0, most))


def summary_influence(rows: Iterable[RunRow]) -> Curve:
    """Return how far another example's summary moves the output distribution, by position.

    A total variation distance, 0 to 1; of real values a distance in standard deviations.
    """
    most = 1.0
    values: dict[int, list[float]] = {}
    for probes in _probes(rows):
        counts = probes["by_position"]["number"]
        if "correct" not in probes:
            most = math.inf
        for position, distance in enumerate(probes.get("summary_influence", []), start=1):
            if counts[position - 1] >= max(0.01 * counts[0], 1):
                values.setdefault(position, []).append(distance)
    return _curve(values, (0.0, most))


def plane(summaries: np.ndarray) -> tuple[np.ndarray, float]:
    """Return vectors (N, D) projected on their two principal axes, and the variance they hold.

    Example:
        >>> points, share = plane(np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]))
        >>> points.shape, round(share, 3)
        ((3, 2), 1.0)
    """
    summaries = np.nan_to_num(summaries.astype(float), posinf=0.0, neginf=0.0)
    centred = summaries - summaries.mean(axis=0)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(centred), 2))
    axes = min(2, len(sizes))
    # An axis has no direction of its own: its largest weight is made positive.
    signs = np.sign(right[np.arange(axes), np.abs(right[:axes]).argmax(axis=1)])
    points[:, :axes] = left[:, :axes] * sizes[:axes] * signs
    total = float(np.square(sizes).sum())
    return points, float(np.square(sizes[:2]).sum()) / total if total else 1.0


def _probes(rows: Iterable[RunRow]) -> list[dict]:
    return [row.result.probes for row in rows if row.result and row.result.probes]


def _curve(values: Mapping[int, Sequence[float]], bounds: Bounds = SHARE) -> Curve:
    positions = sorted(values)
    if len(positions) > MOST_POINTS:
        chosen = np.linspace(0, len(positions) - 1, MOST_POINTS).round().astype(int)
        positions = [positions[index] for index in chosen]
    summaries = [summarise(values[position], bounds=bounds) for position in positions]
    mean = np.array([each.mean for each in summaries])
    low, high = (np.array([getattr(each, end) for each in summaries]) for end in ("low", "high"))
    low, high = (np.where(np.isnan(end), mean, end) for end in (low, high))
    return Curve(np.array(positions), mean, low, high)
