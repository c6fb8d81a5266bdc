"""Lightning as its users know it: loggers and callbacks in a run."""

from __future__ import annotations

import csv
import json
from collections import Counter

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from decoderlab.common.errors import ConfigError
from decoderlab.training.interruption import Interrupted
from tests.conftest import DRAWN, run, same, weights
from tests.interrupting import interrupt_at, interrupted

STOPPING = (
    "callbacks=early_stopping",
    "callbacks.early_stopping.monitor=validation/loss",
    "callbacks.early_stopping.patience=2",
    "callbacks.early_stopping.min_delta=1000",  # nothing is an improvement
    "training.max_steps=100",
)


class Counting(pl.Callback):
    """Counts updates, and remembers its count."""

    counted = 0

    def on_train_batch_end(self, *_) -> None:
        type(self).counted += 1

    def state_dict(self) -> dict:
        return {"counted": type(self).counted}

    def load_state_dict(self, state_dict: dict) -> None:
        type(self).counted = state_dict["counted"]


class Watched(pl.Callback):
    """Keeps what the trainer shows to callbacks."""

    seen: list = []

    def on_validation_end(self, trainer, pl_module) -> None:
        type(self).seen.append({k: float(v) for k, v in trainer.callback_metrics.items()})

    on_test_end = on_validation_end


def named(kind: type) -> str:
    return f"+callbacks.mine._target_={__name__}.{kind.__name__}"


def lines(prepared) -> list[dict]:
    return [json.loads(line) for line in prepared.folder.metrics.read_text().splitlines()]


# Loggers and callbacks in a run.


def test_callbacks_see_what_the_module_logs(tiny):
    Watched.seen = []
    prepared = tiny(named(Watched), "run.log_every_steps=4")
    assert run(prepared) == "FINISHED"
    trained = {line["step"]: line for line in lines(prepared) if "train/loss" in line}
    scored = {line["step"]: line for line in lines(prepared) if "validation/loss" in line}
    assert list(trained) == [4, 5, 8, 10, 12]
    *validations, tested = Watched.seen
    for step, seen in zip((5, 10, 12), validations, strict=True):
        for name, value in (trained[step] | scored[step]).items():
            if name != "seconds":
                assert seen[name] == pytest.approx(value, rel=1e-6), name
    for name, value in prepared.folder.result().metrics.test.items():
        assert tested[f"test/{name}"] == pytest.approx(value, rel=1e-6)


def test_loggers_hold_each_step_once_after_an_interruption(tiny, monkeypatch):
    prepared = tiny("logger=[tensorboard,csv]", "run.log_every_steps=3", "seed=2")
    # Step 6 is logged, then lost with the process: the last checkpoint is that of step 5.
    with monkeypatch.context() as patch:
        interrupt_at(patch, 7)
        patch.setattr("decoderlab.training.recorder.Recorder._save", _unless_at(7))
        with pytest.raises(Interrupted):
            run(prepared)
    assert run(prepared) == "FINISHED"
    expected = [
        (line["step"], name)
        for line in lines(prepared)
        for name in line
        if name not in ("step", "seconds")
    ]
    events = EventAccumulator(str(prepared.folder.events), size_guidance={"scalars": 0}).Reload()
    for tag in ("train/loss", "train/learning_rate", "validation/exact_match"):
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == [step for step, name in expected if name == tag]
    with (prepared.folder.path / "csv/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    logged = Counter(
        (int(row["step"]), name)
        for row in rows
        for name, value in row.items()
        if value and name.split("/")[0] in ("train", "validation")
    )
    assert logged == Counter(expected)
    values = {int(row["step"]): row["train/loss"] for row in rows if row["train/loss"]}
    for line in lines(prepared):
        if "train/loss" in line:
            assert float(values[line["step"]]) == pytest.approx(line["train/loss"], rel=1e-6)


def _unless_at(step: int):
    from decoderlab.training.recorder import Recorder

    real = Recorder._save

    def save(self, trainer):
        if trainer.global_step != step:
            real(self, trainer)

    return save


def test_early_stopping_finishes_a_run_wherever_it_was_interrupted(tiny, tmp_path, monkeypatch):
    whole = tiny(*STOPPING, output_dir=tmp_path / "whole")
    assert run(whole) == "FINISHED"
    result = whole.folder.result()
    # The first validation is the best there can be, and two more bring nothing.
    assert result.steps == 15
    assert result.best_step in (5, 10, 15)
    for step in (3, 7, 12):
        broken = tiny(*STOPPING, output_dir=tmp_path / f"broken{step}")
        interrupted(broken, monkeypatch, step)
        assert run(broken) == "FINISHED"
        assert same(weights(whole), weights(broken))
        assert broken.folder.result().metrics == result.metrics
        assert broken.folder.result().steps == 15
    # The process dies when training is over, and before the test.
    late = tiny(*STOPPING, output_dir=tmp_path / "late")
    with monkeypatch.context() as patch:
        patch.setattr("decoderlab.training.train_and_test.load_best", lambda *_: 1 / 0)
        assert run(late) == "FAILED"
    assert run(late) == "FINISHED"
    assert late.folder.result().steps == 15
    assert late.folder.result().metrics == result.metrics


