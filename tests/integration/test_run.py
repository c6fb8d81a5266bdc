"""One run: its records, its repetition, its interruption, its failures."""

from __future__ import annotations

import json
import math
import signal

import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from decoderlab import load_run
from decoderlab.common.errors import ConfigError
from decoderlab.data.task import Task
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.feedback import ScheduledSampling
from decoderlab.records.run_folder import Invalid
from decoderlab.training import train_and_test
from decoderlab.training.assembly import build_model
from decoderlab.training.interruption import Interrupted, Interruption
from decoderlab.training.loading import predict
from decoderlab.training.model_evaluation import evaluate
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.recorder import Recorder
from tests.conftest import run, same, weights


def test_a_run_leaves_all_its_records(tiny):
    prepared = tiny("logger=tensorboard", "decoder=luong")
    assert not prepared.folder.path.exists()  # preparing writes nothing
    assert run(prepared) == "FINISHED"
    folder, result = prepared.folder, prepared.folder.result()
    assert folder.path.name.startswith("echo-lstm-luong-s0-" + prepared.run_id[:12])
    assert folder.status()["status"] == "FINISHED"
    assert result.steps == 12
    assert set(result.metrics.test) == {
        "exact_match",
        "token_accuracy",
        "symbol_error_rate",
        "loss",
    }
    assert result.parameters["total"] == prepared.num_parameters
    assert result.flops_per_example > 0
    assert result.peak_memory_bytes > 10**8
    assert result.environment.versions["torch"] == torch.__version__
    assert result.data.fingerprint == prepared.task.data.fingerprint
    assert f"n:20|data:{prepared.task.data.fingerprint[:12]}" in result.signature

    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    trained = [line for line in lines if "train/loss" in line]
    assert [line["step"] for line in trained] == list(range(1, 13))
    assert [line["step"] for line in lines if "validation/loss" in line] == [5, 10, 12]
    # Nats per token of an untrained model: about the logarithm of the vocabulary.
    assert trained[0]["train/loss"] == pytest.approx(math.log(10), rel=0.2)

    predictions = [json.loads(line) for line in folder.predictions.read_text().splitlines()]
    assert len(predictions) == 20
    share = sum(one["correct"] for one in predictions) / 20
    assert share == result.metrics.test["exact_match"]
    for one in predictions:
        assert one["target"] == one["source"]
        assert one["correct"] == (one["prediction"] == one["target"])

    events = EventAccumulator(str(folder.events)).Reload()
    assert [event.step for event in events.Scalars("validation/exact_match")] == [5, 10, 12]
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert "test/predictions/text_summary" in events.summary_metadata
    assert events.Scalars("test/exact_match")[0].value == pytest.approx(share)


def test_a_search_is_part_of_the_run_and_of_its_signature(tiny):
    greedy, beam, sampled = (
        tiny(*given)
        for given in (
            (),
            ("evaluation.beam_width=3", "evaluation.length_penalty=0.6"),
            ("evaluation.temperature=0.8", "evaluation.top_k=4"),
        )
    )
    assert len({greedy.run_id, beam.run_id, sampled.run_id}) == 3
    for prepared, signature in (
        (greedy, "generation:greedy|"),
        (beam, "generation:beam:3|length_penalty:0.6|"),
        (sampled, "generation:sample:temperature:0.8|top_k:4|seed:0|"),
    ):
        assert run(prepared) == "FINISHED"
        assert prepared.folder.result().signature.startswith(signature)
    # What is generated has no part in training.
    assert same(weights(greedy), weights(beam))
    # Sampling does not depend on how examples are put into batches.
    loaded = load_run(sampled.folder.path)
    loaded.task.evaluation_batch_size = 3
    again = evaluate(loaded.module, loaded.task, "test", loaded.config)
    assert again == pytest.approx(sampled.folder.result().metrics.test)


def test_labels_are_smoothed_in_training_alone(tiny):
    plain, smooth = tiny(), tiny("training.objective.label_smoothing=0.3")
    for prepared in (plain, smooth):
        assert run(prepared) == "FINISHED"
    first = [
        json.loads(prepared.folder.metrics.read_text().splitlines()[0])["train/loss"]
        for prepared in (plain, smooth)
    ]
    assert first[0] != first[1]
    loaded = load_run(smooth.folder.path)
    batch = loaded.task.data.splits["test"].batch(torch.arange(5))
    with torch.no_grad():
        measured = float(loaded.module.loss(batch)[0])
        loaded.module.objective = None
        assert measured == float(loaded.module.loss(batch)[0])


