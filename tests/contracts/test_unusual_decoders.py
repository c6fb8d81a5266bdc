"""Decoders that are right in ways of their own pass the battery."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional

from decoderlab.contract import ValueSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.feedback import before_each
from decoderlab.layers import GRU
from decoderlab.testing import check_decoder
from tests.contracts.honest import Honest
from tests.contracts.plain import Plain

TABLE = torch.randn(9, 8, generator=torch.Generator().manual_seed(1))


class SparseEmbedding(Plain):
    def make_embedding(self, size, width):
        return nn.Embedding(size, width, sparse=True)


class PaddedEmbedding(Plain):
    def make_embedding(self, size, width):
        return nn.Embedding(size, width, padding_idx=0)


class FrozenTable(Plain):
    def make_embedding(self, size, width):
        return nn.Embedding.from_pretrained(TABLE)


class FrozenTableOfDoubles(Plain):
    def make_embedding(self, size, width):
        return nn.Embedding.from_pretrained(TABLE.double())


class LoadedTable(Plain):
    def make_embedding(self, size, width):
        return nn.Embedding.from_pretrained(TABLE.clone(), freeze=False, sparse=True)


class HeadPerStep(Plain):
    """A head for each of the first steps; the last one serves all that follow."""

    num_heads = 4

    def make_head(self, width, size):
        return nn.ModuleList(nn.Linear(width, size) for _ in range(self.num_heads))

    def outputs(self, features, state):
        return self.head[min(state["step"], self.num_heads - 1)](features)


class ManyHeadsPerStep(HeadPerStep):
    num_heads = 32


class LearnedPositions(Plain):
    def __init__(self, *, target_space, encoder_shape):
        super().__init__(target_space=target_space, encoder_shape=encoder_shape)
        self.positions = nn.Embedding(64, 2 * encoder_shape.memory_size)

    def outputs(self, features, state):
        return self.head(features + self.positions.weight[min(state["step"], 63)])


class LogProbabilities(Plain):
    def outputs(self, features, state):
        return self.head(features).log_softmax(dim=-1)


class ExcludesSpecialTokens(Plain):
    """Padding and BOS have the logit -inf."""

    def outputs(self, features, state):
        return self.head(features).index_fill(-1, torch.tensor([0, 1]), -torch.inf)


class MixtureOfSoftmaxes(Plain):
    """Yang et al. 2018: three softmaxes and a gate; returns the logarithm of the mixture."""

    def make_head(self, width, size):
        return nn.Linear(width, 3 * size + 3)

    def outputs(self, features, state):
        logits, gate = self.head(features).split([27, 3], dim=-1)
        logits = logits.unflatten(-1, (3, 9)).log_softmax(dim=-1)
        return (logits + gate.log_softmax(dim=-1).unsqueeze(-1)).logsumexp(dim=1)


class LogitsAboveZero(Plain):
    """Logits may be of one sign."""

    def outputs(self, features, state):
        return functional.softplus(self.head(features))


class HardAttention(Plain):
    def attend(self, hidden, state):
        scores = (state["memory"] @ hidden.unsqueeze(-1)).squeeze(-1)
        best = scores.masked_fill(~state["mask"], -torch.inf).argmax(dim=-1)
        return state["memory"][torch.arange(len(best)), best]


class WindowAttention(Plain):
    """Looks at three positions around its own, and at the last ones when those are over."""

    def attend(self, hidden, state):
        last = state["mask"].sum(dim=1, keepdim=True) - 1
        middle = last.clamp(max=state["step"])
        positions = torch.arange(state["mask"].shape[1])
        near = ((positions - middle).abs() <= 1) & state["mask"]
        scores = (state["memory"] @ hidden.unsqueeze(-1)).squeeze(-1)
        weights = scores.masked_fill(~near, -torch.inf).softmax(dim=-1)
        return (weights.unsqueeze(1) @ state["memory"]).squeeze(1)


class Coverage(Plain):
    """What was looked at before lowers the scores."""

    def start(self, encoded):
        return super().start(encoded) | {"seen": torch.zeros_like(encoded.memory[..., 0])}

    def step(self, previous, state):
        scores = (state["memory"] @ state["hidden"].unsqueeze(-1)).squeeze(-1) - state["seen"]
        weights = scores.masked_fill(~state["mask"], -torch.inf).softmax(dim=-1)
        outputs, after = super().step(previous, state)
        return outputs + 0.1 * weights.square().sum(dim=-1, keepdim=True) * torch.arange(9), (
            after | {"seen": state["seen"] + weights}
        )


class FirstPositionAlone(Plain):
    """Bahdanau's start, and no attention."""

    def attend(self, hidden, state):
        return torch.zeros_like(hidden)

    def start(self, encoded):
        return super().start(encoded) | {"hidden": encoded.memory[:, 0].tanh()}


