"""Ours against Keras on its torch backend: outputs and input gradients with Keras's weights.

Sources are real values without an embedding, so that the gradient reaches them.
"""

from __future__ import annotations

from functools import partial

import keras
import numpy as np
import pytest
import torch

from decoderlab.contract import Encoded, EncoderShape, TokenSpace, ValueSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.attention import AdditiveScore, Attention, DotScore, GeneralScore
from decoderlab.encoders import RecurrentEncoder
from decoderlab.layers import LSTM, RNN
from decoderlab.layers.equations import count
from decoderlab.training.objective import negative_log_likelihood
from decoderlab.training.optimizers import KerasAdam
from tests import parts
from tests.conftest import CELLS
from tests.integration.test_packaging import script

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
weights = script("compare_with_keras")

LENGTHS = torch.tensor([3, 5, 1, 4])
MASK = torch.arange(5) < LENGTHS.unsqueeze(1)
FULL = torch.full((4,), 5)
KERAS = {  # ours: the same in Keras
    "lstm": keras.layers.LSTM,
    "gru": keras.layers.GRU,
    "gru_reset_before": lambda size, **rest: keras.layers.GRU(size, reset_after=False, **rest),
    "rnn_tanh": keras.layers.SimpleRNN,
    "rnn_relu": lambda size, **rest: keras.layers.SimpleRNN(size, activation="relu", **rest),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def normal(*shape):
    return torch.randn(*shape).requires_grad_()


def randomise(layer):
    """Give a layer that was called once large random weights, biases too."""
    generator = np.random.default_rng(0)
    layer.set_weights([0.5 * generator.standard_normal(w.shape) for w in layer.get_weights()])


def copy(source, target, direction=0):
    """Copy the weights of a Keras layer into one direction of our one layer."""
    if isinstance(target, torch.nn.RNNBase):
        weights.copy_recurrent(source, target, "l0_reverse" if direction else "l0")
    else:
        cell, values = target.cells[direction], weights.in_torch_order(source)
        names = ("weight_ih", "weight_hh", "bias")
        cell.load_state_dict(dict(zip(names, values, strict=True)))


def agree(ours, theirs, *inputs):
    """Compare outputs, and the gradients of a random sum of them."""
    numbers = [torch.randn_like(one) for one in ours]
    gradients = []
    for outputs in (ours, theirs):
        total = sum((number * one).sum() for number, one in zip(numbers, outputs, strict=True))
        gradients.append(torch.autograd.grad(total, inputs))
    for one, other in zip((*ours, *gradients[0]), (*theirs, *gradients[1]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    for gradient in gradients[0]:
        assert gradient.abs().max() > 1e-2


@pytest.mark.parametrize("cell", KERAS)
def test_an_encoder_reads_as_kerass_layer_does(cell):
    source = normal(4, 5, 3)
    theirs = KERAS[cell](6, return_sequences=True, return_state=True)
    theirs(source)
    randomise(theirs)
    ours = RecurrentEncoder(source_space=ValueSpace(3), cell=CELLS[cell], hidden_size=6)
    copy(theirs, ours.rnn.layers[0])
    # Rows of one length, then of different ones: Keras repeats its output at padding.
    for lengths, mask in [(FULL, None), (LENGTHS, MASK)]:
        memory, *state = theirs(source, mask=mask)
        encoded = ours(source, lengths)
        real = torch.ones(4, 5, 1) if mask is None else mask.unsqueeze(-1)
        found = [encoded.memory, encoded.summary, encoded.state.hidden[0]]
        expected = [memory * real, state[0], state[0]]
        if cell == "lstm":
            found, expected = [*found, encoded.state.cell[0]], [*expected, state[1]]
        agree(found, expected, source)


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before"])
def test_an_encoder_of_both_directions_is_kerass_bidirectional(cell):
    source = normal(4, 5, 3)
    inner = KERAS[cell](6, return_sequences=True, return_state=True)
    theirs = keras.layers.Bidirectional(inner, merge_mode="concat")
    theirs(source)
    randomise(theirs)
    ours = RecurrentEncoder(
        source_space=ValueSpace(3), cell=CELLS[cell], hidden_size=6, bidirectional=True
    )
    copy(theirs.forward_layer, ours.rnn.layers[0], direction=0)
    copy(theirs.backward_layer, ours.rnn.layers[0], direction=1)
    for lengths, mask in [(FULL, None), (LENGTHS, MASK)]:
        memory, *state = theirs(source, mask=mask)
        encoded = ours(source, lengths)
        real = torch.ones(4, 5, 1) if mask is None else mask.unsqueeze(-1)
        forward, backward = state[: len(state) // 2], state[len(state) // 2 :]
        found = [encoded.memory, encoded.state.hidden[0]]
        expected = [memory * real, torch.cat([forward[0], backward[0]], dim=-1)]
        if cell == "lstm":
            found.append(encoded.state.cell[0])
            expected.append(torch.cat([forward[1], backward[1]], dim=-1))
        agree(found, expected, source)


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
def test_a_reversed_source_is_kerass_go_backwards(cell):
    # Keras returns its outputs in the order of reading, we in that of the source.
    source = normal(4, 5, 3)
    theirs = KERAS[cell](6, go_backwards=True, return_sequences=True, return_state=True)
    theirs(source)
    randomise(theirs)
    ours = RecurrentEncoder(
        source_space=ValueSpace(3), cell=CELLS[cell], hidden_size=6, reverse_source=True
    )
    copy(theirs, ours.rnn.layers[0])
    memory, last, *_ = theirs(source, mask=MASK)
    encoded = ours(source, LENGTHS)
    expected = [memory.flip(1) * MASK.unsqueeze(-1), last]
    agree([encoded.memory, encoded.summary], expected, source)


@pytest.mark.parametrize("cell", KERAS)
def test_every_input_without_feedback_is_kerass_repeat_vector(cell):
    source, target = normal(4, 5, 3), torch.randint(4, 8, (4, 7))
    inputs = keras.Input((5, 3))
    values = KERAS[cell](6, name="encoder")(inputs)
    values = keras.layers.RepeatVector(7)(values)
    values = KERAS[cell](4, return_sequences=True, name="decoder")(values)
    logits = keras.layers.TimeDistributed(keras.layers.Dense(8), name="head")(values)
    theirs = keras.Model(inputs, logits)
    randomise(theirs)
    encoder = RecurrentEncoder(source_space=ValueSpace(3), cell=CELLS[cell], hidden_size=6)
    decoder = RecurrentDecoder(
        target_space=TokenSpace(8),
        encoder_shape=encoder.shape,
        cell=CELLS[cell],
        hidden_size=4,
        routes=["every_input"],
        feedback=parts.feedback("none"),
    )
    copy(theirs.get_layer("encoder"), encoder.rnn.layers[0])
    copy(theirs.get_layer("decoder"), decoder.rnn.layers[0])
    weights.copy_dense(theirs.get_layer("head"), decoder.head.output)
    agree([decoder(encoder(source, FULL), target)], [theirs(source)], source)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_initial_state_with_teacher_forcing_is_kerass_lstm_seq2seq(cell):
    source, target = normal(4, 5, 3), torch.randint(4, 8, (4, 7))
    inputs, before = keras.Input((5, 3)), keras.Input((7, 8))
    _, *state = KERAS[cell](6, return_state=True, name="encoder")(inputs)
    layer = KERAS[cell](6, return_sequences=True, return_state=True, name="decoder")
    values, *_ = layer(before, initial_state=state)
    theirs = keras.Model([inputs, before], keras.layers.Dense(8, name="head")(values))
    randomise(theirs)
    encoder = RecurrentEncoder(source_space=ValueSpace(3), cell=CELLS[cell], hidden_size=6)
    decoder = RecurrentDecoder(
        target_space=TokenSpace(8),
        encoder_shape=encoder.shape,
        cell=CELLS[cell],
        hidden_size=6,
        routes=["initial_state"],
        bridge=parts.bridge("copy"),
    )
    copy(theirs.get_layer("encoder"), encoder.rnn.layers[0])
    copy(theirs.get_layer("decoder"), decoder.rnn.layers[0])
    weights.copy_dense(theirs.get_layer("head"), decoder.head.output)
    shifted = torch.eye(8)[torch.cat([torch.full((4, 1), 1), target[:, :-1]], dim=1)]
    agree([decoder(encoder(source, FULL), target)], [theirs([source, shifted])], source)


def test_teacher_forcing_on_values_passes_the_gradient_of_keras_to_the_target():
    values, target = normal(4, 6), normal(4, 7, 2)
    theirs = keras.layers.LSTM(6, return_sequences=True)
    dense = keras.layers.Dense(2)
    before = torch.cat([torch.zeros(4, 1, 2), target[:, :-1]], dim=1)
    dense(theirs(before))
    randomise(theirs)
    decoder = RecurrentDecoder(
        target_space=ValueSpace(2),
        encoder_shape=EncoderShape(memory_size=6, summary_size=6),
        cell=LSTM,
        hidden_size=6,
        routes=["initial_state"],
        bridge=parts.bridge("copy"),
        head=parts.head("linear", distribution="point"),
    )
    copy(theirs, decoder.rnn.layers[0])
    weights.copy_dense(dense, decoder.head.output)
    encoded = Encoded(values.unsqueeze(1), torch.ones(4, 1).bool(), values, None)
    expected = dense(theirs(before, initial_state=[values, torch.zeros(4, 6)]))
    agree([decoder(encoded, target)], [expected], values, target)


SCORES = {"additive": AdditiveScore, "dot": DotScore, "general": GeneralScore}


@pytest.mark.parametrize("score", ["additive", "additive, projected", "dot", "general"])
def test_attention_is_kerass(score):
    # Keras projects nothing: it is given what our matrices make of query and memory.
    kind = score.split(",")[0]
    query, memory = normal(4, 3, 6), normal(4, 5, 6)
    attention = Attention(score=SCORES[kind], query_size=6, memory_size=6)
    ours = attention.score
    projected, keys = query, memory
    if kind == "general":
        projected = query @ ours.project_query.weight.T
    if score == "additive":
        ours.project_query.weight.data.copy_(torch.eye(6))
        ours.project_memory.weight.data.copy_(torch.eye(6))
    elif kind == "additive":
        projected = query @ ours.project_query.weight.T
        keys = memory @ ours.project_memory.weight.T
    if kind == "additive":
        theirs = keras.layers.AdditiveAttention(use_scale=True)
        theirs([projected, memory, keys])
        randomise(theirs)
        ours.score_vector.weight.data.copy_(theirs.scale.value.detach().unsqueeze(0))
    else:
        theirs = keras.layers.Attention(use_scale=False)
    expected = theirs([projected, memory, keys], mask=[None, MASK], return_attention_scores=True)
    read = attention.read(query, memory, ours.keys(memory), MASK, None)
    context, attention_weights = read.context, read.weights
    assert (attention_weights[:, :, 0] < 1).any()
    agree([context, attention_weights], expected, query, memory)


def training_models(cell, wiring):
    """Return a Keras model with random weights, and our encoder and decoder with the same."""
    inputs, before = keras.Input((5, 3)), keras.Input((7, 8))
    encoder_layer = KERAS[cell](6, return_state=True, name="encoder")
    last, *state = encoder_layer(inputs)
    decoder_layer = KERAS[cell](6, return_sequences=True, name="decoder")
    if wiring == "repeat_vector":
        values = decoder_layer(keras.layers.RepeatVector(7)(last))
    else:
        values = decoder_layer(before, initial_state=[last, *state[1:]])
    head = keras.layers.Dense(8, name="head")
    theirs = keras.Model([inputs, before], head(values))
    randomise(theirs)
    settings = {
        "repeat_vector": {"routes": ["every_input"], "feedback": parts.feedback("none")},
        "initial_state": {"routes": ["initial_state"], "bridge": parts.bridge("copy")},
    }[wiring]
    ours = SINGLE[cell]
    encoder = RecurrentEncoder(source_space=ValueSpace(3), cell=ours, hidden_size=6)
    decoder = RecurrentDecoder(
        target_space=TokenSpace(8),
        encoder_shape=encoder.shape,
        cell=ours,
        hidden_size=6,
        **settings,
    )
    pairs = [(encoder_layer, encoder.rnn.layers[0]), (decoder_layer, decoder.rnn.layers[0])]
    for one, other in pairs:
        copy(one, other)
    weights.copy_dense(head, decoder.head.output)
    return theirs, encoder, decoder, pairs, head


def trained(modules):
    return [one for module in modules for one in module.parameters() if one.requires_grad]


SINGLE = CELLS | {
    "lstm": partial(LSTM, bias="single"),
    "rnn_tanh": partial(RNN, bias="single"),
    "rnn_relu": partial(RNN, nonlinearity="relu", bias="single"),
}


@pytest.fixture
def _float64():
    # Layers follow the policy, which is made from floatx once, when it is first asked for.
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.thinned
@pytest.mark.parametrize("wiring", ["repeat_vector", "initial_state"])
@pytest.mark.parametrize("cell", KERAS)
@pytest.mark.usefixtures("_float64")
def test_twenty_adam_steps_are_kerass(cell, wiring):
    theirs, encoder, decoder, pairs, head = training_models(cell, wiring)
    for module in (encoder, decoder):
        module.double()
    for one, other in pairs:
        copy(one, other)
    weights.copy_dense(head, decoder.head.output)
    assert theirs.count_params() == count(encoder, decoder)
    parameters = trained([encoder, decoder])
    start = [one.detach().clone() for one in parameters]
    ours = KerasAdam(parameters, lr=0.01)
    keras_optimizer = keras.optimizers.Adam(0.01)
    variables = theirs.trainable_variables
    for _ in range(20):
        source, target = normal(4, 5, 3).double(), torch.randint(4, 8, (4, 7))
        shifted = torch.cat([torch.full((4, 1), 1), target[:, :-1]], dim=1)
        before = torch.eye(8, dtype=torch.float64)[shifted]
        theirs.zero_grad()
        negative_log_likelihood(theirs([source, before]), target, TokenSpace(8))[0].backward()
        gradients = [variable.value.grad for variable in variables]
        with torch.no_grad():
            keras_optimizer.apply(gradients, variables)
        ours.zero_grad()
        outputs = decoder(encoder(source, FULL), target)
        negative_log_likelihood(outputs, target, TokenSpace(8))[0].backward()
        ours.step()
    moved = [(one - other).abs().max() for one, other in zip(parameters, start, strict=True)]
    assert min(moved) > 0.01
    found = [one.detach().clone() for one in parameters]
    for one, other in pairs:
        copy(one, other)
    weights.copy_dense(head, decoder.head.output)
    for one, other in zip(found, parameters, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
