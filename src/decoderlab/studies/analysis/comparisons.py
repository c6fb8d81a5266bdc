"""Two variants on one task, compared seed by seed, and the verdict of the declared protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from decoderlab.metrics.metric_score import MetricScore
from decoderlab.studies.analysis.results import RunRow, shared_examples, ways_of_measuring
from decoderlab.studies.attainable import ALPHA, EQUAL_SEEDS, PILOT_SEEDS, attainable
from decoderlab.studies.models_and_datasets import exact_mcnemar
from decoderlab.studies.power import detectable_effect
from decoderlab.studies.statistics import (
    NONE,
    UNBOUNDED,
    Bounds,
    Estimate,
    Interval,
    Paired,
    cut_at,
    excluded_rate,
    over_seeds_and_examples,
)

Pairs = Sequence[tuple[RunRow, RunRow]]
BARRING = "barring collapse"
NOTHING = Estimate(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Comparison:
    """One variant against another on one task, over the seeds that both have.

    Args:
        paired: the differences, variant minus other; None without a seed that both have, and where
            they were measured in different ways.
        p_holm: adjusted within the family.
        p_equivalent: of two one-sided tests against the minimum effect, adjusted over the family;
            NaN without a minimum effect.
        estimate: the mean difference with its error, which is that over seeds and test examples
            where `crossed`, else over seeds alone.
        crossed: whether the seeds share test examples, and the score is the mean of their outcomes.
        bounds: what the difference can be; `interval` is cut there, and so is `simultaneous`.
        simultaneous: interval of the same kind as `interval`, for all of the family at once.
        detectable: smallest difference that so many seeds would find with power 0.8.
        p_models: McNemar's of these outcomes, where there is one seed: of the two trained models.
        lost: seeds that are no pairs because a failed run has no score.
        failed: pairs in which a run that failed counts with the worst score.
        unpaired: seeds that one of the two has and the other has not, so that they are left out.
        unequal: whether they were given different budgets, which nobody meant to compare.
        verdict: better, worse, better or worse barring collapse, no difference, tie, inconclusive,
            pilot, not comparable (measured in different ways), unequal budget or not run.
    """

    variant: str
    task: str
    against: str
    paired: Paired | None
    p_holm: float = math.nan
    p_equivalent: float = math.nan
    estimate: Estimate = NOTHING
    crossed: bool = False
    bounds: Bounds = UNBOUNDED
    simultaneous: Interval = NONE
    detectable: float = math.nan
    p_models: float = math.nan
    lost: int = 0
    failed: int = 0
    unpaired: tuple[int, ...] = ()
    unequal: bool = False
    verdict: str = "not run"

    @property
    def certain(self) -> bool:
        """Whether one of the two is called better, barring collapse or without a condition."""
        return self.verdict.startswith(("better", "worse"))

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the difference; NaN at both ends where there is none."""
        return cut_at(self.estimate.interval(), self.bounds)


def pair_runs(rows: Sequence[RunRow], others: Sequence[RunRow]) -> list[tuple[RunRow, RunRow]]:
    """Return runs of the same seed of which each is finished, or failed."""
    by_seed = {row.cell.seed: row for row in others}
    pairs = [(row, by_seed[row.cell.seed]) for row in rows if row.cell.seed in by_seed]
    return [pair for pair in pairs if all(row.failed or row.result for row in pair)]


def unpaired_seeds(rows: Sequence[RunRow], others: Sequence[RunRow]) -> tuple[int, ...]:
    """Return the seeds of runs that `pair_runs` leaves out, of either side."""
    paired_seeds = {row.cell.seed for row, _ in pair_runs(rows, others)}
    seeds = {row.cell.seed for row in (*rows, *others)}
    return tuple(sorted(seeds - paired_seeds))


def measured_differently(pairs: Pairs) -> bool:
    """Whether a pair was not measured in the same way; a failure was not measured at all."""
    ways = map(ways_of_measuring, pairs)
    return any(None not in pair and pair[0] != pair[1] for pair in ways)


