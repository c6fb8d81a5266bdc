"""Files of a study and its runs, damaged in every way: what reports and commands answer."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from decoderlab import load_run
from decoderlab.cli import status
from decoderlab.cli.app import guarded
from decoderlab.cli.report import write_report
from decoderlab.common.bounded_reading import read_json
from decoderlab.common.digests import file_sha256
from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.records.checkpoints import AtomicCheckpointIO
from decoderlab.records.manifest import FILES
from decoderlab.records.run_folder import RunFolder, sealed, write_json
from decoderlab.studies.design.sealed_plan import digest_of_plan
from decoderlab.training import probes
from decoderlab.training.model_evaluation import evaluate
from tests.drawing import no_drawing
from tests.forging import forge, reseal
from tests.integration.cli import in_process, tiny_arguments
from tests.integration.harms import HARMS, SAME_IN_BOTH

pytestmark = pytest.mark.usefixtures("undrawn")


def arguments(output_dir: Path) -> list[str]:
    sweep = ("seed=0,1", "study.name=s", "hydra/launcher=basic")
    return ["-m", *tiny_arguments(output_dir, *sweep)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A finished study of two runs, which no test changes."""
    output_dir = tmp_path_factory.mktemp("damaged") / "outputs"
    with pytest.MonkeyPatch.context() as patch, no_drawing():
        assert in_process(patch, *arguments(output_dir)) == 0
    return output_dir


@pytest.fixture
def outputs(trained, tmp_path) -> Path:
    """A copy of the study to damage."""
    return shutil.copytree(trained, tmp_path / "outputs")


def runs(output_dir: Path) -> list[RunFolder]:
    """Return the two run folders, that of seed 0 first."""
    return [RunFolder(path) for path in sorted((output_dir / "runs").iterdir())]


COVERED = [*FILES, "probes.npz", "manifest.json"]


def report(output_dir: Path) -> int:
    return guarded(lambda: write_report("s", output_dir, tensorboard=False))


def shown_status(output_dir: Path, capsys) -> tuple[int, str]:
    shown, code, _ = status.study(output_dir, "s")
    return code, " ".join(map(str, shown))


