"""sLSTM and mLSTM against those of their authors (package `xlstm`), with our weights.

Compared are the recurrences, which have one head here: not the blocks around them. The authors'
gates of an mLSTM see query, key and value, ours the input, so that theirs are given the gates.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.contract import State
from decoderlab.layers import MatrixLSTM, ScalarLSTM
from decoderlab.layers.recurrent_stack import RecurrentLayers
from tests.conftest import needs

pytestmark = needs("xlstm")
INPUT, HIDDEN, STEPS, LENGTHS = 3, 4, 9, (9, 6, 1)
ROOT, ROWS = math.sqrt(HIDDEN), len(LENGTHS)
NEAR = {"rtol": 1e-9, "atol": 1e-9}


@dataclass
class Case:
    """Our layer with one cell, what it reads, and the state that it begins with."""

    layers: RecurrentLayers
    inputs: Tensor
    first: Tensor

    @property
    def cell(self) -> Any:
        return self.layers.cell_of(0, 0)

    def step_by_step(self) -> tuple[Tensor, list[State]]:
        """Return the hidden states (B, T, H) of single steps, and the states after them."""
        state, states = self.layers.begin(State(self.first)).map(lambda part: part[0]), []
        for projected in self.cell.project(self.inputs).unbind(dim=1):
            state = self.cell.advance(projected, state)
            states.append(state)
        return torch.stack([state.hidden for state in states], dim=1), states


def case(cell: type[nn.Module], spread: float, begins: str = "empty") -> Case:
    """Return a case; gates of a large `spread` need the stabiliser."""
    torch.manual_seed(5)
    layers = RecurrentLayers(cell=cell, input_size=INPUT, hidden_size=HIDDEN).double()
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.normal_(std=spread)
    inputs = torch.randn(ROWS, STEPS, INPUT, dtype=torch.double, requires_grad=True)
    first = torch.zeros(1, ROWS, HIDDEN, dtype=torch.double)
    return Case(layers, inputs, torch.randn_like(first) if begins == "filled" else first)


def theirs_scalar(ours: Case) -> tuple[nn.Module, Tensor, Tensor]:
    """Return their sLSTM with our weights, and its hidden states and last states."""
    cells = importlib.import_module("xlstm.blocks.slstm.cell")
    config = cells.sLSTMCellConfig(
        hidden_size=HIDDEN, num_heads=1, backend="vanilla", output_shape="BSH"
    )
    cell, made = cells.sLSTMCell(config).double(), ours.cell
    recurrent = made.weight_hh.detach().unsqueeze(0)  # gates in the same order: i, f, g, o
    cell.load_state_dict({"_recurrent_kernel_": recurrent, "_bias_": made.bias.detach()})
    begins = torch.cat([ours.first, torch.zeros(3, ROWS, HIDDEN)]).double()
    return cell, *cell(functional.linear(ours.inputs, made.weight_ih), begins)


def reads(ours: Case) -> tuple[list[Tensor], Tensor]:
    """Return query, key, value, i and f for the authors' functions, a head each; and our o.

    They divide the key themselves, by sqrt(H), and with it its bias, which we add afterwards.
    """
    made = ours.cell
    rows = zip(made.weight_ih.chunk(4), made.bias.chunk(4), (1, ROOT, 1, 1), strict=True)
    mapped = [functional.linear(ours.inputs, weight, bias * by) for weight, bias, by in rows]
    gates = functional.linear(ours.inputs, made.weight_ih_gates, made.bias_gates)
    query, key, value, output = (one.unsqueeze(1) for one in mapped)
    write, forget = gates.unsqueeze(1).split(1, dim=-1)
    return [query, key, value, write, forget], torch.sigmoid(output.squeeze(1))


def theirs_matrix(ours: Case) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """Return the hidden states of their mLSTM, step by step, and C, n and m after each step."""
    step = importlib.import_module("xlstm.blocks.mlstm.backends").recurrent_step_stabilized_simple
    parts, output = reads(ours)
    first = ours.first[0].view(ROWS, 1, HIDDEN, 1)
    state = (first / ROOT @ first.mT, first / ROOT, first.new_zeros(ROWS, 1, 1, 1))
    rows, states = [], []
    for at in range(STEPS):
        read = (one[:, :, at : at + 1].clone() for one in parts)  # it changes them in place
        hidden, state = step(*state, *read, eps=0.0)
        rows.append(hidden.view(ROWS, HIDDEN))
        memory, normaliser, stabiliser = state  # their C is keys times values
        states.append((memory[:, 0].mT, normaliser[:, 0, :, 0], stabiliser[:, 0, 0]))
    return output * torch.stack(rows, dim=1), states


def theirs_at_once(ours: Case) -> Tensor:
    """Return the hidden states of their mLSTM in its parallel form, which begins empty."""
    form = importlib.import_module("xlstm.blocks.mlstm.backends").parallel_stabilized_simple
    parts, output = reads(ours)
    return output * form(*parts, eps=0.0).squeeze(1)


def theirs_in_chunks(ours: Case) -> Tensor:
    """Return the hidden states of their mLSTM in chunks; its memory is of keys not divided."""
    form = importlib.import_module("xlstm.blocks.mlstm.backends").chunkwise_simple
    parts, output = reads(ours)
    first = ours.first[0].unsqueeze(1)
    begins = {"initial_C": first.unsqueeze(-1) @ first.unsqueeze(-2), "initial_n": first}
    return output * form(*parts, **begins, chunk_size=3, eps=0.0).squeeze(1)


def gradients_agree(found: Tensor, expected: Tensor, *pairs: tuple[Tensor, Tensor]) -> None:
    """Compare the gradients of a random sum; `pairs` are what is ours and what is theirs."""
    number = torch.randn_like(found)
    ours, theirs = zip(*pairs, strict=True)
    made = torch.autograd.grad((number * found).sum(), ours, retain_graph=True)
    wanted = torch.autograd.grad((number * expected).sum(), theirs, retain_graph=True)
    for one, other in zip(made, wanted, strict=True):
        torch.testing.assert_close(one, other.view_as(one), **NEAR)
        assert one.any()


@pytest.mark.parametrize("begins", ["empty", "filled"])
@pytest.mark.parametrize("spread", [0.5, 5.0])
def test_slstm_is_that_of_its_authors(spread, begins):
    ours = case(ScalarLSTM, spread, begins)
    theirs, expected, (hidden, *last) = theirs_scalar(ours)
    found, states = ours.step_by_step()
    torch.testing.assert_close(found, expected, **NEAR)
    torch.testing.assert_close(states[-1].hidden, hidden, **NEAR)
    # Their first stabiliser is i, ours at least log f: the same but for the factor that it is.
    memory, normaliser, stabiliser = states[-1].further
    for one, other in zip((memory, normaliser), last[:2], strict=True):
        torch.testing.assert_close(one * torch.exp(stabiliser - last[2]), other, **NEAR)
    made = ours.cell
    gradients_agree(
        found,
        expected,
        *((one, one) for one in (ours.inputs, made.weight_ih)),
        (made.weight_hh, theirs._recurrent_kernel_),
        (made.bias, theirs._bias_),
    )


@pytest.mark.parametrize("begins", ["empty", "filled"])
@pytest.mark.parametrize("spread", [0.5, 5.0])
def test_mlstm_is_that_of_its_authors(spread, begins):
    ours = case(MatrixLSTM, spread, begins)
    expected, wanted = theirs_matrix(ours)
    found, states = ours.step_by_step()
    at_once, last = ours.layers(ours.inputs, State(ours.first), None)
    torch.testing.assert_close(found, expected, **NEAR)
    torch.testing.assert_close(at_once, expected, **NEAR)
    torch.testing.assert_close(theirs_in_chunks(ours), at_once, **NEAR)
    if begins == "empty":
        torch.testing.assert_close(theirs_at_once(ours), at_once, **NEAR)
    for state, other in zip(states, wanted, strict=True):
        for one, another in zip(state.further, other, strict=True):
            torch.testing.assert_close(one, another, **NEAR)
    for one, another in zip(last.further, wanted[-1], strict=True):
        torch.testing.assert_close(one[0], another, **NEAR)
    pairs = [(one, one) for one in (ours.inputs, *ours.cell.parameters())]
    gradients_agree(found, expected, *pairs)
    gradients_agree(at_once, expected, *pairs)


def test_all_steps_of_an_mlstm_end_where_each_row_ends_for_its_authors():
    ours = case(MatrixLSTM, 0.5, "filled")
    expected, wanted = theirs_matrix(ours)
    found, last = ours.layers(ours.inputs, State(ours.first), torch.tensor(LENGTHS))
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(found[row, :length], expected[row, :length], **NEAR)
        torch.testing.assert_close(last.hidden[0, row], expected[row, length - 1], **NEAR)
        for one, another in zip(last.further, wanted[length - 1], strict=True):
            torch.testing.assert_close(one[0, row], another[row], **NEAR)


@pytest.mark.parametrize("gate", [*MatrixLSTM.gates, "i", "f"])
def test_another_gate_of_an_mlstm_is_another_result(gate):
    ours = case(MatrixLSTM, 0.5)
    expected, _ = theirs_matrix(ours)
    made, at = ours.cell, [*MatrixLSTM.gates, "i", "f"].index(gate)
    with torch.no_grad():
        [*made.weight_ih.chunk(4), *made.weight_ih_gates][at].mul_(1.01)
    at_once, _ = ours.layers(ours.inputs, State(ours.first), None)
    for found in (ours.step_by_step()[0], at_once):
        assert (found - expected).abs().max() > 1e-4


@pytest.mark.parametrize("gate", ScalarLSTM.gates)
def test_another_gate_of_an_slstm_is_another_result(gate):
    ours = case(ScalarLSTM, 0.5)
    _, expected, _ = theirs_scalar(ours)
    with torch.no_grad():
        ours.cell.weight_ih.chunk(4)[ScalarLSTM.gates.index(gate)].mul_(1.01)
    assert (ours.step_by_step()[0] - expected).abs().max() > 1e-4


def test_gates_of_an_mlstm_beyond_the_range_of_exp_are_those_of_its_authors():
    ours = case(MatrixLSTM, 0.5, "filled")
    with torch.no_grad():
        ours.cell.weight_ih_gates.mul_(1000)
    assert reads(ours)[0][3].max() > 710  # where exp of float64 ends
    expected, _ = theirs_matrix(ours)
    at_once, _ = ours.layers(ours.inputs, State(ours.first), None)
    for found in (ours.step_by_step()[0], at_once):
        torch.testing.assert_close(found, expected, **NEAR)


@pytest.mark.parametrize("bias", [5000.0, -5000.0])
def test_gates_of_an_slstm_beyond_the_range_of_exp_are_those_of_its_authors(bias):
    ours = case(ScalarLSTM, 0.5, "filled")
    with torch.no_grad():
        ours.cell.weight_ih[: 2 * HIDDEN].mul_(1000)  # of i and f
        ours.cell.bias[:HIDDEN] += bias  # changes no output, as it cancels
    _, expected, _ = theirs_scalar(ours)
    torch.testing.assert_close(ours.step_by_step()[0], expected, **NEAR)
