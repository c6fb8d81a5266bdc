"""Compare the training speed of a decoderlab run with a bare PyTorch loop, or with other tools.

Both train the same modules on the same batches with the same optimizer, in one process with one
thread, taking turns; what is printed is the ratio of their speeds. Have nothing else running.

With `--peers` other tools are compared with ours. Each is installed by the name of its package into
an environment of its own below build/peers, which is made once. It runs as a process of its own
and takes turns with ours, all on one core. A row is training or writing outputs, with samples or
words a second of both and the ratio: the median of the turns, from the lowest to the highest. With
`--page` the figures go into `peer_speeds.csv` beside the page, and from there into its table.

Example:
    python scripts/benchmark.py --steps 300 --repeats 5 decoder=repeat_vector task=addition
    python scripts/benchmark.py --peers keras,yoyodyne --only article
    python scripts/benchmark.py --peers keras,yoyodyne --page docs/performance.md
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch

from measuring.peer_speeds import Unmeasured, measure
from measuring.peer_works import ASKED, WORKS
from measuring.timed_runs import bare_seconds, prepared_run, run_seconds


def with_bare_loop(overrides: list[str], steps: int, repeats: int) -> None:
    """Measure and print the ratio of a run and a bare loop."""
    torch.set_num_threads(1)
    prepared = prepared_run(overrides, steps, Path("unused"))
    bare_seconds(prepared, 30)  # warm-up
    run_seconds(overrides, 30)
    ratios = []
    for _ in range(repeats):
        bare = bare_seconds(prepared, steps)
        run = run_seconds(overrides, steps)
        ratios.append(bare / run)
        per = 1000 / steps
        print(f"bare {bare * per:.2f} ms, run {run * per:.2f} ms an update, ratio {bare / run:.2f}")
    print(f"speed of a run over a bare loop: median {statistics.median(ratios):.2f}")


def positive(text: str) -> int:
    """Return a whole number above 0."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--steps",
        type=positive,
        help="updates a turn (300; with --peers each row has its own number)",
    )
    parser.add_argument("--repeats", type=positive, default=5, help="turns of each (%(default)s)")
    parser.add_argument(
        "--peers", metavar="NAMES", help=f"of {', '.join(ASKED)}, with commas between them"
    )
    rows = ", ".join(work.name for work in WORKS)
    parser.add_argument(
        "--only", metavar="TEXT", default="", help=f"rows with this text in their name: {rows}"
    )
    parser.add_argument("--page", type=Path, help="write the figures of all peers into this page")
    parser.add_argument(
        "overrides", nargs="*", help="as for decoderlab-train; of the run beside a bare loop"
    )
    return parser


def main() -> None:
    """Measure and print."""
    parser = make_parser()
    arguments = parser.parse_args()
    if arguments.peers is None:
        if arguments.page or arguments.only:
            parser.error("--page and --only are of --peers; give that, or leave them out")
        with_bare_loop(arguments.overrides, arguments.steps or 300, arguments.repeats)
        return
    if arguments.overrides:
        parser.error(f"rows of --peers have settings of their own; leave {arguments.overrides} out")
    try:
        measure(
            peers=arguments.peers,
            only=arguments.only,
            updates=arguments.steps,
            repeats=arguments.repeats,
            page=arguments.page,
        )
    except Unmeasured as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
