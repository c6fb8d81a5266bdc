"""Compare the training speed of a decoderlab run with a bare PyTorch loop, or with other tools.

Both train the same modules on the same batches with the same optimizer, in one process with one
thread, taking turns; what is printed is the ratio of their speeds. Have nothing else running.

With `--profile` one bare loop is looked into: which share of its time is in torch's recurrent
kernels, forward and backward, in its matrix products, in other operators, and in Python. No way to
call the kernels is faster than the kernels alone. With `--limits` so are our sides of the
comparison with other tools; `--page` writes that into `limits.csv` and a table.

With `--peers` other tools are compared with ours. Each is installed by the name of its package into
an environment of its own below build/peers, which is made once. It runs as a process of its own
and takes turns with ours, all on one core. A row is training or writing outputs, with samples or
words a second of both and the ratio: the median of the turns, from the lowest to the highest. With
`--page` the figures go into `peer_speeds.csv` beside the page, and from there into its table.

Example:
    python scripts/benchmark.py --steps 300 --repeats 5 decoder=repeat_vector task=addition
    python scripts/benchmark.py --profile encoder=lstm decoder=repeat_vector
    python scripts/benchmark.py --peers keras,yoyodyne --only article
    python scripts/benchmark.py --peers keras,yoyodyne --page docs/performance.md
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch

from measuring.arguments import existing_file, positive, script_parser
from measuring.kernel_shares import kernel_shares, measure_limits
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


def profile(overrides: list[str], steps: int) -> None:
    """Print what takes the time of a bare loop."""
    torch.set_num_threads(1)
    prepared = prepared_run(overrides, steps, Path("unused"))
    bare_seconds(prepared, 30)  # warm-up
    for name, share in kernel_shares(lambda: bare_seconds(prepared, steps)).items():
        print(f"{name}: {share:.0%}")


def rows_text() -> str:
    """Return the names of the rows of `--peers`, for a message."""
    return ", ".join(work.name for work in WORKS)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = script_parser(__doc__)
    parser.add_argument(
        "--steps",
        type=positive,
        help="updates a turn (300; with --peers each row has its own number)",
    )
    parser.add_argument("--repeats", type=positive, default=5, help="turns of each (%(default)s)")
    parser.add_argument(
        "--peers", metavar="NAMES", help=f"of {', '.join(ASKED)}, with commas between them"
    )
    parser.add_argument(
        "--profile", action="store_true", help="print what takes the time of a bare loop"
    )
    parser.add_argument(
        "--limits", action="store_true", help="print what takes the time of our sides of --peers"
    )
    parser.add_argument(
        "--only",
        metavar="TEXT",
        default="",
        help=f"rows with this text in their name: {rows_text()}",
    )
    parser.add_argument("--page", type=existing_file, help="write the figures of all peers into it")
    parser.add_argument(
        "overrides", nargs="*", help="as for decoderlab-train; of the run beside a bare loop"
    )
    return parser


def main() -> None:
    """Measure and print."""
    parser = make_parser()
    arguments = parser.parse_args()
    if arguments.limits and (arguments.peers or arguments.overrides or arguments.profile):
        parser.error("--limits has the rows of --peers, and settings of their own: give it alone")
    if arguments.limits:
        if not any(arguments.only in work.name for work in WORKS):
            parser.error(f"--only is {arguments.only!r}, but the rows are {rows_text()}")
        measure_limits(only=arguments.only, updates=arguments.steps, page=arguments.page)
        return
    if arguments.peers is None:
        if arguments.page or arguments.only:
            parser.error("--page and --only are of --peers and --limits; give one of these")
        if arguments.profile:
            profile(arguments.overrides, arguments.steps or 300)
            return
        with_bare_loop(arguments.overrides, arguments.steps or 300, arguments.repeats)
        return
    if arguments.overrides or arguments.profile:
        parser.error(
            "rows of --peers have settings of their own; leave overrides and --profile out"
        )
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
