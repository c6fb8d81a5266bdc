"""What our runs say of a published claim, by one rule for all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
from scipy import stats

from decoderlab.common import require
from decoderlab.common.errors import Invalid
from decoderlab.metrics.metric_score import MetricScore
from decoderlab.metrics.shipped import recorded_scores
from decoderlab.studies.analysis.results import FAILURES
from decoderlab.studies.attainable import ALPHA, EQUAL_SEEDS, PILOT_SEEDS
from decoderlab.studies.claims.declared_claim import Claim
from decoderlab.studies.statistics import (
    NONE,
    UNBOUNDED,
    Bounds,
    Estimate,
    Interval,
    cut_at,
    holm,
    over_seeds,
    sign_flip,
)
from decoderlab.studies.worst_score import worst_score

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
HOLDS, REVERSED = "direction holds", "direction reversed"
INCONCLUSIVE, NOT_RUN = "inconclusive", "not run"
WORDS = (REPRODUCED, NOT_REPRODUCED, HOLDS, REVERSED, INCONCLUSIVE, NOT_RUN)
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Judgement:
    """What our runs say of a claim.

    Args:
        claim: as declared.
        word: of `WORDS`.
        mean, interval: of what the claim measures, over seeds; NaN if nothing was run.
        seeds: that count.
        failed: runs among them that failed or diverged, with the worst score.
        p: of the t test that a direction is 0, after Holm over the directions of the page; NaN for
            others.
        reason: why it is inconclusive, or not judged although it was run; else empty.
    """

    claim: Claim
    word: str
    mean: float = math.nan
    interval: Interval = NONE
    seeds: int = 0
    failed: int = 0
    p: float = math.nan
    reason: str = ""


@dataclass(frozen=True)
class Measured:
    """What a claim measures, seed by seed.

    Args:
        values: by seed, of the seeds that all terms have.
        failed: runs that count with the worst score.
        lost: seeds that cannot be counted, since a failed run has no worst score.
        waiting: seeds that are planned and have not ended.
        bounds: what a value can be.
    """

    values: dict[int, float]
    failed: int = 0
    lost: int = 0
    waiting: int = 0
    bounds: Bounds = UNBOUNDED

    @property
    def estimate(self) -> Estimate:
        """The mean over seeds, with its error."""
        return over_seeds(list(self.values.values()))

    @property
    def p(self) -> float:
        """The two-sided p of a t test that the mean is 0; NaN with fewer than six seeds."""
        estimate = self.estimate
        if len(self.values) < PILOT_SEEDS or self.lost or self.waiting:
            return math.nan
        if not estimate.error > 0:
            return float(estimate.mean == 0)
        return float(2 * stats.t.sf(abs(estimate.mean) / estimate.error, estimate.freedom))


def measure(claim: Claim, table: pd.DataFrame) -> Measured:
    """Return what a claim measures in the runs of its study.

    A seed counts if each term has a run of it that has ended; a run that failed has the worst
    score, see `worst_score`.

    Args:
        claim: as declared.
        table: the study's results.csv.

    Raises:
        Invalid: for a row, task or metric that the table does not have, or a score out of range.
    """
    ended = table[table["status"] == "FINISHED"]
    by_term: list[dict[int, float]] = []
    scales: list[MetricScore | None] = []
    failed, lost, waiting = 0, set[int](), set[int]()
    for term in claim.terms:
        metric = term.metric or claim.metric
        column, scale = f"test_{metric}", recorded_scores({}).get(metric)
        if column not in table:
            raise Invalid("results.csv", f"of {claim.study} has no column {column}")
        rows = table[table["variant"] == term.row]
        if term.task is not None:
            rows = rows[rows["task"] == term.task]
        tasks = list(dict.fromkeys(rows["task"]))
        if len(tasks) > 1:
            raise Invalid("results.csv", f"of {claim.study} has several tasks: {tasks}")
        if not tasks:
            raise Invalid(
                "results.csv", f"of {claim.study} has no row {term.row!r} on {term.task or 'it'}"
            )
        pairs = zip(ended["task"], ended[column], strict=True)
        of_task = [score for task, score in pairs if task == tasks[0] and not math.isnan(score)]
        worst = None if scale is None else worst_score(scale, of_task)
        scores: dict[int, float] = {}
        for seed, status, score in zip(rows["seed"], rows["status"], rows[column], strict=True):
            if scale is not None and (score < scale.low or score > scale.high):
                what = f"of {claim.study} has {column} {score:g}, seed {seed} of {term.row}"
                raise Invalid("results.csv", f"{what}, which no {metric} can be")
            if status == "FINISHED" and not math.isnan(score):
                scores[int(seed)] = float(score)
            elif status in FAILURES and worst is not None:
                scores[int(seed)] = worst
                failed += 1
            else:
                (lost if status in FAILURES else waiting).add(int(seed))
        by_term.append(scores)
        scales.append(scale)
    seeds = sorted(set.intersection(*map(set, by_term)))
    weights = [term.weight for term in claim.terms]
    values = {
        seed: sum(w * scores[seed] for w, scores in zip(weights, by_term, strict=True))
        for seed in seeds
    }
    return Measured(values, failed, len(lost), len(waiting), _bounds(weights, scales))


def _bounds(weights: Sequence[float], scales: Sequence[MetricScore | None]) -> Bounds:
    """Return what a weighted sum of scores can be."""
    known = [scale.bounds for scale in scales if scale is not None]
    if len(known) < len(scales):
        return UNBOUNDED
    ends = [sorted(w * end for end in bounds) for w, bounds in zip(weights, known, strict=True)]
    return sum(low for low, _ in ends), sum(high for _, high in ends)


def judge_all(
    claims: Sequence[Claim], tables: Mapping[str, pd.DataFrame | Invalid]
) -> list[Judgement]:
    """Return what our runs say of each claim.

    Directions are corrected together (Holm), those that were not run included. A damaged table
    costs the claims of its study alone: they are not run, with the reason.

    Args:
        claims: of the page.
        tables: results.csv of the studies that were run, or what is wrong with it, by name.
    """
    measured, damaged = dict[str, Measured](), dict[str, str]()
    for claim in claims:
        if (table := tables.get(claim.study)) is None:
            continue
        try:
            if isinstance(table, Invalid):
                raise table
            measured[claim.name] = measure(claim, table)
        except Invalid as error:
            damaged[claim.name] = str(error)
    directions = [claim.name for claim in claims if claim.directed]
    raw = [measured[name].p if name in measured else math.nan for name in directions]
    adjusted = dict(zip(directions, holm(raw, len(directions)), strict=True))
    return [
        judge(claim, measured[claim.name], adjusted.get(claim.name, math.nan), len(directions))
        if claim.name in measured
        else Judgement(claim, NOT_RUN, reason=damaged.get(claim.name, ""))
        for claim in claims
    ]


def judge(claim: Claim, measured: Measured, p: float = math.nan, family: int = 1) -> Judgement:
    """Return the verdict on one claim.

    Args:
        claim: as declared.
        measured: what it measures in our runs.
        p: of a direction, after Holm.
        family: directions that are corrected together.

    A *value* is reproduced if, by two one-sided t tests (Schuirmann 1987), ours minus the
    published one lies within the tolerance, with the error of both where the published spread is
    known (Welch); not reproduced if the 95 % interval of that difference lies outside. A
    *direction* holds or is reversed if p after Holm is below 0.05, and so is that of the exact
    sign-flip test, which needs no normal distribution. *Equal* is as a value of 0, from 20 seeds
    on. Else it is inconclusive; always so with fewer than six seeds, before all planned seeds have
    ended, and for a value that nobody has read.
    """
    n, estimate = len(measured.values), measured.estimate
    if n == 0:
        return Judgement(claim, NOT_RUN)
    base = Judgement(
        claim,
        INCONCLUSIVE,
        estimate.mean,
        cut_at(estimate.interval(), measured.bounds),
        n,
        measured.failed,
        p,
    )
    if measured.lost:
        return replace(
            base, reason=f"{measured.lost} seeds failed, and the metric has no worst score"
        )
    if measured.waiting:
        return replace(base, reason=f"{measured.waiting} of the planned seeds have not ended")
    if n < PILOT_SEEDS:
        return replace(base, reason=f"a pilot: a verdict needs {PILOT_SEEDS} seeds")
    if claim.directed:
        return _direction(base, list(measured.values.values()), family)
    return _value(base, estimate)


def _direction(base: Judgement, values: Sequence[float], family: int) -> Judgement:
    if base.p < ALPHA and sign_flip(values) < ALPHA:
        as_claimed = (base.mean > 0) == (base.claim.expects == "higher")
        return replace(base, word=HOLDS if as_claimed else REVERSED)
    estimate = over_seeds(values)
    needed = seeds_needed(abs(base.mean), estimate.error * math.sqrt(len(values)), ALPHA / family)
    return replace(base, reason=_needs(needed))


def _value(base: Judgement, estimate: Estimate) -> Judgement:
    claim, apart = base.claim, estimate
    tolerance, published = require.given("tolerance", claim.tolerance), claim.published
    if claim.expects == "value" and published is not None:
        apart = estimate.minus(published.value, published.deviation, published.runs)
    within = apart.equivalence(tolerance) < ALPHA
    if within and claim.source.read == "memory":
        return replace(base, reason="nobody has read the published value in its source")
    if within and claim.expects == "equal" and base.seeds < EQUAL_SEEDS:
        return replace(base, reason=f"equality needs {EQUAL_SEEDS} seeds")
    if within:
        return replace(base, word=REPRODUCED)
    low, high = apart.interval() if apart.error > 0 else (apart.mean, apart.mean)
    if low > tolerance or high < -tolerance:
        return replace(base, word=NOT_REPRODUCED)
    deviation = apart.error * math.sqrt(base.seeds)
    distance = abs(tolerance - abs(apart.mean))
    return replace(base, reason=_needs(seeds_needed(distance, deviation, ALPHA)))


def seeds_needed(distance: float, deviation: float, alpha: float) -> int | None:
    """Return the seeds with which a t interval is narrower than a distance on each side.

    Args:
        distance: from the mean to where the verdict changes, if the mean stays as it is.
        deviation: standard deviation over seeds.
        alpha: 1 minus the interval's confidence.

    Returns:
        At least six; None above 1,000.

    Example:
        >>> seeds_needed(0.1, 0.1, 0.05), seeds_needed(0.001, 0.1, 0.05)
        (7, None)
    """
    for n in range(PILOT_SEEDS, MOST_SEEDS + 1):
        if stats.t.ppf(1 - alpha / 2, n - 1) * deviation / math.sqrt(n) < distance:
            return n
    return None


def _needs(seeds: int | None) -> str:
    if seeds is None:
        return f"more than {MOST_SEEDS:,} seeds would decide, if the mean stayed as it is"
    return f"about {seeds} seeds would decide, if the mean stayed as it is"


def reproduced_by_chance(judgements: Sequence[Judgement]) -> float:
    """Return how many values would be reproduced if scores were drawn evenly from their range.

    Args:
        judgements: of a page; values of a metric without a range count as 0.
    """
    total = 0.0
    for judgement in judgements:
        claim = judgement.claim
        scale = recorded_scores({}).get(claim.metric)
        if judgement.word == NOT_RUN or claim.expects != "value" or scale is None:
            continue
        low, high = scale.bounds
        if claim.published is None or claim.tolerance is None or not math.isfinite(high - low):
            continue
        ends = (claim.published.value - claim.tolerance, claim.published.value + claim.tolerance)
        total += max(0.0, min(ends[1], high) - max(ends[0], low)) / (high - low)
    return total
