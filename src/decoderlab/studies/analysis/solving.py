"""After how many updates seeds solve a task, where only some of them do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from decoderlab.studies.analysis.curves import validations
from decoderlab.studies.analysis.seed_groups import MIN_SEEDS, SOLVED, better_group, is_solved
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.statistics import Interval, wilson


class Solving(NamedTuple):
    """When the seeds of a row solved their task, by their validations.

    Args:
        solved_at: update of each seed's first validation that solved it; infinite where none did,
            as of a run that failed or ended before.
        last: update up to which the row was to be trained.
    """

    solved_at: np.ndarray
    last: int

    @property
    def number(self) -> int:
        """How many seeds solved it."""
        return int(np.isfinite(self.solved_at).sum())

    @property
    def share(self) -> Interval:
        """Wilson's 95 % interval of the share of seeds that solve it."""
        return wilson(self.number, len(self.solved_at))

    @property
    def median(self) -> float:
        """The update at which half of the seeds had solved it; infinite if fewer did."""
        return float(np.sort(self.solved_at)[(len(self.solved_at) - 1) // 2])

    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Return updates and the share of all seeds that had solved the task by then.

        Example:
            >>> updates, share = Solving(np.array([20.0, math.inf, 10, 20]), 40).steps()
            >>> updates.tolist(), share.tolist()
            ([0.0, 10.0, 20.0, 20.0, 40.0], [0.0, 0.25, 0.5, 0.75, 0.75])
        """
        at = np.sort(self.solved_at[np.isfinite(self.solved_at)])
        share = np.arange(len(at) + 1) / len(self.solved_at)
        return np.concatenate([[0.0], at, [self.last]]), np.concatenate([share, share[-1:]])


def threshold(analysis: Analysis) -> float:
    """Return the score from which a task is solved: 0.9 of the way from the worst to the best."""
    worst, best = analysis.scale.bounds[:: int(analysis.sign)]
    return worst + SOLVED * (best - worst)


def two_groups(analysis: Analysis, variant: str, task: str) -> bool:
    """Whether the seeds of a row fall into two groups, so that its mean says little."""
    scores = _scores(analysis, variant, task)
    return bool(better_group(scores, analysis.scale.bounds, analysis.sign))


def solved_in_part(analysis: Analysis, task: str) -> bool:
    """Whether of any row on a task some seeds solve it and others do not, or are in two groups."""
    return any(
        two_groups(analysis, variant, task) or _some_solve(analysis, variant, task)
        for variant in analysis.variants
    )


def _some_solve(analysis: Analysis, variant: str, task: str) -> bool:
    scores, bounds = _scores(analysis, variant, task), analysis.scale.bounds
    if len(scores) < MIN_SEEDS or not np.isfinite(bounds).all():
        return False
    return 0 < sum(is_solved(score, bounds, analysis.sign) for score in scores) < len(scores)


def _scores(analysis: Analysis, variant: str, task: str) -> list[float]:
    entry = analysis.entries.get((variant, task))
    return list(entry.scores.values()) if entry else []


def solving(analysis: Analysis, variant: str, task: str, output_dir: Path) -> Solving | None:
    """Return when the seeds of a row solved a task.

    Args:
        analysis: of the study, whose metric has finite bounds.
        variant: of the row.
        task: of the row.
        output_dir: as in `run.output_dir`.

    Returns:
        None where a run that finished has no validations that can be read, or none has ended.
    """
    bounds, sign = analysis.scale.bounds, analysis.sign
    solved_at, last = [], 0
    for row in analysis.by_cell.get((variant, task), []):
        if row.result is None and not row.failed:
            continue
        scores = {}
        if row.result is not None:
            scores = validations(row.cell.run_folder(output_dir), analysis.metric)
            if not scores:
                return None
        last = max(last, row.cell.steps or 0, row.result.steps if row.result else 0)
        reached = [step for step, score in scores.items() if is_solved(score, bounds, sign)]
        solved_at.append(min(reached, default=math.inf))
    return Solving(np.array(solved_at), last) if solved_at else None