def test_early_stopping_knows_which_way_is_better(tiny):
    from decoderlab.training.assembly import build_callbacks

    for monitor, mode in (("null", "max"), ("validation/loss", "min")):
        prepared = tiny("callbacks=early_stopping", f"callbacks.early_stopping.monitor={monitor}")
        (callback,) = build_callbacks(prepared.config, prepared.task)
        assert isinstance(callback, EarlyStopping)
        assert callback.mode == mode
    assert prepared.config.callbacks["early_stopping"]["monitor"] == "validation/loss"


def test_a_callback_of_ones_own_goes_on_with_its_state(tiny, monkeypatch):
    Counting.counted = 0
    prepared = tiny(named(Counting))
    interrupted(prepared, monkeypatch, 7)
    assert Counting.counted == 7
    Counting.counted = 100  # what another process knows of it
    assert run(prepared) == "FINISHED"
    assert Counting.counted == 12


def test_callbacks_and_a_trainers_arguments_name_a_run_where_they_change_it(tiny):
    name = tiny().run_id
    for without_effect in (
        ("logger=csv",),
        ("logger=[tensorboard,csv]",),
        ("callbacks=learning_rate_monitor",),
        ("+callbacks.c._target_=pytorch_lightning.callbacks.ModelCheckpoint",),
        ("+trainer.profiler=simple", "+trainer.detect_anomaly=true"),
    ):
        assert tiny(*without_effect).run_id == name, without_effect
    others = {
        tiny(*given).run_id
        for given in (
            ("callbacks=early_stopping",),
            ("callbacks=early_stopping", "callbacks.early_stopping.patience=5"),
            (named(Counting),),
            ("+trainer.accumulate_grad_batches=2",),
        )
    }
    assert len(others | {name}) == 5
    assert (
        tiny("callbacks=early_stopping", "+callbacks.early_stopping.strict=true").run_id in others
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["+trainer.max_epochs=3"],
            "max_epochs is set by the run itself; give training.max_e",
        ),
        (["+trainer.logger=false"], "logger is set by the run itself; give logger=NAME"),
        (["+trainer.determinstic=true"], "Did you mean deterministic"),
        (["trainer.strategy=dpp"], "Did you mean ddp"),
        (["+trainer.accumulate_grad_batches=2.5"], "is 2.5; it must be an integer above 0"),
        (["+trainer.accumulate_grad_batches=true"], "is True; it must be an integer above 0"),
        (["callbacks=early_stopping", "callbacks.early_stopping.patience=x"], "patience is 'x'"),
        (["callbacks=early_stopping", "+callbacks.early_stopping.patince=3"], "Did you mean pat"),
        (
            ["callbacks=early_stopping", "callbacks.early_stopping.monitor=train/loss"],
            r"monitor is 'train/loss', .* run.log_every_steps .* such as validation/",
        ),
        pytest.param(
            ["callbacks=early_stopping", "callbacks.early_stopping.monitor=validation/bleu"],
            "validation of this task measures exact_match",
            marks=pytest.mark.fault(40),
        ),
        (["+callbacks.mine._target_=decoderlab.layers.LSTM"], "callbacks.mine"),
        (["+callbacks.mine=3"], "names no class"),
        (["logger=csv", "+logger.csv.folder=x"], "logger.csv.folder is not a setting of CSVLogger"),
    ],
)
def test_what_cannot_work_is_refused(tiny, given, message):
    with pytest.raises(ConfigError, match=message):
        tiny(*given)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_without_its_package_names_the_extra(tiny, monkeypatch, name):
    monkeypatch.setattr("decoderlab.records.loggers._is_installed", lambda package: False)
    with pytest.raises(ConfigError, match=rf"pip install 'decoderlab\[{name}\]'"):
        tiny(f"logger={name}")


def test_gradients_of_several_batches_make_an_update(tiny, tmp_path, monkeypatch):
    settings = ("+trainer.accumulate_grad_batches=3", "encoder.dropout=0.3", "encoder.num_layers=2")
    whole = tiny(*settings, output_dir=tmp_path / "whole")
    assert run(whole) == "FINISHED"
    result = whole.folder.result()
    assert result.steps == 12
    assert result.examples_seen > 2 * 12 * 16
    steps = [line["step"] for line in lines(whole) if "train/loss" in line]
    assert steps == list(range(1, 13))
    assert [line["step"] for line in lines(whole) if "validation/loss" in line] == [5, 10, 12]
    broken = tiny(*settings, output_dir=tmp_path / "broken")
    interrupted(broken, monkeypatch, 7)
    assert run(broken) == "FINISHED"
    assert same(weights(whole), weights(broken))
    assert broken.folder.result().examples_seen == result.examples_seen


@pytest.mark.parametrize("curriculum", ["naive", "combined"])
def test_a_curriculum_goes_on_where_several_batches_make_an_update(
    tiny, tmp_path, monkeypatch, curriculum
):
    settings = (*DRAWN, f"task.curriculum={curriculum}", "task.curriculum_steps=8")
    settings += ("+trainer.accumulate_grad_batches=2",)
    whole, broken = (
        tiny(*settings, output_dir=tmp_path / name, task="learning_to_execute")
        for name in ("whole", "broken")
    )
    assert run(whole) == "FINISHED"
    interrupted(broken, monkeypatch, 5)
    assert run(broken) == "FINISHED"
    assert same(weights(whole), weights(broken))
