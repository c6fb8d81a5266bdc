"""Parts and metrics with a planted defect, and what each is caught by; `LastWeights` is right."""

from __future__ import annotations

import torch
from torch import nn

from decoderlab.contract import State
from decoderlab.decoders.attention import (
    AdditiveScore,
    AttentionScore,
    CoverageScore,
    DotScore,
    GeneralScore,
)
from decoderlab.decoders.bridges import CopyBridge, DenseBridge, MeanBridge
from decoderlab.decoders.feedback import (
    FreeRunning,
    ScheduledSampling,
    SoftmaxFeedback,
    TeacherForcing,
)
from decoderlab.decoders.heads import LinearHead, TanhHead
from tests.contracts.wrong_metrics import (
    AnyWrong,
    BetterIsMore,
    FirstReferenceAlone,
    MeanOfBatches,
    NeverForgets,
    OrderMatters,
    Percent,
    Shared,
    SharesAreNoOutcomes,
    Sorts,
    Swallows,
    WorstIsBest,
    WrongWayRound,
)

SAMPLING = {"schedule": "constant", "first_ratio": 0.5}


class LastWeights(AttentionScore):
    """Right: a score that leans on the weights of the step before, carried row by row."""

    carries = True

    def __init__(self, *, query_size, memory_size):
        super().__init__()
        self.project = nn.Linear(query_size, memory_size)
        self.strength = nn.Parameter(torch.ones(()))

    def forward(self, query, keys):
        return self.project(query) @ keys.transpose(1, 2)

    def begin(self, memory_mask, keys):
        return torch.zeros_like(memory_mask, dtype=keys.dtype)

    def weights(self, query, keys, memory_mask, carried):
        scores = self(query, keys) - self.strength * carried.unsqueeze(1)
        scores = scores.masked_fill(~memory_mask.unsqueeze(1), float("-inf"))
        weights = torch.softmax(scores, dim=-1)
        return weights, carried + weights[:, 0]


class MaskForgotten(DotScore):
    def weights(self, query, keys, memory_mask, carried):
        return torch.softmax(self(query, keys), dim=-1), carried


class Unnormalised(DotScore):
    def weights(self, query, keys, memory_mask, carried):
        return super().weights(query, keys, memory_mask, carried)[0] * 0.9, carried


class PaddingCounts(DotScore):
    def forward(self, query, keys):
        return super().forward(query, keys) / keys.shape[1]


class RowsMixed(GeneralScore):
    def keys(self, memory):
        return memory - memory.mean(dim=0)


class QueriesMixed(DotScore):
    def forward(self, query, keys):
        return super().forward(query - query.mean(dim=1, keepdim=True), keys)


class OneOfTwoWays(CoverageScore):
    """Changes what a step gives, but not what all steps give."""

    def weights(self, query, keys, memory_mask, carried):
        weights, carried = super().weights(2 * query, keys, memory_mask, carried)
        return weights, carried


class QueryDetached(GeneralScore):
    def forward(self, query, keys):
        return super().forward(query.detach(), keys)


class HalfAGradient(AdditiveScore):
    def keys(self, memory):
        return super().keys(memory / 2 + memory.detach() / 2)


class SpareScore(AdditiveScore):
    def __init__(self, *, query_size, memory_size, size):
        super().__init__(query_size=query_size, memory_size=memory_size, size=size)
        self.spare = nn.Linear(2, 2)


class KeysInTheModule(DotScore):
    def keys(self, memory):
        self.kept = super().keys(memory)
        return self.kept

    def forward(self, query, keys):
        return super().forward(query, self.kept[:, : keys.shape[1]])


class CarriesInTheModule(LastWeights):
    def begin(self, memory_mask, keys):
        self.last = super().begin(memory_mask, keys)

    def weights(self, query, keys, memory_mask, carried):
        weights, self.last = super().weights(query, keys, memory_mask, self.last)
        return weights, None


class RowsPooled(MeanBridge):
    def forward(self, encoded):
        return super().forward(encoded).map(lambda part: part - part.mean(dim=1, keepdim=True))


class PaddingPooled(MeanBridge):
    def forward(self, encoded):
        everything = torch.ones_like(encoded.memory_mask)
        return super().forward(encoded._replace(memory_mask=everything))


class OneLayerOnly(DenseBridge):
    def forward(self, encoded):
        return super().forward(encoded).map(lambda part: part[:1])


class CellAlways(CopyBridge):
    def forward(self, encoded):
        state = super().forward(encoded)
        return State(state.hidden, state.hidden)


