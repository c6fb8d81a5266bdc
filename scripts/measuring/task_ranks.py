"""The decoders of the leaderboard over its tasks: mean ranks, wins, and their picture."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from decoderlab.common.escapes import html_text
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.models_and_datasets import mean_ranks
from decoderlab.studies.statistics import wilson
from measuring.speed_tables import markdown

WIDTH, MARGIN, TOP, LINE = 720, 225, 44, 22  # of the picture, in pixels
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1a1a1a; }
line, path { stroke: #1a1a1a; fill: none; }
.bar { stroke-width: 5; stroke: #0072b2; }
@media (prefers-color-scheme: dark) { text { fill: #e6e6e6; } line, path { stroke: #e6e6e6; }
.bar { stroke: #56b4e9; } }
"""


def mean_scores(studies: Mapping[str, Analysis], decoders: Sequence[str]) -> np.ndarray:
    """Return the mean scores (decoders, tasks); the higher the better, and equal where they are."""
    means = [
        [analysis.sign * analysis.entries[decoder, analysis.tasks[0]].summary.mean]
        for decoder in decoders
        for analysis in studies.values()
    ]
    return np.round(means, 9).reshape(len(decoders), len(studies))


def over_tasks(scores: np.ndarray, decoders: Sequence[str]) -> str:
    """Return the table of mean ranks and wins, best first, with what can be told apart.

    Args:
        scores: (decoders, tasks).
        decoders: their names.
    """
    known, number = mean_ranks(scores), scores.shape[1]
    order = [int(index) for index in np.argsort(known.ranks, kind="stable")]
    header = ["decoder", "mean rank", *(f"ahead of `{decoders[other]}`" for other in order)]
    rows = []
    for index in order:
        wins = (won(scores[index], scores[other]) if other != index else "" for other in order)
        rows.append([f"`{decoders[index]}`", f"{known.ranks[index]:.2f}", *wins])
    p = known.friedman_p
    shown = "below 0.001" if p < 0.001 else f"{p:.3f}"
    return (
        f"{markdown(header, rows)}\n"
        f"Over {number} tasks. That all have one mean rank: p {shown} (Friedman's test in the form "
        "of Iman and Davenport). Two mean ranks that differ by less than "
        f"{known.critical:.2f} are not told apart (Nemenyi, 0.05 for all pairs).\n"
    )


def in_words(scores: np.ndarray, decoders: Sequence[str], tasks: Sequence[str], of: int) -> str:
    """Return which decoder has the best score where, and which mean ranks are told apart.

    Args:
        scores: (decoders, tasks).
        decoders: their names.
        tasks: theirs.
        of: how many tasks there are in all.

    Example:
        >>> scores = np.array([[0.9, 0.9, 0.9], [0.5, 0.9, 0.1], [0.1, 0.2, 0.5]])
        >>> print(in_words(scores, ["a", "b", "c"], ["x", "y", "z"], 4), end="")
        On the 3 of our 4 tasks that have been run these have the best mean score: `a` on 3 (`x`,
        `y`, `z`); `b` on 1 (`y`). Mean ranks: `a` 1.17, `b` 2.17, `c` 2.67. Told apart over tasks:
        none.
    """
    known = mean_ranks(scores)
    order = [int(index) for index in np.argsort(known.ranks, kind="stable")]
    best = {
        index: [
            f"`{task}`"
            for task, column in zip(tasks, scores.T, strict=True)
            if column[index] == column.max()
        ]
        for index in order
    }
    most = sorted((index for index in order if best[index]), key=lambda index: -len(best[index]))
    where = "; ".join(f"`{decoders[i]}` on {len(best[i])} ({', '.join(best[i])})" for i in most)
    ranks = ", ".join(f"`{decoders[index]}` {known.ranks[index]:.2f}" for index in order)
    apart = [
        f"`{decoders[one]}` from `{decoders[other]}`"
        for one, other in combinations(order, 2)
        if known.ranks[other] - known.ranks[one] >= known.critical
    ]
    run = (
        f"{of} tasks" if len(tasks) == of else f"{len(tasks)} of our {of} tasks that have been run"
    )
    text = (
        f"On the {run} these have the best mean score: {where}. Mean ranks: {ranks}. "
        f"Told apart over tasks: {', '.join(apart) or 'none'}."
    )
    return textwrap.fill(text, 92, break_long_words=False, break_on_hyphens=False) + "\n"


