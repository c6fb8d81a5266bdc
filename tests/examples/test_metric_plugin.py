"""The example of a metric of one's own: selected by, swept, and reported like ours."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from rapidfuzz.distance import LCSseq

from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.analysis.results import frame, read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import read_plan
from decoderlab.training.loading import load_run
from tests.integration.cli import in_process, tiny_arguments

pytestmark = pytest.mark.usefixtures("undrawn")

FOLDER = Path(__file__).parents[2] / "examples/plugins/metric"
NAME = "common_subsequence"
CHOSEN = (
    "--config-dir",
    str(FOLDER),
    f"+metric@task.metrics.{NAME}={NAME}",
    f"evaluation.select={NAME}",
    "training.max_steps=2",
    "evaluation.every_steps=1",
)


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    """Forget the folder that --config-dir has put on the path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop(NAME, None)


def test_a_run_is_selected_by_it_and_its_predictions_give_it_again(monkeypatch, tmp_path):
    assert in_process(monkeypatch, *tiny_arguments(tmp_path, *CHOSEN)) == 0
    (path,) = (tmp_path / "runs").iterdir()
    folder = RunFolder(path)
    result = folder.result()
    assert result.selected_by == NAME
    assert result.scores[NAME]["label"] == "LCS ratio"
    assert (result.scores[NAME]["low"], result.scores[NAME]["worst"]) == (0, 0)
    assert "() of the source " in result.signatures[f"task.metrics.{NAME}"]
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    validated = {line["step"]: line[f"validation/{NAME}"] for line in lines if len(line) > 5}
    assert validated[result.best_step] == max(validated.values())
    ratios = []
    for line in folder.predictions.read_text().splitlines():
        record = json.loads(line)
        predicted, right = record["prediction"].split(), record["target"].split()
        common = LCSseq.similarity(predicted, right)
        ratios.append(2 * common / (len(predicted) + len(right)))
    assert result.metrics.test[NAME] == pytest.approx(sum(ratios) / len(ratios))
    assert all(NAME in rule for rule in result.data.baselines.values())
    with pytest.raises(ValueError, match="trust"):
        load_run(path)
    assert NAME in load_run(path, trust=True).task.scores


def test_a_study_reports_it_with_its_bounds_direction_and_name(monkeypatch, tmp_path, capsys):
    given = (
        *CHOSEN,
        "-m",
        "hydra/launcher=basic",
        "decoder=repeat_vector,initial_state",
        "decoder.embedding_size=4",
        "decoder.hidden_size=8",
        "study.name=lcs",
        f"study.metric={NAME}",
        "study.minimum_effect=0.05",
        "study.baseline=repeat_vector",
    )
    assert in_process(monkeypatch, *tiny_arguments(tmp_path, *given)) == 0
    plan = read_plan(tmp_path, "lcs")
    assert plan.scores[NAME]["better"] == "max"
    rows = read_rows(plan, tmp_path)
    analysis = Analysis(plan, rows)
    assert analysis.scale.bounds == (0, 1)
    assert analysis.worst == {"echo": 0}
    assert analysis.margin == 0.05
    assert f"test_{NAME}" in frame(plan, rows)
    report = (tmp_path / "studies/lcs/report.md").read_text()
    assert "Test LCS ratio (higher is better), from free-running" in report
    assert "| LCS ratio [95 % CI] |" in report


def test_a_metric_of_unknown_direction_or_a_misspelt_name_is_refused(monkeypatch, tmp_path, capsys):
    given = tiny_arguments(tmp_path, *CHOSEN, "evaluation.select=common_subsequences")
    assert in_process(monkeypatch, *given) == 2
    assert "Did you mean common_subsequence?" in capsys.readouterr().err
    given = tiny_arguments(tmp_path, *CHOSEN, f"task.metrics.{NAME}.beta=0")
    assert in_process(monkeypatch, *given) == 2
    assert "beta is 0" in capsys.readouterr().err
