from __future__ import annotations

from functools import partial
from itertools import product

import pytest
import torch

from decoderlab.common.part_choice import Choice
from decoderlab.contract import Encoded, EncoderShape, State, TokenSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.attention import Attention, AttentionScore, masked_softmax
from decoderlab.decoders.bridges import CELL_STATES, Bridge
from decoderlab.encoders import RecurrentEncoder
from decoderlab.layers import GRU, StackRNN
from decoderlab.testing import check_decoder
from tests import parts
from tests.conftest import variants

# Those that fit between any two states; copy_all has tests of its own below.
BRIDGES = [kind for kind in variants("decoder/bridge") if kind != "copy_all"]
# Of one step by contents alone; tests/parity/test_attention_formulas.py has the others.
SCORES = ["additive", "concat", "dot", "general", "scaled_dot"]


def encoded(layers: int, size: int, cell: bool) -> Encoded:
    hidden = torch.arange(1.0, layers * 2 * size + 1).reshape(layers, 2, size) / 10
    state = State(hidden, -hidden if cell else None)
    memory = torch.zeros(2, 3, size)
    return Encoded(memory, torch.ones(2, 3).bool(), hidden[-1], state)


def bridge(
    kind: str,
    layers: int,
    size: int,
    from_cell: bool,
    to_layers: int,
    to_size: int,
    to_cell,
    **more,
):
    return Choice.of(parts.bridge(kind, **more)).build(
        encoder_shape=EncoderShape(size, size, size, layers, from_cell),
        hidden_size=to_size,
        num_layers=to_layers,
        has_cell=to_cell,
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


@pytest.mark.parametrize("kind", [kind for kind in BRIDGES if kind != "zero"])
@pytest.mark.parametrize("cell", CELL_STATES)
@pytest.mark.parametrize("has_cell", [True, False])
def test_the_cell_state_is_what_is_asked_for(kind, cell, has_cell):
    source = encoded(1, 4, has_cell)
    made = bridge(kind, 1, 4, has_cell, 2, 4, True, cell=cell)
    state = made(source)
    match cell:
        case "zero":
            assert (state.cell == 0).all()
        case "hidden":
            assert torch.equal(state.cell, state.hidden)
        case "encoder" if kind == "copy":
            expected = source.state.cell[[0, 0]] if has_cell else torch.zeros(2, 2, 4)
            assert torch.equal(state.cell, expected)
        case "encoder" if kind.startswith("dense"):
            read = source.state.cell if has_cell else source.state.hidden
            mapped = torch.stack([layer(read[0]) for layer in made.cell])
            expected = mapped.tanh() if kind == "dense_nonlinear" else mapped
            torch.testing.assert_close(state.cell, expected)
        case "encoder" if kind == "learned":
            assert torch.equal(state.cell, made.cell.repeat(1, 2, 1))


def test_the_nonlinear_bridge_is_the_tanh_of_the_dense_one():
    dense, nonlinear = (bridge(k, 1, 4, True, 2, 3, True) for k in ("dense", "dense_nonlinear"))
    nonlinear.load_state_dict(dense.state_dict())
    source = encoded(1, 4, True)
    assert torch.equal(nonlinear(source).hidden, dense(source).hidden.tanh())
    assert torch.equal(nonlinear(source).cell, dense(source).cell.tanh())


def test_the_mean_bridge_reads_real_positions_alone():
    source = encoded(2, 4, True)
    memory = torch.randn(2, 3, 4)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    made = bridge("mean", 2, 4, True, 1, 3, True)
    state = made(source._replace(memory=memory, memory_mask=mask))
    for row, number in ((0, 2), (1, 1)):
        expected = made.hidden[0](memory[row, :number].mean(dim=0)).tanh()
        torch.testing.assert_close(state.hidden[0, row], expected)


def test_a_learned_bridge_gives_every_row_the_same_and_can_be_trained():
    made = bridge("learned", 1, 4, True, 2, 3, True)
    state = made(encoded(1, 4, True))
    assert torch.equal(state.hidden[:, 0], state.hidden[:, 1])
    state.hidden.sum().backward()
    assert (made.hidden.grad == 2).all()


@pytest.mark.parametrize("source", ["state", "summary"])
def test_the_summary_can_be_bridged_in_place_of_the_state(source):
    read = encoded(2, 4, True)._replace(summary=torch.randn(2, 4))
    state = bridge("copy", 2, 4, True, 1, 4, True, source=source)(read)
    expected = read.summary if source == "summary" else read.state.hidden[-1]
    assert torch.equal(state.hidden[0], expected)


def test_an_encoder_without_a_state_gives_its_summary():
    source = Encoded(torch.zeros(2, 3, 4), torch.ones(2, 3).bool(), torch.rand(2, 4), None)
    made = Choice.of(parts.bridge("copy")).build(
        encoder_shape=EncoderShape(4, 4),
        hidden_size=4,
        num_layers=1,
        has_cell=False,
    )
    assert torch.equal(made(source).hidden[0], source.summary)


def test_what_does_not_fit_is_refused_with_the_fix():
    with pytest.raises(ValueError, match="decoder/bridge=dense"):
        bridge("copy", 1, 4, True, 1, 5, True)
    with pytest.raises(ValueError, match="Did you mean hidden"):
        bridge("copy", 1, 4, True, 1, 4, True, cell="hiden")
    with pytest.raises(ValueError, match="decoder/attention=general"):
        attends("dot", query_size=3, memory_size=4)


def attends(name: str, **more) -> Attention:
    return parts.attention(name)(**more)


@pytest.mark.parametrize("score", SCORES)
def test_attention_is_the_papers_formula(score):
    torch.manual_seed(0)
    block = attends(score, query_size=4, memory_size=4, size=3)
    attention = block.score.double()
    query, memory = (torch.randn(2, n, 4, dtype=torch.float64) for n in (3, 5))
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])

    def compare(asked, position):
        match score:
            case "dot":
                return asked @ position
            case "scaled_dot":
                return asked @ position / 2  # the root of 4
            case "general":
                return position @ (attention.project_query.weight @ asked)
            case "additive":
                inner = attention.project_query.weight @ asked
                inner = inner + attention.project_memory.weight @ position
            case "concat":
                inner = attention.project.weight @ torch.cat([asked, position])
        return attention.score_vector.weight[0] @ inner.tanh()

    context, weights, _ = block.read(query, memory, attention.keys(memory), mask, None)
    for row, t in product(range(2), range(3)):
        real = memory[row, mask[row]]
        scores = torch.stack([compare(query[row, t], position) for position in real])
        expected = scores.exp() / scores.exp().sum()
        torch.testing.assert_close(weights[row, t, mask[row]], expected)
        assert (weights[row, t, ~mask[row]] == 0).all()
        torch.testing.assert_close(context[row, t], expected @ real)


