from __future__ import annotations

from itertools import product

import pytest
import torch

from decoderlab.contract import Encoded, EncoderShape, State
from decoderlab.decoders.attention import Attention
from decoderlab.decoders.bridges import BRIDGES, Bridge


def encoded(layers: int, size: int, cell: bool) -> Encoded:
    hidden = torch.arange(1.0, layers * 2 * size + 1).reshape(layers, 2, size) / 10
    state = State(hidden, -hidden if cell else None)
    memory = torch.zeros(2, 3, size)
    return Encoded(memory, torch.ones(2, 3).bool(), hidden[-1], state)


def bridge(kind: str, layers: int, size: int, cell: bool, to_layers: int, to_size: int, to_cell):
    shape = EncoderShape(size, size, size, layers, cell)
    return Bridge(
        kind=kind, encoder_shape=shape, hidden_size=to_size, num_layers=to_layers, has_cell=to_cell
    )


@pytest.mark.parametrize("kind", BRIDGES)
def test_any_two_depths_widths_and_cells_fit(kind):
    for layers, cell, to_layers, to_cell in product((1, 2, 3), (True, False), (1, 2, 3), (1, 0)):
        to_size = 4 if kind == "copy" else 5
        made = bridge(kind, layers, 4, cell, to_layers, to_size, bool(to_cell))
        state = made(encoded(layers, 4, cell))
        assert state.hidden.shape == (to_layers, 2, to_size)
        assert (state.cell is None) == (not to_cell)
        if to_cell:
            assert state.cell.shape == state.hidden.shape


@pytest.mark.parametrize(
    ("layers", "to_layers", "pairing"),
    [(1, 1, [0]), (3, 1, [2]), (3, 2, [1, 2]), (1, 3, [0, 0, 0]), (2, 3, [0, 1, 1])],
)
def test_layers_are_paired_from_the_top(layers, to_layers, pairing):
    source = encoded(layers, 4, True)
    state = bridge("copy", layers, 4, True, to_layers, 4, True)(source)
    assert torch.equal(state.hidden, source.state.hidden[pairing])
    assert torch.equal(state.cell, source.state.cell[pairing])


def test_the_cell_state_is_zero_where_there_is_none_to_copy():
    assert (bridge("copy", 1, 4, False, 1, 4, True)(encoded(1, 4, False)).cell == 0).all()


def test_the_nonlinear_bridge_is_the_tanh_of_the_dense_one():
    dense, nonlinear = (bridge(k, 1, 4, True, 2, 3, True) for k in ("dense", "dense_nonlinear"))
    nonlinear.load_state_dict(dense.state_dict())
    source = encoded(1, 4, True)
    assert torch.equal(nonlinear(source).hidden, dense(source).hidden.tanh())
    assert torch.equal(nonlinear(source).cell, dense(source).cell.tanh())


def test_an_encoder_without_a_state_gives_its_summary():
    source = Encoded(torch.zeros(2, 3, 4), torch.ones(2, 3).bool(), torch.rand(2, 4), None)
    made = Bridge(
        kind="copy", encoder_shape=EncoderShape(4, 4), hidden_size=4, num_layers=1, has_cell=False
    )
    assert torch.equal(made(source).hidden[0], source.summary)


def test_what_does_not_fit_is_refused_with_the_fix():
    with pytest.raises(ValueError, match="bridge=dense"):
        bridge("copy", 1, 4, True, 1, 5, True)
    with pytest.raises(ValueError, match="zero, copy, dense, dense_nonlinear"):
        bridge("copi", 1, 4, True, 1, 4, True)
    with pytest.raises(ValueError, match="score=general"):
        Attention(score="dot", query_size=3, memory_size=4)


@pytest.mark.parametrize("score", ["dot", "general"])
def test_attention_is_the_papers_formula(score):
    torch.manual_seed(0)
    attention = Attention(score=score, query_size=4, memory_size=4).double()
    query, memory = (torch.randn(2, n, 4, dtype=torch.float64) for n in (3, 5))
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    context, weights = attention(query, memory, mask)
    matrix = attention.project.weight if score == "general" else torch.eye(4).double()
    for row, t in product(range(2), range(3)):
        real = memory[row, mask[row]]
        scores = real @ (matrix @ query[row, t])  # eq. 8
        expected = scores.exp() / scores.exp().sum()  # eq. 7
        torch.testing.assert_close(weights[row, t, mask[row]], expected)
        assert (weights[row, t, ~mask[row]] == 0).all()
        torch.testing.assert_close(context[row, t], expected @ real)
