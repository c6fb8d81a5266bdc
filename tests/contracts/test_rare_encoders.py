"""Encoders of rare kinds pass the battery; defects of rare kinds are reported by name."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from decoderlab.contract import Encoded, EncoderShape, State, TokenSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.layers import GRU
from decoderlab.testing import check_decoder, check_encoder
from tests import parts
from tests.contracts.honest import encoder_outcomes

WIDTH = 8


def mask_of(lengths, num_positions):
    return torch.arange(num_positions) < lengths.unsqueeze(1)


def mean_of(memory, mask):
    return memory.sum(dim=1) / mask.sum(dim=1, keepdim=True)


class Rare(nn.Module):
    """An embedding; `read` makes the encoding of it, `make` the layers."""

    def __init__(self, *, source_space):
        super().__init__()
        self.embedding = nn.Embedding(source_space.size, WIDTH)
        self.shape = EncoderShape(WIDTH, WIDTH)
        self.make()

    def make(self):
        pass

    def forward(self, source, source_lengths):
        return self.read(self.embedding(source), source_lengths)


class Selective(Rare):
    """Gu and Dao 2023: a state (D, N) that decays and is written as the token asks."""

    def make(self):
        self.log_rate = nn.Parameter(torch.arange(1.0, 4.0).log().repeat(WIDTH, 1))
        self.delta, self.gate = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.write, self.look = nn.Linear(WIDTH, 3), nn.Linear(WIDTH, 3)

    def read(self, embedded, lengths):
        delta = functional.softplus(self.delta(embedded)).unsqueeze(-1)
        decay = torch.exp(-delta * self.log_rate.exp())
        written = delta * self.write(embedded).unsqueeze(2) * embedded.unsqueeze(-1)
        state, read = torch.zeros_like(written[:, 0]), []
        for t in range(embedded.shape[1]):
            state = decay[:, t] * state + written[:, t]
            read.append((state * self.look(embedded[:, t]).unsqueeze(1)).sum(dim=-1))
        mask = mask_of(lengths, embedded.shape[1])
        outputs = torch.stack(read, dim=1) * functional.silu(self.gate(embedded))
        memory = outputs * mask.unsqueeze(-1)
        return Encoded(memory, mask, memory[torch.arange(len(memory)), lengths - 1], None)


class Strided(Rare):
    """Gated convolutions, the second of stride 2: a memory of half the length."""

    def make(self):
        self.first = nn.Conv1d(WIDTH, 2 * WIDTH, 3, padding=1)
        self.second = nn.Conv1d(WIDTH, 2 * WIDTH, 3, stride=2, padding=1)

    def masked(self, values, lengths):
        return values * mask_of(lengths, values.shape[2]).unsqueeze(1)

    def read(self, embedded, lengths):
        inputs = self.masked(embedded.transpose(1, 2), lengths)
        inputs = self.masked(inputs + functional.glu(self.first(inputs), dim=1), lengths)
        memory = functional.glu(self.second(inputs), dim=1).transpose(1, 2)
        mask = mask_of((lengths + 1) // 2, memory.shape[1])
        memory = memory * mask.unsqueeze(-1)
        return Encoded(memory, mask, mean_of(memory, mask), None)


class Pyramid(Rare):
    """Chan et al. 2016: pairs of neighbours between two bidirectional layers."""

    def make(self):
        half = {"batch_first": True, "bidirectional": True}
        self.low = nn.GRU(WIDTH, WIDTH // 2, **half)
        self.high = nn.GRU(2 * WIDTH, WIDTH // 2, **half)
        self.shape = EncoderShape(WIDTH, WIDTH, state_size=WIDTH, state_num_layers=1)

    def run(self, layer, inputs, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(inputs, lengths, True, enforce_sorted=False)
        outputs, last = layer(packed)
        outputs, _ = nn.utils.rnn.pad_packed_sequence(outputs, True, 0.0, inputs.shape[1])
        return outputs, torch.cat([*last], dim=-1)

    def read(self, embedded, lengths):
        low, _ = self.run(self.low, embedded, lengths)
        low = functional.pad(low, (0, 0, 0, low.shape[1] % 2))
        lengths = (lengths + 1) // 2
        pairs = low.reshape(len(low), low.shape[1] // 2, -1)
        memory, last = self.run(self.high, pairs, lengths)
        return Encoded(memory, mask_of(lengths, memory.shape[1]), last, State(last[None]))


class SummaryInTheMemory(Rare):
    """Devlin et al. 2019: the summary is a token of its own, which stays in the memory."""

    def make(self):
        self.token, self.positions = nn.Parameter(torch.randn(WIDTH)), nn.Embedding(64, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def read(self, embedded, lengths):
        embedded = embedded + self.positions(torch.arange(embedded.shape[1]).clamp(max=63))
        inputs = torch.cat([self.token.expand(len(embedded), 1, -1), embedded], dim=1)
        mask = mask_of(lengths + 1, inputs.shape[1])
        memory = self.layers(inputs, src_key_padding_mask=~mask) * mask.unsqueeze(-1)
        return Encoded(memory, mask, memory[:, 0], None)


class Reservoir(Rare):
    """Jaeger 2001: weights that were drawn once and are saved; what reads them is trained."""

    def make(self):
        self.embedding.requires_grad_(False)
        self.register_buffer("around", 0.3 * torch.randn(WIDTH, WIDTH))
        self.readout = nn.Linear(WIDTH, WIDTH)

    def read(self, embedded, lengths):
        mask, state = mask_of(lengths, embedded.shape[1]), torch.zeros_like(embedded[:, 0])
        states = []
        for inputs, real in zip(embedded.unbind(1), mask.unsqueeze(-1).unbind(1), strict=True):
            state = torch.where(real, torch.tanh(inputs + state @ self.around), state)
            states.append(state)
        memory = self.readout(torch.stack(states, dim=1)) * mask.unsqueeze(-1)
        return Encoded(memory, mask, self.readout(state), None)


class Quantised(Rare):
    """Van den Oord et al. 2017: the nearest code of a book, with a straight-through gradient."""

    surrogate_gradients = True

    def make(self):
        self.codes = nn.Parameter(torch.randn(5, WIDTH))

    def read(self, embedded, lengths):
        mask = mask_of(lengths, embedded.shape[1])
        nearest = torch.cdist(embedded, self.codes.expand(len(embedded), -1, -1)).argmin(dim=-1)
        memory = self.codes[nearest] + embedded - embedded.detach()
        memory = memory * mask.unsqueeze(-1)
        return Encoded(memory, mask, memory.sum(dim=1), None)


RIGHT = [Selective, Strided, Pyramid, SummaryInTheMemory, Reservoir, Quantised]


@pytest.mark.parametrize("kind", RIGHT, ids=lambda kind: kind.__name__)
def test_what_is_right_in_a_rare_way_passes(kind):
    check_encoder(kind)


@pytest.mark.parametrize("kind", [Pyramid, SummaryInTheMemory])
def test_a_decoder_reads_a_memory_that_is_not_as_long_as_the_source(kind):
    chosen = {"cell": GRU, "hidden_size": WIDTH, "routes": ["every_input"]}
    chosen["attention"] = parts.attention("location")
    check_decoder(RecurrentDecoder, encoder=kind(source_space=TokenSpace(11)), **chosen)


class StrideReadsPadding(Strided):
    def masked(self, values, lengths):
        return values


class StrideOfTheLongest(Strided):
    """The longest row of a batch decides how much its memory is shortened."""

    def read(self, embedded, lengths):
        encoded, stride = super().read(embedded, lengths), 1 + embedded.shape[1] // 16
        memory, mask = encoded.memory[:, ::stride], encoded.memory_mask[:, ::stride]
        return encoded._replace(memory=memory, memory_mask=mask)


class PyramidOfAllPositions(Pyramid):
    def read(self, embedded, lengths):
        encoded = super().read(embedded, lengths)
        return encoded._replace(memory_mask=torch.ones_like(encoded.memory_mask))


class LastBatchSaved(Selective):
    """The mean of the batch before has influence in training, and is saved."""

    def make(self):
        super().make()
        self.register_buffer("last", torch.zeros(WIDTH))

    def read(self, embedded, lengths):
        encoded = super().read(embedded, lengths)
        if not self.training:
            return encoded
        summary = encoded.summary + self.last
        self.last.copy_(encoded.summary.detach().mean(dim=0))
        return encoded._replace(summary=summary)


class NoUnknownTokens(Selective):
    """Its table has rows for real tokens alone."""

    def forward(self, source, source_lengths):
        real = mask_of(source_lengths, source.shape[1])
        return super().forward(torch.where(real, source - 4, 0), source_lengths)


class GradientUndeclared(Quantised):
    surrogate_gradients = False


DEFECTS = {
    StrideReadsPadding: ("padding_has_no_influence", "contents of the padding"),
    StrideOfTheLongest: ("encoders_batch_mates_have_no_influence", "row 2 alone, the mask has"),
    PyramidOfAllPositions: ("padding_has_no_influence", "real positions, before it had"),
    LastBatchSaved: ("training_keeps_nothing_of_the_sources_before", "another batch before"),
    NoUnknownTokens: ("it_reads_unknown_tokens", "unknown tokens .* IndexError"),
    GradientUndeclared: ("the_encoders_gradients_are_right", "not the derivative"),
}


@pytest.mark.parametrize("kind", DEFECTS, ids=lambda kind: kind.__name__)
def test_a_rare_defect_is_reported_by_name(kind):
    check, seen = DEFECTS[kind]
    assert re.search(seen, encoder_outcomes(kind, check)[check])
