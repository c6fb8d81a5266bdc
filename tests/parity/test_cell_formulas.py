"""Cells with a memory or a scan, as formulas in NumPy; all steps at once are steps in turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from decoderlab.contract import State
from decoderlab.layers import MatrixLSTM, MinGRU, MinLSTM, ScalarLSTM, StackRNN
from decoderlab.layers.recurrent_stack import RecurrentLayers
from decoderlab.layers.unfused_cells import ParallelCell
from tests.parity.test_attention_formulas import Named, sigmoid

INPUT, HIDDEN, STEPS, LENGTHS = 3, 4, 7, (7, 5, 1)


def mingru(p: Named, inputs: np.ndarray, hidden: np.ndarray) -> list[np.ndarray]:
    """Feng et al. 2024, section 3.1.1, with z' = 1 - z."""
    rows = []
    for read in inputs:
        update, content = np.split(p["weight_ih"] @ read + p["bias"], 2)
        taken = 1 - sigmoid(update)
        hidden = (1 - taken) * hidden + taken * content
        rows.append(hidden)
    return rows


def minlstm(p: Named, inputs: np.ndarray, hidden: np.ndarray) -> list[np.ndarray]:
    """Feng et al. 2024, section 3.2."""
    rows = []
    for read in inputs:
        forget, write, content = np.split(p["weight_ih"] @ read + p["bias"], 3)
        forget, write = sigmoid(forget), sigmoid(write)
        hidden = forget / (forget + write) * hidden + write / (forget + write) * content
        rows.append(hidden)
    return rows


def slstm(p: Named, inputs: np.ndarray, hidden: np.ndarray) -> list[np.ndarray]:
    """Beck et al. 2024, eq. 8 to 14, without the stabiliser, which changes no output."""
    memory, normaliser, rows = np.zeros(HIDDEN), np.zeros(HIDDEN), []
    for read in inputs:
        gates = p["weight_ih"] @ read + p["weight_hh"] @ hidden + p["bias"]
        write, forget, content, output = np.split(gates, 4)
        memory = sigmoid(forget) * memory + np.exp(write) * np.tanh(content)
        normaliser = sigmoid(forget) * normaliser + np.exp(write)
        hidden = sigmoid(output) * memory / normaliser
        rows.append(hidden)
    return rows


def mlstm(p: Named, inputs: np.ndarray, hidden: np.ndarray) -> list[np.ndarray]:
    """Beck et al. 2024, eq. 19 to 27, without the stabiliser, which changes no output."""
    root = np.sqrt(HIDDEN)
    memory, normaliser, rows = np.outer(hidden, hidden) / root, hidden / root, []
    weights, biases = np.split(p["weight_ih"], 4), np.split(p["bias"], 4)
    for read in inputs:
        query, key, value, output = (matrix @ read for matrix in weights)
        query, key, value = query + biases[0], key / root + biases[1], value + biases[2]
        log_write, forget = p["weight_ih_gates"] @ read + p["bias_gates"]
        memory = sigmoid(forget) * memory + np.exp(log_write) * np.outer(value, key)
        normaliser = sigmoid(forget) * normaliser + np.exp(log_write) * key
        hidden = memory @ query / max(abs(normaliser @ query), 1)
        rows.append(sigmoid(output + biases[3]) * hidden)
    return rows


def stack_rnn(p: Named, inputs: np.ndarray, hidden: np.ndarray) -> list[np.ndarray]:
    """Joulin and Mikolov 2015, section 3.2, place by place, with tanh; places are 0 at first."""
    (depth, width), rows = STACK, []
    places = [np.zeros(width) for _ in range(depth)]
    for read in inputs:
        gates = p["weight_ih"] @ read + p["weight_hh"] @ hidden + p["bias"]
        hidden = np.tanh(gates + p["weight_top"] @ places[0])
        powers = np.exp(p["weight_action"] @ hidden + p["bias_action"])
        push, pop, keep = powers / powers.sum()
        above = np.tanh(p["weight_pushed"] @ hidden + p["bias_pushed"])
        new = []
        for i in range(depth):
            below = places[i + 1] if i + 1 < depth else np.zeros(width)
            new.append(push * above + pop * below + keep * places[i])
            above = places[i]
        places = new
        rows.append(hidden)
    return rows


