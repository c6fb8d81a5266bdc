"""What the pages of studies say in words is so in their committed results."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from pathlib import Path

from decoderlab.metrics.signature import num_examples

STUDIES = Path(__file__).parents[2] / "docs" / "studies"


def by_row(study: str) -> dict[tuple[str, str], dict[int, dict[str, str]]]:
    """Return the runs of a study by task and variant, and by seed."""
    found: dict[tuple[str, str], dict[int, dict[str, str]]] = defaultdict(dict)
    with (STUDIES / study / "results.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["task"], row["variant"]][int(row["seed"])] = row
    return found


def scores(runs: dict[int, dict[str, str]]) -> dict[int, dict[str, str]]:
    return {
        seed: {name: value for name, value in row.items() if name.startswith("test_")}
        for seed, row in runs.items()
    }


def test_wide_beams_score_as_the_exact_mode_which_is_not_empty():
    runs = by_row("beam_and_mode")
    for task in ("translation", "g2p"):
        exact = scores(runs[task, "exact"])
        assert len(exact) == 10
        assert scores(runs[task, "beam_20"]) == exact == scores(runs[task, "beam_100"])
        assert scores(runs[task, "greedy"]) != exact
    for (task, _), row in runs.items():
        shares = [(float(run["test_empty_share"]), run["signature"]) for run in row.values()]
        empty = sum(round(share * num_examples(signature)) for share, signature in shares)
        assert empty <= (1 if task == "translation" else 0)


def test_the_verdicts_and_what_would_be_detected_are_those_of_the_report():
    report = (STUDIES / "beam_and_mode" / "report.md").read_text()
    page = (STUDIES / "beam_and_mode.md").read_text()
    verdicts = re.findall(r"\| inconclusive \(n=10, MDE ([\d.]+)\) \|", report)
    assert len(verdicts) == 14
    assert f"{min(verdicts)} to {max(verdicts)}" in page.replace("\n", " ")
