"""The battery finds planted defects, each by name, and nothing in what is right."""

from __future__ import annotations

import re
from functools import partial
from unittest import mock

import pytest
import torch
from torch import nn

from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.feedback import Feedback, before_each
from decoderlab.decoders.step_values import own_prediction
from decoderlab.layers import GRU
from decoderlab.testing import (
    ENCODER_SHAPE,
    ContractViolation,
    check_decoder,
    decoder_failures,
)
from decoderlab.testing.decoder_checks import DECODER_CHECKS
from tests import parts
from tests.contracts import (
    test_harmful_decoders,
    test_harmful_states,
    test_harmful_targets,
    test_rare_decoders,
)
from tests.contracts.honest import outcomes

BASIS = {
    "cell": GRU,
    "hidden_size": 8,
    "routes": ["initial_state"],
    "bridge": parts.bridge("copy"),
}
ATTENTION = BASIS | {"attention": parts.attention("dot")}
SAMPLING = BASIS | {
    "feedback": parts.feedback("scheduled_sampling", schedule="constant", first_ratio=0.5)
}


class MaskIgnored(RecurrentDecoder):
    def _attend(self, query, state):
        return super()._attend(
            query, state._replace(memory_mask=torch.ones_like(state.memory_mask))
        )


class DividedByPaddedLength(RecurrentDecoder):
    def start(self, encoded):
        return super().start(encoded._replace(summary=encoded.memory.mean(dim=1)))


def in_place_of(name, function):
    """Have recurrent decoders call something else by a name of their module."""
    return mock.patch(f"decoderlab.decoders.recurrent_decoder.{name}", function)


class FutureSeen(RecurrentDecoder):
    def forward(self, encoded, target):
        seen = torch.cat([target[:, 1:], target[:, -1:]], dim=1)
        with in_place_of("before_each", lambda *_: seen):
            return super().forward(encoded, target)


class FutureSeenInTraining(RecurrentDecoder):
    def forward(self, encoded, target):
        seen = target if self.training else before_each(target, self.target_space)
        with in_place_of("before_each", lambda *_: seen):
            return super().forward(encoded, target)


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


class MaskIgnoredInTraining(RecurrentDecoder):
    def _attend(self, query, state):
        mask = torch.ones_like(state.memory_mask) if self.training else state.memory_mask
        return super()._attend(query, state._replace(memory_mask=mask))


class RowsSharedInTraining(RecurrentDecoder):
    def start(self, encoded):
        if self.training:
            summary = encoded.summary + encoded.summary.mean(dim=0)
            encoded = encoded._replace(summary=summary)
        return super().start(encoded)


class Coins(RecurrentDecoder):
    """Lets a test say how coins fall: `thrown` gets the right ones, and the feedback."""

    def __init__(self, **settings):
        super().__init__(**settings)
        coins, feedback = self.feedback.coins, self.feedback
        self.feedback.coins = lambda rows, steps: self.thrown(coins, feedback, rows, steps)


class CoinPerBatch(Coins):
    def thrown(self, coins, feedback, rows, steps):
        return coins(1, steps).expand(rows, -1)


class CoinPerSequence(Coins):
    def thrown(self, coins, feedback, rows, steps):
        return coins(rows, steps)[:, :1].expand(-1, steps)


class CoinPerTokenAllTheSame(Coins):
    def thrown(self, coins, feedback, rows, steps):
        return coins(rows * steps, 1).view(rows, steps)


class CoinsTooKind(Coins):
    def thrown(self, coins, feedback, rows, steps):
        return coins(rows, steps) | coins(rows, steps)


class RatioFallsWithThePosition(Coins):  # trap T7
    def thrown(self, coins, feedback, rows, steps):
        ratios = torch.linspace(1, 0, steps)
        return torch.rand(rows, steps, generator=feedback._generator) < ratios


class RatioStandsStill(Coins):
    def thrown(self, coins, feedback, rows, steps):
        return torch.rand(rows, steps, generator=feedback._generator) < 0.5


class SameCoinsForEverySeed(RecurrentDecoder):
    def at_step(self, step, seed):
        super().at_step(step, 5)


class CoinsNotSeeded(RecurrentDecoder):
    def at_step(self, step, seed):
        super().at_step(step, torch.seed())