def test_the_schedule_of_scheduled_sampling_follows_the_updates(tiny, monkeypatch):
    seen = []
    real = ScheduledSampling.at_step

    def spy(self, step, seed):
        real(self, step, seed)
        seen.append((step, seed, self.ratio))

    prepared = tiny("decoder=scheduled_sampling", "decoder.feedback.decay_steps=10")
    monkeypatch.setattr(ScheduledSampling, "at_step", spy)
    assert run(prepared) == "FINISHED"
    called = seen[-12:]
    assert [step for step, *_ in called] == list(range(12))
    assert len({seed for _, seed, _ in called}) == 12
    expected = [max(1 - step / 10, 0) for step in range(12)]
    assert [ratio for *_, ratio in called] == pytest.approx(expected)


def test_the_step_is_chosen_on_validation(tiny):
    prepared = tiny(
        "training.max_steps=20", "evaluation.select=loss", "training.learning_rate=0.05"
    )
    run(prepared)
    lines = [json.loads(line) for line in prepared.folder.metrics.read_text().splitlines()]
    losses = {line["step"]: line["validation/loss"] for line in lines if "validation/loss" in line}
    result = prepared.folder.result()
    assert result.best_step == min(losses, key=losses.get)
    assert result.metrics.validation["loss"] == min(losses.values())
    assert result.metrics.validation_last["loss"] == losses[20]


def test_the_same_run_in_two_folders_is_the_same(tiny, tmp_path):
    settings = ("encoder.dropout=0.3", "decoder=initial_state", "encoder.num_layers=2")
    runs = [tiny(*settings, output_dir=tmp_path / name) for name in ("one", "two")]
    for prepared in runs:
        assert run(prepared) == "FINISHED"
    assert runs[0].run_id == runs[1].run_id
    assert same(weights(runs[0]), weights(runs[1]))
    results = [prepared.folder.result() for prepared in runs]
    assert results[0].metrics == results[1].metrics


def test_a_finished_run_is_reused_and_a_damaged_result_is_made_again(tiny):
    prepared = tiny()
    run(prepared)
    result = prepared.folder.result_file.read_text()
    touched = prepared.folder.metrics.stat().st_mtime_ns
    assert run(prepared) == "FINISHED"
    assert prepared.folder.result_file.read_text() == result
    assert prepared.folder.metrics.stat().st_mtime_ns == touched
    before = prepared.folder.result()
    prepared.folder.result_file.write_text("{}")
    assert run(prepared) == "FINISHED"
    assert prepared.folder.result().metrics == before.metrics


def interrupt_at(monkeypatch, step: int) -> None:
    """Let a signal come during one update."""
    real = Recorder.on_train_batch_end

    def wrapped(self, trainer, *args):
        if trainer.global_step == step:
            signal.raise_signal(signal.SIGTERM)
        real(self, trainer, *args)

    monkeypatch.setattr(Recorder, "on_train_batch_end", wrapped)


@pytest.mark.parametrize(
    ("step", "decoder"),
    [(step, "luong") for step in (1, 4, 5, 7, 10, 11, 12)]
    + [(7, "scheduled_sampling"), (7, "free_running"), (7, "bahdanau2015")],
)
def test_a_run_interrupted_anywhere_ends_with_the_same_bits(
    tiny, tmp_path, monkeypatch, step, decoder
):
    settings = (
        "encoder.dropout=0.3",
        "encoder.num_layers=2",
        f"decoder={decoder}",
        "training/schedule=cosine",
        "training.warmup_steps=3",
        "run.log_every_steps=3",
    )
    whole = tiny(*settings, output_dir=tmp_path / "whole")
    broken = tiny(*settings, output_dir=tmp_path / "broken")
    run(whole)
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(Interrupted):
            run(broken)
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


def test_code_that_exits_is_a_failure(tiny, monkeypatch):
    prepared = tiny()
    monkeypatch.setattr(RecurrentDecoder, "start", lambda *_: exit(0))
    assert run(prepared) == "FAILED"
    assert prepared.folder.status()["reason"] == "SystemExit: 0"