def p_of_models(pairs: Pairs, score: MetricScore) -> float:
    """Return McNemar's p of the two trained models where there is one seed, else NaN."""
    if len(pairs) != 1:
        return math.nan
    mine, theirs = (row.outcomes(score) for row in pairs[0])
    return math.nan if mine is None or theirs is None else exact_mcnemar(mine, theirs)


def with_verdict(
    comparison: Comparison, number: int, sign: float, margin: float, fall: tuple[float, float]
) -> Comparison:
    """Return a comparison with its verdict; in the words of the protocol.

    Args:
        comparison: with its adjusted p-values.
        number: of comparisons in its family.
        sign: 1 where a higher score is better, else -1.
        margin: the declared minimum effect, 0 if none is declared.
        fall: by how much a run of the variant, and one of the other, is worse than its mean when
            it collapses; infinite where a score has no worst.
    """
    paired = comparison.paired
    if paired is None:
        return comparison
    every = comparison.estimate.interval(1 - ALPHA / number)
    return replace(
        comparison,
        simultaneous=cut_at(every, comparison.bounds),
        detectable=_detectable(comparison, paired, every, number, margin),
        verdict=_verdict(comparison, paired, every, sign, margin, fall),
    )


def _detectable(
    comparison: Comparison, paired: Paired, every: Interval, number: int, margin: float
) -> float:
    """Return the smallest difference that would be found; see `Comparison`."""
    if not attainable(paired.n, number):
        return math.inf
    estimate = comparison.estimate
    if not paired.deviation > 0:  # all seeds differ by the same, so that examples alone are left
        low, high = every
        return margin + (0.0 if math.isnan(low) else (high - low) / 2)
    examples = 0.0
    if estimate.seed_error > 0:
        examples = (estimate.error / estimate.seed_error) ** 2 - 1
    scaled = margin / paired.deviation
    return paired.deviation * detectable_effect(paired.n, number, scaled, examples)


def _verdict(
    comparison: Comparison,
    paired: Paired,
    every: Interval,
    sign: float,
    margin: float,
    fall: tuple[float, float],
) -> str:
    if paired.n < PILOT_SEEDS:
        return "pilot"
    if comparison.unequal:
        return "unequal budget"
    if comparison.lost:
        return "inconclusive"
    if paired.equal:  # what was not measured is not the same
        return "inconclusive" if comparison.failed else "tie"
    low, high = sorted(sign * end for end in every)
    if comparison.estimate.error == 0:  # the same difference in every seed
        low = high = sign * paired.mean
    for word, least, loss in (("better", low, fall[0]), ("worse", -high, fall[1])):
        if comparison.p_holm < ALPHA and least >= margin and least > 0:
            # Seeds that did not collapse say nothing of the rate at which others would.
            certain = least - excluded_rate(paired.n) * loss
            return word if certain >= margin and certain > 0 else f"{word} {BARRING}"
    measured = comparison.failed < paired.n
    if comparison.p_equivalent < ALPHA and paired.n >= EQUAL_SEEDS and measured:
        return "no difference"
    return "inconclusive"


def crossed_estimate(pairs: Pairs, score: MetricScore) -> Estimate | None:
    """Return the mean difference over seeds and examples.

    None where no examples are shared, and of scores that are no mean of their outcomes; of a single
    example there is no error, so that nothing is certain.
    """
    if len(pairs) < 2 or not score.per_example:
        return None
    number = shared_examples([row for pair in pairs for row in pair])
    bits = [tuple(row.outcomes(score, number) for row in pair) for pair in pairs]
    differences = [
        mine.astype(np.int8) - theirs
        for mine, theirs in bits
        if mine is not None and theirs is not None
    ]
    if not number or len(differences) < len(bits):
        return None
    return over_seeds_and_examples(np.stack(differences))
