"""What is looked at after a run's test, against the run's own predictions and by hand."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest
import torch

from decoderlab.data.packed_outcomes import unpack
from decoderlab.training import probes
from decoderlab.training.loading import load_run
from decoderlab.training.model_evaluation import evaluate
from decoderlab.training.probes import exchanged, probe
from decoderlab.usage.outputs import predict
from tests.conftest import run


def looked_at(prepared):
    """Return a finished run's probes, result, predictions and loaded model."""
    assert run(prepared) == "FINISHED"
    lines = list(map(json.loads, prepared.folder.predictions.read_text().splitlines()))
    result = prepared.folder.result()
    return result.probes, result, lines, load_run(prepared.folder.path)


@pytest.mark.parametrize("task", ["echo", "shapes"])
def test_the_counts_are_those_of_the_predictions(tiny, task):
    encoder = "image_cnn" if task == "shapes" else "lstm"
    prepared = tiny(f"encoder={encoder}", "decoder=cho2014", task=task)
    counts, result, lines, loaded = looked_at(prepared)
    bits = unpack(counts, len(lines))
    assert bits.tolist() == [line["correct"] for line in lines]
    assert bits.mean() == result.metrics.test["exact_match"]
    of_length: dict[str, list[int]] = {}
    for line in lines:
        pair = of_length.setdefault(str(len(line["target"].split())), [0, 0])
        pair[0] += 1
        pair[1] += line["correct"]
    assert counts["by_length"] == of_length
    end = ["<eos>"]
    places = counts["by_position"]
    for place, (number, free) in enumerate(zip(places["number"], places["free"], strict=True)):
        pairs = [(line["target"].split() + end, line["prediction"].split() + end) for line in lines]
        reached = [(target, made) for target, made in pairs if len(target) > place]
        assert number == len(reached)
        right = [target[place] == made[place] for target, made in reached if len(made) > place]
        assert free == sum(right)


def test_an_output_that_was_cut_has_no_end(tiny):
    prepared = tiny("decoder=luong", "evaluation.max_length=2", "training.max_steps=1")
    counts, _, lines, loaded = looked_at(prepared)
    assert any(line.get("met_limit") for line in lines)
    assert 3 in loaded.task.data.splits["test"].target.lengths  # with its end
    assert sum(counts["by_position"]["free"][2:]) == 0
    arrays = probes.read(prepared.folder.probes)
    for name in ("step_written", "attention_target"):
        assert max(len(json.loads(text)) for text in arrays[name]) <= 2


def test_what_was_tested_in_bfloat16_is_looked_at_and_predicted_in_it(tiny, monkeypatch, capsys):
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this CPU has no bfloat16")
    seen, inner = [], probes._looked_at

    def looking(model, task):
        seen.append(torch.is_autocast_enabled("cpu"))
        return inner(model, task)

    monkeypatch.setattr(probes, "_looked_at", looking)
    *_, lines, loaded = looked_at(tiny("training.precision=bfloat16", "decoder=luong"))
    assert seen == [True]
    assert "no pictures" not in capsys.readouterr().err
    sources = [line["source"] for line in lines]
    assert predict(loaded, sources) == [line["prediction"] for line in lines]


def test_teacher_forced_positions_are_the_most_probable_tokens(tiny):
    counts, _, lines, loaded = looked_at(tiny("decoder=initial_state"))
    split = loaded.task.data.splits["test"]
    forced = np.zeros(len(counts["by_position"]["number"]), dtype=int)
    for row in range(len(lines)):
        batch = split.batch(torch.tensor([row]))
        with torch.no_grad():
            encoded = loaded.module.encoder(batch.source, batch.source_lengths)
            logits = loaded.module.decoder(encoded, batch.target)
        logits[..., loaded.module.target_space.never_generated] = -torch.inf
        ended = False
        for place, (logit, token) in enumerate(zip(logits[0], batch.target[0], strict=True)):
            predicted = int(logit.argmax())
            forced[place] += predicted == int(token) and not ended
            ended = ended or predicted == loaded.module.target_space.eos_id
    assert counts["by_position"]["forced"] == forced.tolist()


def test_a_decoder_that_sees_no_token_has_no_exposure_bias(tiny):
    counts, *_ = looked_at(tiny("decoder=repeat_vector"))
    assert counts["by_position"]["forced"] == counts["by_position"]["free"]


