"""Published values beside ours."""

from __future__ import annotations

import math
from dataclasses import dataclass

from decoderlab.config.study_settings import Published
from decoderlab.studies.attainable import ALPHA
from decoderlab.studies.statistics import Estimate, Interval


@dataclass(frozen=True)
class PublishedVerdict:
    """A published value beside ours.

    Args:
        published: as declared.
        mean, interval: ours, of the row or of its difference to the other.
        n: seeds.
        word: reproduced, direction agrees, contradicts, inconclusive, unequal budget, pilot, not
            comparable or not run.
    """

    published: Published
    mean: float
    interval: Interval
    n: int
    word: str


def judge_published(published: Published, estimate: Estimate, interval: Interval) -> str:
    """Return whether a score of ours reproduces a published value.

    `reproduced`: by two one-sided tests, ours minus the published value lies within the tolerance
    that was stated beforehand, where the published runs have a spread with that as well (Welch),
    whether or not our seeds have any;
    `direction agrees`: it does not, but ours is a difference that is certainly on the same side of
    0; `contradicts`: it lies on the other side of 0 or, where the value is no difference, or a
    difference of 0, certainly outside the tolerance; else `inconclusive`.

    Args:
        published: as declared.
        estimate: ours.
        interval: ours at 95 %, which has to lie within the tolerance too where all seeds are equal.

    Example:
        >>> value = Published(row="a", value=0.9, tolerance=0.05, source="somebody")
        >>> ours = [(0.9, 0.01), (0.87, 0.02), (0.05, 0.02)]
        >>> estimates = [Estimate(mean, error, 9, error) for mean, error in ours]
        >>> [judge_published(value, each, each.interval()) for each in estimates]
        ['reproduced', 'inconclusive', 'contradicts']
    """
    if math.isnan(interval.low) and not estimate.error == 0:
        return "inconclusive"
    apart = estimate.minus(published.value, published.deviation, published.runs)
    low, high = apart.interval() if apart.error > 0 else (apart.mean, apart.mean)
    within = apart.equivalence(published.tolerance) < ALPHA
    if estimate.error == 0 and not math.isnan(interval.low):  # of test examples, not of seeds
        least, most = (end - published.value for end in interval)
        within = within and -published.tolerance <= least and most <= published.tolerance
        low, high = min(low, least), max(high, most)
    if within:
        return "reproduced"
    if published.against is not None and published.value:
        if interval.low > 0 or interval.high < 0:
            agrees = (interval.low > 0) == (published.value > 0)
            return "direction agrees" if agrees else "contradicts"
        return "inconclusive"
    outside = high < -published.tolerance or low > published.tolerance
    return "contradicts" if outside else "inconclusive"
