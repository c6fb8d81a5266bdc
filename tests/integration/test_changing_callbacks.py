"""Callbacks that change weights: what is validated is kept and tested, or they are refused."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateFinder

from decoderlab import evaluate, load_run
from decoderlab.common.errors import ConfigError
from decoderlab.records.run_folder import RunFolder
from decoderlab.training.interruption import Interrupted
from tests.conftest import run, same, weights
from tests.interrupting import interrupt_at

LIGHTNING = "pytorch_lightning.callbacks"
LEARNING = ("training.learning_rate=0.03", "decoder=luong")


class Averaging(pl.Callback):
    """Puts the mean of the weights so far in their place while a model is validated."""

    start, end = "on_validation_start", "on_validation_end"

    def __init__(self) -> None:
        self.mean, self.own = {}, {}
        setattr(self, self.start, self.exchange)
        setattr(self, self.end, self.put_back)

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        for name, value in pl_module.state_dict().items():
            mean = self.mean.setdefault(name, value.clone())
            mean.mul_(0.5).add_(value, alpha=0.5)

    def exchange(self, trainer, pl_module, *_) -> None:
        self.own = {name: value.clone() for name, value in pl_module.state_dict().items()}
        if self.mean:
            pl_module.load_state_dict(self.mean)

    def put_back(self, trainer, pl_module, *_) -> None:
        pl_module.load_state_dict(self.own)

    def state_dict(self) -> dict:
        return {"mean": self.mean}

    def load_state_dict(self, state_dict) -> None:
        self.mean = state_dict["mean"]


class AveragingByData(Averaging):
    """Does so by the data of parameters, which no counter of theirs notices, for an epoch."""

    start, end = "on_validation_epoch_start", "on_validation_epoch_end"

    def exchange(self, trainer, pl_module, *_) -> None:
        self.own = {name: value.clone() for name, value in pl_module.state_dict().items()}
        for name, parameter in pl_module.named_parameters():
            parameter.data.copy_(self.mean[name])


class AveragingForTheTest(Averaging):
    """Puts the last mean there for the test, too, and leaves it there."""

    def on_test_start(self, trainer, pl_module) -> None:
        pl_module.load_state_dict(
            {name: value + 1 for name, value in pl_module.state_dict().items()}
        )


class LeavingAfterTheTest(pl.Callback):
    """Leaves other weights behind."""

    def on_test_end(self, trainer, pl_module) -> None:
        for parameter in pl_module.parameters():
            parameter.data.zero_()


def named(kind: type | str) -> str:
    name = f"{LIGHTNING}.{kind}" if isinstance(kind, str) else f"{__name__}.{kind.__name__}"
    return f"+callbacks.mine._target_={name}"


KINDS = (
    Averaging,
    AveragingByData,
    AveragingForTheTest,
    "EMAWeightAveraging",
    "WeightAveraging",
)


def best_weights(prepared):
    best = prepared.folder.checkpoints / f"best-{prepared.folder.result().best_step:09d}.ckpt"
    return torch.load(best, weights_only=True)["state_dict"]


@pytest.mark.thinned(2)
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_validated_is_kept_and_tested(tiny, kind):
    prepared = tiny(named(kind), *LEARNING)
    assert run(prepared) == "FINISHED"
    result = prepared.folder.result()
    loaded = load_run(prepared.folder.path)
    for split, scores in (
        ("validation", result.metrics.validation),
        ("test", result.metrics.test),
    ):
        again = evaluate(loaded.module, loaded.task, split, loaded.config)
        assert {name: again[name] for name in scores} == pytest.approx(scores, rel=1e-6)
    # The last step is of other weights: those that are trained.
    assert result.best_step == result.steps
    trained = torch.load(prepared.folder.resume_checkpoints()[0], weights_only=True)
    own = trained.get("current_model_state", trained["state_dict"])
    assert not same(own, best_weights(prepared))


@pytest.mark.thinned(2)
@pytest.mark.parametrize("kind", [Averaging, "EMAWeightAveraging"])
def test_an_interrupted_run_with_exchanged_weights_ends_as_one_that_was_not(tiny, tmp_path, kind):
    once, twice = (
        tiny(named(kind), *LEARNING, output_dir=tmp_path / name) for name in ("once", "twice")
    )
    assert run(once) == "FINISHED"
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 7)
        with pytest.raises(Interrupted):
            run(twice)
    assert run(twice) == "FINISHED"
    assert twice.folder.result().metrics == once.folder.result().metrics
    assert same(best_weights(twice), best_weights(once))
    assert same(weights(twice), weights(once))


@pytest.mark.thinned(3)
@pytest.mark.parametrize(
    ("own", "batches"),
    [((), 1), ((named("EMAWeightAveraging"),), 1), ((named("EMAWeightAveraging"),), 3)],
)
def test_a_run_goes_on_from_what_was_trained_and_not_from_its_averages(
    tiny, tmp_path, own, batches
):
    def last(*given: str, steps: int) -> tuple:
        budget = (f"training.max_steps={steps}", "training/schedule=constant")
        budget += (f"+trainer.accumulate_grad_batches={batches}",) if batches > 1 else ()
        prepared = tiny(*given, *LEARNING, *budget, output_dir=tmp_path / str(steps))
        assert run(prepared) == "FINISHED"
        saved = torch.load(prepared.folder.resume_checkpoints()[0], weights_only=True)
        return prepared.folder.path, saved

    parent, _ = last(named("EMAWeightAveraging"), steps=10)
    path, child = last(f"training.from_run={parent}", *own, steps=16)
    chosen = RunFolder(path).result().signatures.get("selection")
    assert chosen == (None if own else "after update 10")  # no averages among what is trained
    _, whole = last(*own, steps=16)
    assert child["state_dict"].keys() == whole["state_dict"].keys()
    for kept in ("state_dict", "current_model_state")[: 1 + len(own)]:
        assert same(child[kept], whole[kept])


@pytest.mark.parametrize("kind", [None, LeavingAfterTheTest])
def test_what_is_looked_at_after_the_test_was_tested(tiny, kind, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "decoderlab.training.train_and_test.probe",
        lambda model, task: seen.append({k: v.clone() for k, v in model.state_dict().items()}),
    )
    prepared = tiny(*([named(kind)] if kind else []), *LEARNING)
    assert run(prepared) == "FINISHED"
    assert same(seen[0], best_weights(prepared))


class Finder(LearningRateFinder):
    """Derived from Lightning's."""


