"""Numbers behind the pictures: how scores come about over updates, lengths and positions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.analysis.results import Row, scores_in
from decoderlab.studies.statistics import Bounds, summarise

SHARE = 0.0, 1.0


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


def learning_curve(rows: Iterable[Row], output_dir: Path, metric: str) -> Curve:
    """Return the validation score by update, where all finished runs have it."""
    curves, rows = [], list(rows)
    for row in rows:
        if row.result is not None:
            curves.append(validations(RunFolder(output_dir / row.cell.folder), metric))
    common = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    bounds = scores_in(rows)[metric].bounds if common else SHARE
    return _curve({step: [curve[step] for curve in curves] for step in common}, bounds)


def validations(folder: RunFolder, metric: str) -> dict[int, float]:
    """Return the validation scores of a run by update."""
    name, scores = f"validation/{metric}", {}
    try:
        for line in folder.metrics.read_text().splitlines():
            if name in line:
                record = json.loads(line)
                scores[record["step"]] = record[name]
    except (OSError, ValueError, KeyError):
        pass  # a figure less; the result has its own hash
    return scores


def by_length(rows: Iterable[Row]) -> Curve:
    """Return the share of correct test examples by target length in tokens."""
    values: dict[int, list[float]] = {}
    for probes in _probes(rows):
        for length, (number, correct) in probes.get("by_length", {}).items():
            values.setdefault(int(length), []).append(correct / number)
    return _curve(values)


def by_position(rows: Iterable[Row], how: str) -> Curve:
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


def summary_influence(rows: Iterable[Row]) -> Curve:
    """Return how far another example's summary moves the output distribution, by position."""
    values: dict[int, list[float]] = {}
    for probes in _probes(rows):
        counts = probes["by_position"]["number"]
        for position, distance in enumerate(probes["summary_influence"], start=1):
            if counts[position - 1] >= max(0.01 * counts[0], 1):
                values.setdefault(position, []).append(distance)
    return _curve(values, (0.0, math.inf))


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


def _probes(rows: Iterable[Row]) -> list[dict]:
    return [row.result.probes for row in rows if row.result and row.result.probes]


def _curve(values: Mapping[int, Sequence[float]], bounds: Bounds = SHARE) -> Curve:
    positions = sorted(values)
    summaries = [summarise(values[position], bounds=bounds) for position in positions]
    mean = np.array([each.mean for each in summaries])
    low, high = (np.array([getattr(each, end) for each in summaries]) for end in ("low", "high"))
    low, high = (np.where(np.isnan(end), mean, end) for end in (low, high))
    return Curve(np.array(positions), mean, low, high)
