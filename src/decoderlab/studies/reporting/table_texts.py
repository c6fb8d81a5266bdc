"""How a number of a report is written: means, intervals, differences, p-values, verdicts."""

from __future__ import annotations

import math

from decoderlab.common.number_ranges import ranges_text
from decoderlab.config.study_settings import Tuning
from decoderlab.studies.analysis.comparisons import BARRING, Comparison
from decoderlab.studies.analysis.entries import Entry
from decoderlab.studies.statistics import Interval, Paired, Summary

STARS = (0.05, 0.01, 0.001)
STAR = "*"
BARRED = "†"  # in a paper, behind the stars of what holds if no run collapses


def interval_text(interval: Interval, digits: int = 3) -> str:
    """Return an interval, `n/a` where there is none.

    Example:
        >>> interval_text(Interval(0.1, 0.25))
        '[0.100, 0.250]'
    """
    if math.isnan(interval.low):
        return "[n/a]"
    return f"[{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def summary_text(summary: Summary | None) -> str:
    """Return a mean with its t interval."""
    if summary is None or summary.n == 0:
        return "–"
    return f"{summary.mean:.3f} {interval_text(Interval(summary.low, summary.high))}"


def mean_text(entry: Entry) -> str:
    """Return the mean of an entry with its interval."""
    if entry.summary.n == 0:
        return "–"
    return f"{entry.summary.mean:.3f} {interval_text(entry.interval)}"


def score_text(entry: Entry) -> str:
    """Return the mean of an entry with its interval, and how many seeds got all right."""
    text = mean_text(entry)
    if not math.isnan(entry.pooled.low):
        text += f" pooled, {entry.solved} of {entry.summary.n} seeds perfect"
    return text + (" mixed" if entry.mixed else "")


def count_text(entry: Entry) -> str:
    """Return finished of planned runs, and how many failed."""
    failed = f", {entry.failed} failed" if entry.failed else ""
    return f"{entry.finished}/{entry.planned}{failed}"


def finished_text(entry: Entry) -> str:
    """Return finished of planned runs."""
    return f"{entry.finished}/{entry.planned}"


def whole_text(number: float | None, unset: str) -> str:
    """Return a whole number with thousands separators.

    Example:
        >>> whole_text(12345.0, "varies"), whole_text(None, "varies")
        ('12,345', 'varies')
    """
    return unset if number is None else f"{number:,.0f}"


def updates_text(entry: Entry) -> str:
    """Return the updates of an entry's runs: one number, or the least and the most."""
    if entry.updates is None:
        return "by time"
    return " to ".join(dict.fromkeys(f"{number:,}" for number in entry.updates))


def decimal_text(number: float, digits: int) -> str:
    """Return a number with so many digits after the point, a dash for NaN.

    Example:
        >>> decimal_text(1.25, 1), decimal_text(float("nan"), 1)
        ('1.2', '–')
    """
    return "–" if math.isnan(number) else f"{number:.{digits}f}"


def difference_text(difference: Paired | None) -> str:
    """Return a difference with its interval and its sign."""
    if difference is None:
        return "–"
    return _signed_text(difference.mean, Interval(difference.low, difference.high))


def compared_text(comparison: Comparison) -> str:
    """Return the difference of a comparison with the interval that its verdict rests on."""
    if comparison.paired is None:
        return "–"
    return _signed_text(comparison.paired.mean, comparison.interval)


def _signed_text(mean: float, interval: Interval) -> str:
    if math.isnan(interval.low):
        return f"{mean:+.3f} [n/a]"
    return f"{mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def starred_verdict(comparison: Comparison) -> str:
    """Return the verdict with a star for its condition, where there is little room."""
    return comparison.verdict.replace(f" {BARRING}", STAR)


def starred_text(comparison: Comparison) -> str:
    """Return a difference as a paper has it: stars where better or worse is claimed, interval."""
    if comparison.paired is None:
        return "–"
    levels = (comparison.p_holm < level for level in STARS)
    stars = "*" * sum(levels) if comparison.certain else ""
    stars += BARRED if comparison.verdict.endswith(BARRING) else ""
    same = "=" if comparison.verdict in ("no difference", "tie") else ""
    mean, interval = _signed_text(comparison.paired.mean, comparison.interval).split(" ", 1)
    return f"{mean}{stars}{same} {interval}"


def wins_text(difference: Paired) -> str:
    """Return the share of seeds that the variant wins, with its interval."""
    return f"{difference.wins:.2f} [{difference.wins_low:.2f}, {difference.wins_high:.2f}]"


def p_text(p: float, bare: bool = False) -> str:
    """Return a p-value.

    Example:
        >>> p_text(2 / 2**10), p_text(0.2, bare=True), p_text(float("nan"), bare=True)
        ('p = 0.0020', '0.2000', '–')
    """
    if math.isnan(p):
        return "–" if bare else "no p"
    text = f"{p:.4f}" if p >= 0.0001 else "< 0.0001"
    return text if bare else f"p {text if p < 0.0001 else f'= {text}'}"


def verdict_text(comparison: Comparison) -> str:
    """Return the verdict; an inconclusive one with the effect that would have been detected."""
    if comparison.verdict != "inconclusive" or comparison.paired is None:
        return comparison.verdict
    if comparison.lost:
        return f"inconclusive ({comparison.lost} seeds lost to failures)"
    if math.isinf(comparison.detectable):
        return f"inconclusive (n={comparison.paired.n}: too few for so many comparisons)"
    return f"inconclusive (n={comparison.paired.n}, MDE {comparison.detectable:.3f})"


def tuned_text(tuning: Tuning | None) -> str:
    """Return what a caption says of the tuning before a study: its settings, trials and seeds.

    Example:
        >>> tuned_text(Tuning(space={"training.learning_rate": [0.01, 0.03]}, trials=2, seeds=[8]))
        ' Each row is tuned on each task: 2 trials of training.learning_rate, on seeds 8.'
        >>> tuned_text(None)
        ''
    """
    if tuning is None:
        return ""
    seeds = tuning.seeds if isinstance(tuning.seeds, str) else ranges_text(tuning.seeds)
    return (
        f" Each row is tuned on each task: {tuning.trials} trials of {', '.join(tuning.space)}, "
        f"on seeds {seeds}."
    )
