"""Warnings from the recorded norms of the gradient: nothing is learnt, or much is clipped."""

from __future__ import annotations

from pathlib import Path

from decoderlab.common.bounded_reading import read_json_lines
from decoderlab.common.progress import say
from decoderlab.training.recorder import ProgressReport

NORM = "train/gradient_norm"
# Recorded updates in a row with a gradient of exactly zero after which that is said.
ZEROS = 10


class GradientWatch:
    """Hands on what a run reports, and says once when its gradient stays at zero.

    Norms are recorded where the gradient is clipped, which is the default.

    Args:
        report: called with (step, values).
    """

    def __init__(self, report: ProgressReport) -> None:
        self.report, self.zeros = report, 0

    def __call__(self, step: int, values: dict[str, float]) -> None:
        """Take new values of metrics at a step."""
        if NORM in values:
            self.zeros = 0 if values[NORM] else self.zeros + 1
            if self.zeros == ZEROS:
                say(
                    f"warning: at update {step} the gradient has been zero at {ZEROS} recorded "
                    "updates in a row, so nothing is learnt; look at the initial weights, the "
                    "learning rate and the model"
                )
        self.report(step, values)


def clipped_text(metrics: Path, limit: float | None) -> str:
    """Return how often the gradient was clipped, in a line; empty if it never was.

    Args:
        metrics: of a run, a line an update; read line by line.
        limit: `training.gradient_clip_norm`.
    """
    if limit is None:
        return ""
    clipped, number, largest = 0, 0, 0.0
    for line in read_json_lines(metrics, with_text=NORM):
        norm = line[NORM]
        clipped, number, largest = clipped + (norm > limit), number + 1, max(largest, norm)
    if not clipped:
        return ""
    return (
        f"the gradient was clipped at {clipped} of {number} recorded updates (its largest norm "
        f"{largest:.3g}, training.gradient_clip_norm {limit:g})"
    )
