"""Every encoder YAML keeps the contract."""

from __future__ import annotations

import pytest
import torch

from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.encoders import ConvolutionalEncoder, RecurrentEncoder, TransformerEncoder
from decoderlab.layers import GRU, LSTM, GRUResetSummary
from decoderlab.testing import check_encoder
from tests import parts
from tests.conftest import CELLS, variants
from tests.contracts.pairs import settings, source_space

LENGTHS = torch.tensor([5, 3, 4])
RECURRENT = [
    name for name in variants("encoder") if settings("encoder", name)[0] is RecurrentEncoder
]


def make(**given):
    torch.manual_seed(0)
    chosen = {"source_space": TokenSpace(11), "cell": LSTM, "hidden_size": 3} | given
    return RecurrentEncoder(**chosen).double()


@pytest.mark.thinned(4)
@pytest.mark.parametrize("name", variants("encoder"))
def test_it_passes_the_battery(name):
    target, chosen = settings("encoder", name)
    check_encoder(target, source_space=source_space(name), **chosen)


@pytest.mark.thinned(7)
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_passes_it_deep_and_in_both_directions(cell):
    chosen = {"cell": CELLS[cell], "bidirectional": True, "residual": True}
    check_encoder(RecurrentEncoder, hidden_size=3, num_layers=2, **chosen)


@parts.some_quick(
    summary=["last", "backward", "mean", "max"],
    summary_size=[None, 5],
    reverse_source=[False, True],
)
def test_every_summary_passes_it(summary, summary_size, reverse_source):
    chosen = {"summary": summary, "summary_size": summary_size, "reverse_source": reverse_source}
    check_encoder(RecurrentEncoder, cell=GRU, hidden_size=3, bidirectional=True, **chosen)


@pytest.mark.parametrize(
    ("kind", "chosen"),
    [
        (RecurrentEncoder, {"cell": LSTM, "embedding_size": 4}),
        (RecurrentEncoder, {"cell": GRU, "bidirectional": True, "reverse_source": True}),
        (ConvolutionalEncoder, {}),
        (TransformerEncoder, {"num_heads": 2}),
    ],
)
def test_values_are_read_like_tokens(kind, chosen):
    check_encoder(kind, source_space=ValueSpace(2), hidden_size=4, **chosen)


@pytest.mark.parametrize("name", RECURRENT)
def test_reversal_reads_backwards_and_returns_memory_in_the_sources_order(name):
    target, chosen = settings("encoder", name)
    chosen |= {"source_space": TokenSpace(11)}
    forward, backward = target(**chosen), target(**chosen | {"reverse_source": True})
    backward.load_state_dict(forward.state_dict())
    source = torch.randint(4, 11, (3, 5), generator=torch.Generator().manual_seed(1))
    encoded = backward(source, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        flipped = forward(source[row : row + 1, :length].flip(1), LENGTHS[row : row + 1])
        torch.testing.assert_close(encoded.summary[row], flipped.summary[0])
        torch.testing.assert_close(encoded.memory[row, :length], flipped.memory[0].flip(0))


def test_one_hot_vectors_are_an_identity_embedding():
    one_hot, learned = make(), make(embedding_size=11)
    learned.rnn.load_state_dict(one_hot.rnn.state_dict())
    with torch.no_grad():
        learned.embedding.weight.copy_(torch.eye(11))
    source, lengths = torch.tensor([[4, 5, 6]]), torch.tensor([3])
    assert torch.equal(one_hot(source, lengths).memory, learned(source, lengths).memory)


def test_summaries_are_what_their_names_say():
    source = torch.tensor([[4, 5, 6, 7, 8], [9, 5, 6, 0, 0], [4, 4, 9, 9, 0]])
    found = {}
    for summary in ("last", "backward", "mean", "max"):
        encoder = make(bidirectional=True, summary=summary)
        found[summary] = encoder(source, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        memory = found["last"].memory[row, :length]
        ends = torch.cat([memory[-1, :3], memory[0, 3:]])
        torch.testing.assert_close(found["last"].summary[row], ends)
        torch.testing.assert_close(found["backward"].summary[row], memory[0, 3:])
        torch.testing.assert_close(found["mean"].summary[row], memory.mean(dim=0))
        torch.testing.assert_close(found["max"].summary[row], memory.amax(dim=0))
    projected = make(summary_size=4)
    encoded = projected(source, LENGTHS)
    expected = torch.tanh(projected.summarise(encoded.state.hidden[-1]))
    torch.testing.assert_close(encoded.summary, expected)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"cell": "lstm"}, "it must be a class, such as decoderlab.layers.LSTM"),
        ({"cell": GRUResetSummary}, "which decoders alone are given"),
        ({"hidden_size": 0}, "at least 1"),
        ({"num_layers": 0}, "at least 1"),
        ({"dropout": 1.5}, "below 1"),
        ({"embedding_size": 0}, "at least 1"),
        ({"residual": True}, "num_layers=2"),
        ({"summary": "backward"}, "bidirectional=true"),
        ({"summary": "first"}, "must be one of last, backward"),
        ({"summary_size": 0}, "at least 1"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        make(**setting)
