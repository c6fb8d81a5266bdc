"""Ours against torch's own modules, and against loops over the papers' formulas, in float64."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from decoderlab.contract import State, TokenSpace, ValueSpace
from decoderlab.decoders.attention import Attention, ScaledDotScore
from decoderlab.layers import GRUResetSummary, LSTMLayerNorm
from decoderlab.layers.recurrent_stack import RecurrentLayers
from decoderlab.testing.encoder_outputs import parts_of
from decoderlab.training.objective import negative_log_likelihood
from tests.conftest import CELLS

close = partial(torch.testing.assert_close, rtol=0, atol=1e-12)
LENGTHS = torch.tensor([3, 5, 1, 4])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


@torch.no_grad()
def randomise(module):
    """Give large random weights to all parameters, so that no term is small, zero or one."""
    for parameter in module.parameters():
        parameter.normal_(std=0.7)
    return module


def agree(ours, theirs, inputs):
    """Compare outputs, and the gradients of a random sum of them."""
    weights = [torch.randn_like(one) for one in ours]
    gradients = []
    for outputs in (ours, theirs):
        total = sum((weight * one).sum() for weight, one in zip(weights, outputs, strict=True))
        gradients.append(torch.autograd.grad(total, inputs))
    for one, other in zip((*ours, *gradients[0]), (*theirs, *gradients[1]), strict=True):
        close(one, other)
    for gradient in gradients[0]:
        assert gradient.abs().max() > 1e-3


def test_scaled_dot_is_multi_head_attention_with_one_head():
    size = 4
    reference = nn.MultiheadAttention(size, 1, bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.eye(size).repeat(3, 1))
        reference.out_proj.weight.copy_(torch.eye(size))
    query, memory = normal(4, 3, size), normal(4, 5, size)
    memory_mask = torch.arange(5) < LENGTHS.unsqueeze(1)
    ours = Attention(score=ScaledDotScore, query_size=size, memory_size=size)
    keys = ours.score.keys(memory)
    found = ours.read(query, memory, keys, memory_mask, None)[:2]
    expected = reference(query, memory, memory, key_padding_mask=~memory_mask)
    agree(found, expected, [query, memory])


def test_a_gru_that_gates_no_summary_is_torchs_gru_cell():
    cell = randomise(GRUResetSummary(input_size=3, hidden_size=4).double())
    reference = nn.GRUCell(3, 4, dtype=torch.float64)
    copy_gru(cell, reference)
    inputs, hidden = normal(5, 3), normal(5, 4)
    found = cell.advance(cell.project(inputs.unsqueeze(1))[:, 0], State(hidden, None))
    assert found.cell is None
    agree([found.hidden], [reference(inputs, hidden)], [inputs, hidden])


@torch.no_grad()
def copy_gru(cell, reference, suffix=""):
    """Copy weights; torch's r * (U h + b) is ours where that b is zero."""
    part = {name.removesuffix(suffix): value for name, value in reference.named_parameters()}
    part["weight_ih"].copy_(cell.weight_ih)
    part["weight_hh"].copy_(cell.weight_hh)
    part["bias_hh"].normal_()
    part["bias_hh"][-cell.hidden_size :] = 0
    part["bias_ih"].copy_(cell.bias - part["bias_hh"])


