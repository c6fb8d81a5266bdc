"""Metrics of one's own that are means of 0/1 outcomes: swept, recorded and reported like ours."""

from __future__ import annotations

import inspect
import json
import sys

import numpy as np
import pytest
from scipy import stats

from decoderlab.data.packed_outcomes import unpack
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import read_plan
from tests.integration.cli import in_process, tiny_arguments
from tests.unit.test_per_example import Share

pytestmark = pytest.mark.usefixtures("undrawn")

HEAD = """
import torch
from torchmetrics import Metric
from decoderlab.metrics import MetricScore


"""
OWN = """

class FirstRight(Share):
    scores = (
        MetricScore(name="first_right", better="max", low=0, high=1, worst=0, per_example=True),
    )

    def worth(self, prediction, accepted):
        return tuple(prediction[:1]) in {tuple(right[:1]) for right in accepted}


class AsLong(Share):
    scores = (MetricScore(name="as_long", better="max", low=0, high=1, worst=0, per_example=True),)
    reads_source = True

    def worth(self, prediction, accepted, source):
        return len(prediction) == len(source.split())


class Changed(Share):
    scores = (MetricScore(name="changed", better="min", low=0, high=1, worst=1, per_example=True),)
    reads, reads_source = "texts", True

    def worth(self, prediction, accepted, source):
        return prediction != source


class Half(Share):
    scores = (MetricScore(name="half", better="max", low=0, high=1, worst=0, per_example=True),)

    def worth(self, prediction, accepted):
        return 0.5
"""
CLASSES = {"first_right": "FirstRight", "as_long": "AsLong", "changed": "Changed", "half": "Half"}


@pytest.fixture
def own(monkeypatch, tmp_path):
    """Write the metrics into a folder of one's own, and return what chooses them."""
    folder = tmp_path / "own"
    (folder / "metric").mkdir(parents=True)
    (folder / "shares_of_mine.py").write_text(HEAD + inspect.getsource(Share) + OWN)
    for name, kind in CLASSES.items():
        (folder / "metric" / f"{name}.yaml").write_text(f"_target_: shares_of_mine.{kind}\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "--config-dir", str(folder), *(f"+metric@task.metrics.{name}={name}" for name in CLASSES)
    sys.modules.pop("shares_of_mine", None)


def outcomes(line: dict) -> dict[str, bool]:
    """Return what a line of predictions.jsonl says of the outcomes."""
    predicted, right = line["prediction"].split(), line["target"].split()
    return {
        "exact_match": predicted == right,
        "first_right": predicted[:1] == right[:1],
        "as_long": len(predicted) == len(line["source"].split()),
        "changed": line["prediction"] != line["source"],
    }


def test_a_study_has_intervals_tests_and_counts_by_the_outcomes(monkeypatch, tmp_path, own, capsys):
    given = (
        *own,
        "-m",
        "hydra/launcher=basic",
        "decoder=repeat_vector,initial_state",
        "decoder.embedding_size=4",
        "decoder.hidden_size=8",
        "seed=0",
        "evaluation.select=first_right",
        "study.name=first",
        "study.metric=first_right",
        "study.baseline=repeat_vector",
    )
    assert in_process(monkeypatch, *tiny_arguments(tmp_path, *given)) == 0
    plan = read_plan(tmp_path, "first")
    assert plan.scores["first_right"]["per_example"]
    bits = {}
    for row in (rows := read_rows(plan, tmp_path)):
        folder = RunFolder(tmp_path / row.cell.folder)
        lines = list(map(json.loads, folder.predictions.read_text().splitlines()))
        probes, test = row.result.probes, row.result.metrics.test
        assert set(probes["outcomes"]) == {"first_right", "as_long", "changed"}
        for name in ("exact_match", *probes["outcomes"]):
            expected = [outcomes(line)[name] for line in lines]
            assert unpack(probes, len(lines), name).tolist() == expected
            assert test[name] == pytest.approx(np.mean(expected))
        bits[row.cell.variant] = unpack(probes, len(lines), "first_right")
        assert {"as_long", "changed"} <= set(row.result.data.baselines["the most frequent target"])
    said = capsys.readouterr().err
    assert "no outcomes of examples by half of this run: ValueError: the score half of one" in said
    comparison = Analysis(plan, rows).comparisons["initial_state", "echo"]
    only = [(bits["initial_state"] & ~bits["repeat_vector"]).sum()]
    only.append((bits["repeat_vector"] & ~bits["initial_state"]).sum())
    expected = stats.binomtest(int(only[0]), int(sum(only))).pvalue if sum(only) else 1.0
    assert comparison.p_models == pytest.approx(expected)
    report = (tmp_path / "studies/first/report.md").read_text()
    assert "p of the two models" in report
