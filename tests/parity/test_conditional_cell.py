"""The conditional GRU of Nematus (Sennrich et al. 2017, section 2) against its formula in NumPy."""

from __future__ import annotations

import numpy as np
import torch

from decoderlab.contract import Encoded, EncoderShape, TokenSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.layers import GRU
from tests import parts

LENGTHS, STEPS, HIDDEN, MEMORY = (5, 3, 1), 4, 6, 7
Named = dict[str, np.ndarray]


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-.))."""
    return 1 / (1 + np.exp(-values))


def gru(p: Named, name: str, inputs: np.ndarray, state: np.ndarray) -> np.ndarray:
    """A GRU whose reset gate is applied after the product with the state."""
    of_input = p[f"{name}.layers.0.weight_ih_l0"] @ inputs + p[f"{name}.layers.0.bias_ih_l0"]
    of_state = p[f"{name}.layers.0.weight_hh_l0"] @ state + p[f"{name}.layers.0.bias_hh_l0"]
    (r_x, z_x, g_x), (r_s, z_s, g_s) = np.split(of_input, 3), np.split(of_state, 3)
    keep = sigmoid(z_x + z_s)
    return (1 - keep) * np.tanh(g_x + sigmoid(r_x + r_s) * g_s) + keep * state


def conditional_gru(p: Named, memory: np.ndarray, tokens: list[int]) -> np.ndarray:
    """Eq. 1 to 3 with the deep output of the paper, whose W are one matrix here."""
    state = np.tanh(p["bridge.hidden.0.weight"] @ memory.mean(axis=0) + p["bridge.hidden.0.bias"])
    rows = []
    for token in tokens:
        embedded = p["embedding.weight"][token]
        proposed = gru(p, "rnn", embedded, state)
        hidden = memory @ p["attention.project_memory.weight"].T
        hidden = np.tanh(hidden + p["attention.project_query.weight"] @ proposed)
        scores = np.exp(hidden @ p["attention.score_vector.weight"][0])
        context = scores / scores.sum() @ memory
        state = gru(p, "second_rnn", context, proposed)
        deep = np.tanh(p["mix.weight"] @ np.concatenate([context, state, embedded]))
        rows.append(p["head.output.weight"] @ deep + p["head.output.bias"])
    return np.stack(rows)


def test_attention_between_two_cells_is_the_papers():
    torch.manual_seed(3)
    decoder = RecurrentDecoder(
        target_space=TokenSpace(8),
        encoder_shape=EncoderShape(MEMORY, MEMORY),
        cell=GRU,
        hidden_size=HIDDEN,
        routes=["initial_state"],
        bridge=parts.bridge("mean"),
        attention=parts.attention("additive", query="between", mixing="deep"),
        embedding_size=3,
    ).double()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter)
    rows, most = len(LENGTHS), max(LENGTHS)
    memory = torch.randn(rows, most, MEMORY, dtype=torch.double)
    mask = torch.arange(most) < torch.tensor(LENGTHS).unsqueeze(1)
    summary = torch.randn(rows, MEMORY, dtype=torch.double)
    target = torch.randint(4, 8, (rows, STEPS))
    with torch.no_grad():
        outputs = decoder(Encoded(memory, mask, summary, None), target).numpy()
    values = {name: value.numpy() for name, value in decoder.state_dict().items()}
    for row, length in enumerate(LENGTHS):
        before = [TokenSpace.bos_id, *target[row, :-1].tolist()]
        expected = conditional_gru(values, memory[row, :length].numpy(), before)
        np.testing.assert_allclose(outputs[row], expected, rtol=0, atol=1e-10)
