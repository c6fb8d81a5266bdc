"""How the time of an update, and memory, grow with batch, width, lengths and vocabulary.

    python scripts/benchmark_growth.py                       # prints; about ten minutes
    python scripts/benchmark_growth.py --page docs/performance.md

Each size is measured in a process of its own with one thread, on random tokens, every other size
held: the median of turns of a bare loop, and the memory that the process came to need since its
model was built. The exponent is the slope of a line through the logarithms of times and sizes.
`a run` is the memory of a whole run as decoderlab-train carries it out, over that of a process with
the bare loop. Have nothing else running.

With `--page` the figures go into `growth.csv` beside the page, and from there into its table.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from measuring.arguments import existing_file, positive, script_parser
from measuring.speed_tables import Marks, Row, markdown, read_figures, write_figures
from measuring.timed_runs import bare_seconds, prepared_run, run_seconds

FIGURES = "growth.csv"
MARKS = Marks("<!-- growth -->", "<!-- end of growth -->")
BASE = {"batch": 64, "width": 128, "source": 10, "target": 10, "vocabulary": 50}
SIZES = {
    "batch": (16, 32, 64, 128, 256),
    "width": (64, 128, 256, 512),
    "source": (10, 20, 40, 80),
    "target": (10, 20, 40, 80),
    "vocabulary": (50, 500, 5000, 50000),
}
MODELS = ("repeat_vector", "luong")
LINES = 2000
TURNS = 5


def write_pairs(path: Path, sizes: Mapping[str, int]) -> None:
    """Write random pairs; every token of the vocabulary stands in them."""
    draw = random.Random(0)
    names = [str(number) for number in range(sizes["vocabulary"])]
    lines = ["source\ttarget\tsplit"]
    for number in range(LINES):
        split = "train" if number < LINES - 40 else ("validation", "test")[number % 2]
        columns = []
        for side in ("source", "target"):
            length = sizes[side]
            first = number * length
            own = names[first : first + length] if first + length <= len(names) else []
            columns.append(" ".join(own or draw.choices(names, k=length)))
        lines.append("\t".join([*columns, split]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def overrides(path: Path, model: str, sizes: Mapping[str, int]) -> list[str]:
    """Return the settings of a run on the pairs of a file."""
    return [
        *("task=tsv", f"task.path={path}", "task.tokens=word", "task.split_column=split"),
        *("encoder=lstm", f"decoder={model}", "logger=none"),
        *(f"{part}.hidden_size={sizes['width']}" for part in ("encoder", "decoder")),
        f"training.batch_size={sizes['batch']}",
    ]


def peak_bytes() -> int:
    """Return the most memory that this process has needed so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_here(model: str, sizes: Mapping[str, int], updates: int, whole: bool) -> None:
    """Measure one size in this process, and print the figures as JSON."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.tsv"
        write_pairs(path, sizes)
        given = overrides(path, model, sizes)
        if whole:
            run_seconds(given, updates)
            print(json.dumps({"peak": peak_bytes()}))
            return
        prepared = prepared_run(given, updates * TURNS, Path(folder) / "outputs")
        before = peak_bytes()
        bare_seconds(prepared, 3)  # warm-up
        seconds = statistics.median(bare_seconds(prepared, updates) for _ in range(TURNS))
        peak = peak_bytes()
    print(json.dumps({"ms": 1000 * seconds / updates, "more": peak - before, "peak": peak}))


def measured(model: str, sizes: Mapping[str, int], updates: int, *, whole: bool = False) -> Row:
    """Measure one size in a process of its own."""
    words = [sys.executable, __file__, "--here", json.dumps([model, dict(sizes), updates, whole])]
    done = subprocess.run(
        words,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def exponent(sizes: list[float], times: list[float]) -> float:
    """Return the slope of the line through all points, on logarithmic scales.

    Example:
        >>> round(exponent([1, 2, 4], [3, 12, 48]), 3)
        2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def table(figures: Path) -> str:
    """Return the figures of a CSV as a table in Markdown."""
    rows = read_figures(figures)
    lines = []
    for model in MODELS:
        for name in SIZES:
            own = [row for row in rows if (row["decoder"], row["varied"]) == (model, name)]
            sizes, times = ([float(row[key]) for row in own] for key in ("size", "ms"))
            more = [float(row["more_mb"]) for row in own]
            lines.append(
                [
                    f"`{model}`",
                    name,
                    ", ".join(f"{size:,.0f}" for size in sizes),
                    ", ".join(f"{time:.1f}" for time in times),
                    f"{exponent(sizes, times):.2f}",
                    ", ".join(f"{memory:,.0f}" for memory in more),
                ]
            )
    shares = [f"`{row['decoder']}` {row['ratio']}" for row in rows if row["varied"] == "a run"]
    header = ["decoder", "varied", "sizes", "ms an update", "exponent", "MB more than before"]
    said = f"\nPeak memory of a run over that of a bare loop: {', '.join(shares)}.\n"
    return markdown(header, lines) + said


def main() -> None:
    """Measure and print; write the figures where that is asked for."""
    parser = script_parser(__doc__)
    parser.add_argument("--updates", type=positive, default=20, help="of a turn (%(default)s)")
    parser.add_argument("--page", type=existing_file, help="write the figures into this page")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        measure_here(*json.loads(arguments.here))
        return
    columns = ("decoder", "varied", "size", "ms", "more_mb", "ratio")
    rows: list[Row] = []

    def note(*values: str) -> None:
        print("  ".join(values), flush=True)
        rows.append(dict(zip(columns, values, strict=True)))

    for model in MODELS:
        for name, sizes in SIZES.items():
            for size in sizes:
                one = measured(model, BASE | {name: size}, arguments.updates)
                more = f"{float(one['more']) / 1e6:.1f}"
                note(model, name, str(size), f"{float(one['ms']):.2f}", more, "")
        loop = measured(model, BASE, arguments.updates)
        run = measured(model, BASE, arguments.updates * TURNS, whole=True)
        note(model, "a run", "", "", "", f"{float(run['peak']) / float(loop['peak']):.2f}")
    if arguments.page:
        write_figures(arguments.page, FIGURES, rows, table, MARKS)


if __name__ == "__main__":
    main()
