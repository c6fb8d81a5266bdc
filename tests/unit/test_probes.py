"""What is looked at after a run's test, against the run's own predictions and by hand."""

from __future__ import annotations

import errno
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from decoderlab.contract import Encoded
from decoderlab.data.packed_outcomes import unpack
from decoderlab.data.vocabulary import Vocabulary
from decoderlab.training import probes
from decoderlab.training.loading import load_run
from decoderlab.training.memory_probe import influence_by_position, partners
from decoderlab.training.model_evaluation import evaluate
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.probes import probe
from decoderlab.usage.outputs import predict
from tests.conftest import run


def looked_at(prepared):
    """Return a finished run's probes, result, predictions and loaded model."""
    assert run(prepared) == "FINISHED"
    lines = list(map(json.loads, prepared.folder.predictions.read_text().splitlines()))
    result = prepared.folder.result()
    return result.probes, result, lines, load_run(prepared.folder.path)


@pytest.mark.parametrize("written", ["by its slot", "by its own id", "wrongly"])
def test_a_word_may_be_written_either_way_where_it_has_a_slot(written):
    vocabulary = Vocabulary(["Ur", "to"], unknown_slots=2)
    task = SimpleNamespace(
        append_eos=False,
        data=SimpleNamespace(target_vocabulary=vocabulary),
        words_of=lambda split, row: ["Ur"],
    )
    slot, own, other = vocabulary.first_slot, *vocabulary.encode(["Ur", "to"])
    first = {"by its slot": slot, "by its own id": own, "wrongly": other}[written]
    batch = SimpleNamespace(index=torch.tensor([0]), target=torch.tensor([[slot, other]]))
    outputs = torch.nn.functional.one_hot(torch.tensor([[first, other]]), vocabulary.space.size)
    model = SimpleNamespace(met_limit=lambda ids: False)
    real, free, forced = probes._hits(model, task, batch, outputs.float(), [[slot, other]])
    assert real.all()
    assert free.all()
    assert forced.tolist() == [[written != "wrongly", True]]


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


def test_of_several_right_targets_the_nearest_counts(tiny, tmp_path):
    """Each source has both targets: an output is right at each of its positions."""
    file = tmp_path / "pairs.tsv"
    pairs = [(f"{a}{b}", word) for a in "abcdefgh" for b in "abcdefgh" for word in ("x", "yyy")]
    file.write_text("source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in pairs))
    prepared = tiny(
        *(f"task.path={file}", "decoder=luong", "training.max_steps=150"),
        *("training.learning_rate=0.03", "evaluation.every_steps=50"),
        task="tsv",
    )
    counts, result, lines, _ = looked_at(prepared)
    assert result.metrics.test["exact_match"] == result.metrics.test["token_accuracy"] == 1
    places, written = counts["by_position"], [len(line["prediction"]) for line in lines]
    reached = [sum(length + 1 > place for length in written) for place in range(4)]
    assert places["number"][:4] == places["free"][:4] == reached
    assert counts["by_length"] == {
        str(length): [written.count(length)] * 2 for length in sorted(set(written))
    }


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
    """Of one drawn at random, whatever its length and however examples are put into batches."""
    counts, _, lines, loaded = looked_at(tiny("decoder=all_routes", "run.evaluation_batch_size=7"))
    split, never = loaded.task.data.splits["test"], loaded.module.target_space.never_generated
    sums = np.zeros((2, loaded.task.data.max_target_length))
    lengths = []
    for row, partner in enumerate(partners(len(lines)).tolist()):
        own, other = (split.batch(torch.tensor([each])) for each in (row, partner))
        with torch.no_grad():
            read, others = (
                loaded.module.encoder(each.source, each.source_lengths) for each in (own, other)
            )
            swapped = read._replace(summary=others.summary, state=others.state)
            one, two = (
                loaded.module.decoder(each, own.target).index_fill(-1, torch.tensor(never), -99)
                for each in (read, swapped)
            )
        distance = (one.softmax(-1) - two.softmax(-1)).abs().sum(-1)[0] / 2
        before_the_end = len(lines[row]["target"].split())
        sums[0, :before_the_end] += distance[:before_the_end].numpy()
        sums[1, :before_the_end] += 1
        lengths.append(own.source_lengths.item() == other.source_lengths.item())
    assert len(set(lengths)) == 2
    reached = sums[1] > 0
    expected = (sums[0, reached] / sums[1, reached]).tolist()
    assert counts["summary_influence"] == pytest.approx(expected, abs=2e-5)
    assert max(expected) > 0
    loaded.task.evaluation_batch_size = 3
    again = influence_by_position(loaded.module, loaded.task)
    assert again == pytest.approx(expected, abs=2e-5)


class Remembers(torch.nn.Module):
    """Writes what the summary says stands at each position, less and less surely if it forgets."""

    uses_memory = False

    def __init__(self, size: int, eos_id: int, kept: float) -> None:
        super().__init__()
        self.size, self.eos_id, self.kept = size, eos_id, kept

    def forward(self, encoded: Encoded, target: torch.Tensor) -> torch.Tensor:
        length = target.shape[1]
        ids = torch.nn.functional.pad(encoded.summary.long(), (0, length))[:, :length]
        sure = 9.0 * self.kept ** torch.arange(length)
        return (
            torch.nn.functional.one_hot(ids.where(ids > 0, self.eos_id), self.size) * sure[:, None]
        )


class Reads(torch.nn.Module):
    """Has the source's ids as its summary."""

    def forward(self, source: torch.Tensor, lengths: torch.Tensor) -> Encoded:
        width = 20 - source.shape[1]
        mask = torch.ones_like(source, dtype=torch.bool)
        return Encoded(source[..., None], mask, torch.nn.functional.pad(source, (0, width)), None)


@pytest.mark.parametrize(("kept", "is_flat"), [(1.0, True), (0.7, False)])
def test_a_decoder_that_forgets_nothing_is_moved_alike_at_all_positions(tiny, kept, is_flat):
    task = tiny("task.min_length=3", "task.max_length=12", "task.num_test=400").task
    space = task.data.target_space
    model = EncoderDecoder(
        encoder=Reads(),
        decoder=Remembers(space.size, space.eos_id, kept),
        target_space=space,
        max_target_length=task.data.max_target_length,
    )
    moved = influence_by_position(model.eval(), task)
    assert len(moved) == 12  # the end is no position
    # Of six values another example has another one, or has ended, in at least five of six cases.
    assert moved[0] == pytest.approx(5 / 6, abs=0.06)
    if is_flat:
        assert min(moved) > 0.7
        assert moved[-1] >= moved[0] - 0.06
    else:
        assert moved[-1] < 0.2 * moved[0]
        assert all(after < before for before, after in zip(moved[2:], moved[3:], strict=False))


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
