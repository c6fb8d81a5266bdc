"""One run: its records, its repetition, its budget."""

from __future__ import annotations

import json
import math

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from decoderlab import load_run
from decoderlab.cli.evaluate import _evaluated
from decoderlab.common.errors import ConfigError
from decoderlab.decoders.feedback import ScheduledSampling
from decoderlab.training.assembly import build_model
from decoderlab.training.model_evaluation import evaluate
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


def test_how_a_metric_is_set_is_part_of_the_signature(tiny):
    """Scores of one name that do not mean the same are not compared."""
    name = "task.metrics.sequence"
    plain, own, counted, left_out = (
        tiny(*given)
        for given in (
            (),
            (f"+metric@{name}=sequence",),
            (f"+metric@{name}=sequence", f"{name}.targets_end=true"),
            (f"+metric@{name}=sequence", f"{name}.targets_end=false"),
        )
    )
    assert plain.run_id == own.run_id
    signatures = []
    for prepared in (plain, counted, left_out):
        assert run(prepared) == "FINISHED"
        result = prepared.folder.result()
        loaded = load_run(prepared.folder.path)
        assert _evaluated(loaded, "test")["signature"] == result.signature
        signatures.append(result.signature)
    assert len(set(signatures)) == 3
    assert "scores:" not in signatures[0]
    assert result.signatures == {name: "SequenceMetrics(targets_end=False)"}
    assert (
        result.metrics.test["token_accuracy"]
        != counted.folder.result().metrics.test["token_accuracy"]
    )


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


@pytest.mark.parametrize(
    ("budget", "steps"), [("max_epochs=2", 28), ("max_seconds=0.5", None), ("max_steps=5", 5)]
)
@pytest.mark.fault(41)
def test_budgets(tiny, budget, steps):
    prepared = tiny("training.max_steps=null", f"training.{budget}")
    assert run(prepared) == "FINISHED"
    result = prepared.folder.result()
    if steps is None:
        assert 0.5 <= result.train_seconds < 2
    else:
        assert result.steps == steps
        assert result.batches_per_epoch == 14


def test_bfloat16_runs_or_is_refused_by_name(tiny):
    settings = ("training.precision=bfloat16", "decoder=luong")
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        assert run(tiny(*settings)) == "FINISHED"
    else:
        with pytest.raises(ConfigError, match="precision is 'bfloat16'"):
            tiny(*settings)


@pytest.mark.fault(29)
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
