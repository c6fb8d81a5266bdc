"""A run that is interrupted or fails, and what it goes on from."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import signal
from itertools import pairwise

import pytest
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger

from decoderlab.common.stopwatch import Stopwatch
from decoderlab.data.task import Task
from decoderlab.decoders import RecurrentDecoder
from decoderlab.training import train_and_test
from decoderlab.training.interruption import Interrupted, Interruption
from decoderlab.training.minimum_risk import MinimumRisk
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.recorder import Recorder
from tests.conftest import run, same, weights
from tests.interrupting import interrupted


@pytest.mark.parametrize(
    ("step", "decoder"),
    [(step, "luong") for step in (5, 10, 12)]
    + [pytest.param(step, "luong", marks=pytest.mark.slow) for step in (1, 4, 7, 11)]
    + [(7, "scheduled_sampling")]
    + [pytest.param(7, name, marks=pytest.mark.slow) for name in ("free_running", "bahdanau2015")]
    + [(7, "luong training/objective=reinforce")]
    + [
        pytest.param(7, f"luong training/objective={name}", marks=pytest.mark.slow)
        for name in ("minimum_risk", "optimal_completion")
    ],
)
@pytest.mark.fault(34)
def test_a_run_interrupted_anywhere_ends_with_the_same_bits(
    tiny, tmp_path, monkeypatch, step, decoder
):
    settings = (
        "encoder.dropout=0.3",
        "encoder.num_layers=2",
        *f"decoder={decoder}".split(),
        "training/schedule=cosine",
        "training.warmup_steps=3",
        "run.log_every_steps=3",
    )
    whole = tiny(*settings, output_dir=tmp_path / "whole")
    broken = tiny(*settings, output_dir=tmp_path / "broken")
    run(whole)
    interrupted(broken, monkeypatch, step)
    assert broken.folder.status()["status"] == "INTERRUPTED"
    assert broken.folder.result() is None
    assert run(broken) == "FINISHED"
    assert same(weights(whole), weights(broken))
    one, other = whole.folder.result(), broken.folder.result()
    for key in ("metrics", "best_step", "steps", "examples_seen", "tokens_seen"):
        assert getattr(one, key) == getattr(other, key)
    # A signal that meets the first validation comes before there is a checkpoint to go on from.
    assert other.restarts == (0 if step == 5 else 1)

    def values(prepared):
        lines = map(json.loads, prepared.folder.metrics.read_text().splitlines())
        return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]

    assert values(whole) == values(broken)


@pytest.mark.parametrize("step", [3, 4])
def test_loggers_get_all_that_was_logged_before_an_interruption(tiny, tmp_path, monkeypatch, step):
    settings = ("logger=csv", "run.log_every_steps=3", "training.max_steps=11")
    whole = tiny(*settings, output_dir=tmp_path / "whole")
    broken = tiny(*settings, output_dir=tmp_path / "broken")
    run(whole)
    interrupted(broken, monkeypatch, step)
    assert run(broken) == "FINISHED"

    def logged(prepared):
        rows = []
        for path in sorted(prepared.folder.path.glob("csv/**/metrics.csv")):
            rows += csv.DictReader(path.read_text().splitlines())
        return [(int(row["step"]), row["train/loss"]) for row in rows if row["train/loss"]]

    assert [step for step, _ in logged(whole)] == [3, 5, 6, 9, 10, 11]
    assert logged(whole) == logged(broken)


def test_saving_between_validations_is_no_training(tiny, monkeypatch):
    """A budget in seconds would depend on the disk and on how often is saved."""
    acts, save, begin = [], Recorder._save, Stopwatch.start
    monkeypatch.setattr(Recorder, "_save", lambda *args: (acts.append("save"), save(*args)))
    monkeypatch.setattr(Stopwatch, "start", lambda self: (acts.append("begin"), begin(self)))
    assert run(tiny("run.checkpoint_every_seconds=0.0001")) == "FINISHED"
    assert acts.count("save") >= 11
    for one, next_one in pairwise(acts):
        assert one == "begin" or next_one == "begin"


def test_a_signal_during_validation_or_test_is_an_interruption(tiny, monkeypatch):
    prepared = tiny()
    real = EncoderDecoder.validation_step

    def interrupted(self, batch, index):
        signal.raise_signal(signal.SIGTERM)
        return real(self, batch, index)

    for step in ("validation_step", "test_step"):
        with monkeypatch.context() as patch:
            patch.setattr(EncoderDecoder, step, interrupted)
            with pytest.raises(Interrupted, match="SIGTERM"):
                run(prepared)
        assert prepared.folder.status()["status"] == "INTERRUPTED"
    assert run(prepared) == "FINISHED"


def test_a_schedulers_announcement_saves_the_run_and_then_reaches_the_scheduler(
    tiny, tmp_path, monkeypatch
):
    prepared, whole = tiny(), tiny(output_dir=tmp_path / "whole")
    real, seen = Recorder.on_train_batch_end, []

    def announced(self, trainer, *args):
        if trainer.global_step == 7:
            signal.raise_signal(signal.SIGTERM)  # comes first, and is the scheduler's
            signal.raise_signal(signal.SIGUSR2)
        real(self, trainer, *args)

    def scheduler(signum, frame):
        seen.append((signum, prepared.folder.status()["status"]))

    handlers = {one: signal.signal(one, scheduler) for one in (signal.SIGTERM, signal.SIGUSR2)}
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Recorder, "on_train_batch_end", announced)
            with pytest.raises(Interrupted, match="SIGUSR2"):
                run(prepared)
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)
    assert seen == [(signal.SIGTERM, "RUNNING"), (signal.SIGUSR2, "INTERRUPTED")]
    assert run(prepared) == run(whole) == "FINISHED"
    assert prepared.folder.result().restarts == 1
    assert same(weights(prepared), weights(whole))


def test_a_signal_after_the_test_lets_the_run_finish_and_goes_on(tiny, monkeypatch):
    prepared = tiny()
    real = train_and_test.environment
    monkeypatch.setattr(
        train_and_test, "environment", lambda d: (signal.raise_signal(signal.SIGINT), real(d))[1]
    )
    with pytest.raises(Interrupted, match="SIGINT"):
        run(prepared)
    assert prepared.folder.status()["status"] == "FINISHED"


@pytest.mark.fault(32)
def test_code_that_exits_is_a_failure(tiny, monkeypatch):
    prepared = tiny()
    monkeypatch.setattr(RecurrentDecoder, "start", lambda *_: exit(0))
    assert run(prepared) == "FAILED"
    assert prepared.folder.status()["reason"] == "SystemExit: 0"


@pytest.mark.fault(36)
def test_a_damaged_status_is_no_dead_end(tiny):
    prepared = tiny()
    run(prepared)
    prepared.folder.status_file.write_text("[")
    assert "damaged" in prepared.folder.status()["reason"]
    assert run(prepared, retry=False) == "FINISHED"


@pytest.mark.fault(50)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tiny, tmp_path, monkeypatch, capfd):
    whole = tiny("decoder=luong", output_dir=tmp_path / "whole")
    broken = tiny("decoder=luong", output_dir=tmp_path / "broken")
    run(whole)
    interrupted(broken, monkeypatch, 11)
    newest, before = broken.folder.resume_checkpoints()
    assert (newest.name, before.name) == ("step-000000011.ckpt", "step-000000010.ckpt")
    newest.write_bytes(newest.read_bytes()[:100])
    assert run(broken) == "FINISHED"
    assert "it is not used" in capfd.readouterr().err
    assert same(weights(whole), weights(broken))


@pytest.mark.fault(36)
def test_metrics_torn_by_a_crash_are_repaired(tiny, monkeypatch):
    prepared = tiny()
    interrupted(prepared, monkeypatch, 7)
    with prepared.folder.metrics.open("a") as file:
        file.write('{"step": 8, "train/loss": 1}\n{"step": 9, "tra')
    run(prepared)
    lines = [json.loads(line) for line in prepared.folder.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(1, 13))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.fault(28)
def test_a_loss_that_is_not_finite_is_a_divergence(tiny, monkeypatch, value):
    prepared, real = tiny(), RecurrentDecoder.forward

    def diverging(self, *given):
        updates.append(self.training)
        at = self.training and sum(updates) == 8
        return real(self, *given) * (value if at else 1.0)

    updates: list[bool] = []
    monkeypatch.setattr(RecurrentDecoder, "forward", diverging)
    assert run(prepared) == "DIVERGED"
    status = prepared.folder.status()
    assert status["step"] == 8
    assert "NaN or infinite" in status["reason"]
    assert prepared.folder.result() is None
    # What was validated before stays, with its last line.
    assert [path.stem for path in prepared.folder.numbered("best")] == ["best-000000005"]
    assert prepared.folder.last_metrics()["step"] <= 8
    assert run(prepared, retry=False) == "DIVERGED"


@pytest.mark.fault(28)
def test_weights_that_blow_up_are_a_divergence(tiny):
    prepared = tiny("training.learning_rate=1e38", "training.gradient_clip_norm=null")
    assert run(prepared) == "DIVERGED"
    assert "NaN or infinite" in prepared.folder.status()["reason"]
    assert prepared.folder.result() is None
    assert prepared.folder.numbered("best") == []


@pytest.mark.parametrize(
    "objective",
    [
        "minimum_risk",
        pytest.param("reinforce", marks=pytest.mark.slow),
        pytest.param("optimal_completion", marks=pytest.mark.slow),
    ],
)
def test_what_is_drawn_by_weights_that_blew_up_is_a_divergence(tiny, objective):
    prepared = tiny(
        f"training/objective={objective}",
        "training.learning_rate=1e38",
        "training.gradient_clip_norm=null",
    )
    assert run(prepared) == "DIVERGED"
    status = prepared.folder.status()
    assert "NaN" in status["reason"]
    assert status["step"] <= 2
    assert prepared.folder.result() is None


def test_an_error_of_weights_that_are_well_is_a_failure(tiny, monkeypatch):
    prepared = tiny("training/objective=minimum_risk")

    def fails(self, *given):
        raise RuntimeError("index 24 is out of bounds")

    monkeypatch.setattr(MinimumRisk, "drawn", fails)
    assert run(prepared) == "FAILED"
    assert "index 24 is out of bounds" in prepared.folder.status()["reason"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.fault(28)
def test_a_validation_that_is_not_finite_is_a_divergence(tiny, monkeypatch, value):
    prepared, real = tiny(), Task.scores_beside

    def scores(self, *given):
        seen.append(1)
        return {**real(self, *given), **({"loss": value} if len(seen) == 2 else {})}

    seen: list[int] = []
    monkeypatch.setattr(Task, "scores_beside", scores)
    assert run(prepared) == "DIVERGED"
    assert prepared.folder.status()["step"] == 10
    assert [path.stem for path in prepared.folder.numbered("best")] == ["best-000000005"]


@pytest.mark.fault(31)
def test_a_failure_leaves_its_traceback_and_can_be_tried_again(tiny, monkeypatch):
    prepared = tiny()
    with monkeypatch.context() as patch:
        patch.setattr(RecurrentDecoder, "start", lambda *_: 1 / 0)
        assert run(prepared) == "FAILED"
    assert prepared.folder.status()["reason"] == "ZeroDivisionError: division by zero"
    assert "ZeroDivisionError" in prepared.folder.traceback.read_text()
    assert run(prepared, retry=False) == "FAILED"
    assert run(prepared, retry=True) == "FINISHED"
    assert not prepared.folder.traceback.exists()


class Failing(Callback):
    """A callback with a mistake in it."""

    def on_train_batch_end(self, *_) -> None:
        raise RuntimeError("of a callback")


class Refusing(CSVLogger):
    """A logger whose server is gone."""

    def log_metrics(self, *_, **__) -> None:
        raise ConnectionError("of a logger")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("+callbacks.mine._target_=tests.integration.test_broken_off_runs.Failing", "a callback"),
        ("+logger.mine._target_=tests.integration.test_broken_off_runs.Refusing", "a logger"),
    ],
)
@pytest.mark.fault(31)
def test_an_error_of_a_callback_or_logger_is_a_failure_with_its_traceback(
    tiny, tmp_path, given, reason
):
    given = [given, f"+logger.mine.save_dir={tmp_path}"] if "logger" in given else [given]
    prepared = tiny(*given)
    assert run(prepared) == "FAILED"
    assert prepared.folder.status()["reason"].endswith(f": of {reason}")
    trace = prepared.folder.traceback.read_text()
    assert "test_broken_off_runs.py" in trace
    assert trace.rstrip().endswith(f"of {reason}")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.fault(30)
def test_a_smaller_batch_is_the_advice_where_memory_ran_out(tiny, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(RecurrentDecoder, "start", full)
    prepared = tiny()
    assert run(prepared) == "FAILED"
    advice = "; out of memory: take a smaller training.batch_size or run.evaluation_batch_size"
    assert prepared.folder.status()["reason"].endswith(advice)


@pytest.mark.fault(33)
def test_a_second_signal_stops_at_once():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.signum == signal.SIGINT
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
