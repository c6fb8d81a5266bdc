"""The committed table.tex of a study is what its results.csv gives today."""

from __future__ import annotations

import csv
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from decoderlab.metrics.signature import num_examples

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "redraw_study.py"
# Those of claims are copied from their runs by decoderlab-claims, and not quoted from.
NAMES = sorted(
    path.parent.name
    for path in ROOT.glob("docs/studies/*/results.csv")
    if not path.parent.name.startswith("claim_")
)
OUTCOMES = sorted(ROOT.glob("docs/studies/*/outcomes.csv"))

# Rendered from their runs, which say which examples were right, as an outcomes.csv does.
FIXED = r" Some seeds are not independent of each other\."  # a results.csv has no settings
COLLAPSE = r"if no run collapses, which so few seeds do not exclude\."
FROM_RUNS = (
    "beam_and_mode",
    "budgets",
    "first_look",
    "copying",
    "g2p_attention",
    "length_generalisation",
    "length_generalisation_20",
    "length_generalisation_20_untuned",
    "length_generalisation_scan",
    "length_generalisation_untuned",
    "modern_cells",
    "bridges",
    "draws",
    "precision",
    "source_reversal",
)


@pytest.fixture(scope="module")
def redraw():
    spec = importlib.util.spec_from_file_location("redraw_study", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_table_is_that_of_the_committed_runs(redraw, name):
    text = (ROOT / f"docs/studies/{name}/table.tex").read_text()
    made = redraw.table(redraw.committed(name))
    of_runs = name in FROM_RUNS or name.startswith(("task_", "matched_", "converged_"))
    if of_runs and ROOT / f"docs/studies/{name}/outcomes.csv" not in OUTCOMES:
        text, made = (
            " ".join(
                re.sub(rf"\{{\[\}}[^]]*\]|\$\\dagger\$|\*|{COLLAPSE}|{FIXED}", "", each).split()
            )
            for each in (text, made)
        )
    assert made == text
    assert text.count(r"\midrule") >= 1
    figure = "variance" if name == "draws" else "forest"  # which has no baseline
    assert (ROOT / f"docs/studies/{name}/figures/{figure}.png").is_file()


def test_a_study_with_outcomes_is_drawn_without_its_runs(redraw, tmp_path):
    drawn = redraw.pictures(redraw.committed("task_copy"), tmp_path)
    assert {"forest", "exact_match"} <= {picture.name for picture in drawn}


@pytest.mark.parametrize("file", OUTCOMES, ids=lambda file: file.parent.name)
def test_committed_outcomes_are_those_of_the_scores(file):
    with file.open(newline="") as lines:
        (_, score), *known = csv.reader(lines)
    with (file.parent / "results.csv").open(newline="") as lines:
        rows = {row["run_id"]: row for row in csv.DictReader(lines)}
    assert rows.keys() == {run_id for run_id, _ in known}
    for run_id, packed in known:
        row = rows[run_id]
        number = num_examples(row["signature"])
        right = np.unpackbits(np.frombuffer(bytes.fromhex(packed), np.uint8), count=number)
        assert right.mean() == pytest.approx(float(row[f"test_{score}"]), abs=1e-6)