def test_stepped_layers_are_torchs_packed_gru_with_its_weights():
    # 2 layers, both directions, rows of different lengths, a first state that is not zero.
    options = {"input_size": 3, "hidden_size": 4, "num_layers": 2, "bidirectional": True}
    ours = randomise(RecurrentLayers(cell=GRUResetSummary, **options).double())
    reference = nn.GRU(**options, batch_first=True, dtype=torch.float64)
    for level, layer in enumerate(ours.layers):
        for cell, direction in zip(layer.cells, ("", "_reverse"), strict=True):
            copy_gru(cell, reference, suffix=f"_l{level}{direction}")
    inputs, first = normal(4, 6, 3), normal(4, 4, 4)  # a sixth position that no row reaches
    outputs, last = ours(inputs, State(first, None), LENGTHS)
    packed = pack_padded_sequence(inputs, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, after = reference(packed, first)
    expected, _ = pad_packed_sequence(expected, batch_first=True, total_length=6)
    agree([outputs, last.hidden], [expected, after], [inputs, first])
    # Without lengths all rows have all steps.
    outputs, last = ours(inputs, State(first, None))
    agree([outputs, last.hidden], reference(inputs, first), [inputs, first])


def test_the_layer_norm_lstm_is_ba_et_al_2016():
    ours = randomise(RecurrentLayers(cell=LSTMLayerNorm, input_size=3, hidden_size=4).double())
    inputs, first = normal(1, 5, 3), State(normal(1, 1, 4), normal(1, 1, 4))
    outputs, last = ours(inputs, first)

    start = "layers.0.cells.0."
    p = {name.removeprefix(start): value for name, value in ours.state_dict().items()}
    p = {name: value.numpy() for name, value in p.items()}
    W_x, W_h, b = p["weight_ih"], p["weight_hh"], p["bias"]

    def LN(z, name):  # eq. 15 and 16; the 1e-5 is torch's
        deviation = np.sqrt(((z - z.mean()) ** 2).mean() + 1e-5)
        return p[f"{name}.weight"] * (z - z.mean()) / deviation + p[f"{name}.bias"]

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    h, c = (part.detach().numpy().reshape(4) for part in (first.hidden, first.cell))
    for x, found in zip(inputs[0].detach().numpy(), outputs[0].detach().numpy(), strict=True):
        gates = LN(W_h @ h, "norm_hidden") + LN(W_x @ x, "norm_input") + b  # eq. 20
        i, f, g, o = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)  # eq. 21
        h = sigmoid(o) * np.tanh(LN(c, "norm_cell"))  # eq. 22
        np.testing.assert_allclose(found, h, rtol=0, atol=1e-12)
    np.testing.assert_allclose(last.hidden.detach().numpy()[0, 0], h, rtol=0, atol=1e-12)
    np.testing.assert_allclose(last.cell.detach().numpy()[0, 0], c, rtol=0, atol=1e-12)

    # No gradient is cut: all of them are those of finite differences.
    names = [name for name, _ in ours.named_parameters()]

    def run(inputs, hidden, cell, *values):
        named = dict(zip(names, values, strict=True))
        outputs, last = torch.func.functional_call(ours, named, (inputs, State(hidden, cell)))
        return outputs, last.hidden, last.cell

    assert torch.autograd.gradcheck(run, (inputs, first.hidden, first.cell, *ours.parameters()))


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one direction", "both"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh", "gru_reset_before", "lstm_layer_norm"])
def test_residual_stacks_are_a_loop_over_layers(cell, bidirectional):
    # Wu et al. 2016, eq. 6: what layer l + 1 reads is m^l + x^{l-1}, from the second layer on.
    options = {"cell": CELLS[cell], "hidden_size": 4, "bidirectional": bidirectional}
    ours = RecurrentLayers(input_size=3, num_layers=3, residual=True, **options)
    ours = randomise(ours.double())
    layers = []
    for level, layer in enumerate(ours.layers):
        width = 3 if level == 0 else 4 * ours.num_directions
        layers.append(RecurrentLayers(input_size=width, **options).double())
        layers[-1].layers[0].load_state_dict(copy.deepcopy(layer.state_dict()))
    inputs = normal(4, 5, 3)
    found, last = ours(inputs, lengths=LENGTHS)
    expected, states = torch.zeros_like(found), []
    for row, length in enumerate(LENGTHS.tolist()):  # each alone, so nothing needs a mask
        values, ends = inputs[row : row + 1, :length], []
        for level, layer in enumerate(layers):
            outputs, state = layer(values)
            values = outputs + values if level else outputs
            ends.append(torch.stack(parts_of(state)))
        expected[row, :length] = values[0]
        states.append(torch.cat(ends, dim=1))
    after = torch.stack(parts_of(last))
    agree([found, after], [expected, torch.cat(states, dim=2)], [inputs])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_label_smoothing_is_szegedy_et_al_2016(smoothing):
    # Section 7: q'(k) = (1 - epsilon) [k = y] + epsilon / K; the loss is -sum_k q'(k) log p(k).
    space = TokenSpace(6)
    logits = normal(2, 3, 6)
    target = torch.tensor([[4, 5, 2], [3, 2, space.pad_id]])
    total, count = negative_log_likelihood(logits, target, space, smoothing)
    expected = 0
    for row, place in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]:
        log_p = logits[row, place] - logits[row, place].exp().sum().log()
        for k in range(6):
            q = (1 - smoothing) * (k == int(target[row, place])) + smoothing / 6
            expected = expected - q * log_p[k]
    assert count == 5
    agree([total], [expected], [logits])  # of which padding has no part


@pytest.mark.parametrize("learned", [True, False], ids=["learned deviation", "deviation of 1"])
def test_the_likelihood_of_values_is_torchs_normal(learned):
    outputs, target = normal(2, 3, 4 if learned else 2), normal(2, 3, 2)
    total, count = negative_log_likelihood(outputs, target, ValueSpace(2))
    deviation = outputs[..., 2:].exp() if learned else 1.0
    expected = -torch.distributions.Normal(outputs[..., :2], deviation).log_prob(target).sum()
    assert count == 6
    agree([total], [expected], [outputs, target])