def test_a_damaged_status_is_no_dead_end(tiny):
    prepared = tiny()
    run(prepared)
    prepared.folder.status_file.write_text("[")
    assert "damaged" in prepared.folder.status()["reason"]
    assert run(prepared, retry=False) == "FINISHED"


def test_the_learning_rate_that_is_logged_is_the_one_that_was_used(tiny):
    prepared = tiny("training/schedule=linear", "training.learning_rate=0.012")
    run(prepared)
    lines = [json.loads(line) for line in prepared.folder.metrics.read_text().splitlines()]
    rates = [line["train/learning_rate"] for line in lines if "train/learning_rate" in line]
    assert rates == pytest.approx([0.001 * (12 - step) for step in range(12)])


def test_operations_are_a_property_of_the_model_not_of_the_seed(tiny):
    results = []
    for seed in (0, 1):
        prepared = tiny(f"seed={seed}")
        run(prepared)
        results.append(prepared.folder.result())
    assert results[0].flops_per_example == results[1].flops_per_example


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tiny, tmp_path, monkeypatch, capfd):
    whole = tiny("decoder=luong", output_dir=tmp_path / "whole")
    broken = tiny("decoder=luong", output_dir=tmp_path / "broken")
    run(whole)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 11)
        with pytest.raises(Interrupted):
            run(broken)
    newest, before = broken.folder.resume_checkpoints()
    assert (newest.name, before.name) == ("step-000000011.ckpt", "step-000000010.ckpt")
    newest.write_bytes(newest.read_bytes()[:100])
    assert run(broken) == "FINISHED"
    assert "falling back" in capfd.readouterr().err
    assert same(weights(whole), weights(broken))


def test_metrics_torn_by_a_crash_are_repaired(tiny, monkeypatch):
    prepared = tiny()
    with monkeypatch.context() as patch:
        interrupt_at(patch, 7)
        with pytest.raises(Interrupted):
            run(prepared)
    with prepared.folder.metrics.open("a") as file:
        file.write('{"step": 8, "train/loss": 1}\n{"step": 9, "tra')
    run(prepared)
    lines = [json.loads(line) for line in prepared.folder.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(1, 13))


def test_a_loss_that_is_not_finite_is_a_divergence(tiny):
    prepared = tiny("training.learning_rate=1e38", "training.gradient_clip_norm=null")
    assert run(prepared) == "DIVERGED"
    status = prepared.folder.status()
    assert status["step"] <= 12
    assert "NaN or infinite" in status["reason"]
    assert prepared.folder.result() is None
    assert run(prepared, retry=False) == "DIVERGED"


def test_a_validation_that_is_not_finite_is_a_divergence(tiny, monkeypatch):
    prepared = tiny()
    monkeypatch.setattr(Task, "scores_beside", lambda *_: {"loss": math.nan})
    assert run(prepared) == "DIVERGED"
    assert prepared.folder.status()["step"] == 5


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


@pytest.mark.parametrize(
    ("budget", "steps"), [("max_epochs=2", 28), ("max_seconds=0.5", None), ("max_steps=5", 5)]
)
def test_budgets(tiny, budget, steps):
    prepared = tiny("training.max_steps=null", f"training.{budget}")
    assert run(prepared) == "FINISHED"
    result = prepared.folder.result()
    if steps is None:
        assert 0.5 <= result.train_seconds < 2
    else:
        assert result.steps == steps
        assert result.batches_per_epoch == 14


def test_double_precision_stays_double_when_a_run_is_opened(tiny):
    prepared = tiny("training.precision=float64", "decoder=luong")
    assert run(prepared) == "FINISHED"
    loaded = load_run(prepared.folder.path)
    assert {p.dtype for p in loaded.module.parameters()} == {torch.float64}
    again = evaluate(loaded.module, loaded.task, "test", loaded.config)
    assert again == prepared.folder.result().metrics.test


def test_bfloat16_runs_or_is_refused_by_name(tiny):
    settings = ("training.precision=bfloat16", "decoder=luong")
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert run(tiny(*settings)) == "FINISHED"
    else:
        with pytest.raises(ConfigError, match="precision is 'bfloat16'"):
            tiny(*settings)


