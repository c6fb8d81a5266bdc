"""Encoders that are right in ways of their own pass the battery, and decoders read theirs."""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.cli.check import main
from decoderlab.common import process
from decoderlab.contract import Encoded, EncoderShape, ImageSpace, State, TokenSpace, ValueSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.encoders import ImageEncoder, RecurrentEncoder
from decoderlab.layers import GRU
from decoderlab.testing import check_decoder, check_encoder, decoder_failures
from tests import parts
from tests.contracts.honest import Honest, HonestEncoder

TABLE = torch.randn(11, 8, generator=torch.Generator().manual_seed(1))


class Bag(nn.Module):
    """Embeddings and their mean; each part can be made in another way."""

    def __init__(self, *, source_space):
        super().__init__()
        self.embedding = self.make_embedding(source_space.size)
        self.shape = EncoderShape(8, 8)
        self.make()

    def make_embedding(self, size):
        return nn.Embedding(size, 8)

    def make(self):
        pass

    def memory(self, embedded, mask):
        return embedded

    def summary(self, memory, mask):
        return memory.sum(dim=1) / mask.sum(dim=1)

    def forward(self, source, source_lengths):
        mask = torch.arange(source.shape[1]) < source_lengths.unsqueeze(1)
        real = mask.unsqueeze(-1)
        memory = self.memory(self.embedding(source) * real, real) * real
        return Encoded(memory, mask, self.summary(memory, real), None)


class Sparse(Bag):
    def make_embedding(self, size):
        return nn.Embedding(size, 8, sparse=True)


class Frozen(Bag):
    def make_embedding(self, size):
        return nn.Embedding.from_pretrained(TABLE)

    def make(self):
        self.layer = nn.Linear(8, 8)

    def memory(self, embedded, mask):
        return self.layer(embedded)


class AttentionPooling(Bag):
    def make(self):
        self.query = nn.Parameter(torch.zeros(8))

    def summary(self, memory, mask):
        weights = (memory @ self.query).masked_fill(~mask[..., 0], -torch.inf).softmax(dim=-1)
        return (weights.unsqueeze(1) @ memory).squeeze(1)


class NoiseOnFeatures(Bag):
    def memory(self, embedded, mask):
        noise = 0.1 * torch.randn_like(embedded) if self.training else 0.0
        return functional.dropout1d(embedded + noise, 0.2, self.training)


class Positions(Bag):
    """Learned positions; those beyond the last are the last."""

    def make(self):
        self.positions = nn.Embedding(64, 8)

    def memory(self, embedded, mask):
        return embedded + self.positions(torch.arange(embedded.shape[1]).clamp(max=63))


class Running(Bag):
    """Sums of what came before, without a loop."""

    def memory(self, embedded, mask):
        return embedded.cumsum(dim=1)


class LayerNorm(Bag):
    def make(self):
        self.norm = nn.LayerNorm(8)

    def memory(self, embedded, mask):
        return self.norm(embedded)


class Sorted(nn.Module):
    """Sorts rows by length for cuDNN, and learns where its state begins."""

    def __init__(self, *, source_space):
        super().__init__()
        self.embedding = nn.Embedding(source_space.size, 4)
        self.rnn = nn.GRU(4, 8, batch_first=True)
        self.begin = nn.Parameter(torch.zeros(8))
        self.shape = EncoderShape(8, 8, state_size=8, state_num_layers=1)

    def forward(self, source, source_lengths):
        order = source_lengths.argsort(descending=True)
        back = order.argsort()
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(source[order]), source_lengths[order], batch_first=True
        )
        outputs, last = self.rnn(packed, self.begin.expand(1, len(source), -1).contiguous())
        memory, _ = nn.utils.rnn.pad_packed_sequence(
            outputs, batch_first=True, total_length=source.shape[1]
        )
        mask = torch.arange(source.shape[1]) < source_lengths.unsqueeze(1)
        last = last[:, back]
        return Encoded(memory[back], mask, last[0], State(last, None))


class Rich(NamedTuple):
    """An encoding with the ids of the source, and a number for each position."""

    memory: Tensor
    memory_mask: Tensor
    summary: Tensor
    state: State | None
    source: Tensor
    extra: dict


