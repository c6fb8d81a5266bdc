"""Runs that go on until they are stopped, and how far they have come."""

from __future__ import annotations

from pathlib import Path

from decoderlab.records.run_folder import RunFolder
from tests.integration.cli import tiny_arguments
from tests.integration.disturbed import runs


def settings(folder: Path, *more: str) -> list[str]:
    return list(tiny_arguments(folder, *more))


def long(folder: Path, *more: str) -> list[str]:
    """Return the arguments of a run that goes on until it is stopped."""
    return settings(folder, "training.max_steps=1000000", "evaluation.every_steps=60", *more)


def started(folder: Path) -> list[RunFolder]:
    """Return the runs that have a checkpoint."""
    return [one for one in runs(folder) if list(one.checkpoints.glob("step-*.sha256"))]


def has_checkpoint(folder: Path) -> bool:
    return bool(started(folder))
