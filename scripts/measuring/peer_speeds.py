"""The comparison of speeds with peers: installation, turns, and the table."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from decoderlab.config.environment import environment
from measuring.environments import NotInstalled
from measuring.peer_process import PeerFailed
from measuring.peer_works import ASKED, PEERS, WORKS, Peer, Setting, Work
from measuring.speed_tables import Marks, Row, markdown, read_figures, write_figures
from measuring.turns import Ratio, ratios, take_turns

MARKS = Marks("<!-- peers -->", "<!-- end of peers -->")
FIGURES = "peer_speeds.csv"


class Unmeasured(Exception):
    """The comparison cannot be made as it was asked for."""


def chosen_peers(words: str) -> dict[str, Peer]:
    """Return the peers that a list with commas asks for.

    Raises:
        Unmeasured: for one that is not known.
    """
    names = [word.strip() for word in words.split(",") if word.strip()]
    unknown = [name for name in names if name not in ASKED]
    if unknown or not names:
        raise Unmeasured(
            f"--peers is {words!r}, but {unknown[0] if unknown else 'nothing'} is no peer; "
            f"take of {', '.join(ASKED)}, with commas between them"
        )
    return {part: PEERS[part] for name in dict.fromkeys(names) for part in ASKED[name]}


def chosen_works(peers: dict[str, Peer], only: str) -> list[Work]:
    """Return the works that some of the peers do and that have a text in their names.

    Raises:
        Unmeasured: if there are none.
    """
    works = [work for work in WORKS if not peers.keys().isdisjoint(work.peers)]
    named = [work for work in works if only in work.name]
    if not named:
        raise Unmeasured(
            f"--only is {only!r}, which no row of these peers has in its name; take a part of "
            f"{', '.join(work.name for work in works)}"
        )
    return named


def installed(peers: dict[str, Peer], say: Callable[[str], None]) -> str:
    """Install what is not ready, and return names and versions of all of it.

    Raises:
        Unmeasured: if something cannot be installed.
    """
    texts = []
    for peer in peers.values():
        try:
            peer.environment.install()
            versions = peer.environment.versions()
        except NotInstalled as error:
            raise Unmeasured(str(error)) from error
        texts.append(f"{peer.title}: {', '.join(f'{n} {v}' for n, v in versions.items())}")
        say(texts[-1])
    return "; ".join(texts)


def on_one_core(say: Callable[[str], None]) -> None:
    """Keep this process, and all that it starts, on one core and in one thread."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):  # Linux
        core = max(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {core})
    else:
        say("note: this system cannot pin processes to a core; only threads are limited")


def compare(works: Sequence[Work], setting: Setting, repeats: int) -> list[tuple[Work, Ratio]]:
    """Measure works one after the other; the sides of each take turns.

    Raises:
        Unmeasured: if a peer's process ends.
    """
    measured = []
    for work in works:
        setting.say(f"{work.name}: {work.title}")
        try:
            with work.opened(setting) as (ours, peers):
                done = take_turns([*ours, *peers], repeats, setting.say)
        except PeerFailed as error:
            raise Unmeasured(f"{work.name}: {error}") from error
        names = [[side.name for side in sides] for sides in (ours, peers)]
        for ratio in ratios(done, *names):
            measured.append((work, ratio))
            setting.say(f"  {ratio.ours} over {ratio.peer}: {ratio.median:.2f}")
    return measured


def rows_of(measured: Sequence[tuple[Work, Ratio]]) -> list[Row]:
    """Return what is measured as rows of the CSV."""
    return [
        {
            "name": work.name,
            "work": work.title,
            "unit": work.unit,
            "ours": ratio.ours,
            "our_speed": f"{ratio.our_speed:.4g}",
            "peer": ratio.peer,
            "peer_speed": f"{ratio.peer_speed:.4g}",
            "ratio": f"{ratio.median:.2f}",
            "lowest": f"{min(ratio.turns):.2f}",
            "highest": f"{max(ratio.turns):.2f}",
        }
        for work, ratio in measured
    ]


def table_of(rows: Sequence[Row]) -> str:
    """Return rows of the CSV as a table in Markdown, which says where the peer is faster."""
    header = ["work", "ours", "a second", "peer", "a second", "ours / peer", "lowest to highest"]
    lines = []
    for row in rows:
        faster = " (the peer is faster)" if float(row["ratio"]) < 1 else ""
        speeds = [f"{float(row[name]):,.0f} {row['unit']}" for name in ("our_speed", "peer_speed")]
        between = f"{row['lowest']} to {row['highest']}"
        ratio = f"{row['ratio']}{faster}"
        lines.append([row["work"], row["ours"], speeds[0], row["peer"], speeds[1], ratio, between])
    return markdown(header, lines)


def table(figures: Path) -> str:
    """Return the figures of a CSV as a table, with what they were measured with."""
    rows = read_figures(figures)
    with_what = "".join(f"{line}\n" for line in dict.fromkeys(row["measured_with"] for row in rows))
    return f"{table_of(rows)}\n{with_what}"


def measure(*, peers: str, only: str, updates: int | None, repeats: int, page: Path | None) -> None:
    """Install, measure and print; write the figures where that is asked for.

    Args:
        peers: names with commas.
        only: a text in the names of works; empty for all.
        updates: of a turn of training; None for each work's own.
        repeats: turns of each side.
        page: a page with marks for the table, or None.

    Raises:
        Unmeasured: if the comparison cannot be made.
    """

    def say(text: str) -> None:
        print(text, flush=True)

    asked = chosen_peers(peers)
    works = chosen_works(asked, only)
    if page and (asked.keys() != PEERS.keys() or only or updates):
        raise Unmeasured("a page has all rows; give all peers, or leave --page out")
    needed = {name for work in works for name in work.peers}
    asked = {name: peer for name, peer in asked.items() if name in needed}
    versions = installed(asked, say)
    on_one_core(say)
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(asked, updates, Path(folder), say)
        rows = rows_of(compare(works, setting, repeats))
    say(f"\n{table_of(rows)}")
    if page:
        own = f"decoderlab: decoderlab {version('decoderlab')}, torch {version('torch')}"
        processor = environment(torch.device("cpu"))["processor"]
        with_what = f"{processor}, one core, one thread. {own}; {versions}."
        rows = [row | {"measured_with": with_what} for row in rows]
        write_figures(page, FIGURES, rows, table, MARKS)
