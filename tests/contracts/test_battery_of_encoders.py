"""The battery of encoders reports planted defects, each by name, and nothing in what is right."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from decoderlab.encoders import RecurrentEncoder
from decoderlab.layers import LSTM
from decoderlab.testing import ContractViolation, check_encoder, encoder_failures
from decoderlab.testing.encoder_checks import ENCODER_CHECKS
from tests.contracts import test_harmful_encoders, test_rare_encoders
from tests.contracts.honest import encoder_outcomes


class ReadsThePadding(RecurrentEncoder):
    def forward(self, source, source_lengths):
        whole = torch.full_like(source_lengths, source.shape[1])
        mask = torch.arange(source.shape[1]) < source_lengths.unsqueeze(1)
        encoded = super().forward(source, whole)
        return encoded._replace(memory=encoded.memory * mask.unsqueeze(-1), memory_mask=mask)


class MemoryNotCleared(RecurrentEncoder):
    def forward(self, source, source_lengths):
        encoded = super().forward(source, source_lengths)
        return encoded._replace(memory=encoded.memory + 1)


class MaskInverted(RecurrentEncoder):
    def forward(self, source, source_lengths):
        encoded = super().forward(source, source_lengths)
        return encoded._replace(memory_mask=~encoded.memory_mask)


class RowsMixed(RecurrentEncoder):
    def forward(self, source, source_lengths):
        encoded = super().forward(source, source_lengths)
        return encoded._replace(summary=encoded.summary + encoded.summary.mean(dim=0))


class FirstRowIsSpecial(RecurrentEncoder):
    def forward(self, source, source_lengths):
        encoded = super().forward(source, source_lengths)
        first = (torch.arange(len(source)) == 0).unsqueeze(1)
        return encoded._replace(summary=encoded.summary * torch.where(first, 2.0, 1.0))


class FirstTokenDropped(RecurrentEncoder):
    def forward(self, source, source_lengths):
        source = source.clone()
        source[:, 0] = 5
        return super().forward(source, source_lengths)


class WrongSizeStated(RecurrentEncoder):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.shape = type(self.shape)(8, 9)


class RemembersTheLast(RecurrentEncoder):
    before = 0.0

    def forward(self, source, source_lengths):
        encoded = super().forward(source, source_lengths)
        kept, self.before = self.before, float(encoded.summary.detach().sum())
        return encoded._replace(summary=encoded.summary + kept)


class NormalisedOverTheBatch(RecurrentEncoder):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, source, source_lengths):
        encoded = super().forward(source, source_lengths)
        return encoded._replace(summary=self.norm(encoded.summary))


class EncoderSwallowsSettings(RecurrentEncoder):
    def __init__(self, no_such_setting=None, **settings):
        super().__init__(**settings)


class EncoderComputes(RecurrentEncoder):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.scale = float(self.rnn.layers[0].weight_ih_l0.abs().mean())


class EncoderHasSpareWeights(RecurrentEncoder):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.spare = nn.Linear(3, 3)


class EncoderHalvesItsGradient(RecurrentEncoder):
    def forward(self, source, source_lengths):
        encoded = super().forward(source, source_lengths)
        return encoded._replace(summary=encoded.summary / 2 + encoded.summary.detach() / 2)


class EncoderForgetsToSave(RecurrentEncoder):
    def forward(self, source, source_lengths):
        encoded = super().forward(source, source_lengths)
        if not hasattr(self, "noise"):
            self.noise = torch.randn_like(encoded.summary[:1])
        return encoded._replace(summary=encoded.summary + self.noise)


class EncoderDrawsByItself(RecurrentEncoder):
    def __init__(self, **settings):
        super().__init__(**settings)
        with torch.no_grad():
            for parameter in self.rnn.parameters():
                parameter.mul_(torch.rand((), generator=UNSEEDED))


UNSEEDED = torch.Generator()
ENCODER_DEFECTS = [
    (ReadsThePadding, "padding_has_no_influence", "of padding|of the padding"),
    (MemoryNotCleared, "memory_is_zero_at_padding_and_the_mask_says_where", "is not zero"),
    (MaskInverted, "memory_is_zero_at_padding_and_the_mask_says_where", "real positions"),
    (RowsMixed, "encoders_batch_mates_have_no_influence", "alone and in its batch"),
    (NormalisedOverTheBatch, "encoders_batch_mates_have_no_influence", "in training"),
    (FirstRowIsSpecial, "order_in_the_batch_has_no_influence", "another order"),
    (FirstTokenDropped, "every_position_has_influence", "position 0"),
    (WrongSizeStated, "it_returns_the_sizes_that_it_states", "stated is"),
    (RemembersTheLast, "nothing_stays_in_the_encoder", "after another batch"),
    (EncoderSwallowsSettings, "unknown_settings_are_refused", "take no"),
    (EncoderComputes, "it_is_built_without_computing", "meta"),
    (EncoderHasSpareWeights, "every_weight_of_the_encoder_gets_a_finite_gradient", "spare"),
    (EncoderHalvesItsGradient, "the_encoders_gradients_are_right", "is not the derivative"),
    (EncoderForgetsToSave, "the_encoder_saved_and_loaded_is_the_same", "gives other outputs"),
    (
        EncoderDrawsByItself,
        "what_the_constructor_sets_is_what_training_starts_from",
        "rnn.* differs between two models of one seed",
    ),
]


CHOSEN = {"cell": LSTM, "hidden_size": 8}


@pytest.mark.parametrize(("kind", "check", "seen"), ENCODER_DEFECTS)
def test_a_planted_defect_of_an_encoder_is_reported_by_name(kind, check, seen):
    failures = encoder_outcomes(kind, check, **CHOSEN)
    assert re.search(seen, failures[check])


def test_without_a_defect_all_is_well():
    assert not encoder_failures(RecurrentEncoder, **CHOSEN)


def test_the_name_of_each_failed_check_is_in_the_message():
    with pytest.raises(ContractViolation, match="every_position_has_influence"):
        check_encoder(FirstTokenDropped, **CHOSEN)


def test_every_check_of_encoders_is_known_to_fail():
    known = {check for _, check, _ in ENCODER_DEFECTS}
    known |= {check for _, check, _ in test_harmful_encoders.DEFECTS.values()}
    known |= {check for check, _ in test_rare_encoders.DEFECTS.values()}
    assert known == {one.__name__ for one in ENCODER_CHECKS}
