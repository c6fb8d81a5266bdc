"""Measure what a sweep costs besides its runs: planning, and the pool between two runs.

Planning is timed with the command itself, over a sweep of 10 decoders, 2 tasks, 5 learning rates
and so many seeds that there are 1,000 cells (`--cells`). The pool's own cost is the time from the
end of one run to the beginning of the next in the same worker: writing the result, handing over
the next config, building its task and checking its model. Have nothing else running.

Example:
    python scripts/benchmark_sweeps.py --cells 1000 --runs 20
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring.arguments import at_least, script_parser

DECODERS = (
    "repeat_vector,initial_state,initial_state_no_feedback,every_input,peek,peek_no_feedback,"
    "output,all_routes,luong,bahdanau2015"
)
RATES = "0.1,0.03,0.01,0.003,0.001"


def command(module: str, *arguments: str) -> float:
    """Run an entry point with one thread; return its seconds."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", f"decoderlab.cli.{module}", *arguments],
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def planning_seconds(cells: int, folder: Path) -> float:
    """Return how long the plan of a sweep takes, from the command's start to its end."""
    seeds = max(cells // 100, 1)
    return command(
        "plan",
        *("-m", f"decoder={DECODERS}", "task=echo,addition_2digits"),
        *(f"training.learning_rate={RATES}", f"seed=range(0,{seeds})"),
        f"run.output_dir={folder}",
    )


def pool_seconds(runs: int, folder: Path) -> list[float]:
    """Return the times between the runs of one worker."""
    command(
        "train",
        *("-m", "task=echo", "decoder=luong", f"seed=range(0,{runs})", f"run.output_dir={folder}"),
        *("training.max_steps=20", "evaluation.every_steps=20", "hydra.launcher.jobs=1"),
    )
    results = [json.loads(path.read_text()) for path in folder.glob("runs/*/result.json")]
    results.sort(key=lambda result: result["started"])
    return [
        after["started"] - before["ended"]
        for before, after in zip(results, results[1:], strict=False)
    ]


def main() -> None:
    """Measure and print."""
    parser = script_parser(__doc__)
    parser.add_argument(
        "--cells", type=at_least(100), default=1000, help="cells to plan (%(default)s)"
    )
    parser.add_argument(
        "--runs", type=at_least(2), default=20, help="runs of the pool (%(default)s)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = planning_seconds(arguments.cells, Path(folder) / "plan")
        print(f"planning {arguments.cells // 100 * 100} cells: {seconds:.1f} s", flush=True)
        gaps = pool_seconds(arguments.runs, Path(folder) / "pool")
    print(
        f"the pool between two runs of a warm worker: median {statistics.median(gaps):.3f} s, "
        f"largest {max(gaps):.3f} s ({len(gaps)} times)"
    )


if __name__ == "__main__":
    main()