def test_the_gradient_is_clipped_and_its_norm_recorded(tiny):
    prepared = tiny(
        "training/optimizer=sgd",
        "training.learning_rate=1.0",
        "training.gradient_clip_norm=0.01",
        "training.max_steps=1",
    )
    run(prepared)
    before = build_model(prepared.config, prepared.task).state_dict()
    after = weights(prepared)
    change = sum(float((after[name] - before[name]).square().sum()) for name in after) ** 0.5
    assert change == pytest.approx(0.01, rel=1e-3)
    line = json.loads(prepared.folder.metrics.read_text().splitlines()[0])
    assert line["train/gradient_norm"] > 0.01


def test_it_learns(tiny):
    prepared = tiny("decoder=luong", "training.max_steps=300", "training.learning_rate=0.03")
    run(prepared)
    assert prepared.folder.result().metrics.test["exact_match"] >= 0.5


def test_a_run_can_be_opened_and_predicts_what_it_recorded(tiny):
    prepared = tiny("decoder=luong")
    run(prepared)
    for data in (True, False):
        loaded = load_run(prepared.folder.path, data=data)
        recorded = [
            json.loads(line) for line in prepared.folder.predictions.read_text().splitlines()
        ]
        lines = [one["source"] for one in recorded]
        assert predict(loaded, lines) == [one["prediction"] for one in recorded]
        assert predict(loaded, ["", lines[0]]) == ["", recorded[0]["prediction"]]
    with pytest.warns(UserWarning, match="never seen in training, read as unknown: '77', '78'"):
        predict(loaded, ["77 78"])


@pytest.mark.parametrize("target", ["builtins.open", "decoderlab.records.run_folder.os.mkdir"])
def test_a_foreign_class_in_a_run_folder_is_not_built(tiny, tmp_path, target):
    prepared = tiny()
    run(prepared)
    canary = tmp_path / "canary"
    config = OmegaConf.load(prepared.folder.config)
    argument = {"builtins.open": {"file": str(canary), "mode": "w"}}
    config.task = {"_target_": target, **argument.get(target, {"path": str(canary)})}
    OmegaConf.save(config, prepared.folder.config)
    for data in (True, False):
        with pytest.raises(ConfigError, match="--trust"):
            load_run(prepared.folder.path, data=data)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("vocabularies", "{", "is damaged"),
        ("vocabularies", "[]", "is damaged"),
        ("vocabularies", None, "is of other data"),
        ("config", "a: 1", "is damaged"),
        ("config", "- 1", "is damaged"),
    ],
)
def test_a_run_folder_that_was_edited_is_refused(tiny, name, text, message):
    prepared = tiny("training.max_steps=1")
    run(prepared)
    path = getattr(prepared.folder, name)
    if text is None:
        text = json.dumps(json.loads(path.read_text()) | {"fingerprint": "x"})
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_run(prepared.folder.path, data=False)


def test_a_long_line_costs_its_own_memory_alone(tiny, monkeypatch):
    prepared = tiny("training.max_steps=1")
    run(prepared)
    loaded = load_run(prepared.folder.path)
    shapes = []
    forward = type(loaded.module).forward

    def seen(self, source, *more):
        shapes.append(tuple(source.shape))
        return forward(self, source, *more)

    monkeypatch.setattr(type(loaded.module), "forward", seen)
    lines = ["1 2", "1 " * 500, "", "2 1", "3"]
    found = predict(loaded, lines)
    assert sorted(shapes) == [(1, 1), (1, 500), (2, 2)]
    assert found == [one for line in lines for one in predict(loaded, [line])]


def test_opening_what_is_no_run_says_so(tiny, tmp_path):
    with pytest.raises(ConfigError, match="not the folder of a finished run"):
        load_run(tmp_path)
    prepared = tiny()
    run(prepared)
    best = next(prepared.folder.checkpoints.glob("best-*.ckpt"))
    best.write_bytes(b"x")
    with pytest.raises(ConfigError, match="damaged"):
        load_run(prepared.folder.path)
    prepared.folder.result_file.write_text("[]")
    with pytest.raises(Invalid):
        prepared.folder.result()


def test_a_second_signal_stops_at_once():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.signum == signal.SIGINT
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
