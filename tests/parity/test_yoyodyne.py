"""Hard attention and the pointer-generator against yoyodyne's, with its weights copied in.

Whole decoders are compared: ours has another parametrisation, but each function below is in both.
Memory and source are given, so that no encoder takes part. Yoyodyne has

* hard attention whose emissions have a bias and a hidden layer as wide as [s_t; m_j]: the bias is 0
  here, and what is written does not see the units that ours has not. Its scores have a bias too,
  which adds the same to all positions. It adds 1e-7 to each probability of a position, of padding
  too: it is compared as it is where nothing is padded, to 1e-5, and with 1e-300 added in double
  precision with padding, to 1e-10;
* a pointer-generator whose vocabulary distribution does not see y_{t-1}, while its gate does: with
  `sees_previous` ours sees it in both, and the weights of the first are 0 here. The bias in its
  attention is 0, as ours has none; that after the tanh adds the same to all positions.

Not compared: its first order with `attention_context`, in which the position before selects a row
of learnt transitions within a window. In ours that position restricts the next one alone, so that
it is yoyodyne's 0th order with `enforce_monotonic`. Its transducer has no counterpart.

Yoyodyne (Apache-2.0) is installed by `make test-extras`.
"""

from __future__ import annotations

import importlib
import os
from typing import NamedTuple

import pytest
import torch
from torch import nn

from decoderlab.contract import Encoded, EncoderShape, State, TokenSpace
from decoderlab.decoders import HardAttentionDecoder, RecurrentDecoder
from decoderlab.decoders.heads import PointerHead
from decoderlab.layers import GRU, LSTM
from tests import parts

needed = importlib.import_module if "ALL_EXTRAS" in os.environ else pytest.importorskip
defaults, models, modules = (
    needed(f"yoyodyne.{name}") for name in ("defaults", "models", "models.modules")
)

SPACE, STATE, MEMORY, EMBEDDING, LAYERS = TokenSpace(9), 5, 4, 3, 2
# Of each of our ids yoyodyne's: its special ones are padding, unknown, start, end.
THEIRS = torch.tensor([0, 2, 3, 1, *range(4, SPACE.size)])
TARGET = torch.tensor([[4, 7, 7, 2], [8, 3, 5, 6], [6, 2, 4, 2]])
MASK = torch.tensor([[True] * 4, [True, True, False, False], [True, False, False, False]])
# Of each source id our target id; 5 and the special ones are no target tokens.
ALIGNMENT = torch.tensor([-1, -1, -1, -1, 7, -1, 4])
SOURCE = torch.tensor([[4, 6, 5, 6], [6, 4, 4, 5], [5, 5, 6, 4]])
CELLS = {"lstm": ("LSTM", LSTM), "gru": ("GRU", GRU)}
SIZES = {
    "target_space": SPACE,
    "hidden_size": STATE,
    "num_layers": LAYERS,
    "embedding_size": EMBEDDING,
    "bridge": parts.bridge("copy"),
}


class Case(NamedTuple):
    mask: torch.Tensor
    tolerance: float


@pytest.fixture(params=["single", "double"])
def case(request, monkeypatch):
    """Yoyodyne as it is, nothing padded; or in double, padded, next to nothing added by it."""
    torch.manual_seed(3)
    if request.param == "single":
        yield Case(torch.ones_like(MASK), 1e-5)
        return
    monkeypatch.setattr(defaults, "EPSILON", 1e-300)
    torch.set_default_dtype(torch.float64)
    yield Case(MASK, 1e-10)
    torch.set_default_dtype(torch.float32)


def yoyodyne(name: str, **settings) -> nn.Module:
    """Return a model of yoyodyne's with random weights, biases too."""
    sizes = {"embedding_size": EMBEDDING, "layers": LAYERS}
    made = getattr(models, name)(
        source_encoder=modules.LSTMEncoder(hidden_size=MEMORY, bidirectional=False, **sizes),
        embedding_size=EMBEDDING,
        decoder_hidden_size=STATE,
        decoder_layers=LAYERS,
        vocab_size=SPACE.size,
        target_vocab_size=SPACE.size,
        compute_accuracy=False,
        **settings,
    )
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made.eval()


def shape(cell: str) -> EncoderShape:
    return EncoderShape(MEMORY, MEMORY, STATE, LAYERS, has_cell=cell == "lstm")


def encoding(theirs: nn.Module, mask: torch.Tensor) -> Encoded:
    """Return a random memory, and yoyodyne's learnt initial state."""
    rows, positions = mask.shape
    begun = theirs.decoder.initial_state(rows)
    memory = torch.randn(rows, positions, MEMORY) * mask.unsqueeze(2)
    state = State(begun.hidden.detach(), None if begun.cell is None else begun.cell.detach())
    return Encoded(memory.requires_grad_(), mask, torch.zeros(rows, MEMORY), state, SOURCE)


