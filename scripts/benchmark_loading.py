"""How long a TSV file of many pairs takes to load, and how much memory.

    python scripts/benchmark_loading.py --pairs 2000000 --tokens word

Writes pairs of four made-up words on either side into a temporary file and loads it as task=tsv.
"""

from __future__ import annotations

import random
import resource
import tempfile
import time
from pathlib import Path

from decoderlab.tasks import TSVTask
from measuring.arguments import at_least, script_parser


def main() -> None:
    """Write the file, load it, and print what that took."""
    parser = script_parser(__doc__)
    parser.add_argument("--pairs", type=at_least(3), default=2_000_000, help="lines (%(default)s)")
    parser.add_argument(
        "--tokens", choices=("word", "character"), default="word", help="(%(default)s)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.tsv"
        write(path, arguments.pairs)
        megabytes = path.stat().st_size / 1e6
        started = time.perf_counter()
        data = TSVTask(path=str(path), tokens=arguments.tokens).data
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    kept = sum(len(split) for split in data.splits.values())
    print(f"{kept:,} pairs, {megabytes:.0f} MB: {seconds:.1f} s, peak memory {peak:.2f} GiB")


def write(path: Path, number: int) -> None:
    """Write pairs of four made-up words on either side."""
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=draw.randint(2, 8))) for _ in range(30_000)]
    with path.open("w") as file:
        file.write("source\ttarget\n")
        for _ in range(number):
            sides = (" ".join(draw.choices(words, k=4)) for _ in range(2))
            file.write("\t".join(sides) + "\n")


if __name__ == "__main__":
    main()
