"""Whole models against the formulas of their papers, in NumPy and with the papers' letters.

Nothing of decoderlab runs in a reference. It takes our weights by name (`p`), gives them the
letters of the paper, reads one source `x` (token ids) and the tokens before each place of one
target `y` (BOS first), and returns the log-probabilities (T, V) of every token at every place. The
papers leave the biases out; here they stand where ours do, and are zero in half of the tests.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from numpy import tanh
from torch import nn

from decoderlab.config.run_config import RunConfig
from decoderlab.contract import TokenSpace
from decoderlab.training.assembly import build_networks
from tests.conftest import composed

SOURCE, TARGET = TokenSpace(8), TokenSpace(7)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def softmax(a):
    return np.exp(a - a.max()) / np.exp(a - a.max()).sum()


def cho_2014(p, x, y):
    """Cho et al. 2014, A.1.1 and A.1.2: z keeps the old state, r acts before the product."""
    e, V, b_V = p["encoder.embedding.weight"], *linear(p, "encoder.summarise")
    W_r, W_z, W = np.split(p["encoder.rnn.layers.0.cells.0.weight_ih"], 3)
    U_r, U_z, U = np.split(p["encoder.rnn.layers.0.cells.0.weight_hh"], 3)
    b_r, b_z, b = np.split(p["encoder.rnn.layers.0.cells.0.bias"], 3)
    h = np.zeros(len(b))
    for x_t in x:
        r = sigmoid(W_r @ e[x_t] + U_r @ h + b_r)
        z = sigmoid(W_z @ e[x_t] + U_z @ h + b_z)
        h_new = tanh(W @ e[x_t] + U @ (r * h) + b)
        h = z * h + (1 - z) * h_new
    c = tanh(V @ h + b_V)

    e, V, b_V = p["decoder.embedding.weight"], *linear(p, "decoder.bridge.hidden.0")
    inputs = np.split(p["decoder.rnn.layers.0.cells.0.weight_ih"], 3)
    (W_r, C_r), (W_z, C_z), (W, C) = (np.split(part, [e.shape[1]], axis=1) for part in inputs)
    U_r, U_z, U = np.split(p["decoder.rnn.layers.0.cells.0.weight_hh"], 3)
    b_r, b_z, b = np.split(p["decoder.rnn.layers.0.cells.0.bias"], 3)
    O_all, b_O = linear(p, "decoder.head.hidden")
    O_h, O_c, O_y = np.split(O_all, [len(b), len(b) + len(c)], axis=1)
    G, b_G = linear(p, "decoder.head.output")
    if "decoder.head.narrow.weight" in p:  # section 4.1.1: G is the product of two matrices
        G = G @ p["decoder.head.narrow.weight"]
    h, outputs = tanh(V @ c + b_V), []
    for y_before in y:
        r = sigmoid(W_r @ e[y_before] + U_r @ h + C_r @ c + b_r)
        z = sigmoid(W_z @ e[y_before] + U_z @ h + C_z @ c + b_z)
        h_new = tanh(W @ e[y_before] + r * (U @ h + C @ c) + b)
        h = z * h + (1 - z) * h_new
        s_all = O_h @ h + O_y @ e[y_before] + O_c @ c + b_O  # O_y y, low-rank: through e
        s = np.maximum(s_all[0::2], s_all[1::2])
        outputs.append(softmax(G @ s + b_G))
    return np.log(outputs)


def bahdanau_2015(p, x, y):
    """Bahdanau et al. 2015, A.1.1, A.1.2, A.2.1 and A.2.2: z takes the new state in."""
    E = p["encoder.embedding.weight"]

    def read(tokens, cell):
        W_r, W_z, W = np.split(p[f"{cell}.weight_ih"], 3)
        U_r, U_z, U = np.split(p[f"{cell}.weight_hh"], 3)
        b_r, b_z, b = np.split(p[f"{cell}.bias"], 3)
        W_z, U_z, b_z = -W_z, -U_z, -b_z  # our z is one minus the paper's
        h, states = np.zeros(len(b)), []
        for token in tokens:
            z = sigmoid(W_z @ E[token] + U_z @ h + b_z)
            r = sigmoid(W_r @ E[token] + U_r @ h + b_r)
            h = (1 - z) * h + z * tanh(W @ E[token] + U @ (r * h) + b)
            states.append(h)
        return states

    forward = read(x, "encoder.rnn.layers.0.cells.0")
    backward = read(x[::-1], "encoder.rnn.layers.0.cells.1")[::-1]
    h = [np.concatenate(pair) for pair in zip(forward, backward, strict=True)]

    E, W_s, b_s = p["decoder.embedding.weight"], *linear(p, "decoder.bridge.hidden.0")
    W_a, U_a = (
        p["decoder.attention.project_query.weight"],
        p["decoder.attention.project_memory.weight"],
    )
    v_a = p["decoder.attention.score_vector.weight"][0]
    inputs = np.split(p["decoder.rnn.layers.0.cells.0.weight_ih"], 3)
    (W_r, C_r), (W_z, C_z), (W, C) = (np.split(part, [E.shape[1]], axis=1) for part in inputs)
    U_r, U_z, U = np.split(p["decoder.rnn.layers.0.cells.0.weight_hh"], 3)
    b_r, b_z, b = np.split(p["decoder.rnn.layers.0.cells.0.bias"], 3)
    W_z, U_z, C_z, b_z = -W_z, -U_z, -C_z, -b_z
    O_all, b_t = linear(p, "decoder.head.hidden")
    U_o, C_o, V_o = np.split(O_all, [len(b), len(b) + len(h[0])], axis=1)
    W_o, b_o = linear(p, "decoder.head.output")
    s, outputs = tanh(W_s @ backward[0] + b_s), []
    for y_before in y:
        e_i = np.array([v_a @ tanh(W_a @ s + U_a @ h_j) for h_j in h])
        c = softmax(e_i) @ h
        z = sigmoid(W_z @ E[y_before] + U_z @ s + C_z @ c + b_z)
        r = sigmoid(W_r @ E[y_before] + U_r @ s + C_r @ c + b_r)
        s_new = tanh(W @ E[y_before] + U @ (r * s) + C @ c + b)
        t_all = U_o @ s + V_o @ E[y_before] + C_o @ c + b_t  # the paper has s_{i-1} here
        t = np.maximum(t_all[0::2], t_all[1::2])
        outputs.append(softmax(W_o @ t + b_o))
        s = (1 - z) * s + z * s_new
    return np.log(outputs)


def luong_2015(p, x, y, score, feeds=False):
    """Luong et al. 2015, eq. 5 to 8, and input feeding, section 3.3."""
    states, memory = lstm_encoder(p, x)
    e, (W_s, b_s) = p["decoder.embedding.weight"], linear(p, "decoder.head.output")
    W_c, outputs = p["decoder.mix.weight"], []
    h_tilde = np.zeros(len(W_c))
    for y_before in y:
        x_t = np.concatenate([e[y_before], h_tilde]) if feeds else e[y_before]
        states, h = lstm(p, "decoder.rnn.layers.0", states, x_t)
        match score:  # eq. 8
            case "dot":
                scores = [h @ h_s for h_s in memory]
            case "general":
                W_a = p["decoder.attention.project_query.weight"].T
                scores = [h @ W_a @ h_s for h_s in memory]
            case "concat":
                W_a = p["decoder.attention.project.weight"]
                v_a = p["decoder.attention.score_vector.weight"][0]
                scores = [v_a @ tanh(W_a @ np.concatenate([h, h_s])) for h_s in memory]
        a = softmax(np.array(scores))  # eq. 7
        c = sum(a_s * h_s for a_s, h_s in zip(a, memory, strict=True))
        h_tilde = tanh(W_c @ np.concatenate([c, h]))  # eq. 5
        outputs.append(softmax(W_s @ h_tilde + b_s))  # eq. 6
    return np.log(outputs)


def vinyals_2015(p, x, y):
    """Show and Tell, eq. 10 to 12, with the source's encoding for the image's.

    The LSTM is ours; the paper's (eq. 4 to 9) has m = o * c, without a tanh.
    """
    (*_, (image, _)), _ = lstm_encoder(p, x)
    W, b = linear(p, "decoder.first_input")
    W_e, (G, b_G) = p["decoder.embedding.weight"], linear(p, "decoder.head.output")
    width, depth = G.shape[1], num_layers(p, "decoder.rnn.layers.0")
    states = [(np.zeros(width), np.zeros(width))] * depth
    states, _ = lstm(p, "decoder.rnn.layers.0", states, W @ image + b)  # x_{-1}; no p_0 from it
    outputs = []
    for S_t in y:
        states, m = lstm(p, "decoder.rnn.layers.0", states, W_e[S_t])
        outputs.append(softmax(G @ m + b_G))
    return np.log(outputs)


def sutskever_2014(p, x, y):
    """Sutskever et al. 2014: all states of a deep LSTM that read the source reversed."""
    states, _ = lstm_encoder(p, x[::-1])
    e, (G, b_G), outputs = p["decoder.embedding.weight"], linear(p, "decoder.head.output"), []
    for y_before in y:
        states, h = lstm(p, "decoder.rnn.layers.0", states, e[y_before])
        outputs.append(softmax(G @ h + b_G))
    return np.log(outputs)


def lstm(p, name, states, x):
    """One step of a deep LSTM with forget gates (Gers et al. 2000)."""
    after = []
    for level, (h, c) in enumerate(states):
        W, U = p[f"{name}.weight_ih_l{level}"], p[f"{name}.weight_hh_l{level}"]
        b = p[f"{name}.bias_ih_l{level}"] + p[f"{name}.bias_hh_l{level}"]
        i, f, g, o = np.split(W @ x + U @ h + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        x = h = sigmoid(o) * tanh(c)
        after.append((h, c))
    return after, x


def lstm_encoder(p, x):
    """Return the last states of all layers, and the top layer's h of every position."""
    name, memory = "encoder.rnn.layers.0", []
    width = p[f"{name}.weight_hh_l0"].shape[1]
    states = [(np.zeros(width), np.zeros(width))] * num_layers(p, name)
    for x_t in x:
        states, h = lstm(p, name, states, p["encoder.embedding.weight"][x_t])
        memory.append(h)
    return states, memory