def copy_weights(ours: nn.Module, theirs: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Give ours the embedding and the cell of theirs, and what is named; nothing is left out."""
    recurrent = theirs.decoder.module.state_dict()
    weights |= {f"rnn.layers.0.{name}": value for name, value in recurrent.items()}
    ours.load_state_dict(weights | {"embedding.weight": theirs.embeddings.weight[THEIRS]})
    ours.eval()


def agree(
    nats: torch.Tensor, expected: torch.Tensor, memory: torch.Tensor, tolerance: float
) -> None:
    """Compare two losses, and their derivatives by the memory."""
    torch.testing.assert_close(nats, expected, rtol=0, atol=tolerance)
    ours, theirs = (torch.autograd.grad(x, memory, retain_graph=True)[0] for x in (nats, expected))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)
    assert theirs.abs().max() > 0.01


def hard_attention(cell: str, monotonic: bool) -> tuple[HardAttentionDecoder, nn.Module]:
    name, layer = CELLS[cell]
    theirs = yoyodyne(f"HardAttention{name}Model", enforce_monotonic=monotonic)
    hidden = theirs.decoder.output_proj[0]
    with torch.no_grad():
        hidden.bias.zero_()
        theirs.classifier.weight[:, STATE:] = 0
    ours = HardAttentionDecoder(encoder_shape=shape(cell), monotonic=monotonic, cell=layer, **SIZES)
    weights = {
        "score.project_query.weight": theirs.decoder.scale_encoded.weight.T,
        "of_state.weight": hidden.weight[:STATE, :STATE],
        "of_memory.weight": hidden.weight[:STATE, STATE:],
        "head.weight": theirs.classifier.weight[THEIRS, :STATE],
        "head.bias": theirs.classifier.bias[THEIRS],
    }
    copy_weights(ours, theirs, weights)
    return ours, theirs


@pytest.mark.parametrize("monotonic", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_the_loss_of_hard_attention_is_that_of_yoyodyne(cell, monotonic, case):
    ours, theirs = hard_attention(cell, monotonic)
    encoded = encoding(theirs, case.mask)
    nats = -ours(encoded, TARGET).gather(2, TARGET.unsqueeze(2)).squeeze(2)
    for row in range(len(TARGET)):
        this = slice(row, row + 1)
        memory, padding = encoded.memory[this], ~case.mask[this]
        for upto in range(1, TARGET.shape[1] + 1):  # its loss is the mean over all tokens
            expected = theirs._loss(memory, padding, THEIRS[TARGET[this, :upto]])
            agree(nats[row, :upto].mean(), expected, encoded.memory, case.tolerance)


def test_neither_kind_of_hard_attention_would_pass_for_the_other(case):
    ours, theirs = hard_attention("lstm", monotonic=True)
    encoded = encoding(theirs, case.mask)
    monotonic = ours(encoded, TARGET)
    ours.monotonic = False
    assert (ours(encoded, TARGET) - monotonic).abs().max() > 0.01


@pytest.mark.parametrize("cell", CELLS)
def test_the_pointer_generator_is_that_of_yoyodyne(cell, case):
    name, layer = CELLS[cell]
    theirs = yoyodyne(f"PointerGenerator{name}Model")
    attention, gate = theirs.decoder.attention, theirs.generation_probability
    with torch.no_grad():
        attention.M.bias.zero_()
    ours = RecurrentDecoder(
        encoder_shape=shape(cell),
        cell=layer,
        routes=["initial_state"],
        attention=parts.attention("additive", query="previous", input_feeding=True, mixing="none"),
        head=parts.head("pointer", sees_previous=True),
        source_space=TokenSpace(len(ALIGNMENT)),
        alignment=ALIGNMENT,
        **SIZES,
    )
    assert isinstance(ours.head, PointerHead)
    unseen = theirs.classifier.weight.new_zeros(SPACE.size, EMBEDDING)
    weights = {
        "attention.project_memory.weight": attention.M.weight[:, :MEMORY],
        "attention.project_query.weight": attention.M.weight[:, MEMORY:],
        "attention.score_vector.weight": attention.V.weight,
        "head.output.weight": torch.cat([theirs.classifier.weight[THEIRS], unseen], dim=1),
        "head.output.bias": theirs.classifier.bias[THEIRS],
        "head.gate.weight": torch.cat(
            [gate.W_hs.weight, gate.W_attention.weight, gate.W_emb.weight], dim=1
        ),
        "head.gate.bias": gate.bias,
    }
    copy_weights(ours, theirs, weights)
    encoded = encoding(theirs, case.mask)
    outputs = ours(encoded, TARGET)
    copied = torch.where(ALIGNMENT < 0, SPACE.unk_id, ALIGNMENT)[SOURCE]
    expected = theirs.greedy_decode_train_validate(
        THEIRS[copied], encoded.memory, ~case.mask, target=THEIRS[TARGET]
    ).transpose(1, 2)[..., THEIRS]
    torch.testing.assert_close(outputs, expected, rtol=0, atol=case.tolerance)
    nats, others = (-one.gather(2, TARGET.unsqueeze(2)).mean() for one in (outputs, expected))
    agree(nats, others, encoded.memory, case.tolerance)
