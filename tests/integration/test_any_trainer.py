"""A finished run in any Trainer of Lightning, and runs from Python."""

from __future__ import annotations

import inspect
import random
import sys
import warnings

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hydra.core.global_hydra import GlobalHydra

import decoderlab
from decoderlab import RunFailed, load_run
from decoderlab.common.errors import ConfigError
from decoderlab.config.composition import compose_config
from decoderlab.decoders import RecurrentDecoder
from decoderlab.training.loading import search_with
from decoderlab.training.module import EncoderDecoder
from tests.conftest import TASKS, TINY, run, same, small


def overrides(tmp_path, *more: str) -> list[str]:
    sizes = [
        *small("encoder", "lstm")[1:],
        "decoder=repeat_vector",
        *small("decoder", "repeat_vector")[1:],
    ]
    return [*TASKS["echo"], *TINY, *sizes, f"run.output_dir={tmp_path}", *more]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return decoderlab.train(overrides(folder)), folder


# A finished run in a notebook.


def quiet_trainer(tmp_path, **arguments) -> pl.Trainer:
    shown = {"enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(
        logger=False, accelerator="cpu", default_root_dir=tmp_path, **shown, **arguments
    )


@pytest.fixture
def _lightning_warns():
    # Of few workers and of trainers without a logger: that is Lightning's to say.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pytorch_lightning|lightning_fabric")
        yield


@pytest.mark.usefixtures("_lightning_warns")
def test_any_trainer_tests_validates_and_predicts(finished, tmp_path):
    loaded, _ = finished
    module, task = loaded.module, loaded.task
    trainer = quiet_trainer(tmp_path)
    (scores,) = trainer.test(module, datamodule=task, verbose=False)
    for name, value in loaded.result.metrics.test.items():
        assert scores[f"test/{name}"] == pytest.approx(value, rel=1e-6)
    (scores,) = trainer.validate(module, datamodule=task, verbose=False)
    for name, value in loaded.result.metrics.validation.items():
        assert scores[f"validation/{name}"] == pytest.approx(value, rel=1e-6)
    batches = trainer.predict(module, datamodule=task)
    texts = dict(
        zip(
            [row for batch in task.predict_dataloader() for row in batch.index.tolist()],
            [text for batch in batches for text in batch],
            strict=True,
        )
    )
    sources = [task.shown_source("test", row) for row in range(len(texts))]
    assert decoderlab.predict(loaded, sources) == [texts[row] for row in range(len(texts))]


@pytest.mark.usefixtures("_lightning_warns")
def test_any_trainer_goes_on_from_the_weights(finished, tmp_path):
    loaded = load_run(folder_of(finished))
    before = {name: value.clone() for name, value in loaded.module.state_dict().items()}
    modes = []

    class Modes(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, *_) -> None:
            modes.append({part.training for part in pl_module.modules()})

    once = {"enable_checkpointing": False, "log_every_n_steps": 2, "callbacks": [Modes()]}
    trainer = quiet_trainer(tmp_path, max_steps=5, val_check_interval=2, **once)
    generates_otherwise = search_with(loaded, beam_width=2).module
    trainer.fit(generates_otherwise, datamodule=loaded.task)
    assert trainer.global_step == 5
    assert modes == [{True}] * 5  # with dropout
    assert not any(part.training for part in generates_otherwise.modules())
    after = loaded.module.state_dict()
    assert not same(before, after)
    # From these weights, not from new ones: five small steps do not lead far.
    distance = sum(float((before[name] - after[name]).abs().max()) for name in before)
    assert distance < 0.02 * len(before)
    assert set(trainer.callback_metrics) >= {"train/loss", "train/learning_rate"}