def num_layers(p, name):
    return sum(key.startswith(f"{name}.weight_hh") for key in p)


def linear(p, name):
    return p[f"{name}.weight"], p[f"{name}.bias"]


# Sizes differ wherever they may, so that no two matrices can be taken for one another.
SIZES = ["encoder.embedding_size=2", "decoder.embedding_size=3", "encoder.hidden_size=4"]
CHO = [*SIZES, "encoder=cho2014", "decoder=cho2014", "encoder.summary_size=6"]
CHO += ["decoder.hidden_size=5", "+decoder.head.size=4"]
BAHDANAU = [*SIZES, "encoder=bahdanau2015", "decoder=bahdanau2015", "decoder.hidden_size=5"]
BAHDANAU += ["+decoder.attention.size=3", "+decoder.head.size=4"]
DEEP = [*SIZES, "encoder=lstm", "encoder.num_layers=2", "decoder.num_layers=2"]
LUONG = [*DEEP, "decoder=luong", "decoder.hidden_size=4"]
FEEDING = [*DEEP, "decoder=luong_input_feeding", "decoder.hidden_size=4"]
CASES = {
    "cho2014": (cho_2014, CHO),
    "cho2014-rank": (cho_2014, [*CHO, "+decoder.head.rank=2"]),
    "bahdanau2015": (bahdanau_2015, BAHDANAU),
    "luong": (partial(luong_2015, score="general"), LUONG),
    "luong-dot": (partial(luong_2015, score="dot"), [*LUONG, "decoder/attention=dot"]),
    "luong-concat": (partial(luong_2015, score="concat"), [*LUONG, "decoder/attention=concat"]),
    "luong_input_feeding": (partial(luong_2015, score="general", feeds=True), FEEDING),
    "first_input": (vinyals_2015, [*DEEP, "decoder=first_input", "decoder.hidden_size=5"]),
    "initial_state": (
        sutskever_2014,
        [*DEEP, "decoder=initial_state", "decoder.hidden_size=4", "encoder.reverse_source=true"],
    ),
}
# Rows of different lengths: padding (0) after the end, EOS (2) at the targets' ends.
SOURCES = torch.tensor([[4, 5, 6, 7, 4], [7, 3, 0, 0, 0], [5, 5, 7, 6, 0]])
TARGETS = torch.tensor([[5, 4, 2, 0], [6, 3, 6, 2], [4, 2, 0, 0]])