class FeedsBackBOS(RecurrentDecoder):
    def forward(self, encoded, target):
        bos = torch.full((len(target), 1), self.target_space.bos_id)
        with in_place_of("own_prediction", lambda *_: bos):
            return super().forward(encoded, target)


class FeedsBackTheLeastProbable(RecurrentDecoder):
    def forward(self, encoded, target):
        with in_place_of("own_prediction", lambda out, *more: own_prediction(-out, *more)):
            return super().forward(encoded, target)


class ReorderDrifts(RecurrentDecoder):
    def reorder(self, state, index):
        state = super().reorder(state, index)
        hidden = -3 * state.recurrent.hidden
        return state._replace(recurrent=state.recurrent._replace(hidden=hidden))


class InitialStateCut(RecurrentDecoder):
    def start(self, encoded):
        hidden = torch.zeros_like(encoded.state.hidden)
        return super().start(encoded._replace(state=encoded.state._replace(hidden=hidden)))


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
    def forward(self, encoded, target):
        with in_place_of("before_each", lambda *_: torch.full_like(target, 1)):
            return super().forward(encoded, target)


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


class DrawsByItself(RecurrentDecoder):
    def __init__(self, **settings):
        super().__init__(**settings)
        with torch.no_grad():
            self.head.output.weight.mul_(torch.rand((), generator=UNSEEDED))


UNSEEDED = torch.Generator()
PER_SEQUENCE = BASIS | {"feedback": partial(SAMPLING["feedback"], scope="sequence")}
FALLING = BASIS | {"feedback": parts.feedback("scheduled_sampling", decay_steps=100)}
EVERY = BASIS | {"routes": ["every_input"]}
ROUTES_CHECK = "routes_carry_gradient_exactly_when_on"
REORDER_CHECK = "reorder_moves_everything_a_row_knows"
# A defect, the settings that show it, the check that must name it, and what that must say.
DEFECTS = [
    (MaskIgnored, ATTENTION, "masked_memory_has_no_influence", "in evaluation"),
    (MaskIgnoredInTraining, ATTENTION, "masked_memory_has_no_influence", "in training"),
    (DividedByPaddedLength, EVERY, "padded_length_has_no_influence", "divided by the padded"),
    (FutureSeen, BASIS, "the_future_has_no_influence", "in evaluation"),
    (FutureSeenInTraining, BASIS, "the_future_has_no_influence", "in training"),
    (StateKeptInTheModule, BASIS, "nothing_stays_in_the_module", "for another source"),
    (StateSharedBetweenRows, EVERY, "batch_mates_have_no_influence", "alone and in its batch"),
    (RowsSharedInTraining, EVERY, "batch_mates_have_no_influence", "in training"),
    (ReorderForgotten, BASIS, REORDER_CHECK, "go on differently"),
    (ReorderForgetsTheMemory, ATTENTION, REORDER_CHECK, "go on differently"),
    (ReorderDrifts, BASIS, "a_beam_of_one_is_greedy", "a beam of one"),
    (CoinPerBatch, SAMPLING, "coins_fall_as_declared", "for the whole batch|at position"),
    (CoinPerSequence, SAMPLING, "coins_fall_as_declared", "per sequence|of the positions"),
    (CoinPerTokenAllTheSame, PER_SEQUENCE, "coins_fall_as_declared", "per token"),
    (CoinsTooKind, SAMPLING, "coins_fall_as_declared", "declared is 50%"),
    (CoinsTooKind, PER_SEQUENCE, "coins_fall_as_declared", "declared is 50%"),
    (RatioFallsWithThePosition, SAMPLING, "coins_fall_as_declared", "at position 1"),
    (RatioStandsStill, FALLING, "coins_fall_as_declared", "declared is"),
    (SameCoinsForEverySeed, SAMPLING, "coins_fall_as_declared", "another seed"),
    (CoinsNotSeeded, SAMPLING, "the_same_seed_gives_the_same_training_step", "same step and seed"),
    (FeedsBackBOS, SAMPLING, "ones_own_output_is_fed_back", "most probable"),
    (
        FeedsBackTheLeastProbable,
        BASIS | {"feedback": parts.feedback("free_running")},
        "ones_own_output_is_fed_back",
        "most probable",
    ),
    (SummaryLeaks, ATTENTION | {"routes": []}, ROUTES_CHECK, "gradient reaches the summary"),
    (SummaryLeaks, BASIS, ROUTES_CHECK, "gradient reaches the summary"),
    (RouteCut, BASIS | {"routes": ["initial_state", "output"]}, ROUTES_CHECK, "no gradient"),
    (InitialStateCut, BASIS | {"routes": ["initial_state", "output"]}, ROUTES_CHECK, "reads the"),
    (SourceIgnored, BASIS, "the_source_has_influence", "the source is ignored"),
    (FirstInputScored, BASIS, "outputs_have_the_promised_shape", "is not scored"),
    (
        FeedbackSwallowed,
        BASIS,
        "the_previous_output_has_influence_exactly_with_feedback",
        "the target changes nothing",
    ),
    (StepsDiffer, BASIS, "all_steps_at_once_equal_step_by_step", "loop differ by 1.0e-06"),
    (UnusedWeights, BASIS, "every_parameter_gets_a_finite_gradient", "spare.weight gets no"),
    (SwallowsSettings, BASIS, "unknown_settings_are_refused", "take no"),
    (WeightsNotSaved, BASIS, "saved_and_loaded_it_is_the_same", "gives other outputs"),
    (WrongGradient, BASIS, "gradients_are_right", "is not the derivative"),
    (ComputesInItsConstructor, BASIS, "it_is_built_without_computing", "meta"),
    (
        DrawsByItself,
        BASIS,
        "what_the_constructor_sets_is_what_training_starts_from",
        "head.output.weight differs between two models of one seed",
    ),
]