class Coverage(AttentionScore):
    """Sees how much of each position was read so far (Tu et al. 2016, the linear form)."""

    carries = True

    def __init__(self, *, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.project_query = torch.nn.Linear(query_size, memory_size, bias=False)
        self.covered = torch.nn.Parameter(torch.zeros(1))

    def begin(self, memory_mask, keys):
        return keys.new_zeros(memory_mask.shape)

    def weights(self, query, keys, memory_mask, carried):
        scores = self.project_query(query) @ keys.transpose(1, 2) + self.covered * carried[:, None]
        weights = masked_softmax(scores, memory_mask)
        return weights, carried + weights.squeeze(1)


@pytest.mark.thinned(3)
@pytest.mark.long
@pytest.mark.parametrize("query", ["current", "previous"])
@pytest.mark.parametrize("input_feeding", [False, True])
def test_a_score_may_carry_what_was_read_from_step_to_step(query, input_feeding):
    attention = partial(Attention, score=Coverage, query=query, input_feeding=input_feeding)
    chosen = {"cell": GRU, "hidden_size": 8, "routes": [], "attention": attention}
    check_decoder(RecurrentDecoder, **chosen)
    torch.manual_seed(0)
    shape = EncoderShape(4, 4)
    chosen |= {"hidden_size": 4, "target_space": TokenSpace(9), "encoder_shape": shape}
    decoder = RecurrentDecoder(**chosen)
    state = decoder.start(
        Encoded(torch.randn(1, 3, 4), torch.ones(1, 3).bool(), torch.ones(1, 4), None)
    )
    read = torch.zeros(1, 3)
    for token in (1, 4, 5):
        _, state = decoder.step(torch.tensor([token]), state)
        read = read + state.attention_weights
    torch.testing.assert_close(state.carried, read)
    torch.testing.assert_close(read.sum(), torch.tensor(3.0))


def test_a_bridge_of_ones_own_needs_a_forward_and_nothing_else():
    class Ones(Bridge):
        def __init__(self, *, hidden_size: int, num_layers: int) -> None:
            super().__init__()
            self.shape = (num_layers, 1, hidden_size)
            self.scale = torch.nn.Linear(4, hidden_size)

        def forward(self, encoded):
            mapped = self.scale(encoded.state.hidden[-1])
            return State(mapped.expand(self.shape[0], -1, -1), None)

    chosen = {"cell": GRU, "hidden_size": 5, "routes": ["initial_state"], "bridge": Ones}
    check_decoder(RecurrentDecoder, encoder_shape=EncoderShape(4, 4, 4, 1), **chosen)
    made = RecurrentDecoder(
        target_space=TokenSpace(9), encoder_shape=EncoderShape(4, 4, 4, 1), **chosen
    )
    assert ("s_0", "Ones(encoder)") in [(one.left, one.right) for one in made.equations()]


STACK = ((3, 2),)


def copy_all(shape: EncoderShape, size: int = 4, has_cell: bool = False, further=STACK) -> Bridge:
    return Choice.of(parts.bridge("copy_all")).build(
        encoder_shape=shape,
        hidden_size=size,
        num_layers=2,
        has_cell=has_cell,
        further_shapes=further,
    )


@pytest.mark.parametrize("has_cell", [True, False])
def test_all_that_the_cells_keep_is_copied_layer_by_layer(has_cell):
    source = encoded(3, 4, has_cell)
    stack = torch.randn(3, 2, *STACK[0])
    state = copy_all(EncoderShape(4, 4, 4, 3, has_cell, STACK), has_cell=has_cell)(
        source._replace(state=source.state._replace(further=(stack,)))
    )
    assert torch.equal(state.hidden, source.state.hidden[1:])
    assert torch.equal(state.further[0], stack[1:])
    assert not has_cell or torch.equal(state.cell, source.state.cell[1:])


@pytest.mark.parametrize(
    ("shape", "theirs"),
    [
        (EncoderShape(4, 4), "none"),
        (EncoderShape(4, 4, 5, 2, False, STACK), "hidden 5, further 3 x 2"),
        (EncoderShape(4, 4, 4, 2, True, STACK), "hidden 4, cell 4, further 3 x 2"),
        (EncoderShape(4, 4, 4, 2, False, ((6, 2),)), "hidden 4, further 6 x 2"),
        (EncoderShape(4, 4, 4, 2, False), "hidden 4"),
    ],
)
def test_states_of_other_shapes_are_refused_by_name(shape, theirs):
    with pytest.raises(ValueError, match=f"encoder's state is {theirs} and the decoder's hidden 4"):
        copy_all(shape)


def test_a_decoder_begins_with_the_encoders_stack():
    sizes = {"cell": partial(StackRNN, depth=3, width=2), "hidden_size": 4}
    encoder = RecurrentEncoder(source_space=TokenSpace(9), **sizes)
    of_stacks = partial(
        RecurrentDecoder,
        target_space=TokenSpace(9),
        encoder_shape=encoder.shape,
        routes=["initial_state"],
        **sizes,
    )
    read = encoder(torch.tensor([[4, 5, 6], [7, 8, 0]]), torch.tensor([3, 2]))
    whole = of_stacks(bridge=parts.bridge("copy_all")).start(read).recurrent
    assert torch.equal(whole.further[0], read.state.further[0])
    assert whole.further[0].any()
    assert not of_stacks(bridge=parts.bridge("copy")).start(read).recurrent.further[0].any()
