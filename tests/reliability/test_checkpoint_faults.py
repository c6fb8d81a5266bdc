"""Checkpoints of a stranger's, sealed anew: none reaches a kernel that it was not made for."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from decoderlab.common.bounded_archives import check_checkpoint
from decoderlab.common.errors import Invalid
from decoderlab.records.checkpoints import AtomicCheckpointIO
from decoderlab.training.assembly import build_model
from decoderlab.training.optimizer_states import check_optimizers
from decoderlab.training.prepared_run import Prepared
from decoderlab.training.resumption import newest_whole
from tests.conftest import run
from tests.interrupting import interrupted

pytestmark = pytest.mark.fault(50)

KEY = "Recorder"
AVERAGES = ("exp_avg", "exp_avg_sq")


def found(prepared: Prepared) -> Path | None:
    model = build_model(prepared.config, prepared.task)
    return newest_whole(prepared.folder, prepared.run_id, model, KEY)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    saved = torch.load(path, weights_only=True)
    change(saved)
    AtomicCheckpointIO().save_checkpoint(saved, path)


def states(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], None]:
    """Change what the optimizer keeps of each weight."""

    def changed(saved: dict[str, Any]) -> None:
        for state in saved["optimizer_states"][0]["state"].values():
            change(state)

    return changed


def averages(make: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], None]:
    return states(lambda state: state.update({name: make(state[name]) for name in AVERAGES}))


def group(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda saved: saved["optimizer_states"][0]["param_groups"][0].update(values)


def memory(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda saved: saved["callbacks"][KEY].update(values)


def without(*names: str) -> Callable[[dict[str, Any]], object]:
    return lambda saved: [saved["callbacks"][KEY].pop(name) for name in names]


def progress(saved: dict[str, Any]) -> dict[str, Any]:
    return saved["loops"]["fit_loop"]["epoch_loop.automatic_optimization.optim_progress"]


OPTIMIZER = {
    "one number": averages(lambda one: torch.zeros(1)),
    "no dimension": averages(lambda one: torch.zeros(())),
    "nothing": averages(lambda one: torch.zeros(0)),
    "fewer": averages(lambda one: one[:1].clone()),
    "turned": averages(lambda one: torch.zeros(tuple(reversed((*one.shape, 1))))),
    "more": averages(lambda one: torch.zeros(*one.shape, 2)),
    "expanded": averages(lambda one: torch.zeros(()).expand(one.shape)),
    "not in a row": averages(lambda one: torch.zeros(*one.shape, 2)[..., 0]),
    "sparse": averages(lambda one: torch.zeros(one.shape).to_sparse()),
    "float64": averages(lambda one: one.double()),
    "whole numbers": averages(lambda one: one.long()),
    "lists": averages(lambda one: one.tolist()),
    "None": averages(lambda one: None),
    "a step of several": states(lambda state: state.update(step=torch.zeros(9))),
    "a step of another kind": states(lambda state: state.update(step="x")),
    "a step that is missing": states(lambda state: state.pop("step")),
    "one that is missing": states(lambda state: state.pop("exp_avg")),
    "one too many": states(lambda state: state.update(max_exp_avg_sq=torch.zeros(1))),
    "another weight": lambda saved: saved["optimizer_states"][0]["state"].update({99: {}}),
    "no states": lambda saved: saved["optimizer_states"][0].update(state=None),
    "no optimizer": lambda saved: saved.update(optimizer_states=[]),
    "no mapping": lambda saved: saved.update(optimizer_states=[1]),
    "no groups": lambda saved: saved["optimizer_states"][0].update(param_groups=[]),
    "other weights": group(params=[0]),
    "a rate of several": group(lr=torch.zeros(5)),
    "a rate that is NaN": group(lr=math.nan),
    "one beta": group(betas=[0.9]),
    "another field": group(colour="blue"),
    "no schedule": lambda saved: saved.update(lr_schedulers=[]),
    "another schedule": lambda saved: saved["lr_schedulers"][0].update(optimizer=5),
    "a schedule of texts": lambda saved: saved["lr_schedulers"][0].update(last_epoch="x"),
}
RECORDER = {
    "seconds in words": memory(train_seconds="x"),
    "seconds that are NaN": memory(evaluation_seconds=math.nan),
    "seconds below 0": memory(train_seconds=-1.0),
    "no validation": memory(last=None),
    "nothing best": memory(best=None),
    "finished with nothing": memory(finished=True, best=None, last=None),
    "finished too early": memory(finished=True),
    "finished in words": memory(finished="no"),
    "no last": without("last"),
    "no best": without("best"),
    "no examples": without("examples_seen"),
    "half an example": memory(examples_seen=0.5),
    "true restarts": memory(restarts=True),
    "all of a file": memory(metrics={"bytes": -1, "sha256": "0" * 64}),
    "scores in words": lambda saved: saved["callbacks"][KEY]["best"].update(metrics={"loss": "x"}),
    "no loss": lambda saved: saved["callbacks"][KEY]["best"].update(metrics={}),
    "a best of elsewhere": lambda saved: saved["callbacks"][KEY]["best"].update(file="../x.ckpt"),
    "a best to come": lambda saved: saved["callbacks"][KEY]["best"].update(step=10**6),
    "no callbacks": lambda saved: saved.update(callbacks=None),
    "no loops": lambda saved: saved.update(loops=None),
    "empty loops": lambda saved: saved.update(loops={}),
    "loops of another update": lambda saved: progress(saved)["optimizer"]["step"]["total"].update(
        completed=1
    ),
    "loops in words": lambda saved: progress(saved)["optimizer"]["step"]["total"].update(ready="x"),
    "losses in words": lambda saved: saved.update(losses=["x"]),
}
FAULTS = OPTIMIZER | RECORDER


@pytest.mark.thinned
@pytest.mark.parametrize("fault", FAULTS)
def test_a_state_that_is_none_of_this_run_is_gone_back_from(single, capfd, fault):
    newest, older = single.folder.resume_checkpoints()
    assert found(single) == newest
    edit(newest, FAULTS[fault])
    assert found(single) == older
    said = capfd.readouterr().err
    assert str(newest.name) in said
    assert "it is not used" in said


@pytest.mark.parametrize("fault", ["one number", "expanded", "no loops", "nothing best"])
def test_where_no_checkpoint_can_be_used_the_run_starts_over(single, capfd, fault):
    for path in single.folder.resume_checkpoints():
        edit(path, FAULTS[fault])
    assert run(single) == "FINISHED"
    assert "starts again from update 0" in capfd.readouterr().err
    assert single.folder.result().restarts == 0


def test_training_never_goes_on_past_its_end(single, capfd):
    assert run(single) == "FINISHED"
    single.folder.manifest.unlink()
    newest = single.folder.resume_checkpoints()[0]
    assert found(single) == newest
    edit(newest, memory(finished=False))
    assert found(single) != newest
    assert "is of update 12 of 12, but says that training goes on" in capfd.readouterr().err


@pytest.mark.parametrize(
    "optimizer",
    ["adadelta", "adagrad", "adamw", "keras_adam", "rmsprop", "sgd"],
)
def test_the_checkpoints_of_every_optimizer_are_gone_on_from(tiny, monkeypatch, optimizer):
    prepared = tiny(f"training/optimizer={optimizer}", "training/schedule=cosine")
    interrupted(prepared, monkeypatch, 7)
    assert found(prepared) == prepared.folder.resume_checkpoints()[0]


OTHERS = ("Adafactor", "NAdam", "RAdam", "Rprop", "ASGD", "Adamax", "LBFGS")


@pytest.mark.parametrize("name", OTHERS)
def test_what_other_optimizers_keep_is_theirs(broken_off, name):
    model = build_model(broken_off.config, broken_off.task)
    model.make_optimizer = lambda weights: (getattr(torch.optim, name)(weights), None)
    optimizer = model.configure_optimizers()

    def lose() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.stack([weight.square().sum() for weight in model.parameters()]).sum()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(lose)
    saved = {"optimizer_states": [optimizer.state_dict()], "lr_schedulers": []}
    check_optimizers(Path("x"), saved, model)


def test_a_pickle_of_a_million_steps_is_not_read(tmp_path):
    path = tmp_path / "x.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02" + b"]" * 5_000_000 + b".")
    with pytest.raises(Invalid, match="its pickle has over 1,000,000 steps"):
        check_checkpoint(path, 2**30)