def rows(output_dir: Path) -> list[dict[str, str]]:
    with (output_dir / "studies/s/results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.thinned(3)
@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", COVERED)
@pytest.mark.fault(50, 54)
def test_a_damaged_file_of_a_run_is_a_row_that_is_invalid(outputs, capsys, name, harm):
    one, other = runs(outputs)
    HARMS[harm](one.path / name, other.path / name)
    code, said = shown_status(outputs, capsys)
    if harm == "other run" and name in SAME_IN_BOTH:
        assert code == 0
        return
    assert code == 1
    assert "invalid" in said
    assert name in said
    kind = ConfigError if harm == "device" else Invalid  # a link that leads out of the folder
    with pytest.raises(kind, match=name):
        load_run(one.path, data=False)


@pytest.mark.parametrize("harm", ["flip", "delete", "pipe", "other run", "lose a line"])
@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl"])
@pytest.mark.fault(54)
def test_the_rest_of_a_report_stands(outputs, capsys, name, harm):
    one, other = runs(outputs)
    before = rows(outputs)
    HARMS[harm](one.path / name, other.path / name)
    assert report(outputs) == 1
    after = rows(outputs)
    assert [row["status"] for row in after] == ["INVALID", "FINISHED"]
    assert name in after[0]["reason"]
    assert after[0]["test_exact_match"] == ""
    assert after[1] == before[1]
    for kind in ("md", "html", "tex"):
        assert "INVALID" in (outputs / f"studies/s/report.{kind}").read_text()
    assert "INVALID: echo" in capsys.readouterr().err


@pytest.mark.fault(54)
def test_results_that_are_swapped_are_both_invalid(outputs):
    one, other = runs(outputs)
    kept = one.result_file.read_bytes()
    shutil.copy(other.result_file, one.result_file)
    other.result_file.write_bytes(kept)
    assert report(outputs) == 1
    assert all("is of another run: its run_id is" in row["reason"] for row in rows(outputs))


@pytest.mark.fault(46, 54)
def test_a_whole_folder_in_anothers_place_is_invalid(outputs):
    one, other = runs(outputs)
    shutil.rmtree(one.path)
    shutil.copytree(other.path, one.path)
    assert report(outputs) == 1
    assert [row["status"] for row in rows(outputs)] == ["INVALID", "FINISHED"]
    with pytest.raises(Invalid, match="but the folder is of run .*copied or renamed by hand"):
        load_run(one.path)


def edit_plan(output_dir: Path, change: Callable[[dict], object], *, seal: bool) -> None:
    path = output_dir / "studies/s/plan.json"
    record = json.loads(path.read_text())
    change(record)
    write_json(path, sealed(record) if seal else record)


CHANGES = {
    "seed": lambda plan: plan["cells"][0].update(seed=7),
    "variant": lambda plan: plan["cells"][0].update(variant="luong"),
    "task": lambda plan: plan["cells"][0].update(task="g2p"),
    "parameters": lambda plan: plan["cells"][0].update(parameters=7),
    "overrides": lambda plan: plan["cells"][0].update(overrides=["seed=0"]),
    "folder": lambda plan: plan["cells"][0].update(folder=plan["cells"][1]["folder"]),
    "flops": lambda plan: plan["cells"][0].update(flops=1.0),
}


@pytest.mark.parametrize("seal", [False, True])
@pytest.mark.parametrize("field", CHANGES)
def test_a_cell_that_was_edited_is_invalid(outputs, capsys, field, seal):
    edit_plan(outputs, CHANGES[field], seal=seal)
    code, said = shown_status(outputs, capsys)
    assert code == 1
    assert f"plan.json says {field}" in said
    if field == "seed":
        before = rows(outputs)
        assert report(outputs) == 1
        after = rows(outputs)
        assert [row["status"] for row in after] == ["INVALID", "FINISHED"]
        assert [row["seed"] for row in after] == ["0", "1"]
        assert after[1] == before[1]


@pytest.mark.parametrize("field", ["seed", "parameters", "variant"])
def test_a_cell_that_was_edited_everywhere_is_not_that_of_its_run(outputs, capsys, field):
    """The plan and its configs are edited and sealed again by somebody who knows how."""
    edit_plan(outputs, CHANGES[field], seal=True)
    plan = json.loads((outputs / "studies/s/plan.json").read_text())
    path = outputs / "studies/s/configs.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line, cell in zip(lines, plan["cells"], strict=True):
        line.update(cell=cell, plans=[digest_of_plan(plan)])
    path.write_text("".join(json.dumps(sealed(line)) + "\n" for line in lines))
    code, said = shown_status(outputs, capsys)
    assert code == 1
    assert "1 invalid" in said


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", ["plan.json", "configs.jsonl"])
@pytest.mark.fault(54)
def test_a_damaged_file_of_a_study_is_said(outputs, capsys, name, harm):
    path = outputs / "studies/s" / name
    HARMS[harm](path, runs(outputs)[0].result_file)
    code = report(outputs)
    shown, listed, _ = status.studies(outputs) if path.exists() else ([], 1, False)
    assert listed == 1
    # A link that leads out is a study that must not be opened at all.
    assert code == (2 if harm == "device" else 1)
    assert name in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan.update(cells=[1]),
        lambda plan: plan.update(cells={}),
        lambda plan: plan.update(cells=[]),
        lambda plan: plan["cells"][0].update(seed="0"),
        lambda plan: plan["cells"][0].update(seed=True),
        lambda plan: plan["cells"][0].pop("folder"),
        lambda plan: plan["cells"][0].update(colour="blue"),
        lambda plan: plan["cells"].append(plan["cells"][0]),
        lambda plan: plan.update(study=None),
        lambda plan: plan["study"].update(metric="none"),
        lambda plan: plan["study"].update(name="../elsewhere"),
        lambda plan: plan.update(scores={"exact_match": 3}),
        lambda plan: plan.update(budget=[]),
        lambda plan: plan.update(accepted_changes=[None]),
        lambda plan: plan.update(same_runs={"a": 1}),
        lambda plan: plan.update(format=99),
    ],
)
@pytest.mark.parametrize("seal", [False, True])
def test_what_is_no_plan_is_named_with_its_field(outputs, capsys, change, seal):
    edit_plan(outputs, change, seal=seal)
    assert report(outputs) == 1
    said = capsys.readouterr().err
    assert "plan.json is" in said
    assert "give the command of the study again" in said


