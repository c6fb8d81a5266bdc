"""Compare the training speed of a decoderlab run with a bare PyTorch loop.

Both train the same modules on the same batches with the same optimizer, in one process with one
thread, taking turns; what is printed is the ratio of their speeds. Have nothing else running.

Example:
    python scripts/benchmark.py --steps 300 --repeats 5 decoder=repeat_vector task=addition
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch

from measuring.timed_runs import bare_seconds, prepared_run, run_seconds


def main() -> None:
    """Measure and print the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300, help="updates a turn (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each (%(default)s)")
    parser.add_argument("overrides", nargs="*", help="as for decoderlab-train")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    prepared = prepared_run(arguments.overrides, arguments.steps, Path("unused"))
    bare_seconds(prepared, 30)  # warm-up
    run_seconds(arguments.overrides, 30)
    ratios = []
    for _ in range(arguments.repeats):
        bare = bare_seconds(prepared, arguments.steps)
        run = run_seconds(arguments.overrides, arguments.steps)
        ratios.append(bare / run)
        per = 1000 / arguments.steps
        print(f"bare {bare * per:.2f} ms, run {run * per:.2f} ms an update, ratio {bare / run:.2f}")
    print(f"speed of a run over a bare loop: median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