@pytest.mark.parametrize(
    ("kind", "chosen", "check", "seen"), DEFECTS, ids=[kind.__name__ for kind, *_ in DEFECTS]
)
def test_a_planted_defect_of_a_decoder_is_reported_by_name(kind, chosen, check, seen):
    failures = outcomes(kind, check, **chosen)
    assert check in failures
    assert re.search(seen, failures[check])


BASES = {str(chosen): chosen for _, chosen, *_ in DEFECTS}


@pytest.mark.thinned
@pytest.mark.parametrize("chosen", BASES.values(), ids=lambda chosen: " ".join(chosen))
def test_without_a_defect_all_is_well(chosen):
    assert not decoder_failures(RecurrentDecoder, **chosen)


def test_the_name_of_each_failed_check_is_in_the_message():
    told = "FutureSeen breaks the contract(.|\\n)*the_future_has_no_influence"
    with pytest.raises(ContractViolation, match=told):
        check_decoder(FutureSeen, **BASIS)


def test_every_check_of_decoders_is_known_to_fail():
    known = {check for _, _, check, _ in DEFECTS}
    for planted in (test_harmful_decoders, test_harmful_states, test_harmful_targets):
        known |= {check for _, check, _ in planted.DEFECTS.values()}
    known |= {check for check, _ in test_rare_decoders.DEFECTS.values()}
    assert known == {check.__name__ for check in DECODER_CHECKS}


def test_the_battery_leaves_the_callers_randomness_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    check_decoder(RecurrentDecoder, **BASIS)
    assert torch.equal(torch.rand(3), expected)


def test_a_decoder_that_cannot_generate_is_reported():
    class NoReorder(RecurrentDecoder):
        def reorder(self, state, index):
            raise NotImplementedError("no beams here")

    failures = {one.check: one.seen for one in decoder_failures(NoReorder, **BASIS)}
    assert "NotImplementedError: no beams here" in failures["a_beam_of_one_is_greedy"]


def test_a_decoder_of_values_is_checked_too():
    chosen = BASIS | {"head": parts.head("linear", distribution="gaussian")}
    check_decoder(RecurrentDecoder, target_space=ValueSpace(3), **chosen)
    failures = decoder_failures(FutureSeen, target_space=ValueSpace(3), **chosen)
    assert "the_future_has_no_influence" in [failure.check for failure in failures]


def test_coins_are_thrown_as_often_as_the_schedule_says():
    decoder = RecurrentDecoder(target_space=TokenSpace(9), encoder_shape=ENCODER_SHAPE, **SAMPLING)
    assert isinstance(decoder.feedback, Feedback)
    decoder.at_step(0, 1)
    coins = decoder.feedback.coins(200, 50)
    assert abs(float(coins.double().mean()) - 0.5) < 5 * (0.25 / coins.numel()) ** 0.5