def networks(overrides, biases):
    """Return encoder and decoder as their YAMLs say, in float64 and with large random weights."""
    encoder, decoder = build_networks(RunConfig.from_composed(composed(*overrides)), SOURCE, TARGET)
    both = nn.ModuleDict({"encoder": encoder, "decoder": decoder}).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in both.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.8)
            if "bias" in name and not biases:
                parameter.zero_()
        for part in both.values():
            part.embedding.weight[SOURCE.pad_id] = 0
    return both


def our_log_probabilities(both):
    """Return the log-probabilities (T, V) of each row, without its padding."""
    encoded = both["encoder"](SOURCES, (SOURCES != SOURCE.pad_id).sum(1))
    values = both["decoder"](encoded, TARGETS).log_softmax(-1)
    return [row[: len(y)] for row, y in zip(values, real(TARGETS), strict=True)]


def their_log_probabilities(reference, p):
    pairs = zip(real(SOURCES), real(TARGETS), strict=True)
    return [reference(p, x, [TARGET.bos_id, *y[:-1]]) for x, y in pairs]


def real(rows):
    return [[token for token in row if token] for row in rows.tolist()]


def loss(log_probabilities):
    """Return the sum of minus the targets' log-probabilities."""
    pairs = zip(log_probabilities, real(TARGETS), strict=True)
    return -sum(row[t, token] for row, y in pairs for t, token in enumerate(y))


