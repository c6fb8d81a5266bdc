"""Files of a run, damaged in every way: the same command mends it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from decoderlab import load_run
from decoderlab.common.digests import file_sha256
from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.records.checkpoints import AtomicCheckpointIO, hash_file
from decoderlab.records.manifest import FILES
from decoderlab.records.opened_run import finished, open_run
from decoderlab.records.run_folder import RunFolder
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.prepared_run import Prepared, prepare
from decoderlab.training.run_lifecycle import execute
from tests.conftest import composed, run
from tests.forging import reseal
from tests.integration.cli import tiny_arguments
from tests.integration.harms import HARMS, SAME_IN_BOTH, flip

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> tuple[Prepared, Prepared]:
    """Two finished runs, which no test changes."""
    output_dir = tmp_path_factory.mktemp("ended")
    made = []
    for seed in (0, 1):
        config = composed(*tiny_arguments(output_dir, f"seed={seed}"))
        made.append(prepare(config, config.hydra.runtime.choices))
        assert run(made[-1]) == "FINISHED"
    return made[0], made[1]


@pytest.fixture
def single(ended, tmp_path) -> Prepared:
    """A finished run to damage."""
    copied = shutil.copytree(ended[0].folder.path, tmp_path / ended[0].folder.path.name)
    return replace(ended[0], folder=RunFolder(copied))


def check_mended(single: Prepared, ended: tuple[Prepared, Prepared]) -> None:
    """Check that a run is whole, and what it was before."""
    assert open_run(single.folder).result.metrics == ended[0].folder.result().metrics
    assert load_run(single.folder.path, data=False)
    steps = [json.loads(line)["step"] for line in single.folder.metrics.read_text().splitlines()]
    assert steps == sorted(steps)
    assert steps[-1] == 12


@pytest.mark.thinned(3)
@pytest.mark.parametrize("harm", ["flip", "delete", "folder", "pipe", "other run"])
@pytest.mark.parametrize("name", [*FILES, "probes.npz", "manifest.json"])
@pytest.mark.fault(50, 54)
def test_the_same_command_mends_a_run(single, ended, capfd, name, harm):
    path = single.folder.path / name
    HARMS[harm](path, ended[1].folder.path / name)
    if name == "made_by.json" and harm != "other run":
        with pytest.raises(Invalid, match="made_by.json .*which code made the run is not known"):
            run(single)
        return
    if harm == "other run" and name in SAME_IN_BOTH:
        return
    assert run(single) == "FINISHED"
    said = capfd.readouterr().err
    assert name in said
    assert "repaired" in said
    check_mended(single, ended)


WHERE = {
    "step hash": lambda folder: [hash_file(folder.resume_checkpoints()[0])],
    "step": lambda folder: folder.resume_checkpoints()[:1],
    "every step": lambda folder: folder.resume_checkpoints(),
    "best": lambda folder: folder.numbered("best")[:1],
    "every best": lambda folder: folder.numbered("best"),
}


MORE = [
    pytest.param(name, marks=pytest.mark.slow) for name in ("empty", "pipe", "sparse", "delete")
]


@pytest.mark.parametrize("harm", ["flip", "folder", "other run", *MORE])
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.fault(36, 50)
def test_a_run_goes_on_from_what_is_whole(single, ended, capfd, where, harm):
    single.folder.manifest.unlink()
    places = WHERE[where](single.folder)
    for path in places:
        HARMS[harm](path, ended[1].folder.resume_checkpoints()[0])
    assert run(single) == "FINISHED"
    said = capfd.readouterr().err
    lost = where in ("step", "every step") and harm in ("delete", "folder", "pipe")
    assert lost or "it is not used" in said
    if where == "every best" or (where == "every step" and not lost):
        assert "the run starts again from update 0" in said
    check_mended(single, ended)


@pytest.mark.fault(50)
def test_strays_among_the_checkpoints_are_left_alone(single, ended, capfd):
    checkpoints = single.folder.checkpoints
    (checkpoints / "step-abc.ckpt").write_text("x")
    (checkpoints / "step-99999999.ckpt").mkdir()
    (checkpoints / "step-000000099.ckpt").write_bytes(b"")
    single.folder.manifest.unlink()
    assert run(single) == "FINISHED"
    said = capfd.readouterr().err
    assert "step-abc.ckpt is not a checkpoint of this run" in said
    assert "step-99999999.ckpt is not a checkpoint of this run" in said
    assert (checkpoints / "step-abc.ckpt").read_text() == "x"
    assert (checkpoints / "step-99999999.ckpt").is_dir()
    assert not (checkpoints / "step-000000099.ckpt").exists()
    check_mended(single, ended)


@pytest.mark.fault(51)
def test_checkpoints_of_another_run_are_not_gone_on_from(single, ended, capfd):
    single.folder.manifest.unlink()
    shutil.rmtree(single.folder.checkpoints)
    shutil.copytree(ended[1].folder.checkpoints, single.folder.checkpoints)
    assert run(single) == "FINISHED"
    assert f"is of run {ended[1].run_id[:12]}" in capfd.readouterr().err
    check_mended(single, ended)


def test_weights_that_somebody_deleted_are_no_damage(single, ended):
    shutil.rmtree(single.folder.checkpoints)
    assert run(single) == "FINISHED"
    assert not single.folder.checkpoints.exists()
    with pytest.raises(Invalid, match="best-.* is missing; delete .*manifest.json and give the"):
        load_run(single.folder.path, data=False)
    single.folder.manifest.unlink()
    assert run(single) == "FINISHED"
    check_mended(single, ended)


def test_a_damaged_made_by_is_not_other_code(single, ended, capfd):
    flip(single.folder.made_by, single.folder.made_by)
    with pytest.raises(Invalid) as caught:
        run(single)
    assert "other code" not in str(caught.value)
    assert "made_by.json is" in str(caught.value)
    assert "delete its folder to train it again" in str(caught.value)
    taken = execute(single, report=lambda *_: None, retry=True, allow_changes=True)
    assert taken == "FINISHED"
    assert "taken as it is, as study.allow_changes says" in capfd.readouterr().err
    assert single.folder.result().code_changes == ["the code that began it, which is not known"]
    check_mended(single, ended)


class Planted:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.mark.fault(52)
def test_code_in_a_checkpoint_is_refused_and_not_run(single, ended, tmp_path, capfd):
    canary, folder = tmp_path / "canary", single.folder
    for path in (*folder.numbered("best"), *folder.resume_checkpoints()):
        torch.save({"state_dict": Planted(canary)}, path)
        hash_file(path).write_text(file_sha256(path))
    with pytest.raises(Invalid, match="names posix.mkdir, which no checkpoint of tensors needs"):
        load_run(folder.path, data=False)
    folder.manifest.unlink()
    assert run(single) == "FINISHED"
    assert "starts again from update 0" in capfd.readouterr().err
    assert not canary.exists()
    check_mended(single, ended)


@pytest.mark.fault(52)
def test_what_lightning_would_call_for_a_checkpoint_is_not_called(single, ended, tmp_path):
    """Its `load_from_checkpoint` imports and calls what `_instantiator` names."""
    canary, folder = tmp_path / "canary", single.folder
    for path in (*folder.numbered("best"), *folder.resume_checkpoints()):
        saved = torch.load(path, weights_only=True)
        saved["hyper_parameters"] = {"_instantiator": "os.mkdir", "path": str(canary)}
        saved["hyper_parameters"] |= {"_class_path": "os.mkdir", "init_args": {"path": str(canary)}}
        saved["hparams_name"] = "kwargs"
        AtomicCheckpointIO().save_checkpoint(saved, path)
    reseal(folder)
    load_run(folder.path, data=False)
    EncoderDecoder.load_from_checkpoint(folder.numbered("best")[0])
    folder.manifest.unlink()
    assert run(single) == "FINISHED"
    assert not canary.exists()
    check_mended(single, ended)


@pytest.mark.parametrize("name", [".lock", "status.json", "log.txt", "traceback.txt"])
@pytest.mark.parametrize("harm", ["folder", "pipe", "list", "NaN", "device"])
@pytest.mark.fault(53)
def test_what_no_number_depends_on_ends_no_command(single, ended, name, harm):
    path = single.folder.path / name
    path.touch()
    HARMS[harm](path, ended[1].folder.path / name)
    whole = name != "status.json"
    assert finished(single.folder) == whole
    if not whole:
        assert "status.json is damaged" in single.folder.status()["reason"]
    assert run(single) == "FINISHED"
    single.folder.open_log().close()
    if path.is_symlink():  # a link that leads out is in nobody's way, but refused where it is read
        with pytest.raises(ConfigError, match=f"{name} is a link"):
            load_run(single.folder.path, data=False)
        path.unlink()
    check_mended(single, ended)
