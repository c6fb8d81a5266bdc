"""Two variants on one task, compared seed by seed, and the verdict of the declared protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from decoderlab.studies.analysis.results import Row, num_examples, parts_without
from decoderlab.studies.statistics import (
    ALPHA,
    NONE,
    PILOT_SEEDS,
    Interval,
    Paired,
    crossed_bootstrap,
    detectable_effect,
    exact_mcnemar,
)

Pairs = Sequence[tuple[Row, Row]]


@dataclass(frozen=True)
class Comparison:
    """One variant against another on one task, over the seeds that both have.

    Args:
        paired: the differences, variant minus other; None without a seed that both have, and where
            they were measured in different ways.
        p_holm: adjusted within the family.
        p_equivalent: of two one-sided tests against the minimum effect, adjusted over the family;
            NaN without a minimum effect.
        crossed: interval over seeds and test examples alike; NaN where examples are not shared.
        detectable: smallest difference that so many seeds would find with power 0.8.
        p_models: McNemar's, where there is one seed: of the two trained models.
        lost: seeds that are no pairs because a failed run has no score.
        verdict: better, worse, no difference, tie, inconclusive, pilot, not comparable (measured in
            different ways) or not run.
    """

    variant: str
    task: str
    against: str
    paired: Paired | None
    p_holm: float = math.nan
    p_equivalent: float = math.nan
    crossed: Interval = NONE
    detectable: float = math.nan
    p_models: float = math.nan
    lost: int = 0
    verdict: str = "not run"


def pair_runs(rows: Sequence[Row], others: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Return runs of the same seed of which each is finished, or failed."""
    by_seed = {row.cell.seed: row for row in others}
    pairs = [(row, by_seed[row.cell.seed]) for row in rows if row.cell.seed in by_seed]
    return [pair for pair in pairs if all(row.failed or row.result for row in pair)]


def mixed(pairs: Pairs) -> bool:
    """Whether a pair was not measured in the same way; a failure was not measured at all."""
    signatures = [[row.signature for row in pair] for pair in pairs]
    return any(None not in pair and pair[0] != pair[1] for pair in signatures)


def p_of_models(pairs: Pairs) -> float:
    """Return McNemar's p of the two trained models where there is one seed, else NaN."""
    if len(pairs) != 1:
        return math.nan
    mine, theirs = (row.correct() for row in pairs[0])
    return math.nan if mine is None or theirs is None else exact_mcnemar(mine, theirs)


def judged(comparison: Comparison, number: int, sign: float, margin: float) -> Comparison:
    """Return a comparison with its verdict; the protocol's words, and no others.

    Args:
        comparison: with its adjusted p-values.
        number: of comparisons in its family.
        sign: 1 where a higher score is better, else -1.
        margin: the declared minimum effect, 0 if none is declared.
    """
    paired = comparison.paired
    if paired is None:
        return comparison
    needed = detectable_effect(paired.n, number)
    if math.isfinite(needed):
        needed *= paired.deviation
    return replace(
        comparison, detectable=needed, verdict=_verdict(comparison, paired, sign, margin)
    )


def _verdict(comparison: Comparison, paired: Paired, sign: float, margin: float) -> str:
    if paired.n < PILOT_SEEDS:
        return "pilot"
    if comparison.lost:
        return "inconclusive"
    if paired.equal:
        return "tie"
    low, high = sorted((sign * paired.low, sign * paired.high))
    if math.isnan(paired.low):  # the same difference in every seed
        low = high = sign * paired.mean
    if comparison.p_holm < ALPHA and low >= margin and low > 0:
        return "better"
    if comparison.p_holm < ALPHA and high <= -margin and high < 0:
        return "worse"
    if comparison.p_equivalent < ALPHA:
        return "no difference"
    return "inconclusive"


def crossed_intervals(
    pairs_of: Mapping[tuple[str, str], Pairs], draws: int
) -> dict[tuple[str, str], Interval]:
    """Return intervals over seeds and examples; all of the same size share their resamples.

    Args:
        pairs_of: the pairs of each comparison; those that share no examples have no interval.
        draws: number of resamples.
    """
    by_size: dict[int, dict[tuple[str, str], np.ndarray]] = {}
    for key, pairs in pairs_of.items():
        signatures = {row.signature for pair in pairs for row in pair if row.signature is not None}
        # Seeds with data of their own share no examples.
        if len({parts_without(signature, "seed") for signature in signatures}) != 1:
            continue
        number = num_examples(next(iter(signatures)))
        bits = [(mine.correct(number), theirs.correct(number)) for mine, theirs in pairs]
        differences = [
            mine.astype(np.int8) - theirs
            for mine, theirs in bits
            if mine is not None and theirs is not None
        ]
        if len(differences) == len(bits):
            by_size.setdefault(number, {})[key] = np.stack(differences)
    intervals: dict[tuple[str, str], Interval] = {}
    for matrices in by_size.values():
        drawn = crossed_bootstrap(list(matrices.values()), draws=draws)
        intervals |= zip(matrices, drawn, strict=True)
    return intervals