@pytest.mark.fault(51)
def test_weights_of_another_model_are_refused_by_the_names_that_differ(outputs):
    one, _ = runs(outputs)
    best = one.numbered("best")[0]
    saved = torch.load(best, weights_only=True)
    name = next(key for key, value in saved["state_dict"].items() if value.dim() == 2)
    saved["state_dict"][name] = saved["state_dict"][name][:1]
    AtomicCheckpointIO().save_checkpoint(saved, best)
    with pytest.raises(Invalid, match=f"it is of another model: {name} is 1x"):
        load_run(one.path, data=False)
    manifest = json.loads(one.manifest.read_text())
    seal = {"bytes": best.stat().st_size, "sha256": file_sha256(best)}
    manifest["files"][f"checkpoints/{best.name}"] = seal
    write_json(one.manifest, sealed(manifest))
    with pytest.raises(Invalid, match=f"is of another model: {name} is 1x"):
        load_run(one.path, data=False)


@pytest.mark.parametrize("length", [-1, 0, "9", 1.5, True, None, [1], 10**9])
def test_a_length_that_is_none_is_no_mistake_of_ours(outputs, length):
    one, _ = runs(outputs)
    write_json(one.vocabularies, read_json(one.vocabularies) | {"max_target_length": length})
    reseal(one)
    with pytest.raises(Invalid, match="vocabularies.json is damaged .*max_target_length is"):
        load_run(one.path, data=False)


def test_a_run_of_a_gpu_is_not_evaluated_where_there_is_none(outputs, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    one, _ = runs(outputs)
    loaded = load_run(one.path)
    gpu = replace(loaded.config, trainer=replace(loaded.config.trainer, accelerator="gpu"))
    with pytest.raises(ConfigError, match="torch sees none here; evaluate it on a machine with"):
        evaluate(loaded.module, loaded.task, "test", gpu)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl", "config.yaml", "manifest.json"])
@pytest.mark.parametrize("harm", ["flip", "delete", "pipe"])
def test_a_sweep_mends_its_runs(outputs, monkeypatch, capfd, name, harm):
    one, other = runs(outputs)
    HARMS[harm](one.path / name, other.path / name)
    assert report(outputs) == 1
    assert in_process(monkeypatch, *arguments(outputs)) == 0
    assert "repaired" in capfd.readouterr().err
    assert report(outputs) == 0


ARRAYS = {
    "summaries": np.zeros(3),
    "summaries without an example": np.zeros((0, 4)),
    "summaries without a number": np.zeros((20, 0)),
    "summaries of which no plane can be computed": np.full((20, 4), 1e308),
    "attention_source": np.array(["no list"] * 3),
    "lengths": np.zeros((2, 2), dtype=int),
    "first": np.array(["x"]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_pictures_that_were_edited_and_sealed_again_are_left_out(outputs, name):
    one, _ = runs(outputs)
    arrays, key = dict(np.load(one.probes)), name.split()[0]
    assert key in arrays or key == "attention_source"
    np.savez(one.probes, **(arrays | {key: ARRAYS[name]}))
    reseal(one)
    assert probes.read(one.probes) == {}
    if key == "summaries":
        assert report(outputs) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"signature": "n"},
        {"probes": {"correct": 3, "by_position": [], "summary_influence": None}},
        {"probes": {"outcomes": {"right": "no bits"}}},
        {"probes": {"outcomes": "ff"}},
        {"scores": {"loss": 3}},
        {"scores": {"loss": {}}},
        {"train_seconds": 10**400},
        {"metrics": {"test": {}, "validation": {}, "validation_last": {}}},
        {"schema": 99},
    ],
    ids=str,
)
def test_a_result_that_was_edited_and_sealed_again_is_named(outputs, capsys, change):
    one, _ = runs(outputs)
    write_json(one.result_file, sealed(json.loads(one.result_file.read_text()) | change))
    manifest = json.loads(one.manifest.read_text())
    seal = {"bytes": one.result_file.stat().st_size, "sha256": file_sha256(one.result_file)}
    manifest["files"]["result.json"] = seal
    write_json(one.manifest, sealed(manifest))
    code, said = shown_status(outputs, capsys)
    assert code == 1
    assert "1 invalid" in said


def test_a_run_that_was_edited_and_sealed_again_has_another_id(outputs):
    one, _ = runs(outputs)
    folder = forge(one.path, {"seed": 5})
    assert folder.path.name != one.path.name
    assert load_run(folder.path, data=False).config.seed == 5  # a run of somebody's, whole
    assert report(outputs) == 1
    assert [row["status"] for row in rows(outputs)] == ["PLANNED", "FINISHED"]
    folder.path.rename(one.path)
    assert report(outputs) == 1
    assert [row["status"] for row in rows(outputs)] == ["INVALID", "FINISHED"]
    with pytest.raises(Invalid, match="but the folder is of run"):
        load_run(one.path)