class SummaryAtFirst(Plain):
    """Show and Tell: the summary is the first step's input, and is not read again."""

    def attend(self, hidden, state):
        return state["memory"] if state["step"] == 0 else torch.zeros_like(hidden)

    def start(self, encoded):
        zeros = torch.zeros_like(encoded.summary)
        return super().start(encoded) | {"memory": encoded.summary, "hidden": zeros}


class NoiseOnFeatures(Plain):
    def embed(self, token):
        embedded = super().embed(token)
        return embedded + 0.1 * torch.randn_like(embedded) if self.training else embedded


class Zoneout(Plain):
    def step(self, previous, state):
        outputs, after = super().step(previous, state)
        if self.training:
            kept = torch.rand_like(after["hidden"]) < 0.1
            after["hidden"] = torch.where(kept, state["hidden"], after["hidden"])
        return outputs, after


class DropoutOfEverything(Plain):
    def outputs(self, features, state):
        return self.head(functional.dropout(features, 0.5, self.training))

    def embed(self, token):
        return functional.feature_alpha_dropout(super().embed(token), 0.2, self.training)


class WordDropout(Plain):
    """Drops words as `at_step` says."""

    def at_step(self, step, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def embed(self, token):
        if not self.training:
            return super().embed(token)
        return super().embed(
            torch.where(torch.rand(len(token), generator=self.generator) < 0.3, 3, token)
        )


class OwnSampling(Plain):
    """Scheduled sampling of its own, which `at_step` seeds."""

    def at_step(self, step, seed):
        self.ratio, self.generator = 1 / (1 + step), torch.Generator().manual_seed(seed)

    def forward(self, encoded, target):
        state, outputs = self.start(encoded), []
        for previous in before_each(target, self.space).unbind(dim=1):
            if outputs and self.training:
                coins = torch.rand(len(target), generator=self.generator) < self.ratio
                previous = torch.where(coins, previous, outputs[-1].argmax(dim=-1))
            output, state = self.step(previous, state)
            outputs.append(output)
        return torch.stack(outputs, dim=1)


class FreeRunning(Plain):
    """Sees its own output in training, always."""

    def forward(self, encoded, target):
        state, outputs = self.start(encoded), []
        for previous in before_each(target, self.space).unbind(dim=1):
            own = outputs[-1].argmax(dim=-1) if outputs and self.training else previous
            output, state = self.step(own, state)
            outputs.append(output)
        return torch.stack(outputs, dim=1)


class ReorderInPlace(Plain):
    def reorder(self, state, index):
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                state[key] = value[index]
        return state


class NoFeedback(Plain):
    """Never sees what was written."""

    def make_embedding(self, size, width):
        return nn.Embedding(1, width)

    def embed(self, token):
        return self.embedding(torch.zeros_like(token))


class RandomProjection(Plain):
    """A random matrix that is not trained, but saved."""

    def __init__(self, *, target_space, encoder_shape):
        super().__init__(target_space=target_space, encoder_shape=encoder_shape)
        self.register_buffer("projection", torch.randn(16, 16))

    def outputs(self, features, state):
        return self.head((features @ self.projection).tanh())


class TiedToFrozenTable(FrozenTable):
    def make_head(self, width, size):
        return nn.Linear(width, 8)

    def outputs(self, features, state):
        return self.head(features) @ self.embedding.weight.T


class Convolution(Plain):
    """Sees the last three tokens; its state is a list that grows."""

    def __init__(self, *, target_space, encoder_shape):
        super().__init__(target_space=target_space, encoder_shape=encoder_shape)
        del self.cell

    def make_embedding(self, size, width):
        return nn.Embedding(size, width // 2)

    def make_head(self, width, size):
        self.window = nn.Linear(3 * width // 4, width // 4)
        return nn.Linear(3 * width // 4, size)

    def start(self, encoded):
        return super().start(encoded) | {"tokens": []}

    def step(self, previous, state):
        tokens = [*state["tokens"], previous]
        last = [self.embed(one) for one in ([torch.ones_like(previous)] * 2 + tokens)[-3:]]
        seen = self.window(torch.cat(last, dim=-1)).tanh()
        features = torch.cat([seen, self.attend(torch.cat([seen, seen], dim=-1), state)], dim=-1)
        return self.head(features), state | {"tokens": tokens}

    def reorder(self, state, index):
        tokens = [one[index] for one in state["tokens"]]
        return super().reorder(state, index) | {"tokens": tokens}


@dataclass
class Opaque:
    """A state that nobody can look into."""

    inside: dict


class StateOfItsOwn(Plain):
    def start(self, encoded):
        return Opaque(super().start(encoded))

    def step(self, previous, state):
        outputs, state.inside = super().step(previous, state.inside)
        return outputs, state

    def reorder(self, state, index):
        return Opaque(super().reorder(state.inside, index))


class OtherDropout(RecurrentDecoder):
    """Drops out in ways of its own."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.dropout = nn.AlphaDropout(0.3)

    def start(self, encoded):
        summary = functional.dropout(encoded.summary, 0.3, self.training)
        return super().start(encoded._replace(summary=summary))


class StateChangedInPlace(RecurrentDecoder):
    """Each step changes the state that it got."""

    def start(self, encoded):
        return [super().start(encoded)]

    def step(self, previous, state):
        outputs, state[0] = super().step(previous, state[0])
        return outputs, state

    def reorder(self, state, index):
        state[0] = super().reorder(state[0], index)
        return state

    def forward(self, encoded, target):
        previous = before_each(target, self.target_space)
        return self._advance(previous, RecurrentDecoder.start(self, encoded))[0]


EVERY = {"cell": GRU, "hidden_size": 8, "routes": ["every_input"]}
UNUSUAL = [kind for kind in Plain.__subclasses__() if kind.__module__ == __name__]
UNUSUAL += [Plain, Honest, ManyHeadsPerStep, TiedToFrozenTable]


@pytest.mark.thinned(6)
@pytest.mark.parametrize("kind", UNUSUAL, ids=lambda kind: kind.__name__)
def test_what_is_right_in_its_own_way_passes(kind):
    check_decoder(kind)


@pytest.mark.parametrize("kind", [OtherDropout, StateChangedInPlace])
def test_what_is_right_passes_with_settings(kind):
    check_decoder(kind, **EVERY)


class OneDeviation(nn.Module):
    """Writes means, and one standard deviation for all inputs."""

    def __init__(self, *, target_space, encoder_shape):
        super().__init__()
        self.size = target_space.size
        self.cell = nn.GRUCell(self.size, encoder_shape.summary_size)
        self.head = nn.Linear(encoder_shape.summary_size, self.size)
        self.deviation = nn.Parameter(torch.zeros(self.size))

    def start(self, encoded):
        return encoded.summary

    def step(self, previous, state):
        state = self.cell(previous, state)
        means = self.head(state)
        return torch.cat([means, self.deviation.expand_as(means)], dim=-1), state

    def forward(self, encoded, target):
        state, outputs = self.start(encoded), []
        for previous in before_each(target, ValueSpace(self.size)).unbind(dim=1):
            output, state = self.step(previous, state)
            outputs.append(output)
        return torch.stack(outputs, dim=1)

    def reorder(self, state, index):
        return state[index]


def test_one_deviation_for_all_inputs_passes():
    check_decoder(OneDeviation, target_space=ValueSpace(3))


def test_there_are_enough_of_them():
    assert len(UNUSUAL) >= 28
