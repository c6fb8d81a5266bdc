"""The commands, in this process (quick) or in one of their own (real)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from decoderlab.cli.app import guarded, with_hydra
from decoderlab.cli.train import train
from tests.conftest import TASKS, TINY, small

SIZES = [
    size
    for group, name in (("encoder", "lstm"), ("decoder", "repeat_vector"))
    for size in small(group, name)[1:]
]


def in_process(monkeypatch, *arguments: str) -> int:
    """Run decoderlab-train here and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["decoderlab-train", *arguments])
    return guarded(lambda: with_hydra(train))


def command(module: str, *arguments: str) -> list[str]:
    """Return the command line of an entry point."""
    return [sys.executable, "-m", f"decoderlab.cli.{module}", *arguments]


def start(module: str, *arguments: str, cwd: Path | None = None) -> subprocess.Popen:
    """Start an entry point in a process group of its own."""
    return subprocess.Popen(
        command(module, *arguments),
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def call(module: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess:
    """Run an entry point to its end."""
    return subprocess.run(
        command(module, *arguments), input=stdin, capture_output=True, text=True, timeout=300
    )


def tiny_arguments(output_dir: Path, *more: str) -> Sequence[str]:
    """Return the overrides of a run of seconds."""
    return (*TASKS["echo"], *TINY, *SIZES, f"run.output_dir={output_dir}", *more)


def wait_for(
    condition: Callable[[], object], process: subprocess.Popen, seconds: float = 120
) -> None:
    """Wait for something that a running process brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
