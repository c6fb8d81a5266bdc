"""What takes the time of our sides: torch's kernels, its other operators, Python."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from decoderlab.config.environment import environment
from measuring.peer_speeds import on_one_core
from measuring.peer_works import WORKS, Setting, Work
from measuring.speed_tables import Marks, Row, markdown, read_figures, write_figures
from measuring.turns import Side

MARKS = Marks("<!-- limits -->", "<!-- end of limits -->")
FIGURES = "limits.csv"
# Of torch's operators on a CPU: oneDNN's recurrent layers, forward and backward.
RECURRENT = "mkldnn_rnn_layer"
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::mv", "aten::addmv")
TURNS = 3
RECURRENT_KERNELS, MATRIX_PRODUCTS = "recurrent kernels", "matrix products"
OTHERS, REST = "other operators", "the rest, Python for the most part"
KINDS = (RECURRENT_KERNELS, MATRIX_PRODUCTS, OTHERS, REST)


def kernel_shares(timed: Callable[[], float]) -> dict[str, float]:
    """Return the shares of the time of something, by what takes it.

    The time is that without the profiler, which costs time itself, and most where operators are
    small; all are the least of a few turns.

    Args:
        timed: does it, and returns its seconds.
    """
    seconds = min(timed() for _ in range(TURNS))
    turns = [operator_seconds(timed) for _ in range(TURNS)]
    shares = {kind: min(turn[kind] for turn in turns) / seconds for kind in KINDS[:-1]}
    return shares | {REST: max(1 - sum(shares.values()), 0.0)}


def operator_seconds(timed: Callable[[], float]) -> dict[str, float]:
    """Return the seconds in torch's operators, by their kind, of a turn with the profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        timed()
    spent: dict[str, float] = dict.fromkeys(KINDS[:-1], 0.0)
    for event in profiled.key_averages():
        if event.key.startswith("aten::"):
            kind = MATRIX_PRODUCTS if event.key in PRODUCTS else OTHERS
            kind = RECURRENT_KERNELS if RECURRENT in event.key else kind
            spent[kind] += event.self_cpu_time_total / 1e6
    return spent


def shares_of(work: Work, side: Side) -> Row:
    """Return a row of the CSV: what takes the time of a turn of ours."""
    shares = kernel_shares(lambda: side.turn().seconds)
    kernels = min(shares[RECURRENT_KERNELS] + shares[MATRIX_PRODUCTS], 1.0)
    return {
        "name": work.name,
        "work": work.title,
        "ours": side.name,
        **{kind: f"{share:.2f}" for kind, share in shares.items()},
        "at most": f"{1 / kernels:.2f}",
    }


def table(figures: Path) -> str:
    """Return the figures of a CSV as a table, with what they were measured with."""
    rows = read_figures(figures)
    header = ["work", "ours", *KINDS, "with kernels and products alone"]
    lines = [
        [row["work"], row["ours"], *(f"{float(row[kind]):.0%}" for kind in KINDS)]
        + [f"{row['at most']} times as fast"]
        for row in rows
    ]
    with_what = "".join(f"{line}\n" for line in dict.fromkeys(row["measured_with"] for row in rows))
    return f"{markdown(header, lines)}\n{with_what}"


def measure_limits(*, only: str, updates: int | None, page: Path | None) -> None:
    """Look into our sides of the works that are compared with peers; print, and write.

    Args:
        only: a text in the names of works; empty for all.
        updates: of a turn of training; None for each work's own.
        page: a page with marks for the table, or None.
    """
    on_one_core(print)
    rows: list[Row] = []
    works: Sequence[Work] = [work for work in WORKS if only in work.name]
    with tempfile.TemporaryDirectory() as folder:
        for work in works:
            with work.opened(Setting({}, updates, Path(folder), print)) as (ours, peers):
                # Of a run that is timed in part, the bare loop beside it tells more.
                whole = [side for side in ours if getattr(side, "validated", True)]
                for side in whole or peers:
                    rows.append(shares_of(work, side))
                    print("  " + ", ".join(f"{key}: {value}" for key, value in rows[-1].items()))
    if page:
        processor = environment(torch.device("cpu"))["processor"]
        with_what = f"{processor}, one core, one thread, torch {torch.__version__}."
        rows = [row | {"measured_with": with_what} for row in rows]
        write_figures(page, FIGURES, rows, table, MARKS)