class RichEncoder(HonestEncoder):
    def forward(self, source, source_lengths):
        encoded = super().forward(source, source_lengths)
        return Rich(*encoded[:4], source, {"norms": encoded.memory.square().sum(dim=-1)})


class Tagged(Encoded):
    """An encoding with an attribute."""


class TaggingEncoder(HonestEncoder):
    def forward(self, source, source_lengths):
        tagged = Tagged(*super().forward(source, source_lengths))
        tagged.ids = source
        return tagged


class CopiesTheSource(Honest):
    """Reads the ids of the source, as a pointer would."""

    def start(self, encoded):
        ids = encoded.ids if isinstance(encoded, Tagged) else encoded.source
        source = ids.clamp(max=self.space.size - 1)
        counts = functional.one_hot(source, self.space.size).to(encoded.memory)
        counts = counts * encoded.memory_mask.unsqueeze(-1)
        return *super().start(encoded), counts.sum(dim=1)

    def step(self, previous, state):
        outputs, after = super().step(previous, state[:2])
        return outputs + state[2], (*after, state[2])

    def reorder(self, state, index):
        return *super().reorder(state[:2], index), state[2][index]


class ForgetsTheSource(CopiesTheSource):
    def reorder(self, state, index):
        return *super().reorder(state, index)[:2], state[2][torch.arange(len(index)) % 3]


class ReadsTheNorms(Honest):
    """Gradient reaches an encoder through fields of its own too."""

    def read(self, encoded):
        norms = (encoded.extra["norms"] * encoded.memory_mask).sum(dim=1, keepdim=True)
        return encoded._replace(summary=encoded.summary + self.changed(norms))

    def changed(self, norms):
        return norms


class CutsTheNorms(ReadsTheNorms):
    def changed(self, norms):
        return norms.detach()


KINDS = [*Bag.__subclasses__(), Bag, Sorted, HonestEncoder, RichEncoder, TaggingEncoder]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_right_in_its_own_way_passes(kind):
    check_encoder(kind)


@pytest.mark.slow
@pytest.mark.parametrize("make", [RichEncoder, TaggingEncoder])
def test_a_decoder_reads_the_fields_of_the_encoder_that_is_given(make):
    encoder = make(source_space=TokenSpace(11))
    check_decoder(CopiesTheSource, encoder=encoder)
    check_decoder(CopiesTheSource)  # its ids are beside every encoding
    failures = [one.check for one in decoder_failures(ForgetsTheSource, encoder=encoder)]
    assert failures == ["reorder_moves_everything_a_row_knows"]


@pytest.mark.slow
def test_gradients_go_through_fields_of_its_own():
    encoder = RichEncoder(source_space=TokenSpace(11))
    check_decoder(ReadsTheNorms, encoder=encoder)
    failures = decoder_failures(CutsTheNorms, encoder=encoder)
    assert [one.check for one in failures] == ["gradients_are_right"]


def test_encoders_of_values_and_images_are_read_too():
    images, values = ImageSpace(2, 8, 8), ValueSpace(3)
    encoder = ImageEncoder(source_space=images, hidden_size=8)
    chosen = {
        "cell": GRU,
        "hidden_size": 8,
        "routes": ["every_input"],
        "attention": parts.attention("dot"),
    }
    check_decoder(RecurrentDecoder, encoder=encoder, source_space=images, **chosen)
    encoder = RecurrentEncoder(source_space=values, cell=GRU, hidden_size=8)
    check_decoder(RecurrentDecoder, encoder=encoder, source_space=values, **chosen)


def test_the_command_reads_the_fields_of_the_encoder_that_is_named(tmp_path, monkeypatch, capsys):
    for group, kind in (("encoder", RichEncoder), ("decoder", CopiesTheSource)):
        (tmp_path / group).mkdir()
        (tmp_path / group / "mine.yaml").write_text(f"_target_: {__name__}.{kind.__name__}\n")
    given = ["decoder=mine", "encoder=mine", "--config-dir", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["decoderlab-check", *given])
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr(process, "user_config_dir", process.user_config_dir)
    with pytest.raises(SystemExit) as left:
        main()
    assert (left.value.code, capsys.readouterr().out.count("0 failed")) == (0, 2)