@pytest.mark.usefixtures("_lightning_warns")
def test_a_trainer_learns_what_a_module_was_made_without(finished, tmp_path):
    loaded = load_run(folder_of(finished))
    module, task = loaded.module, loaded.task
    bare = EncoderDecoder(
        encoder=module.encoder,
        decoder=module.decoder,
        target_space=module.target_space,
        max_target_length=module.max_target_length,
    )
    trainer = quiet_trainer(tmp_path, max_steps=1, enable_checkpointing=False)
    with pytest.raises(ValueError, match="made without a task"):
        trainer.test(bare, datamodule=task, verbose=False)
    with pytest.raises(ValueError, match="made without an optimizer"):
        trainer.fit(bare, datamodule=task)


def folder_of(finished):
    (folder,) = (finished[1] / "runs").iterdir()
    return folder


@pytest.mark.usefixtures("_lightning_warns")
def test_values_are_predicted_in_their_units(tiny, tmp_path):
    sizes = ("encoder.embedding_size=null", "decoder.embedding_size=null")
    prepared = tiny(*sizes, "decoder=luong", task="forecasting")
    assert run(prepared) == "FINISHED"
    loaded = load_run(prepared.folder.path)
    first = quiet_trainer(tmp_path).predict(loaded.module, datamodule=loaded.task)[0]
    batch = next(iter(loaded.task.predict_dataloader()))
    values = loaded.task.data.target_vocabulary
    rolled = loaded.module(batch.source, batch.source_lengths, None, batch.target.shape[1])
    assert torch.allclose(first, torch.as_tensor(values.decode(rolled.numpy())))


def test_opening_a_run_changes_nothing_around_it(finished, monkeypatch):
    folder = folder_of(finished)
    load_run(folder)  # so that whatever it imports is there
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:

        def state():
            return (
                torch.random.get_rng_state().tolist(),
                random.getstate(),
                str(np.random.get_state()),  # noqa: NPY002
                torch.get_default_dtype(),
                list(warnings.filters),
                list(sys.path),
                torch.get_num_threads(),
                torch.is_grad_enabled(),
                torch.are_deterministic_algorithms_enabled(),
            )

        seeded = []  # generators of devices that this machine may not have
        for device in (torch.cuda, torch.mps, torch.xpu):
            for name in {"manual_seed", "manual_seed_all"} & set(dir(device)):
                monkeypatch.setattr(device, name, lambda seed, which=device: seeded.append(which))
        before = state()
        load_run(folder)
        assert state() == before
        assert seeded == []
    finally:
        torch.set_num_threads(threads)


# Runs from Python.


def test_a_run_is_started_from_python_and_not_done_twice(finished):
    loaded, output_dir = finished
    folder = folder_of(finished)
    touched = folder.joinpath("result.json").stat().st_mtime_ns
    again = decoderlab.train(compose_config(overrides(output_dir)))
    assert folder.joinpath("result.json").stat().st_mtime_ns == touched
    assert again.result == loaded.result
    assert same(again.module.state_dict(), loaded.module.state_dict())
    assert not GlobalHydra.instance().is_initialized()


def test_progress_is_reported_to_who_asks(tmp_path):
    seen = []
    decoderlab.train(overrides(tmp_path), report=lambda step, values: seen.append(step))
    assert sorted(set(seen)) == list(range(1, 13))


def test_what_goes_wrong_in_a_run_from_python_is_raised(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="Did you mean luong"):
        decoderlab.train(["decoder=lunog"])
    with monkeypatch.context() as patch:
        patch.setattr(RecurrentDecoder, "start", lambda *_: 1 / 0)
        with pytest.raises(RunFailed, match="FAILED: ZeroDivisionError"):
            decoderlab.train(overrides(tmp_path))
    assert decoderlab.train(overrides(tmp_path)).result.steps == 12


def test_public_names_are_listed_and_documented():
    names = [name for name in dir(decoderlab) if not name.startswith("_")]
    assert names == sorted(decoderlab.__all__)
    for name in names:
        public = getattr(decoderlab, name)
        text = inspect.getdoc(public)
        assert text, name
        if inspect.isfunction(public):
            assert "Returns:\n" in text, name
            for parameter in inspect.signature(public).parameters:
                assert f"    {parameter}: " in text.split("Args:\n")[1], (name, parameter)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = decoderlab.trian
