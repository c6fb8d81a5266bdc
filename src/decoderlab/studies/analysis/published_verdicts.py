"""Published values beside ours."""

from __future__ import annotations

import math
from dataclasses import dataclass

from decoderlab.config.study_settings import Published
from decoderlab.studies.statistics import Interval


@dataclass(frozen=True)
class Verdict:
    """A published value beside ours.

    Args:
        published: as declared.
        mean, interval: ours, of the row or of its difference to the other.
        n: seeds.
        word: reproduced, direction agrees, contradicts, inconclusive or not run.
    """

    published: Published
    mean: float
    interval: Interval
    n: int
    word: str


def judge_published(published: Published, interval: Interval) -> str:
    """Return whether an interval of ours reproduces a published value.

    `reproduced`: the interval lies within the tolerance that was stated beforehand; `direction
    agrees`: it does not, but ours is a difference that is certainly on the same side of 0;
    `contradicts`: it lies on the other side of 0 or, where the value is no difference, or a
    difference of 0, outside the tolerance altogether; else `inconclusive`.

    Example:
        >>> value = Published(row="a", value=0.9, tolerance=0.05, source="somebody")
        >>> ours = [Interval(0.88, 0.93), Interval(0.8, 0.9), Interval(0.0, 0.1)]
        >>> [judge_published(value, interval) for interval in ours]
        ['reproduced', 'inconclusive', 'contradicts']
    """
    low, high = interval
    floor, ceiling = published.value - published.tolerance, published.value + published.tolerance
    if math.isnan(low):
        return "inconclusive"
    if floor <= low and high <= ceiling:
        return "reproduced"
    if published.against is not None and published.value:
        if low > 0 or high < 0:
            return "direction agrees" if (low > 0) == (published.value > 0) else "contradicts"
        return "inconclusive"
    return "contradicts" if high < floor or low > ceiling else "inconclusive"
