"""Decoders of rare kinds pass the battery; defects of rare kinds are reported by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from decoderlab.decoders.feedback import before_each
from decoderlab.testing import check_decoder
from tests.contracts.honest import Honest, assert_reported, outcomes
from tests.contracts.plain import Plain


class Latent(Plain):
    """Zhang et al. 2016: begins with a sample of a Gaussian, with its mean in evaluation."""

    def __init__(self, *, target_space, encoder_shape):
        super().__init__(target_space=target_space, encoder_shape=encoder_shape)
        width = encoder_shape.memory_size
        self.mean, self.spread = nn.Linear(width, width), nn.Linear(width, width)

    def start(self, encoded):
        latent = self.mean(encoded.summary)
        if self.training:
            latent = latent + self.spread(encoded.summary).exp() * torch.randn_like(latent)
        return super().start(encoded) | {"hidden": latent.tanh()}


class MeanOfWeights(Plain):
    """Evaluates with the mean of a weight over training, which is saved."""

    def __init__(self, *, target_space, encoder_shape):
        super().__init__(target_space=target_space, encoder_shape=encoder_shape)
        self.register_buffer("mean", self.head.weight.detach().clone())

    def forward(self, encoded, target):
        if self.training:
            self.mean.lerp_(self.head.weight.detach(), 0.01)
        return super().forward(encoded, target)

    def outputs(self, features, state):
        weight = self.head.weight if self.training else self.mean
        return functional.linear(features, weight, self.head.bias)


class SpectralNorm(Plain):
    """Miyato et al. 2018: training takes a step of the power iteration at each call."""

    def make_head(self, width, size):
        return parametrizations.spectral_norm(nn.Linear(width, size))


class ComplexWeights(Plain):
    """Arjovsky et al. 2016: features are complex numbers."""

    def __init__(self, *, target_space, encoder_shape):
        super().__init__(target_space=target_space, encoder_shape=encoder_shape)
        width = encoder_shape.memory_size
        self.matrix = nn.Parameter(torch.randn(width, width, dtype=torch.complex64))

    def outputs(self, features, state):
        numbers = torch.view_as_complex(features.unflatten(-1, (-1, 2)))
        return self.head(torch.view_as_real(numbers @ self.matrix).flatten(-2))


class Deliberation(Plain):
    """Xia et al. 2017: writes a draft first, and attends to it as well."""

    def __init__(self, *, target_space, encoder_shape):
        super().__init__(target_space=target_space, encoder_shape=encoder_shape)
        self.first = Plain(target_space=target_space, encoder_shape=encoder_shape)
        self.of_draft = nn.Linear(encoder_shape.memory_size, target_space.size)

    def start(self, encoded):
        token, state, draft = torch.ones(len(encoded.summary)).long(), self.first.start(encoded), []
        for _ in range(4):
            outputs, state = self.first.step(token, state)
            token = outputs.argmax(dim=-1)
            draft.append(state["hidden"] + outputs.softmax(dim=-1) @ self.first.embedding.weight)
        return super().start(encoded) | {"draft": torch.stack(draft, dim=1)}

    def outputs(self, features, state):
        hidden, _ = features.unsqueeze(-1).chunk(2, dim=1)
        read = (state["draft"] @ hidden).softmax(dim=1) * state["draft"]
        return self.head(features) + self.of_draft(read.sum(dim=1))


class TorchsTransformer(nn.Module):
    """Takes torch's layers, and runs all that was written again at each step."""

    def __init__(self, *, target_space, encoder_shape):
        super().__init__()
        self.space, width = target_space, encoder_shape.memory_size
        self.embedding, self.positions = nn.Embedding(9, width), nn.Embedding(64, width)
        layer = nn.TransformerDecoderLayer(width, 2, 16, batch_first=True)
        self.layers, self.head = nn.TransformerDecoder(layer, 2), nn.Linear(width, 9)

    def run(self, tokens, memory, mask):
        positions = torch.arange(tokens.shape[1])
        inputs = self.embedding(tokens) + self.positions(positions.clamp(max=63))
        later = positions > positions.unsqueeze(1)
        read = {"tgt_mask": later, "memory_key_padding_mask": ~mask}
        return self.head(self.layers(inputs, memory, **read))

    def forward(self, encoded, target):
        before = before_each(target, self.space)
        return self.run(before, encoded.memory, encoded.memory_mask)

    def start(self, encoded):
        return torch.zeros(len(encoded.memory), 0).long(), encoded.memory, encoded.memory_mask

    def step(self, previous, state):
        tokens = torch.cat([state[0], previous.unsqueeze(1)], dim=1)
        return self.run(tokens, *state[1:])[:, -1], (tokens, *state[1:])

    def reorder(self, state, index):
        return tuple(part[index] for part in state)