class SaysMemory(DenseBridge):
    def __init__(self, *, encoder_shape, hidden_size, num_layers, has_cell):
        sizes = {"hidden_size": hidden_size, "num_layers": num_layers, "has_cell": has_cell}
        super().__init__(encoder_shape=encoder_shape, **sizes)
        self.reads = "memory"


class RouteNotNeeded(MeanBridge):
    @classmethod
    def needs_route(cls, settings):
        return False


class StateHalved(CopyBridge):
    def forward(self, encoded):
        return super().forward(encoded).map(lambda part: part / 2 + part.detach() / 2)


class InPlaceBridge(DenseBridge):
    def forward(self, encoded):
        encoded.summary.data.mul_(0.5)
        return super().forward(encoded)


class LeavesANumberOut(LinearHead):
    def forward(self, features, table=None):
        return super().forward(torch.cat([features[..., :1] * 0, features[..., 1:]], -1), table)


class Probabilities(LinearHead):
    def forward(self, features, table=None):
        return super().forward(features, table).softmax(dim=-1)


class StepsMixed(TanhHead):
    def forward(self, features, table=None):
        return super().forward(features, table).cumsum(dim=-2)


class NormalisedOverRows(LinearHead):
    def forward(self, features, table=None):
        return super().forward(features - features.mean(dim=0, keepdim=True), table)


class TableForgotten(LinearHead):
    def forward(self, features, table=None):
        if not hasattr(self, "own"):
            self.own = torch.randn(table.shape, dtype=table.dtype)
        return super().forward(features, self.own)


class TooWide(LinearHead):
    def forward(self, features, table=None):
        outputs = super().forward(features, table)
        return torch.cat([outputs, outputs[..., :1]], dim=-1)


class ConstantToken(LinearHead):
    def forward(self, features, table=None):
        outputs = super().forward(features, table)
        return torch.cat([0 * outputs[..., :-6], outputs[..., -6:]], dim=-1)


class Stubborn(LinearHead):
    def forward(self, features, table=None):
        return super().forward(features.detach() * 2 - features, table)


class RatioAboveOne(ScheduledSampling):
    def teacher_ratio(self, step):
        return 1 + step / 1e6


class CoinForAll(ScheduledSampling):
    def coins(self, num_rows, num_steps):
        return super().coins(1, num_steps).expand(num_rows, num_steps)


class CoinsUnseeded(ScheduledSampling):
    def coins(self, num_rows, num_steps):
        return torch.rand(num_rows, num_steps) < self.ratio


class SeedForgotten(ScheduledSampling):
    def at_step(self, step, seed):
        super().at_step(step, 0)


class TellsTheFuture(TeacherForcing):
    def inputs(self, before):
        return torch.where(before > 1, before.roll(-1, dims=1), before)


class DeafToTheTarget(TeacherForcing):
    sees_output = False


class SaysNoTarget(TeacherForcing):
    sees_target = False


class WordDropoutUnseeded(TeacherForcing):
    def inputs(self, before):
        return torch.where(torch.rand(before.shape[:2]) < 0.5, before, 3)


class OwnBackwards(FreeRunning):
    def choose(self, from_target, before, own):
        return super().choose(~from_target, before, own)


class NotNormalised(SoftmaxFeedback):
    def distribution(self, logits):
        return logits.exp()


class SequenceSaidTokenThrown(ScheduledSampling):
    def coins(self, num_rows, num_steps):
        drawn = torch.rand(num_rows, num_steps, generator=self._generator)
        return drawn < self.ratio


class WeightUnseeded(TeacherForcing):
    generator = torch.Generator()

    def __init__(self, **settings):
        super().__init__(**settings)
        self.weight = nn.Parameter(torch.rand(2, generator=self.generator))


