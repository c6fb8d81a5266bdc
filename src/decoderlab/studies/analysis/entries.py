"""The entries of a table: the scores of one variant on one task, over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from decoderlab.metrics.metric_score import MetricScore
from decoderlab.metrics.signature import measured_alike, num_examples, signature_parts
from decoderlab.records.run_result import RunResult
from decoderlab.studies.analysis.results import RunRow, shared_examples
from decoderlab.studies.analysis.seed_groups import outlying
from decoderlab.studies.statistics import (
    NONE,
    Bounds,
    Estimate,
    Interval,
    Summary,
    cut_at,
    over_seeds,
    over_seeds_and_examples,
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
        estimate: the mean with its error, over seeds and test examples where the seeds share
            examples and the score is the mean of their outcomes, else over seeds.
        crossed: whether it is over both.
        solved: seeds with the best score, counted where that is the mean of 0/1 outcomes.
        planned, finished, failed: numbers of runs.
        completed: summary of the finished runs alone, None where no run failed.
        outliers: seeds whose scores lie far from the others.
        parameters, flops: of the model; None if they differ between runs.
        updates: the least and the most of the finished runs, as planned without any; None where
            seconds are planned.
        seconds: mean training time of the finished runs, NaN without any.
        met_limit: mean share of outputs that were cut at the greatest length, NaN where nothing is
            known of it.
        mixed: whether the runs were not all measured in the same way.
        bounds: what a score can be; intervals are cut there.
    """

    scores: dict[int, float]
    summary: Summary
    pooled: Interval
    estimate: Estimate
    crossed: bool
    solved: int
    planned: int
    finished: int
    failed: int
    completed: Summary | None
    outliers: tuple[int, ...]
    parameters: int | None
    flops: float | None
    updates: tuple[int, int] | None
    seconds: float
    met_limit: float
    mixed: bool
    bounds: Bounds

    @property
    def interval(self) -> Interval:
        """The interval of the mean: over seeds and examples where it can be, else over seeds."""
        if not math.isnan(self.pooled.low):
            return self.pooled
        if not self.crossed:
            return Interval(self.summary.low, self.summary.high)
        return cut_at(self.estimate.interval(), self.bounds)


def entry_of(rows: Sequence[RunRow], scores: Mapping[int, float], scale: MetricScore) -> Entry:
    """Return the entry of some runs.

    Args:
        rows: the runs of one variant on one task.
        scores: by seed, failures with the worst score among them.
        scale: what the study's metric means.
    """
    bounds = scale.bounds
    finished = [row.result for row in rows if row.result is not None]
    values, seeds = list(scores.values()), list(scores)
    failed = sum(row.failed for row in rows)
    completed = [result.metrics.test[scale.name] for result in finished]
    seconds = [result.train_seconds for result in finished]
    both = _crossed(rows, scale)
    known = [row for row in rows if row.result is not None] or rows
    planned = [row.cell.steps for row in rows if row.cell.steps is not None]
    updates = [result.steps for result in finished] or planned
    cut = [result.met_limit for result in finished if result.met_limit is not None]
    return Entry(
        scores=dict(scores),
        summary=summarise(values, bounds=bounds),
        pooled=_pooled(values, finished) if scale.per_example else NONE,
        estimate=over_seeds(values) if both is None else both,
        crossed=both is not None,
        solved=sum(value == scale.best for value in values) if scale.per_example else 0,
        planned=len(rows),
        finished=len(finished),
        failed=failed,
        completed=summarise(completed, bounds=bounds) if failed else None,
        outliers=tuple(seeds[index] for index in outlying(values, SPREAD)),
        parameters=_common([row.parameters for row in known]),
        flops=_common([row.flops for row in known]),
        updates=(min(updates), max(updates)) if updates else None,
        seconds=fmean(seconds) if seconds else math.nan,
        met_limit=fmean(cut) if cut else math.nan,
        mixed=not measured_alike(result.signature for result in finished),
        bounds=bounds,
    )


def _pooled(values: Sequence[float], finished: Sequence[RunResult]) -> Interval:
    alike = len(values) > 1 and min(values) == max(values)
    if not alike or len(finished) < len(values):
        return NONE
    # Seeds that share their test examples are one sample of them, others have a sample each.
    signatures = [result.signature for result in finished]
    samples = {
        signature_parts(signature)["data"]: num_examples(signature) for signature in signatures
    }
    return wilson(sum(round(values[0] * n) for n in samples.values()), sum(samples.values()))


def _crossed(rows: Sequence[RunRow], scale: MetricScore) -> Estimate | None:
    if not scale.per_example:
        return None
    number = shared_examples(rows)
    known = [row for row in rows if row.failed or row.result is not None]
    outcomes = [row.outcomes(scale, number) for row in known]
    whole = [each for each in outcomes if each is not None]
    if number < 2 or len(whole) < len(outcomes) or len(whole) < 2:
        return None
    return over_seeds_and_examples(np.stack(whole).astype(np.int8))


def _common(values: Sequence[Any]) -> Any:
    """Return the value that all share, None if they differ."""
    return values[0] if len(set(values)) == 1 else None
