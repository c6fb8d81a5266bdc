"""Every encoder YAML keeps the contract."""

from __future__ import annotations

import pytest
import torch

from decoderlab.contract import TokenSpace
from decoderlab.encoders import RecurrentEncoder
from tests.conftest import variants
from tests.contracts.pairs import LENGTHS, batch, build

ENCODERS = pytest.mark.parametrize("name", variants("encoder"))


@ENCODERS
def test_it_states_the_sizes_that_it_returns(name):
    encoder, _ = build(name, "repeat_vector")
    encoded = encoder(batch()[0], LENGTHS)
    shape = encoder.shape
    assert encoded.memory.shape == (3, 5, shape.memory_size)
    assert encoded.summary.shape == (3, shape.summary_size)
    assert encoded.state.hidden.shape == (shape.state_num_layers, 3, shape.state_size)
    assert (encoded.state.cell is not None) == shape.has_cell


@ENCODERS
def test_padding_and_batch_mates_have_no_influence(name):
    encoder, _ = build(name, "repeat_vector", "encoder.num_layers=2")
    source, _ = batch()
    together = encoder(source, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = encoder(source[row : row + 1, :length], LENGTHS[row : row + 1])
        torch.testing.assert_close(alone.memory[0], together.memory[row, :length])
        torch.testing.assert_close(alone.summary[0], together.summary[row])
        torch.testing.assert_close(alone.state.hidden[:, 0], together.state.hidden[:, row])
        if alone.state.cell is not None:
            torch.testing.assert_close(alone.state.cell[:, 0], together.state.cell[:, row])


@ENCODERS
def test_memory_is_zero_at_padding_and_the_mask_says_where(name):
    encoder, _ = build(name, "repeat_vector")
    encoded = encoder(batch()[0], LENGTHS)
    assert encoded.memory_mask.sum(dim=1).tolist() == LENGTHS.tolist()
    assert (encoded.memory[~encoded.memory_mask] == 0).all()
    assert (encoded.memory[encoded.memory_mask].abs().sum(dim=-1) > 0).all()


@ENCODERS
def test_order_in_the_batch_has_no_influence(name):
    encoder, _ = build(name, "repeat_vector")
    source, _ = batch()
    order = torch.tensor([2, 0, 1])
    shuffled = encoder(source[order], LENGTHS[order])
    torch.testing.assert_close(shuffled.summary, encoder(source, LENGTHS).summary[order])


@ENCODERS
def test_reversal_reads_backwards_and_returns_memory_in_the_sources_order(name):
    forward, _ = build(name, "repeat_vector")
    backward, _ = build(name, "repeat_vector", "encoder.reverse_source=true")
    backward.load_state_dict(forward.state_dict())
    source, _ = batch()
    for row, length in enumerate(LENGTHS.tolist()):
        flipped = forward(source[row : row + 1, :length].flip(1), LENGTHS[row : row + 1])
        encoded = backward(source, LENGTHS)
        torch.testing.assert_close(encoded.summary[row], flipped.summary[0])
        torch.testing.assert_close(encoded.memory[row, :length], flipped.memory[0].flip(0))


def test_one_hot_vectors_are_an_identity_embedding():
    torch.manual_seed(0)
    one_hot = RecurrentEncoder(tokens=TokenSpace(7), cell="lstm", hidden_size=3)
    learned = RecurrentEncoder(tokens=TokenSpace(7), cell="lstm", hidden_size=3, embedding_size=7)
    learned.rnn.load_state_dict(one_hot.rnn.state_dict())
    with torch.no_grad():
        learned.embedding.weight.copy_(torch.eye(7))
    source, lengths = torch.tensor([[4, 5, 6]]), torch.tensor([3])
    assert torch.equal(one_hot(source, lengths).memory, learned(source, lengths).memory)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"cell": "lsmt"}, "Did you mean lstm"),
        ({"hidden_size": 0}, "at least 1"),
        ({"num_layers": 0}, "at least 1"),
        ({"dropout": 1.5}, "below 1"),
        ({"embedding_size": 0}, "at least 1"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        RecurrentEncoder(**{"tokens": TokenSpace(7), "cell": "lstm", "hidden_size": 3} | setting)
