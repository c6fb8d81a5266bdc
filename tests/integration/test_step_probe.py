"""What is recorded step by step is what the trained model does, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from decoderlab.training import probes
from decoderlab.training.loading import load_run
from decoderlab.training.step_probe import NUM_EXAMPLES, step_rows
from tests.conftest import run


def recorded(prepared):
    """Return the arrays of a finished run, its predictions and its model."""
    assert run(prepared) == "FINISHED"
    lines = list(map(json.loads, prepared.folder.predictions.read_text().splitlines()))
    return probes.read(prepared.folder.probes), lines, load_run(prepared.folder.path)


def lists(arrays, name):
    return [json.loads(str(text)) for text in arrays[name]]


def test_the_steps_are_those_of_the_predictions(tiny):
    arrays, lines, loaded = recorded(tiny("decoder=luong"))
    rows = arrays["step_rows"].tolist()
    assert rows == step_rows(len(lines))
    assert len(rows) == NUM_EXAMPLES
    written = lists(arrays, "step_written")
    for row, tokens, source in zip(rows, written, lists(arrays, "step_source"), strict=True):
        assert tokens == [*lines[row]["prediction"].split(), "<eos>"]
        assert source == lines[row]["source"].split()
    for index, (tokens, best) in enumerate(zip(written, lists(arrays, "step_best"), strict=True)):
        probability = arrays["step_probability"][index]
        number = probability.shape[1]
        # What was written greedily is the most probable at each step.
        assert best[::number] == tokens
        assert len(best) == number * len(tokens)
        assert (np.diff(probability[: len(tokens)], axis=1) <= 0).all()
        assert not probability[len(tokens) :].any()
        assert not arrays["step_attention"][index, len(tokens) :].any()
        sums = arrays["step_attention"][index, : len(tokens)].sum(axis=1)
        assert sums == pytest.approx(np.ones(len(tokens)), abs=1e-2)


def test_the_numbers_are_those_of_the_model_one_by_one(tiny):
    arrays, lines, loaded = recorded(tiny("decoder=luong"))
    rows, module = arrays["step_rows"].tolist(), loaded.module
    written = lists(arrays, "step_written")
    vocabulary = loaded.task.data.target_vocabulary
    split = loaded.task.data.splits["test"]
    space = module.target_space

    def steps(row, other_summary=None, other_memory=None):
        """Return the distribution of each step, with another row's summary or memory."""
        encoded = module.encode(*source(row))
        if other_summary is not None:
            other = module.encode(*source(other_summary))
            encoded = encoded._replace(summary=other.summary, state=other.state)
        if other_memory is not None:
            other = module.encode(*source(other_memory))
            encoded = encoded._replace(memory=other.memory, memory_mask=other.memory_mask)
        state, found = module.decoder.start(encoded), []
        ids = vocabulary.encode(written[rows.index(row)][:-1])
        for before in [space.bos_id, *ids]:
            logits, state = module.decoder.step(torch.tensor([before]), state)
            logits[..., space.never_generated] = -torch.inf
            found.append(logits.softmax(-1)[0])
        return torch.stack(found)

    def source(row):
        batch = split.batch(torch.tensor([row]))
        return batch.source, batch.source_lengths

    with torch.no_grad():
        for index, row in enumerate(rows):
            mine, other = steps(row), rows[index - 1]
            length = len(written[index])
            expected = mine.topk(arrays["step_probability"].shape[2]).values
            shown = torch.tensor(arrays["step_probability"][index, :length])
            assert torch.allclose(shown, expected, atol=1e-5)
            for column, swapped in enumerate(
                (steps(row, other_summary=other), steps(row, other_memory=other))
            ):
                moved = (mine - swapped).abs().sum(-1) / 2
                leaning = torch.tensor(arrays["step_leaning"][index, :length, column])
                assert torch.allclose(leaning, moved, atol=1e-5)


@pytest.mark.parametrize(
    ("decoder", "leans"),
    [
        ("repeat_vector", (True, False, False)),
        ("initial_state_no_feedback", (True, False, False)),
        ("every_input", (True, False, True)),
        ("luong", (True, True, True)),
        ("transformer", (False, True, True)),
        ("softmax_feedback", (True, False, False)),
    ],
)
def test_a_step_leans_on_what_its_decoder_has(tiny, decoder, leans):
    encoder = "transformer" if decoder == "transformer" else "lstm"
    arrays, *_ = recorded(tiny(f"decoder={decoder}", f"encoder={encoder}"))
    leaning = np.nan_to_num(arrays["step_leaning"])
    assert ((leaning >= 0) & (leaning <= 1)).all()
    # Before the first token all decoders are given the same: nothing else could stand there.
    assert np.isnan(arrays["step_leaning"][:, 0, 2]).all()
    assert tuple(bool((leaning[..., column] > 1e-6).any()) for column in range(3)) == leans
    assert ("step_attention" in arrays) == (decoder == "luong")


def test_real_values_and_single_examples_have_no_steps(tiny):
    arrays, *_ = recorded(tiny("decoder=luong", "task.num_test=1"))
    assert "step_rows" not in arrays
    assert "summaries" in arrays


@pytest.mark.parametrize("spoilt", ["step_best", "step_written", "step_leaning", "step_rows"])
def test_arrays_that_are_no_probes_are_not_read(tiny, tmp_path, spoilt):
    arrays, *_ = recorded(tiny("decoder=luong"))
    path = tmp_path / "probes.npz"
    np.savez(path, **arrays)
    assert probes.read(path).keys() == arrays.keys()
    np.savez(path, **{name: one for name, one in arrays.items() if name != spoilt})
    assert probes.read(path) == {}
    np.savez(path, **(arrays | {spoilt: np.array(["{"] * len(arrays[spoilt]))}))
    assert probes.read(path) == {}
