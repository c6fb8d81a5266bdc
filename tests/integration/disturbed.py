"""A small sweep to be disturbed, and what must be true of it afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import torch

from decoderlab.records.run_folder import RunFolder
from tests.conftest import same
from tests.integration.cli import tiny_arguments, wait_for

LONG = ("training.max_steps=600", "evaluation.every_steps=100", "study.name=s")
SEEDS = 4


def sweep(output_dir: Path, launcher: str, *more: str, seeds: int = SEEDS) -> list[str]:
    seed = ",".join(map(str, range(seeds)))
    return [
        "-m",
        *tiny_arguments(output_dir, *LONG, f"seed={seed}", f"hydra/launcher={launcher}", *more),
    ]


def runs(output_dir: Path) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted(output_dir.glob("runs/*"))]


def records(folder: RunFolder) -> list[dict]:
    """Return what was logged, without the time it took."""
    lines = map(json.loads, folder.metrics.read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return torch.load(folder.resume_checkpoints()[0], weights_only=True)["state_dict"]


def check_same(output_dir: Path, whole: Path) -> list[int]:
    """Demand that every run was finished once, as in `whole`; return how often each went on."""
    restarts = []
    for folder in runs(output_dir):
        reference = RunFolder(whole / "runs" / folder.path.name)
        assert folder.status()["status"] == "FINISHED"
        assert folder.result().metrics == reference.result().metrics
        assert records(folder) == records(reference)
        assert same(weights(folder), weights(reference))
        restarts.append(folder.result().restarts)
    return restarts


@contextlib.contextmanager
def in_training(
    output_dir: Path, process: subprocess.Popen, number: int
) -> Iterator[list[RunFolder]]:
    """Wait until so many runs are in the midst of training; they do nothing in the block.

    A run that has come so far is held until the others have, however late they start, and until
    the harm is done, however long that takes. A signal that the block sends is handled at its end.
    """
    held: dict[Path, int] = {}

    def enough() -> bool:
        for folder in runs(output_dir):
            status = folder.recorded_status()
            running = folder.path not in held and status["status"] == "RUNNING"
            if running and 120 <= folder.last_metrics().get("step", 0) <= 450:
                os.kill(status["pid"], signal.SIGSTOP)
                held[folder.path] = status["pid"]
        return len(held) >= number

    try:
        wait_for(enough, process, 300)
        yield [RunFolder(path) for path in held]
    finally:
        for pid in held.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def state(pid: int) -> str:
    """Return the letter of a process's state; none when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_until_woken(folder: RunFolder, process: subprocess.Popen) -> None:
    """Wait until somebody else's signal has reached a run that is held."""
    pid = folder.recorded_status()["pid"]
    wait_for(lambda: state(pid) != "T", process)


def wait_until_killed(folder: RunFolder, process: subprocess.Popen) -> None:
    """Wait until somebody else has killed a run that is held, however long that is put off."""
    pid = folder.recorded_status()["pid"]

    def killed() -> bool:
        if state(pid) in {"", "Z", "X"}:
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)  # who kills wakes it first: it could end meanwhile
        return False

    wait_for(killed, process)


def ended(process: subprocess.Popen, seconds: float = 300) -> str:
    """Demand that a sweep ends well; return what it printed."""
    output = process.communicate(timeout=seconds)[0]
    assert process.returncode == 0, output
    return output