def as_numpy(both):
    return {name: value.detach().numpy().copy() for name, value in both.named_parameters()}


@pytest.mark.parametrize("biases", [False, True], ids=["zero biases", "random biases"])
@pytest.mark.parametrize("case", CASES)
def test_log_probabilities_are_those_of_the_paper(case, biases):
    reference, overrides = CASES[case]
    both = networks(overrides, biases)
    theirs = their_log_probabilities(reference, as_numpy(both))
    for one, other in zip(our_log_probabilities(both), theirs, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one.detach().numpy(), other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_no_gradient_is_cut(case):
    # Central differences of the reference, along a random direction in each of our parameters.
    reference, overrides = CASES[case]
    both = networks(overrides, biases=True)
    loss(our_log_probabilities(both)).backward()
    generator, p, step = np.random.default_rng(0), as_numpy(both), 1e-5
    for name, parameter in both.named_parameters():
        direction = generator.standard_normal(parameter.shape)
        direction /= np.linalg.norm(direction)
        above, below = (
            loss(their_log_probabilities(reference, {**p, name: p[name] + move * direction}))
            for move in (step, -step)
        )
        expected = (above - below) / (2 * step)
        assert abs(expected) > 1e-5, name
        assert parameter.grad is not None, name
        found = float((parameter.grad * torch.from_numpy(direction)).sum())
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9), name  # 1e-9: rounding
