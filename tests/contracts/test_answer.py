"""Every comparative of docs/answer.md is tied to a difference that the committed results show."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from decoderlab.studies.statistics import summarise
from tests.contracts.test_quotes import ROOT, cells, differences

PAGE = (ROOT / "docs/answer.md").read_text(encoding="utf-8")
MARK = re.compile(r"<!-- (\w+) (\w+): (\w+) ([>=]) (\w+) -->")
MARKS = MARK.findall(PAGE)
COMPARATIVES = re.compile(r"\b(ahead|behind|leads?|lose|last|level|beats?|best)\b")


@pytest.mark.parametrize("mark", dict.fromkeys(MARKS), ids=" ".join)
def test_a_comparison_is_what_the_runs_show(mark):
    study, task, variant, sign, other = mark
    scores = cells(study)
    values = [scores["test_exact_match", task, name] for name in (variant, other)]
    assert len(values[0]) == len(values[1]) >= 10
    summary = summarise(differences(*values))
    assert (summary.low > 0) if sign == ">" else (summary.low < 0 < summary.high)


def test_what_compares_has_a_mark():
    parts = re.split(r"\n(?=\d\. |\* |\| |#|\n)", PAGE.split("## The answer so far")[1])
    bare = [
        part for part in parts if COMPARATIVES.search(MARK.sub("", part)) and not MARK.search(part)
    ]
    # What is quoted with intervals is checked in test_quotes.
    bare = [part for part in bare if not re.search(r"\[[+-]?\d", part)]
    assert bare == []
    assert len(MARKS) >= 15


def test_the_leaderboard_is_what_the_committed_results_give(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = ROOT / "scripts/leaderboard.py"
    spec = importlib.util.spec_from_file_location("leaderboard", script)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "leaderboard", module)
    spec.loader.exec_module(module)
    page = Path(module.PAGE).read_text(encoding="utf-8")
    assert module.rendered(page) == page
    assert set(module.done()) <= set(module.planned())