STACK = (3, 2)
FORMULAS: dict[str, tuple[Callable[..., nn.Module], Callable[..., list[np.ndarray]]]] = {
    "mingru": (MinGRU, mingru),
    "minlstm": (MinLSTM, minlstm),
    "slstm": (ScalarLSTM, slstm),
    "mlstm": (MatrixLSTM, mlstm),
    "stack": (partial(StackRNN, depth=STACK[0], width=STACK[1]), stack_rnn),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_cell_is_its_formula(name):
    cell, formula = FORMULAS[name]
    torch.manual_seed(1)
    layers = RecurrentLayers(cell=cell, input_size=INPUT, hidden_size=HIDDEN).double()
    inputs = torch.randn(len(LENGTHS), STEPS, INPUT, dtype=torch.double)
    first = torch.randn(1, len(LENGTHS), HIDDEN, dtype=torch.double)
    with torch.no_grad():
        outputs, last = layers(inputs, State(first), torch.tensor(LENGTHS))
    made = layers.cell_of(0, 0)
    values = {key: value.numpy() for key, value in made.state_dict().items()}
    for row, length in enumerate(LENGTHS):
        expected = formula(values, inputs[row, :length].numpy(), first[0, row].numpy())
        np.testing.assert_allclose(outputs[row, :length], np.stack(expected), rtol=0, atol=1e-10)
        np.testing.assert_allclose(last.hidden[0, row], expected[-1], rtol=0, atol=1e-10)
        assert not outputs[row, length:].any()


@pytest.mark.parametrize("cell", [MinGRU, MinLSTM, MatrixLSTM])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 64, 500])
def test_all_steps_at_once_are_steps_in_turn(cell: type[ParallelCell], num_steps):
    torch.manual_seed(2)
    layers = RecurrentLayers(cell=cell, input_size=INPUT, hidden_size=HIDDEN)
    inputs, made = 3 * torch.randn(2, num_steps, INPUT), layers.cell_of(0, 0)
    state = State(torch.randn(1, 2, HIDDEN))
    with torch.no_grad():
        outputs, _ = layers(inputs, state)
        hidden, steps = layers.begin(state).map(lambda part: part[0]), []
        for projected in made.project(inputs).unbind(dim=1):
            hidden = made.advance(projected, hidden)
            steps.append(hidden.hidden)
    near = 1e-6 * max(float(outputs.abs().max()), 1.0)  # an mLSTM's states have no bound
    torch.testing.assert_close(outputs, torch.stack(steps, dim=1), rtol=0, atol=5 * near)


@pytest.mark.parametrize("cell", [MinGRU, MinLSTM, MatrixLSTM])
def test_all_steps_at_once_end_where_each_row_ends(cell: type[ParallelCell]):
    torch.manual_seed(3)
    layers = RecurrentLayers(cell=cell, input_size=INPUT, hidden_size=HIDDEN).double()
    made, lengths = layers.cell_of(0, 0), (4, 0, 6, 1)
    first = State(torch.randn(1, len(lengths), HIDDEN, dtype=torch.double, requires_grad=True))
    inputs = torch.randn(len(lengths), max(lengths), INPUT, dtype=torch.double, requires_grad=True)
    reached = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    state = layers.begin(first).map(lambda part: part[0])
    outputs, last = made.all_steps(made.project(inputs), state, reached)
    found = [last.hidden, *last.further]
    rows = []
    for row, length in enumerate(lengths):
        alone = state.map(lambda part, row=row: part[row : row + 1])
        for step, projected in enumerate(
            made.project(inputs[row : row + 1, :length]).unbind(dim=1)
        ):
            alone = made.advance(projected, alone)
            torch.testing.assert_close(outputs[row, step], alone.hidden[0], rtol=0, atol=1e-12)
        rows.append([alone.hidden, *alone.further])
    wanted = [torch.cat(parts) for parts in zip(*rows, strict=True)]
    known = [inputs, first.hidden, *made.parameters()]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    of = [sum((part**2).sum() for part in parts) for parts in (found, wanted)]
    gradients = [
        torch.autograd.grad(total, known, allow_unused=True, retain_graph=True) for total in of
    ]
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shift", [-200.0, -110.0, 200.0])
def test_what_is_constant_in_the_input_gate_of_an_slstm_cancels(shift):
    torch.manual_seed(4)
    layers = RecurrentLayers(cell=ScalarLSTM, input_size=INPUT, hidden_size=HIDDEN)
    inputs, state = torch.randn(2, STEPS, INPUT), State(torch.randn(1, 2, HIDDEN))
    before, _ = layers(inputs, state)
    with torch.no_grad():
        layers.cell_of(0, 0).bias[:HIDDEN] += shift  # exp of it is 0, or has no number, in float32
    after, _ = layers(inputs, state)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    after.sum().backward()
    assert all(torch.isfinite(each.grad).all() for each in layers.parameters())