RARE = [Latent, MeanOfWeights, SpectralNorm, ComplexWeights, Deliberation, TorchsTransformer]


@pytest.mark.thinned
@pytest.mark.parametrize("kind", RARE, ids=lambda kind: kind.__name__)
def test_what_is_right_in_a_rare_way_passes(kind):
    check_decoder(kind)


class LengthInTraining(Honest):
    """Knows in training how long the batch's targets are, and no more."""

    def forward(self, encoded, target):
        length = target.shape[1] if self.training else 0
        return super().forward(encoded, target) + 0.01 * length * torch.arange(9)


class LongestSoFar(Honest):
    """The longest memory that it has seen is in the module."""

    longest = 0

    def start(self, encoded):
        self.longest = max(self.longest, encoded.memory.shape[1])
        return super().start(encoded)

    def written(self, outputs, t):
        return outputs * (1 + 0.01 * self.longest)


class VocabularyCut(Honest):
    def seen(self, previous, t):
        return previous.clamp(max=7)


class Twins(Honest):
    def written(self, outputs, t):
        return torch.cat([outputs[:, :8], outputs[:, 7:8]], dim=-1)


class LastBatchSaved(Plain):
    """The summary of the batch before has influence, and is saved."""

    def __init__(self, *, target_space, encoder_shape):
        super().__init__(target_space=target_space, encoder_shape=encoder_shape)
        self.register_buffer("last", torch.zeros(encoder_shape.summary_size))

    def start(self, encoded):
        state = super().start(encoded)
        state["hidden"] = state["hidden"] + self.last
        self.last.copy_(encoded.summary.detach().mean(dim=0))
        return state


class LastBatchSavedInTraining(LastBatchSaved):
    """The same in training alone, of whose buffers evaluation sees nothing."""

    def start(self, encoded):
        return super().start(encoded) if self.training else Plain.start(self, encoded)


class LastTargetsKept(Plain):
    """In training, the mean of the targets before has influence."""

    kept = None

    def forward(self, encoded, target):
        outputs, before = super().forward(encoded, target), self.kept
        self.kept = target.to(outputs).mean()
        return outputs if before is None or not self.training else outputs * (1 + before)


class NoEffectAtAll(Plain):
    def __init__(self, *, target_space, encoder_shape):
        super().__init__(target_space=target_space, encoder_shape=encoder_shape)
        self.unused = nn.Linear(2, 2)


class ComplexGradientDoubled(ComplexWeights):
    def outputs(self, features, state):
        numbers = torch.view_as_complex(features.unflatten(-1, (-1, 2)))
        numbers = numbers @ (2 * self.matrix - self.matrix.detach())
        return self.head(torch.view_as_real(numbers).flatten(-2))


DEFECTS = {
    LengthInTraining: ("the_future_has_no_influence", "in training, targets that are cut off"),
    LongestSoFar: ("nothing_stays_in_the_module", "another source in between"),
    VocabularyCut: ("the_output_before_has_influence_at_every_position", "token 7 or 8"),
    Twins: ("every_token_can_be_generated", "token 7 is everywhere that of another"),
    LastBatchSaved: ("nothing_stays_in_the_module", "another source in between"),
    LastBatchSavedInTraining: (
        "training_keeps_nothing_of_the_batch_before",
        "another batch before",
    ),
    LastTargetsKept: ("training_keeps_nothing_of_the_batch_before", "another batch before"),
    NoEffectAtAll: ("every_parameter_gets_a_finite_gradient", "unused"),
    ComplexGradientDoubled: ("gradients_are_right", "matrix"),
}


@pytest.mark.parametrize("kind", DEFECTS, ids=lambda kind: kind.__name__)
def test_a_rare_defect_is_reported_by_name(kind):
    check, seen = DEFECTS[kind]
    assert_reported(outcomes(kind, check), check, seen)