def test_the_influence_of_the_summary_is_the_distance_to_anothers(tiny):
    counts, _, lines, loaded = looked_at(tiny("decoder=all_routes", "run.evaluation_batch_size=7"))
    sums = np.zeros((2, len(counts["summary_influence"])))
    for batch in loaded.task.evaluation_batches("test"):
        if len(batch.index) < 2:
            continue
        with torch.no_grad():
            encoded = loaded.module.encoder(batch.source, batch.source_lengths)
            order = torch.arange(len(batch.index)).roll(1)
            other = loaded.module.encoder(batch.source[order], batch.source_lengths[order])
            swapped = encoded._replace(summary=other.summary, state=other.state)
            never = loaded.module.target_space.never_generated
            one, two = (
                loaded.module.decoder(each, batch.target).index_fill(-1, torch.tensor(never), -99)
                for each in (encoded, swapped)
            )
        distance = (one.softmax(-1) - two.softmax(-1)).abs().sum(-1) / 2
        real = batch.target != 0
        for place in range(batch.target.shape[1]):
            sums[0, place] += float(distance[:, place][real[:, place]].sum())
            sums[1, place] += int(real[:, place].sum())
    assert counts["summary_influence"] == pytest.approx((sums[0] / sums[1]).tolist(), abs=2e-5)
    assert max(counts["summary_influence"]) > 0


def test_exchanging_touches_summary_and_state_alone(tiny):
    *_, loaded = looked_at(tiny("decoder=luong"))
    batch = next(iter(loaded.task.evaluation_batches("test")))
    encoded = loaded.module.encoder(batch.source, batch.source_lengths)
    other = exchanged(encoded)
    assert torch.equal(other.memory, encoded.memory)
    assert torch.equal(other.summary[1:], encoded.summary[:-1])
    assert torch.equal(other.state.hidden[:, 0], encoded.state.hidden[:, -1])


def test_attention_maps_and_summaries_are_kept(tiny):
    prepared = tiny("decoder=luong")
    _, _, lines, loaded = looked_at(prepared)
    arrays = probes.read(prepared.folder.probes)
    assert arrays["summaries"].shape == (len(lines), 8)
    assert arrays["lengths"].tolist() == [len(line["target"].split()) for line in lines]
    assert arrays["first"].tolist() == [line["target"].split()[0] for line in lines]
    for place, weights in enumerate(arrays["attention"]):
        source = json.loads(str(arrays["attention_source"][place]))
        target = json.loads(str(arrays["attention_target"][place]))
        assert source == lines[place]["source"].split()
        assert target == [*lines[place]["prediction"].split(), "<eos>"]
        kept = weights[: len(target), : len(source)].astype(float)
        assert kept.sum(axis=1) == pytest.approx(1, abs=2e-3)
        assert not weights[len(target) :].any()
    again = probe_again(loaded)
    prepared.folder.probes.unlink()
    again.write(prepared.folder.probes)
    written = prepared.folder.probes.read_bytes()
    again.write(prepared.folder.probes)
    assert prepared.folder.probes.read_bytes() == written
    assert "attention" not in probes.read(prepared.folder.path / "none.npz")


def probe_again(loaded):
    evaluate(loaded.module, loaded.task, "test", loaded.config)
    return probe(loaded.module, loaded.task)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError(errno.EIO, os.strerror(errno.EIO)), "INTERRUPTED"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "INTERRUPTED"),
        (MemoryError(), "FAILED"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "FAILED"),
    ],
    ids=str,
)
def test_what_fails_of_the_machine_leaves_no_finished_run_without_its_pictures(
    tiny, monkeypatch, error, status
):
    def fails(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("decoderlab.training.train_and_test.probe", fails)
        prepared = tiny("decoder=luong")
        assert run(prepared) == status
    assert run(prepared) == "FINISHED"
    assert probes.read(prepared.folder.probes)


def test_a_module_that_cannot_be_probed_keeps_its_scores(tiny, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("no such thing")

    monkeypatch.setattr("decoderlab.training.train_and_test.probe", broken)
    prepared = tiny("decoder=luong")
    assert run(prepared) == "FINISHED", prepared.folder.status()["reason"]
    result = prepared.folder.result()
    bits = unpack(result.probes, 20)
    assert bits.mean() == result.metrics.test["exact_match"]
    assert result.probes["summary_influence"] == []
    assert probes.read(prepared.folder.probes) == {}
    assert load_run(prepared.folder.path).result == result
    assert "no pictures of this run: RuntimeError: no such thing" in capsys.readouterr().err
