"""The battery finds planted defects, each by name, and nothing in what is right."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.feedback import Feedback
from decoderlab.encoders import RecurrentEncoder
from decoderlab.testing import (
    ENCODER_SHAPE,
    ContractViolation,
    check_decoder,
    check_encoder,
    decoder_failures,
    encoder_failures,
)
from decoderlab.testing.decoders import DECODER_CHECKS

BASIS = {"cell": "gru", "hidden_size": 8, "routes": ["initial_state"], "bridge": "copy"}
ATTENTION = BASIS | {"attention": "dot"}
SAMPLING = BASIS | {
    "feedback": {"kind": "scheduled_sampling", "schedule": "constant", "first_ratio": 0.5}
}


class MaskIgnored(RecurrentDecoder):
    def _attend(self, query, state):
        return super()._attend(
            query, state._replace(memory_mask=torch.ones_like(state.memory_mask))
        )


class DividedByPaddedLength(RecurrentDecoder):
    def start(self, encoded):
        return super().start(encoded._replace(summary=encoded.memory.mean(dim=1)))


class FutureSeen(RecurrentDecoder):
    def _before(self, target):
        return torch.cat([target[:, 1:], target[:, -1:]], dim=1)


class FutureSeenInTraining(RecurrentDecoder):
    def _before(self, target):
        return target if self.training else super()._before(target)


class StateKeptInTheModule(RecurrentDecoder):
    def start(self, encoded):
        self.kept = super().start(encoded)
        return self.kept

    def step(self, previous, state):
        outputs, self.kept = super().step(previous, self.kept)
        return outputs, self.kept

    def reorder(self, state, index):
        self.kept = super().reorder(self.kept, index)
        return self.kept


class StateSharedBetweenRows(RecurrentDecoder):
    def start(self, encoded):
        shared = encoded.summary.mean(dim=0, keepdim=True).expand_as(encoded.summary)
        return super().start(encoded._replace(summary=shared))


class ReorderForgotten(RecurrentDecoder):
    def reorder(self, state, index):
        return super().reorder(state, torch.arange(len(index)) % len(state.summary))


class ReorderForgetsTheMemory(RecurrentDecoder):
    def reorder(self, state, index):
        moved, first = super().reorder(state, index), super().reorder(state, index * 0)
        return moved._replace(memory=first.memory, keys=first.keys)


class CoinPerBatch(RecurrentDecoder):
    def __init__(self, **settings):
        super().__init__(**settings)
        coins = self.feedback.coins
        self.feedback.coins = lambda rows, steps: coins(1, steps).expand(rows, -1)


class CoinPerSequence(RecurrentDecoder):
    def __init__(self, **settings):
        super().__init__(**settings)
        coins = self.feedback.coins
        self.feedback.coins = lambda rows, steps: coins(rows, steps)[:, :1].expand(-1, steps)


class CoinsTooKind(RecurrentDecoder):
    def __init__(self, **settings):
        super().__init__(**settings)
        coins = self.feedback.coins
        self.feedback.coins = lambda rows, steps: coins(rows, steps) | coins(rows, steps)


class CoinsNotSeeded(RecurrentDecoder):
    def at_step(self, step, seed):
        super().at_step(step, torch.seed())


class SummaryLeaks(RecurrentDecoder):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.leak = nn.Linear(8, 8)

    def start(self, encoded):
        state = super().start(encoded)
        hidden = state.recurrent.hidden + self.leak(encoded.summary)
        return state._replace(recurrent=state.recurrent._replace(hidden=hidden))


class RouteCut(RecurrentDecoder):
    def start(self, encoded):
        return super().start(encoded._replace(summary=encoded.summary.detach()))


class SourceIgnored(RecurrentDecoder):
    def start(self, encoded):
        zeros = [torch.zeros_like(part) for part in (encoded.memory, encoded.summary)]
        state = encoded.state._replace(hidden=torch.zeros_like(encoded.state.hidden))
        return super().start(encoded._replace(memory=zeros[0], summary=zeros[1], state=state))


class FirstInputScored(RecurrentDecoder):
    def forward(self, encoded, target):
        return super().forward(encoded, torch.cat([target[:, :1], target], dim=1))


class FeedbackSwallowed(RecurrentDecoder):
    def _before(self, target):
        return torch.full_like(target, self.target_space.bos_id)


class StepsDiffer(RecurrentDecoder):
    def step(self, previous, state):
        outputs, state = super().step(previous, state)
        return outputs + 1e-6, state


class UnusedWeights(RecurrentDecoder):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.spare = nn.Linear(3, 3)


class SwallowsSettings(RecurrentDecoder):
    def __init__(self, no_such_setting=None, **settings):
        super().__init__(**settings)


class WeightsNotSaved(RecurrentDecoder):
    def start(self, encoded):
        state = super().start(encoded)
        if not hasattr(self, "noise"):
            self.noise = torch.randn_like(state.recurrent.hidden[:, :1])
        hidden = state.recurrent.hidden + self.noise
        return state._replace(recurrent=state.recurrent._replace(hidden=hidden))


class WrongGradient(RecurrentDecoder):
    def start(self, encoded):
        half = encoded.state.hidden / 2 + encoded.state.hidden.detach() / 2
        return super().start(encoded._replace(state=encoded.state._replace(hidden=half)))


class ComputesInItsConstructor(RecurrentDecoder):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.scale = float(self.head.output.weight.abs().mean())


DEFECTS = [
    (MaskIgnored, ATTENTION, "masked_memory_has_no_influence"),
    (
        DividedByPaddedLength,
        BASIS | {"routes": ["every_input"], "bridge": "zero"},
        "padded_length_has_no_influence",
    ),
    (FutureSeen, BASIS, "the_future_has_no_influence"),
    (FutureSeenInTraining, BASIS, "the_future_has_no_influence"),
    (StateKeptInTheModule, BASIS, "nothing_stays_in_the_module"),
    (
        StateSharedBetweenRows,
        BASIS | {"routes": ["every_input"], "bridge": "zero"},
        "batch_mates_have_no_influence",
    ),
    (ReorderForgotten, BASIS, "reorder_moves_everything_a_row_knows"),
    (ReorderForgetsTheMemory, ATTENTION, "reorder_moves_everything_a_row_knows"),
    (CoinPerBatch, SAMPLING, "coins_fall_as_declared"),
    (CoinPerSequence, SAMPLING, "coins_fall_as_declared"),
    (CoinsTooKind, SAMPLING, "coins_fall_as_declared"),
    (CoinsNotSeeded, SAMPLING, "the_same_seed_gives_the_same_training_step"),
    (
        SummaryLeaks,
        ATTENTION | {"routes": [], "bridge": "zero"},
        "routes_carry_gradient_exactly_when_on",
    ),
    (
        RouteCut,
        BASIS | {"routes": ["initial_state", "output"]},
        "routes_carry_gradient_exactly_when_on",
    ),
    (SourceIgnored, BASIS, "the_source_has_influence"),
    (FirstInputScored, BASIS, "outputs_have_the_promised_shape"),
    (FeedbackSwallowed, BASIS, "the_previous_output_has_influence_exactly_with_feedback"),
    (StepsDiffer, BASIS, "all_steps_at_once_equal_step_by_step"),
    (UnusedWeights, BASIS, "every_parameter_gets_a_finite_gradient"),
    (SwallowsSettings, BASIS, "unknown_settings_are_refused"),
    (WeightsNotSaved, BASIS, "saved_and_loaded_it_is_the_same"),
    (WrongGradient, BASIS, "gradients_are_right"),
    (ComputesInItsConstructor, BASIS, "it_is_built_without_computing"),
]


@pytest.mark.parametrize(
    ("kind", "chosen", "check"), DEFECTS, ids=lambda one: getattr(one, "__name__", None)
)
def test_a_planted_defect_of_a_decoder_is_reported_by_name(kind, chosen, check):
    assert not decoder_failures(RecurrentDecoder, **chosen), "without the defect all is well"
    failures = decoder_failures(kind, **chosen)
    assert check in [failure.check for failure in failures]
    with pytest.raises(
        ContractViolation, match=f"{kind.__name__} breaks the contract(.|\n)*{check}"
    ):
        check_decoder(kind, **chosen)


def test_every_check_of_decoders_is_known_to_fail():
    caught = {check for *_, check in DEFECTS} | {"a_beam_of_one_is_greedy"}
    assert caught == {check.__name__ for check in DECODER_CHECKS}


def test_a_decoder_that_cannot_generate_is_reported():
    class NoReorder(RecurrentDecoder):
        def reorder(self, state, index):
            raise NotImplementedError("no beams here")

    failures = {one.check: one.seen for one in decoder_failures(NoReorder, **BASIS)}
    assert "NotImplementedError: no beams here" in failures["a_beam_of_one_is_greedy"]


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


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (ReadsThePadding, "padding_has_no_influence"),
        (MemoryNotCleared, "memory_is_zero_at_padding_and_the_mask_says_where"),
        (MaskInverted, "memory_is_zero_at_padding_and_the_mask_says_where"),
        (RowsMixed, "encoders_batch_mates_have_no_influence"),
        (FirstRowIsSpecial, "order_in_the_batch_has_no_influence"),
        (FirstTokenDropped, "every_position_has_influence"),
        (WrongSizeStated, "it_returns_the_sizes_that_it_states"),
        (RemembersTheLast, "nothing_stays_in_the_encoder"),
    ],
)  # fmt: skip
def test_a_planted_defect_of_an_encoder_is_reported_by_name(kind, check):
    chosen = {"cell": "lstm", "hidden_size": 8}
    assert not encoder_failures(RecurrentEncoder, **chosen)
    assert check in [failure.check for failure in encoder_failures(kind, **chosen)]
    with pytest.raises(ContractViolation, match=check):
        check_encoder(kind, **chosen)


def test_a_decoder_of_values_is_checked_too():
    chosen = BASIS | {"head": {"kind": "linear", "distribution": "gaussian"}}
    check_decoder(RecurrentDecoder, target_space=ValueSpace(3), **chosen)
    failures = decoder_failures(FutureSeen, target_space=ValueSpace(3), **chosen)
    assert "the_future_has_no_influence" in [failure.check for failure in failures]


def test_coins_are_thrown_as_often_as_the_schedule_says():
    decoder = RecurrentDecoder(target_space=TokenSpace(9), encoder_shape=ENCODER_SHAPE, **SAMPLING)
    assert isinstance(decoder.feedback, Feedback)
    decoder.at_step(0, 1)
    coins = decoder.feedback.coins(200, 50)
    assert abs(float(coins.double().mean()) - 0.5) < 5 * (0.25 / coins.numel()) ** 0.5
