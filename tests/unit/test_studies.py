from __future__ import annotations

import csv
import io
import math

import pytest

from decoderlab.config import ConfigError
from decoderlab.records import RunFolder, sealed, write_json
from decoderlab.studies.plan import Cell, Plan, factors, labels, read_plan
from decoderlab.studies.report import build_report

ENVIRONMENT = {
    "versions": {"python": "3"},
    "git_commit": "abc",
    "git_dirty": False,
    "processor": "a CPU",
    "device": "cpu",
    "capability": "AVX2",
    "threads": 1,
}


def result(score: float, **changes) -> dict:
    scores = {
        "exact_match": score,
        "token_accuracy": score,
        "symbol_error_rate": 1 - score,
        "loss": 1 - score,
    }
    return {
        "metrics": {"test": scores, "validation": scores},
        "signature": "exact",
        "selected_by": "exact_match",
        "best_step": 5,
        "steps": 10,
        "flops_per_example": 1.0,
        "train_seconds": 2.0,
        "evaluation_seconds": 1.0,
        "environment": ENVIRONMENT,
    } | changes


def study(tmp_path, scores: dict[str, list[float | str]], metric="exact_match", **changes) -> Plan:
    """Write runs with given scores, or a status in place of one, and return their plan."""
    cells = []
    for variant, seeds in scores.items():
        for seed, score in enumerate(seeds):
            name = f"runs/{len(cells)}"
            cells.append(Cell(f"id{len(cells)}", name, variant, "echo", seed, 100, ()))
            folder = RunFolder(tmp_path / name)
            if isinstance(score, str):
                if score != "PLANNED":
                    folder.set_status(score, reason="because")
                continue
            folder.set_status("FINISHED")
            write_json(folder.result_file, sealed(result(score, **changes)))
    settings = {"name": "s", "question": "Which?", "metric": metric, "baseline": "a"}
    return Plan(settings, tuple(cells))


def test_the_table_is_the_mean_over_seeds_with_failures_as_the_worst_score(tmp_path):
    plan = study(tmp_path, {"a": [0.5, 0.7, 0.6], "b": [0.9, "FAILED", "DIVERGED"]})
    report = build_report(plan, tmp_path)
    entries = report.table
    assert entries["a", "echo"].summary.mean == pytest.approx(0.6)
    assert (entries["a", "echo"].finished, entries["a", "echo"].failed) == (3, 0)
    assert entries["b", "echo"].summary.mean == pytest.approx(0.3)
    assert (entries["b", "echo"].finished, entries["b", "echo"].failed) == (1, 2)
    assert not report.complete


def test_a_failure_has_no_worst_loss(tmp_path):
    plan = study(tmp_path, {"b": [0.9, "FAILED"]}, metric="loss")
    report = build_report(plan, tmp_path)
    assert report.table["b", "echo"].summary.n == 1
    assert "left out of the mean" in (tmp_path / "studies/s/report.md").read_text()


def test_runs_not_done_yet_are_missing_and_damaged_ones_are_named(tmp_path):
    plan = study(tmp_path, {"a": [0.5, "PLANNED"], "b": [0.5, 0.6]})
    RunFolder(tmp_path / "runs/3").result_file.write_text("{}")
    report = build_report(plan, tmp_path)
    assert report.table["a", "echo"].summary.n == 1
    # A damaged file says nothing about the method: no score, not the worst one.
    assert report.table["b", "echo"].summary.mean == 0.5
    assert report.table["b", "echo"].failed == 0
    text = (tmp_path / "studies/s/report.md").read_text()
    assert "a, echo, seed 1: PLANNED" in text
    assert "b, echo, seed 1: INVALID" in text


def test_the_same_runs_give_the_same_bytes(tmp_path):
    plan = study(tmp_path, {"a": [0.5, 0.7], "b": [0.9, 0.8]})
    files = ["report.md", "results.csv", "figures/exact_match.png"]
    build_report(plan, tmp_path)
    first = [(tmp_path / "studies/s" / name).read_bytes() for name in files]
    build_report(plan, tmp_path)
    assert [(tmp_path / "studies/s" / name).read_bytes() for name in files] == first
    assert first[2].startswith(b"\x89PNG")


@pytest.mark.parametrize(("seeds", "pilot"), [(5, True), (6, False)])
def test_under_six_seeds_it_is_a_pilot(tmp_path, seeds, pilot):
    build_report(study(tmp_path, {"a": [0.1 * n for n in range(seeds)]}), tmp_path)
    assert ("**Pilot**" in (tmp_path / "studies/s/report.md").read_text()) == pilot


def test_runs_measured_in_different_ways_are_flagged(tmp_path):
    plan = study(tmp_path, {"a": [0.5, 0.7]})
    other = result(0.7, signature="other", environment=ENVIRONMENT | {"git_commit": "def"})
    write_json(RunFolder(tmp_path / "runs/1").result_file, sealed(other))
    build_report(plan, tmp_path)
    text = (tmp_path / "studies/s/report.md").read_text()
    assert "not all measured in the same way" in text
    assert "mixed code" in text


def test_names_cannot_break_the_views(tmp_path):
    plan = study(tmp_path, {"=a|b<c>": [0.5, 0.6]})
    build_report(plan, tmp_path)
    assert r"| =a\|b\<c\> |" in (tmp_path / "studies/s/report.md").read_text()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "studies/s/results.csv").read_text())))
    assert rows[0]["variant"] == "'=a|b<c>"
    assert float(rows[1]["test_exact_match"]) == 0.6


def test_a_plan_is_read_as_it_was_written(tmp_path):
    plan = study(tmp_path, {"a": [0.5]})
    plan.write(tmp_path, {cell.run_id: {} for cell in plan.cells})
    assert read_plan(tmp_path, "s") == plan
    (tmp_path / "studies/s/plan.json").write_text("{}")
    with pytest.raises(ConfigError, match="damaged"):
        read_plan(tmp_path, "s")
    with pytest.raises(ConfigError, match="there are none yet"):
        read_plan(tmp_path / "empty", "s")


def test_factors_and_labels():
    cells = [
        {"decoder": "a", "task.max_length": "3", "training.max_steps": "5", "seed": str(seed)}
        for seed in (0, 1)
    ]
    assert factors(cells) == ["seed"]
    varied = ["decoder", "task.max_length", "training.max_steps", "seed"]
    choices = {"task": "echo", "decoder": "a"}
    assert labels(cells[0], varied, choices) == ("a training.max_steps=5", "echo max_length=3")
    assert labels(cells[0], [], choices) == ("a", "echo")


def test_a_study_without_any_run_says_so(tmp_path):
    report = build_report(study(tmp_path, {"a": ["PLANNED", "PLANNED"]}), tmp_path)
    entry = report.table["a", "echo"]
    assert entry.summary.n == 0
    assert math.isnan(entry.seconds)
    assert "| – | 0/2 |" in (tmp_path / "studies/s/report.md").read_text()