def won(own: np.ndarray, other: np.ndarray) -> str:
    """Return on how many tasks a decoder is ahead, with the interval of that share.

    Example:
        >>> won(np.array([0.9, 0.8, 0.7]), np.array([0.1, 0.8, 0.1]))
        '2 of 3 [0.21, 0.94]'
    """
    wins, number = int((own > other).sum()), len(own)
    low, high = wilson(wins, number)
    return f"{wins} of {number} [{low:.2f}, {high:.2f}]"


def together(ranks: Sequence[float], critical: float) -> list[tuple[int, int]]:
    """Return the widest spans of sorted ranks within the critical difference, by first and last.

    Example:
        >>> together([1.0, 1.5, 2.9, 3.0], 1.6)
        [(0, 1), (1, 3)]
    """
    spans = []
    for first, rank in enumerate(ranks):
        last = max(index for index, other in enumerate(ranks) if other - rank < critical)
        if last > first and (not spans or last > spans[-1][1]):
            spans.append((first, last))
    return spans


def picture(scores: np.ndarray, decoders: Sequence[str]) -> str:
    """Return the critical-difference diagram as SVG (Demsar 2006, figure 1): the best at the left.

    Args:
        scores: (decoders, tasks).
        decoders: their names.
    """
    known = mean_ranks(scores)
    pairs = sorted(zip(known.ranks.tolist(), decoders, strict=True))
    ranks = [rank for rank, _ in pairs]
    spans = together(ranks, known.critical)
    below = TOP + 14 + 10 * len(spans)
    height = below + LINE * ((len(pairs) + 1) // 2)
    words = "; ".join(f"{name} {rank:.2f}" for rank, name in pairs)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-labelledby="title words">'
        f'<title id="title">Mean ranks over {scores.shape[1]} tasks</title>'
        f'<desc id="words">{html_text(words)}</desc>'
        f"<style>{STYLE}</style>{''.join(_shapes(pairs, known.critical, spans, below))}</svg>\n"
    )


def _at(rank: float, number: int) -> float:
    """Return where a rank stands across the picture."""
    return round(MARGIN + (rank - 1) / (number - 1) * (WIDTH - 2 * MARGIN), 1)


def _shapes(
    pairs: Sequence[tuple[float, str]],
    critical: float,
    spans: Sequence[tuple[int, int]],
    below: int,
) -> Iterator[str]:
    number = len(pairs)
    yield f'<line x1="{_at(1, number)}" y1="{TOP}" x2="{_at(number, number)}" y2="{TOP}"/>'
    for rank in range(1, number + 1):
        x = _at(rank, number)
        yield f'<line x1="{x}" y1="{TOP - 6}" x2="{x}" y2="{TOP}"/>'
        yield f'<text x="{x}" y="{TOP - 10}" text-anchor="middle">{rank}</text>'
    end = round(MARGIN + critical / (number - 1) * (WIDTH - 2 * MARGIN), 1)
    yield f'<path d="M{MARGIN} 8 V16 M{MARGIN} 12 H{end} M{end} 8 V16"/>'
    yield f'<text x="{end + 6}" y="16">critical difference {critical:.2f}</text>'
    for row, (first, last) in enumerate(spans):
        y = TOP + 10 + 10 * row
        ends = [_at(pairs[index][0], number) for index in (first, last)]
        yield f'<line class="bar" x1="{ends[0] - 3}" y1="{y}" x2="{ends[1] + 3}" y2="{y}"/>'
    half = (number + 1) // 2
    for index, (rank, name) in enumerate(pairs):
        left, x = index < half, _at(rank, number)
        y = below + LINE * (index if left else number - 1 - index) + 8
        side = MARGIN - 12 if left else WIDTH - MARGIN + 12
        label, anchor = f"{name} {rank:.2f}", "end" if left else "start"
        yield f'<path d="M{x} {TOP} V{y} H{side}"/>'
        at = side - 5 if left else side + 5
        yield f'<text x="{at}" y="{y + 4}" text-anchor="{anchor}">{html_text(label)}</text>'
