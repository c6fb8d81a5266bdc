"""Compare the update of each newer part with that of the older part that is nearest to it.

Both train the same data in a plain loop, in one process with one thread, taking turns. What is
printed is the median of the ratios of their seconds. Have nothing else running.

Example:
    python scripts/benchmark_parts.py mlstm stack --updates 20 --repeats 5
    python scripts/benchmark_parts.py --page docs/performance.md

With `--page` the figures go into `part_speeds.csv` beside the page, and from there into its table.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import NamedTuple

import torch

from measuring.arguments import existing_file, positive, script_parser
from measuring.speed_tables import Marks, markdown, read_figures, write_figures
from measuring.timed_runs import bare_seconds, prepared_run

HIDDEN, BATCH = 128, 64
SIDES = ("newer", "older")
COLUMNS = ("part", *SIDES, "newer_ms", "older_ms", "ratio", "lowest", "highest")
MARKS = Marks("<!-- parts -->", "<!-- end of parts -->")
BASE = (
    "task=copy",
    "task.min_length=8",
    "task.max_length=12",
    "task.num_train=2000",
    "task.num_validation=50",
    "task.num_test=50",
    f"encoder.hidden_size={HIDDEN}",
    f"decoder.hidden_size={HIDDEN}",
    f"training.batch_size={BATCH}",
    "decoder=luong",
)
LUONG = ("decoder/attention=general",)
ADDITIVE = ("decoder/attention=additive",)
START = ("decoder=initial_state",)


def _cell(name: str) -> tuple[str, ...]:
    return (*START, f"encoder/cell={name}", f"decoder/cell={name}")


class Pair(NamedTuple):
    """A newer part, and the older one that it is compared with, as overrides."""

    newer: tuple[str, ...]
    older: tuple[str, ...]


PAIRS = {
    "location_aware": Pair(("decoder/attention=location_aware",), ADDITIVE),
    "coverage": Pair(("decoder/attention=coverage",), ADDITIVE),
    "location": Pair(("decoder/attention=location",), LUONG),
    "local_monotonic": Pair(("decoder/attention=local_monotonic",), LUONG),
    "local_predicted": Pair(("decoder/attention=local_predicted",), LUONG),
    "monotonic": Pair(("decoder/attention=monotonic",), LUONG),
    "sparsemax": Pair(("decoder/attention=sparsemax",), LUONG),
    "entmax": Pair(("decoder/attention=entmax",), LUONG),
    "four_heads": Pair(("decoder.attention.heads=4",), LUONG),
    "two_hops": Pair(("decoder.attention.hops=2",), LUONG),
    "coverage_loss": Pair((*ADDITIVE, "decoder.attention.coverage_loss=1"), ADDITIVE),
    "hard_attention": Pair(("decoder=hard_attention",), LUONG),
    "hard_monotonic": Pair(("decoder=hard_monotonic",), LUONG),
    "conditional_gru": Pair(("decoder=conditional_gru",), ("decoder=bahdanau2015",)),
    "pointer": Pair(("decoder/head=pointer",), LUONG),
    "ctc": Pair(("decoder=ctc",), ("decoder=repeat_vector",)),
    "mingru": Pair(_cell("mingru"), _cell("gru")),
    "minlstm": Pair(_cell("minlstm"), _cell("lstm")),
    "slstm": Pair(_cell("slstm"), _cell("lstm")),
    "mlstm": Pair(_cell("mlstm"), _cell("lstm")),
    "stack": Pair(_cell("stack"), _cell("rnn_tanh")),
    "zoneout": Pair((*START, "encoder.zoneout=0.1", "decoder.zoneout=0.1"), START),
    "variational_dropout": Pair(
        (*START, "encoder.variational_dropout=0.1", "decoder.variational_dropout=0.1"), START
    ),
    "minimum_risk": Pair(("training/objective=minimum_risk",), LUONG),
    "reinforce": Pair(("training/objective=reinforce",), LUONG),
    "optimal_completion": Pair(("training/objective=optimal_completion",), LUONG),
}


def ratios(pair: Pair, updates: int, repeats: int) -> list[tuple[float, float]]:
    """Return (newer, older) in milliseconds an update, turn by turn."""
    newer, older = (
        prepared_run([*BASE, *overrides], 10 * updates, Path("unused")) for overrides in pair
    )
    for prepared in (newer, older):
        bare_seconds(prepared, 3)  # warm-up
    per = 1000 / updates
    return [
        (per * bare_seconds(newer, updates), per * bare_seconds(older, updates))
        for _ in range(repeats)
    ]


def table(figures: Path) -> str:
    """Return the figures of a CSV as a table in Markdown, the costliest part first."""
    rows = sorted(read_figures(figures), key=lambda row: -float(row["ratio"]))
    lines = []
    for row in rows:
        newer, older = (" ".join(f"`{text}`" for text in row[name].split()) for name in SIDES)
        lines.append([newer, older, row["ratio"], f"{row['lowest']} to {row['highest']}"])
    return markdown(["part", "compared with", "ratio", "lowest to highest"], lines)


def main() -> None:
    """Measure and print the ratios; write them where that is asked for."""
    parser = script_parser(__doc__)
    parser.add_argument("--updates", type=positive, default=20, help="updates a turn (%(default)s)")
    parser.add_argument("--repeats", type=positive, default=5, help="turns of each (%(default)s)")
    parser.add_argument("--page", type=existing_file, help="write the figures of all parts into it")
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"which: {', '.join(PAIRS)}; all of them if none"
    )
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.parts) - PAIRS.keys()):
        parser.error(f"{unknown[0]} is no part; take of {', '.join(PAIRS)}")
    if arguments.page and arguments.parts:
        parser.error("a page has all parts; leave PART or --page out")
    torch.set_num_threads(1)
    rows = []
    print(f"{'part':20} {'newer ms':>9} {'older ms':>9} {'ratio':>6}  lowest to highest")
    for name in arguments.parts or PAIRS:
        turns = ratios(PAIRS[name], arguments.updates, arguments.repeats)
        both = [new / old for new, old in turns]
        new, old = (statistics.median(column) for column in zip(*turns, strict=True))
        ratio = statistics.median(both)
        line = [f"{new:.2f}", f"{old:.2f}", f"{ratio:.2f}", f"{min(both):.2f}", f"{max(both):.2f}"]
        print(
            f"{name:20} {line[0]:>9} {line[1]:>9} {line[2]:>6}  {line[3]} to {line[4]}", flush=True
        )
        pair = PAIRS[name]
        values = [name, " ".join(pair.newer), " ".join(pair.older), *line]
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    if arguments.page:
        write_figures(arguments.page, "part_speeds.csv", rows, table, MARKS)


if __name__ == "__main__":
    main()
