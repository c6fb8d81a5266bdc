"""The seeds of a study's row as one model: decoderlab-evaluate STUDY --ensemble VARIANT."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
import torch

from decoderlab.cli import evaluate
from decoderlab.common.errors import ConfigError
from decoderlab.metrics import Perplexity, ValueErrors
from decoderlab.studies.design.plan_file import plan_file, read_plan
from decoderlab.training import loading
from decoderlab.training.loading import load_run
from decoderlab.usage.ensemble import ensemble
from decoderlab.usage.study_ensemble import row_ensemble
from tests.conftest import TASKS, TINY
from tests.drawing import no_drawing
from tests.integration.cli import SIZES, in_process
from tests.reliability.test_unreadable_files import unreadable


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Return a folder with two studies, whose seeds share their data and have data of their own."""
    folder = tmp_path_factory.mktemp("ensembles")
    words = ["-m", "decoder=repeat_vector,luong", "seed=0,1", f"run.output_dir={folder}"]
    words += [*TASKS["echo"], *TINY, *SIZES, "hydra/launcher=basic"]
    with pytest.MonkeyPatch.context() as patch, no_drawing():
        for name, more in (("shared", []), ("own", ["task.data_seed=${seed}"])):
            assert in_process(patch, *words, f"study.name={name}", *more) == 0
    return folder


def called(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["decoderlab-evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        evaluate.main()
    return int(str(left.value.code)), *capsys.readouterr()


@pytest.mark.slow
def test_all_seeds_of_a_row_predict_as_the_ensemble_of_their_runs(outputs):
    row = row_ensemble("shared", "luong", output_dir=outputs)
    assert (row.seeds, row.missing) == ([0, 1], {})
    cells = [cell for cell in read_plan(outputs, "shared").cells if cell.variant == "luong"]
    joint = ensemble([load_run(cell.run_folder(outputs).path, data=False) for cell in cells])
    batch = row.run.task.data.splits["test"].batch(torch.arange(20))
    for one, other in zip(
        row.run.module(batch.source, batch.source_lengths),
        joint.module(batch.source, batch.source_lengths),
        strict=True,
    ):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


@pytest.mark.parametrize("values", [True, False])
def test_an_ensemble_that_writes_means_has_no_loss(monkeypatch, capsys, values):
    """Nor what is computed of it: that of its members is of distributions, which are not mixed."""
    run = SimpleNamespace(threads=1)
    task = SimpleNamespace(metrics={"values": ValueErrors(), "of_loss": Perplexity()})
    loaded = SimpleNamespace(
        module=SimpleNamespace(writes_values=values), config=SimpleNamespace(run=run), task=task
    )
    scores = {"mean_absolute_error": 2.0, "loss": 1.0, "perplexity": 2.7}
    monkeypatch.setattr(evaluate, "_ensemble", lambda given: (loaded, {"seeds": [0, 1]}, ()))
    monkeypatch.setattr(loading, "search_with", lambda given: given)
    monkeypatch.setattr(evaluate, "_evaluated", lambda *given: {"metrics": scores})
    code, out, err = called(monkeypatch, capsys, "s", "--ensemble", "a", "--json")
    assert code == 0
    assert json.loads(out)["metrics"] == (scores if not values else {"mean_absolute_error": 2.0})
    assert ("no loss, perplexity is given" in err) == values


def test_the_command_prints_its_scores_and_its_seeds(monkeypatch, capsys, outputs):
    arguments = ("shared", "--ensemble", "luong", "--output-dir", outputs)
    code, out, err = called(monkeypatch, capsys, *arguments, "--json")
    record = json.loads(out)
    assert (code, record["seeds"], "seed" in err) == (0, [0, 1], False)
    assert 0 <= record["metrics"]["exact_match"] <= 1
    assert "ensemble of 2 seeds: 0, 1" in called(monkeypatch, capsys, *arguments)[1]


def test_a_seed_that_is_not_finished_is_named(monkeypatch, capsys, outputs):
    cell = read_plan(outputs, "shared").cells[0]
    folder = cell.run_folder(outputs).path
    folder.rename(folder.with_name("away"))
    try:
        arguments = ("shared", "--ensemble", cell.variant, "--output-dir", outputs)
        code, out, err = called(monkeypatch, capsys, *arguments)
    finally:
        folder.with_name("away").rename(folder)
    assert (code, f"seed {cell.seed} is PLANNED" in err) == (0, True)
    assert "ensemble of 1 seeds" in out


@pytest.mark.parametrize("name", ["result.json", "manifest.json", "status.json", "config.yaml"])
def test_no_seed_is_left_out_for_being_damaged_or_unreadable(monkeypatch, capsys, outputs, name):
    cell = read_plan(outputs, "shared").cells[0]
    arguments = ("shared", "--ensemble", cell.variant, "--output-dir", outputs)
    path = cell.run_folder(outputs).path / name
    with monkeypatch.context() as patch:
        unreadable(patch, f"{path.parent.name}/{name}", "EIO")
        code, out, err = called(patch, capsys, *arguments)
    assert (code, out) == (1, "")
    assert f"{name} cannot be read" in err
    content = path.read_text()
    path.write_text(content[: len(content) // 2])
    try:
        code, out, err = called(monkeypatch, capsys, *arguments)
    finally:
        path.write_text(content)
    assert (code, out) == (1, "")
    assert f"seed {cell.seed} of {cell.variant}" in err


def test_what_is_damaged_of_the_study_is_said(monkeypatch, capsys, outputs):
    path = plan_file(outputs, "shared")
    content = path.read_text()
    path.write_text(content.replace('"accepted_changes": []', '"accepted_changes": ["some"]'))
    try:
        arguments = ("shared", "--ensemble", "luong", "--output-dir", outputs)
        code, out, err = called(monkeypatch, capsys, *arguments)
    finally:
        path.write_text(content)
    assert (code, "ensemble of 2 seeds" in out) == (1, True)
    assert "damaged: " in err
    assert "does not agree with its own sha256" in err


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("shared", "lung"), "there is no variant of shared 'lung'.*Did you mean luong"),
        (("shared", "luong", "g2p"), "there is no task of shared 'g2p'; there are echo"),
        (("none", "luong"), "there is no study 'none'"),
        (("own", "luong"), "the seeds have data of their own"),
    ],
)
def test_what_cannot_be_an_ensemble_is_refused(outputs, arguments, match):
    with pytest.raises(ConfigError, match=match):
        row_ensemble(*arguments, output_dir=outputs)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (("--ensemble", "luong", "--data", "a.tsv"), "--data is for a run"),
        (("--task", "echo"), "--task is of a study"),
    ],
)
def test_options_that_do_not_go_together_are_refused(monkeypatch, capsys, options, match):
    code, _, err = called(monkeypatch, capsys, "shared", *options)
    assert (code, match in err) == (2, True)