PART_DEFECTS = [
    ("attention_score", MaskForgotten, {}, "padding_gets_exactly_zero_weight"),
    ("attention_score", Unnormalised, {}, "weights_sum_to_one"),
    ("attention_score", PaddingCounts, {}, "length_of_the_padding_has_no_influence"),
    ("attention_score", RowsMixed, {}, "rows_of_a_score_have_no_influence_on_each_other"),
    ("attention_score", QueriesMixed, {}, "queries_at_once_are_queries_in_turn"),
    ("attention_score", OneOfTwoWays, {}, "queries_at_once_are_queries_in_turn"),
    ("attention_score", QueryDetached, {}, "the_query_and_the_memory_have_influence"),
    ("attention_score", HalfAGradient, {}, "the_scores_gradients_are_right"),
    ("attention_score", SpareScore, {}, "every_weight_of_the_score_gets_a_finite_gradient"),
    ("attention_score", KeysInTheModule, {}, "nothing_stays_in_the_score"),
    ("attention_score", CarriesInTheModule, {}, "rows_that_are_reordered_go_on"),
    ("bridge", RowsPooled, {}, "rows_of_a_bridge_have_no_influence_on_each_other"),
    ("bridge", PaddingPooled, {}, "padding_of_the_memory_has_no_influence"),
    ("bridge", OneLayerOnly, {}, "the_state_has_the_promised_shape"),
    ("bridge", CellAlways, {}, "the_state_has_the_promised_shape"),
    ("bridge", SaysMemory, {}, "it_reads_what_it_says"),
    ("bridge", RouteNotNeeded, {}, "it_needs_its_route_exactly_if_it_carries_the_encoding"),
    ("bridge", StateHalved, {}, "the_bridges_gradients_are_right"),
    ("bridge", InPlaceBridge, {}, "what_a_bridge_is_given_stays_as_it_is"),
    ("head", LeavesANumberOut, {}, "the_features_and_every_weight_get_a_gradient"),
    ("head", Probabilities, {}, "a_head_gives_logits_or_logarithms_of_probabilities"),
    ("head", StepsMixed, {}, "rows_and_steps_have_no_influence_on_each_other"),
    ("head", NormalisedOverRows, {}, "rows_and_steps_have_no_influence_on_each_other"),
    ("head", TableForgotten, {"tied": True}, "a_tied_table_is_used"),
    ("head", TooWide, {}, "outputs_are_as_wide_as_their_distribution"),
    ("head", ConstantToken, {}, "every_output_of_the_head_changes"),
    ("head", Stubborn, {}, "the_heads_gradients_are_right"),
    ("feedback", RatioAboveOne, SAMPLING, "the_teacher_ratio_is_a_probability"),
    ("feedback", CoinForAll, SAMPLING, "coins_are_thrown_as_said"),
    ("feedback", CoinsUnseeded, SAMPLING, "at_step_seeds_all_that_is_drawn"),
    ("feedback", SeedForgotten, SAMPLING, "at_step_seeds_all_that_is_drawn"),
    ("feedback", TellsTheFuture, {}, "inputs_stand_for_the_target_before_them"),
    ("feedback", DeafToTheTarget, {}, "declarations_agree"),
    ("feedback", SaysNoTarget, {}, "evaluation_sees_the_target_exactly_if_declared"),
    ("feedback", WordDropoutUnseeded, {}, "at_step_seeds_all_that_is_drawn"),
    ("feedback", OwnBackwards, {}, "a_coin_chooses_between_target_and_own_output"),
    ("feedback", OwnBackwards, {}, "in_a_decoder_the_own_output_is_seen_as_declared"),
    ("feedback", NotNormalised, {}, "a_distribution_is_one"),
    (
        "feedback",
        SequenceSaidTokenThrown,
        SAMPLING | {"scope": "sequence"},
        "coins_are_thrown_as_said",
    ),
    (
        "feedback",
        WeightUnseeded,
        {},
        "what_the_constructor_sets_is_what_training_starts_from",
    ),
    ("metric", MeanOfBatches, {}, "examples_in_pieces_are_examples_at_once"),
    ("metric", WrongWayRound, {}, "names_and_scale_are_declared"),
    ("metric", BetterIsMore, {}, "what_is_right_scores_best"),
    ("metric", NeverForgets, {}, "after_a_reset_nothing_is_left"),
    ("metric", OrderMatters, {}, "the_order_of_the_examples_has_no_influence"),
    ("metric", FirstReferenceAlone, {}, "what_is_right_scores_best"),
    ("metric", Sorts, {}, "what_a_metric_is_given_stays_as_it_is"),
    ("metric", Shared, {}, "two_metrics_share_nothing"),
    ("metric", Percent, {}, "names_and_scale_are_declared"),
    ("metric", WorstIsBest, {}, "the_worst_value_is_within_the_bounds"),
    ("metric", SharesAreNoOutcomes, {}, "a_score_per_example_is_the_mean_of_outcomes"),
    ("metric", AnyWrong, {}, "a_score_per_example_is_the_mean_of_outcomes"),
    ("metric", Swallows, {}, "a_metric_refuses_unknown_settings"),
]
