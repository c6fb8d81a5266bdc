"""Show that a sweep survives SIGKILL: kill it at random moments, relaunch it, compare.

The same sweep is run twice: once undisturbed, and once killed with SIGKILL (its whole process
group) again and again, and given again each time. At the end both must have every run exactly
once, with the same metrics, the same records and the same weights, bit for bit.

    python scripts/kill_sweep.py --runs 24 --kills 20
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from decoderlab.records.run_folder import RunFolder

VARIANTS = ("repeat_vector", "initial_state", "luong", "scheduled_sampling")
START_SECONDS = 12.0  # within these, a kill may meet the planning or the start of the workers


def command(folder: Path, runs: int, steps: int) -> list[str]:
    """Return the command line of the sweep."""
    seeds = -(-runs // len(VARIANTS))
    return [
        *(sys.executable, "-m", "decoderlab.cli.train", "-m", "task=echo", "study.name=killed"),
        *("task.num_train=1000", "task.num_validation=50", "task.num_test=50"),
        *("encoder.hidden_size=16", "decoder.hidden_size=16", "encoder.dropout=0.2"),
        *(f"training.max_steps={steps}", f"evaluation.every_steps={max(steps // 4, 1)}"),
        *("run.checkpoint_every_seconds=0.5", f"run.output_dir={folder}"),
        *(f"decoder={','.join(VARIANTS)}", f"seed=range(0,{seeds})"),
    ]


def kill_at_random(command: list[str], folder: Path, generator: random.Random) -> str | None:
    """Start the sweep and kill it at a random moment; return what it was at, None if it ended."""
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    if generator.random() < 0.25:
        wait(process, generator.uniform(0, START_SECONDS))
    else:  # most kills are to meet runs
        running_before = started(folder)
        while process.poll() is None and started(folder) <= running_before:
            time.sleep(0.05)
        wait(process, generator.uniform(0, 6))
    at = "training" if any(map(is_running, folder.glob("runs/*"))) else "starting or between runs"
    if process.poll() is not None:
        return None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return at


def wait(process: subprocess.Popen, seconds: float) -> None:
    """Wait for a span of time, or until the process ends."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)


def started(folder: Path) -> float:
    """Return when a run was last begun."""
    files = list(folder.glob("runs/*/status.json"))
    return max((path.stat().st_mtime for path in files), default=0.0)


def is_running(path: Path) -> bool:
    """Whether some process trains a run."""
    return RunFolder(path).locked()


def differences(one: RunFolder, other: RunFolder) -> list[str]:
    """Return what differs between two finished runs; nothing if they are equal."""
    found = []
    results = one.result(), other.result()
    if None in results:
        return [f"{other.path.name} is not finished ({other.status()['status']})"]
    for key in ("metrics", "steps", "best_step", "examples_seen", "tokens_seen", "signature"):
        ours, theirs = (getattr(result, key) for result in results)
        if ours != theirs:
            found.append(f"{key}: {ours} and {theirs}")
    if records(one) != records(other):
        found.append("metrics.jsonl")
    if one.predictions.read_bytes() != other.predictions.read_bytes():
        found.append("predictions.jsonl")
    for name in (results[0].best_checkpoint, f"checkpoints/{one.resume_checkpoints()[0].name}"):
        states = [torch.load(run.path / name, weights_only=True) for run in (one, other)]
        weights = [state["state_dict"] for state in states]
        if not all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0]):
            found.append(f"weights in {name}")
    return [f"{other.path.name}: {what}" for what in found]


def records(folder: RunFolder) -> list[dict]:
    """Return the lines of a run's metrics without the time they took."""
    lines = map(json.loads, folder.metrics.read_text().splitlines())
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def main() -> None:
    """Run both sweeps and compare them; exit code 0 if they are equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=24, help="runs of the sweep (%(default)s)")
    parser.add_argument("--kills", type=int, default=20, help="times it is killed (%(default)s)")
    parser.add_argument("--steps", type=int, default=3000, help="updates of a run (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(compare(arguments, arguments.folder or Path(temporary)))


def compare(arguments: argparse.Namespace, root: Path) -> int:
    """Do what `main` says below a folder; return the exit code."""
    whole, killed = root / "whole", root / "killed"
    again = command(killed, arguments.runs, arguments.steps)
    generator, kills = random.Random(arguments.seed), 0
    while kills < arguments.kills:
        at = kill_at_random(again, killed, generator)
        if at is None:
            print(f"the sweep ended after {kills} kills; give more --steps")
            return 1
        kills += 1
        done = len(list(killed.glob("runs/*/result.json")))
        print(f"kill {kills}: {at}, {done} runs finished", flush=True)
    for folder in (killed, whole):
        print(f"undisturbed: {folder.name}", flush=True)
        subprocess.run(command(folder, arguments.runs, arguments.steps), check=True)
    names = [sorted(path.name for path in (one / "runs").iterdir()) for one in (whole, killed)]
    print(f"{len(names[0])} runs undisturbed, {len(names[1])} after {kills} kills")
    if names[0] != names[1]:
        print("they are not the same runs")
        return 1
    found, restarts = [], 0
    for name in names[0]:
        found += differences(RunFolder(whole / "runs" / name), RunFolder(killed / "runs" / name))
        restarts += RunFolder(killed / "runs" / name).result().restarts
    print(f"{restarts} times a run went on from a checkpoint")
    print("\n".join(found) or "metrics, records, predictions and weights are equal, bit for bit")
    return int(bool(found))


if __name__ == "__main__":
    main()
