"""The entries of a table: the scores of one variant on one task, over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from decoderlab.records.run_result import RunResult
from decoderlab.studies.analysis.results import Row, num_examples, parts_of, parts_without
from decoderlab.studies.statistics import (
    NONE,
    Bounds,
    Interval,
    Summary,
    outlying,
    summarise,
    wilson,
)

# The spread that an entry without any is taken to have, when an outlying seed is looked for.
SPREAD = 0.01


@dataclass(frozen=True)
class Entry:
    """One variant on one task, over seeds.

    Args:
        scores: by seed, failures with the worst score among them.
        summary: of the scores.
        pooled: Wilson's interval over all test examples, where every seed scores the same and there
            is no t interval; else NaN.
        solved: seeds with a perfect score, counted where that is an exact match of 1.
        planned, finished, failed: numbers of runs.
        completed: summary of the finished runs alone, None where no run failed.
        outliers: seeds whose scores lie far from the others.
        parameters, flops, steps: of the model and its training; None if they differ between runs.
        seconds: mean training time of the finished runs, NaN without any.
        mixed: whether the runs were not all measured in the same way.
    """

    scores: dict[int, float]
    summary: Summary
    pooled: Interval
    solved: int
    planned: int
    finished: int
    failed: int
    completed: Summary | None
    outliers: tuple[int, ...]
    parameters: int | None
    flops: float | None
    steps: int | None
    seconds: float
    mixed: bool

    @property
    def interval(self) -> Interval:
        """The interval that belongs to the mean: pooled where that is honest."""
        if not math.isnan(self.pooled.low):
            return self.pooled
        return Interval(self.summary.low, self.summary.high)


def entry_of(
    rows: Sequence[Row], scores: Mapping[int, float], metric: str, bounds: Bounds
) -> Entry:
    """Return the entry of some runs.

    Args:
        rows: the runs of one variant on one task.
        scores: by seed, failures with the worst score among them.
        metric: of the study.
        bounds: of the metric.
    """
    finished = [row.result for row in rows if row.result is not None]
    values, seeds = list(scores.values()), list(scores)
    failed = sum(row.failed for row in rows)
    completed = [result.metrics.test[metric] for result in finished]
    seconds = [result.train_seconds for result in finished]
    return Entry(
        scores=dict(scores),
        summary=summarise(values, bounds=bounds),
        pooled=_pooled(values, finished) if metric == "exact_match" else NONE,
        solved=sum(value == 1.0 for value in values) if metric == "exact_match" else 0,
        planned=len(rows),
        finished=len(finished),
        failed=failed,
        completed=summarise(completed, bounds=bounds) if failed else None,
        outliers=tuple(seeds[index] for index in outlying(values, SPREAD)),
        parameters=_common([row.cell.parameters for row in rows]),
        flops=_common([row.cell.flops for row in rows]),
        steps=_common([row.cell.steps for row in rows]),
        seconds=fmean(seconds) if seconds else math.nan,
        mixed=len({parts_without(each.signature, "data", "seed") for each in finished}) > 1,
    )


def _pooled(values: Sequence[float], finished: Sequence[RunResult]) -> Interval:
    alike = len(values) > 1 and min(values) == max(values)
    if not alike or len(finished) < len(values):
        return NONE
    # Seeds that share their test examples are one sample of them, others have a sample each.
    signatures = [result.signature for result in finished]
    samples = {parts_of(signature)["data"]: num_examples(signature) for signature in signatures}
    return wilson(sum(round(values[0] * n) for n in samples.values()), sum(samples.values()))


def _common(values: Sequence[Any]) -> Any:
    """Return the value that all share, None if they differ."""
    return values[0] if len(set(values)) == 1 else None
