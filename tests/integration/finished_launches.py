"""Launches of a tiny study that may have nothing to do."""

from __future__ import annotations

import os
from pathlib import Path

from decoderlab.studies.execution import sweep
from tests.integration.cli import in_process, tiny_arguments


def small_sweep(*more: str) -> list[str]:
    return [
        "-m",
        *tiny_arguments(Path("o"), "seed=0,1", "study.name=s"),
        "hydra/launcher=basic",
        *more,
    ]


def plans_anew(monkeypatch, *arguments: str) -> bool:
    """Launch to the end, with exit code 0, and return whether anything was planned."""
    planned = []
    with monkeypatch.context() as patch:
        make_plan = sweep.make_plan
        patch.setattr(sweep, "make_plan", lambda *given: planned.append(1) or make_plan(*given))
        assert in_process(patch, *arguments) == 0
    return bool(planned)


def touch(path: str) -> None:
    """Write a file's own contents, at its own time."""
    before = os.stat(path)
    Path(path).write_bytes(Path(path).read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def of_a_run(name: str) -> str:
    return str(min(Path("o/runs").glob(f"*/{name}")))