@pytest.mark.parametrize(
    ("kind", "settings", "instead"),
    [
        ("LearningRateFinder", (), "training.learning_rate"),
        (Finder, (), "training.learning_rate"),
        ("BatchSizeFinder", (), "training.batch_size"),
        (
            "GradientAccumulationScheduler",
            ("+callbacks.mine.scheduling={}",),
            "accumulate_grad_batches",
        ),
        (
            "StochasticWeightAveraging",
            ("+callbacks.mine.swa_lrs=0.1", "+callbacks.mine.swa_epoch_start=1"),
            "EMAWeightAveraging",
        ),
        ("ModelPruning", ("+callbacks.mine.pruning_fn=l1_unstructured",), "counts updates"),
        ("BackboneFinetuning", (), "encoder.frozen"),
    ],
)
def test_a_callback_that_a_run_could_not_resume_or_that_never_acts_is_refused(
    tiny, tmp_path, kind, settings, instead
):
    with pytest.raises(ConfigError, match=rf"callbacks\.mine.*{instead}"):
        tiny(named(kind), *settings)
    assert not any(tmp_path.iterdir())


class ValidatesTwice(pl.Callback):
    """Validates by itself after each validation."""

    def on_validation_end(self, trainer, pl_module) -> None:
        trainer.callbacks[-1].on_validation_end(trainer, pl_module)


def test_an_update_that_is_validated_twice_ends_the_run_with_what_to_do(tiny):
    prepared = tiny(named(ValidatesTwice))
    for _ in range(2):  # the records never contradict themselves
        assert run(prepared) == "FAILED"
        reason = prepared.folder.recorded_status()["reason"]
        assert "was validated twice" in reason
        assert "leave out the callback" in reason
