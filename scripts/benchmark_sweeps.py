"""Measure what a sweep costs besides its runs, and how its time grows with runs and workers.

    python scripts/benchmark_sweeps.py                       # prints; about ten minutes
    python scripts/benchmark_sweeps.py --page docs/performance.md

Planning is timed with the command itself, over a sweep of 10 decoders, 2 tasks, 5 learning rates
and so many seeds that there are 1,000 cells (`--cells`): the median of three, in turns with
`import torch`, by which machines are told apart. The pool's own cost is the time from the
end of one run to the beginning of the next in the same worker: writing the result, handing over
the next config, building its task and checking its model. Sweeps of runs of 300 updates are timed
from the command's start to its end, report and all, with one worker and with one for each core.
Have nothing else running.

With `--page` the figures go into `sweeps.csv` beside the page, and from there into its table.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

from measuring.arguments import at_least, existing_file, script_parser
from measuring.speed_tables import Marks, Row, markdown, read_figures, write_figures

DECODERS = (
    "repeat_vector,initial_state,initial_state_no_feedback,every_input,peek,peek_no_feedback,"
    "output,all_routes,luong,bahdanau2015"
)
RATES = "0.1,0.03,0.01,0.003,0.001"
FIGURES = "sweeps.csv"
MARKS = Marks("<!-- sweeps -->", "<!-- end of sweeps -->")
RUNS = (8, 16, 32)
TURNS = 3
IMPORT, PLANNING, SWEEP = "import torch", "planning", "a sweep"


def command(module: str, *arguments: str) -> float:
    """Run an entry point with one thread; return its seconds."""
    return seconds_of("-m", f"decoderlab.cli.{module}", *arguments)


def seconds_of(*arguments: str) -> float:
    """Run Python with one thread; return its seconds."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
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


def sweep_seconds(runs: int, updates: int, jobs: int, folder: Path) -> float:
    """Return how long a sweep of short runs takes, from the command's start to its end."""
    return command(
        "train",
        *("-m", "task=echo", "decoder=luong", f"seed=range(0,{runs})", f"run.output_dir={folder}"),
        *(f"training.max_steps={updates}", f"evaluation.every_steps={updates}"),
        f"hydra.launcher.jobs={jobs}",
    )


def pool_seconds(runs: int, folder: Path) -> list[float]:
    """Return the times between the runs of one worker."""
    sweep_seconds(runs, 20, 1, folder)
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
    parser.add_argument(
        "--sweeps", type=at_least(1), nargs="+", default=RUNS, help="their runs (8 16 32)"
    )
    parser.add_argument("--page", type=existing_file, help="write the figures into this page")
    arguments = parser.parse_args()
    rows: list[Row] = []

    def note(what: str, workers: int, runs: int, seconds: float) -> None:
        row = {"what": what, "workers": str(workers), "runs": str(runs), "s": f"{seconds:.2f}"}
        print("  ".join(row.values()), flush=True)
        rows.append(row)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cells = arguments.cells // 100 * 100
        turns = [
            (seconds_of("-c", "import torch"), planning_seconds(cells, folder / f"plan {turn}"))
            for turn in range(TURNS)
        ]
        imports, plans = (statistics.median(each) for each in zip(*turns, strict=True))
        note(IMPORT, 1, TURNS, imports)
        note(PLANNING, 1, cells, plans)
        gaps = pool_seconds(arguments.runs, folder / "pool")
        note("between two runs, median", 1, len(gaps), statistics.median(gaps))
        note("between two runs, longest", 1, len(gaps), max(gaps))
        workers = sorted({1, os.cpu_count() or 1})
        for runs, jobs in product(arguments.sweeps, workers):  # in turns, as they are compared
            seconds = sweep_seconds(runs, 300, jobs, folder / f"{jobs} {runs}")
            note(SWEEP, jobs, runs, seconds)
    if arguments.page:
        write_figures(arguments.page, FIGURES, rows, table, MARKS)


def table(figures: Path) -> str:
    """Return the figures of a CSV as a table in Markdown."""
    rows = read_figures(figures)
    sweeps: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["what"] == SWEEP:
            sweeps.setdefault(row["workers"], {})[row["runs"]] = float(row["s"])
    lines = [
        [
            workers,
            ", ".join(times),
            ", ".join(f"{seconds:.0f}" for seconds in times.values()),
            ", ".join(f"{sweeps['1'][runs] / seconds:.2f}" for runs, seconds in times.items()),
        ]
        for workers, times in sweeps.items()
    ]
    single = {row["what"]: row for row in rows if row["what"] != SWEEP}
    ratio = float(single[PLANNING]["s"]) / float(single.pop(IMPORT)["s"])
    others = [
        f"{what} ({int(row['runs']):,}) {row['s']} s"
        + (f", {ratio:.1f} times `import torch`" if what == PLANNING else "")
        for what, row in single.items()
    ]
    header = ["workers", "runs", "seconds", "times as fast as one worker"]
    return markdown(header, lines) + f"\nBesides: {'; '.join(others)}.\n"


if __name__ == "__main__":
    main()
