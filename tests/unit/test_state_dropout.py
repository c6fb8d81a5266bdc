"""Zoneout, and dropout with one mask for all steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from decoderlab.config.scientific import scientific_of
from decoderlab.contract import State, TokenSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.encoders import RecurrentEncoder
from decoderlab.layers import LSTM, MinGRU
from decoderlab.layers.recurrent_stack import RecurrentLayers
from decoderlab.testing import check_decoder, check_encoder
from tests import parts
from tests.conftest import CELLS, composed

SIZES = {"input_size": 3, "hidden_size": 4}
INPUTS = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.double)
LENGTHS = torch.tensor([5, 2])


def layers(cell=LSTM, seed: int = 0, **settings) -> RecurrentLayers:
    torch.manual_seed(seed)
    return RecurrentLayers(cell=cell, **SIZES, **settings).double()


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def test_in_evaluation_zoneout_is_the_mean_of_both():
    made = layers(zoneout=0.3).eval()
    p = {
        name[-len("weight_ih_l0") :]: one.detach().numpy() for name, one in made.named_parameters()
    }
    bias = sum(one for name, one in p.items() if "bias" in name)
    hidden, cell, outputs = np.zeros(4), np.zeros(4), []
    for read in INPUTS[0].numpy():
        gates = p["weight_ih_l0"] @ read + p["weight_hh_l0"] @ hidden + bias
        write, keep, content, output = np.split(gates, 4)
        new = sigmoid(keep) * cell + sigmoid(write) * np.tanh(content)
        # Krueger et al. 2017, section 3.1: the output reads the cell before its zoneout
        hidden = 0.3 * hidden + 0.7 * sigmoid(output) * np.tanh(new)
        cell = 0.3 * cell + 0.7 * new
        outputs.append(hidden)
    with torch.no_grad():
        ours, last = made(INPUTS)
    np.testing.assert_allclose(ours[0], outputs, rtol=0, atol=1e-10)
    np.testing.assert_allclose(last.cell[0, 0], cell, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", CELLS)
def test_in_training_a_number_stays_or_changes_as_a_coin_falls(name):
    made = layers(CELLS[name], zoneout=0.25)
    cell, inputs = made.cell_of(0, 0), torch.randn(4000, 1, 3).double()
    state = made.begin(State(*torch.randn(1 + made.has_cell, 1, 4000, 4).double()))
    with torch.no_grad():
        _, new = made(inputs, state)
        changed = cell.advance(cell.project(inputs)[:, 0], state.map(lambda part: part[0]))
    stayed = new.hidden[0] == state.hidden[0]
    torch.testing.assert_close(new.hidden[0][~stayed], changed.hidden[~stayed])
    assert stayed.double().mean() == pytest.approx(0.25, abs=0.03)
    if made.has_cell:
        kept = new.cell[0] == state.cell[0]
        assert kept.double().mean() == pytest.approx(0.25, abs=0.03)
        assert (kept != stayed).any()
    for part, expected in zip(new.further, changed.further, strict=True):
        torch.testing.assert_close(part[0], expected)


@pytest.mark.parametrize("cell", [LSTM, MinGRU])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_zoneout_of_zero_is_none_and_padding_has_no_influence(cell, bidirectional):
    made = layers(cell, zoneout=0.25, bidirectional=bidirectional).eval()
    with torch.no_grad():
        outputs, last = made(INPUTS, lengths=LENGTHS)
        alone, end = made(INPUTS[1:, :2])
        torch.testing.assert_close(outputs[1:, :2], alone)
        torch.testing.assert_close(last.hidden[:, 1:], end.hidden)
        assert not outputs[1, 2:].any()
        looped, plain = layers(cell, zoneout=1e-12).eval(), layers(cell).eval()
        torch.testing.assert_close(looped(INPUTS)[0], plain(INPUTS)[0])


def reads(made: RecurrentLayers) -> list[torch.Tensor]:
    """Return what the layers will have read, call by call."""
    seen = []
    for layer in made.layers:
        whole = layer.sequence
        layer.sequence = lambda x, *rest, w=whole: (seen.append(x.detach()), w(x, *rest))[1]
    return seen


@pytest.mark.parametrize("cell", [LSTM, MinGRU])
def test_a_mask_is_one_for_all_steps_and_new_for_each_row_and_sequence(cell):
    made = layers(cell, num_layers=2, variational_dropout=0.5).train()
    seen, inputs = reads(made), INPUTS.expand(40, -1, -1, -1).flatten(0, 1)
    for _ in range(2):
        made(inputs)
    for read in seen:
        dropped = read == 0
        assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
        assert dropped.double().mean() == pytest.approx(0.5, abs=0.15)
        assert not torch.equal(dropped[0::2], dropped[1::2])
    assert not torch.equal(seen[0] == 0, seen[2] == 0)
    torch.testing.assert_close(seen[0], torch.where(seen[0] == 0, 0, 2 * inputs))
    seen.clear()
    made.eval()(INPUTS)
    torch.testing.assert_close(seen[0], INPUTS)


def test_with_its_masks_a_sequence_can_be_cut():
    made = layers(num_layers=2, variational_dropout=0.5).train()
    masks = made.input_masks(INPUTS)
    whole, last = made(INPUTS, masks=masks)
    first, state = made(INPUTS[:, :2], masks=masks)
    second, end = made(INPUTS[:, 2:], state, masks=masks)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(end.cell, last.cell)


ENCODER = RecurrentEncoder(source_space=TokenSpace(9), cell=LSTM, hidden_size=4)
DECODER = {
    "target_space": TokenSpace(9),
    "encoder_shape": ENCODER.shape,
    "cell": LSTM,
    "hidden_size": 4,
    "routes": ["initial_state", "first_input"],
    "bridge": parts.bridge("copy"),
}


def test_a_decoder_that_trains_step_by_step_has_one_mask_for_all_steps():
    free = parts.chosen("feedback", "free_running")
    sizes = {"embedding_size": 6, "variational_dropout": 0.5}
    made = RecurrentDecoder(**DECODER, feedback=free, **sizes).train()
    seen = reads(made.rnn)
    read = ENCODER(torch.tensor([[4, 5, 6], [7, 8, 0]]), torch.tensor([3, 2]))
    made(read, torch.randint(4, 9, (2, 6)))
    assert len(seen) == 1 + 6  # the first input, and a call for each step
    for one in seen:
        assert torch.equal(one == 0, seen[0] == 0)
    assert made.eval().start(read).masks is None


BOTH = {"zoneout": 0.2, "variational_dropout": 0.2, "cell": LSTM, "hidden_size": 8}


@pytest.mark.slow
def test_an_encoder_with_both_passes_the_battery():
    check_encoder(RecurrentEncoder, num_layers=2, **BOTH)


@pytest.mark.slow
def test_a_decoder_with_both_passes_the_battery():
    check_decoder(RecurrentDecoder, routes=DECODER["routes"], bridge=DECODER["bridge"], **BOTH)


@pytest.mark.parametrize("name", ["zoneout", "variational_dropout"])
def test_a_share_out_of_range_is_refused_by_name(name):
    with pytest.raises(ValueError, match=rf"{name} is 1.0; it must be at least 0 and below 1"):
        layers(**{name: 1.0})


@pytest.mark.parametrize("group", ["encoder", "decoder"])
def test_they_name_a_run_only_where_they_are_on(group):
    record = {key: dict(composed()[key]) for key in ("task", "encoder", "decoder", "training")}
    record |= {"evaluation": {}, "seed": 0, "callbacks": {}}
    record["trainer"] = {"devices": 1, "num_nodes": 1}
    for name in ("zoneout", "variational_dropout"):
        assert record[group][name] == 0
        assert name not in scientific_of(record)[group]
        record[group][name] = 0.1
        assert scientific_of(record)[group][name] == 0.1
