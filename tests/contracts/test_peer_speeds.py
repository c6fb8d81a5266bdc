"""The page has the figures that were measured beside other tools, of all rows, or none."""

from __future__ import annotations

import re
from pathlib import Path

from measuring import kernel_shares
from measuring.peer_speeds import FIGURES, MARKS, table
from measuring.peer_works import ASKED, PEERS, WORKS
from measuring.speed_tables import read_figures, with_table

BARE = "a bare loop of PyTorch"
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/performance.md"
MEASURED = PAGE.with_name(FIGURES)


def test_the_page_has_a_table_of_all_rows_as_declared_or_says_that_there_is_none():
    page = PAGE.read_text()
    if not MEASURED.exists():
        assert with_table(page, "Not measured yet with this script.\n", MARKS) == page
        return
    assert with_table(page, table(MEASURED), MARKS) == page
    rows = read_figures(MEASURED)
    declared = {(work.name, work.title, work.unit) for work in WORKS}
    assert {(row["name"], row["work"], row["unit"]) for row in rows} == declared
    of_peers = {(work.name, PEERS[peer].title) for work in WORKS for peer in work.peers}
    assert of_peers <= {(row["name"], row["peer"]) for row in rows}
    said = sum("the peer is faster" in line for line in table(MEASURED).splitlines())
    assert said == sum(float(row["ratio"]) < 1 for row in rows)


def test_the_page_has_the_limits_of_all_rows():
    page, figures = PAGE.read_text(), PAGE.with_name(kernel_shares.FIGURES)
    assert with_table(page, kernel_shares.table(figures), kernel_shares.MARKS) == page
    assert {row["name"] for row in read_figures(figures)} == {work.name for work in WORKS}
    most = {(row["name"], row["ours"]): float(row["at most"]) for row in read_figures(figures)}
    below = " ".join(page.split(kernel_shares.MARKS.end)[1].split("##")[0].split())
    said = re.findall(r"(\d\.\d\d) (?:times as fast )?[^(]*? \((?:now )?(\d\.\d\d)\)", below)
    pairs = []
    rows = read_figures(MEASURED)
    for row in (row for row in rows if row["peer"] == PEERS["yoyodyne"].title):
        ratio = float(row["ratio"])
        pairs.append((f"{ratio * most[row['name'], row['ours']]:.2f}", row["ratio"]))
    small = {
        row["peer"]: float(row["peer_speed"]) for row in rows if row["name"] == "article_small"
    }
    ratio = small[BARE] / small["Keras on JAX"]
    pairs.append((f"{ratio * most['article_small', BARE]:.2f}", f"{ratio:.2f}"))
    assert said == pairs


def test_every_peer_has_a_script_and_a_work_and_can_be_asked_for():
    for name, peer in PEERS.items():
        script = ROOT / "scripts/peers" / peer.script
        text = script.read_text()
        assert "decoderlab" not in text.replace("`python scripts/benchmark.py", "")
        assert any(name in work.peers for work in WORKS)
    assert sorted(part for parts in ASKED.values() for part in parts) == sorted(PEERS)
