"""The pointer-generator: its head and a whole decoder against their formulas in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from decoderlab.contract import Encoded, EncoderShape, TokenSpace, ValueSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.heads import PointerHead, SourceRead
from decoderlab.layers import RNN
from tests import parts
from tests.conftest import run

SPACES = {"target_space": TokenSpace(8), "source_space": TokenSpace(7)}
# Of each source id the target id; 6 is no token of targets, as the special ones are not.
ALIGNMENT = torch.tensor([-1, -1, -1, -1, 6, 4, -1])
SOURCE = torch.tensor([[4, 5, 4, 6], [5, 3, 0, 0]])
MASK = SOURCE != 0
UNK = 3


def drawn(module):
    torch.manual_seed(2)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return module


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def mixture(weights, features, read, source):
    """Return P of eq. 9, for one row and step."""
    generated = softmax(weights["head.output.weight"] @ features + weights["head.output.bias"])
    gate = weights["head.gate.weight"][0] @ features + weights["head.gate.bias"][0]
    gate = 1 / (1 + np.exp(-gate))
    mixed = gate * generated
    for share, token in zip(read, source, strict=True):
        target = int(ALIGNMENT[token])
        mixed[UNK if target < 0 else target] += (1 - gate) * share
    return mixed


def head():
    sizes = {"features_size": 3, "embedding_size": None, "alignment": ALIGNMENT}
    return drawn(PointerHead(**sizes, **SPACES).double())


def test_the_head_mixes_what_is_generated_with_what_attention_reads():
    made, features = head(), torch.randn(2, 4, 3, dtype=torch.float64)
    read = torch.softmax(torch.randn(2, 4, 4, dtype=torch.float64), dim=-1)
    outputs = made(features, read=SourceRead(SOURCE, read)).exp().detach()
    weights = {f"head.{name}": one.detach().numpy() for name, one in made.named_parameters()}
    for row in range(2):
        for step in range(4):
            given = features[row, step].numpy(), read[row, step].numpy(), SOURCE[row].tolist()
            expected = mixture(weights, *given)
            np.testing.assert_allclose(outputs[row, step], expected, atol=1e-10)
            assert expected.sum() == pytest.approx(1)


def test_the_derivatives_of_the_head_are_right():
    made, features = head(), torch.randn(2, 2, 3, dtype=torch.float64, requires_grad=True)
    scores = torch.randn(2, 2, 4, dtype=torch.float64, requires_grad=True)

    def outputs(features, scores):
        read = torch.softmax(scores.masked_fill(~MASK.unsqueeze(1), -torch.inf), dim=-1)
        return made(features, read=SourceRead(SOURCE, read))

    assert torch.autograd.gradcheck(outputs, (features, scores))


def test_a_decoder_with_attention_copies_as_the_formula_says():
    made = RecurrentDecoder(
        encoder_shape=EncoderShape(3, 3),
        cell=RNN,
        hidden_size=3,
        routes=[],
        attention=parts.attention("dot", mixing="none"),
        head=parts.head("pointer"),
        embedding_size=2,
        alignment=ALIGNMENT,
        **SPACES,
    )
    made = drawn(made.double()).eval()
    memory = torch.randn(2, 4, 3, dtype=torch.float64) * MASK.unsqueeze(-1)
    target = torch.tensor([[6, 4, 7], [4, UNK, 2]])
    with torch.no_grad():
        outputs = made(Encoded(memory, MASK, memory.sum(1), None, SOURCE), target).exp().numpy()
    weights = {name: one.detach().numpy() for name, one in made.named_parameters()}
    recurrent = {name.split(".")[-1]: one for name, one in weights.items() if "rnn." in name}
    for row in range(2):
        state, length = np.zeros(3), int(MASK[row].sum())
        for step, before in enumerate([1, *target[row, :2].tolist()]):
            state = np.tanh(
                recurrent["weight_ih_l0"] @ weights["embedding.weight"][before]
                + recurrent["weight_hh_l0"] @ state
                + recurrent["bias_ih_l0"]
                + recurrent["bias_hh_l0"]
            )
            real = memory[row, :length].numpy()
            read = softmax(real @ state)
            features = np.concatenate([state, read @ real])
            expected = mixture(weights, features, read, SOURCE[row, :length].tolist())
            np.testing.assert_allclose(outputs[row, step], expected, atol=1e-10)


def test_a_run_with_the_head_begins_and_ends(tiny):
    prepared = tiny("decoder=luong", "decoder/head=pointer")
    assert isinstance(prepared.networks[1].head, PointerHead)
    assert run(prepared) == "FINISHED"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target_space": ValueSpace(2)}, "the targets are real values; take decoder/head=linear"),
        ({"source_space": None}, "the source is unknown"),
        ({"alignment": None}, "copies tokens of a known source"),
    ],
)
def test_what_cannot_be_copied_is_refused(given, message):
    sizes = {"features_size": 3, "embedding_size": None, "alignment": ALIGNMENT}
    with pytest.raises(ValueError, match=message):
        PointerHead(**{**sizes, **SPACES, **given})


def test_a_memory_of_another_length_than_its_source_is_refused():
    read = SourceRead(SOURCE, torch.ones(2, 1, 2).double())
    with pytest.raises(ValueError, match="2 positions for a source of 4.*take an encoder"):
        head()(torch.zeros(2, 1, 3).double(), read=read)
