"""Combinations, mixings, poolings and decays with one planted defect each."""

from __future__ import annotations

import random

import torch
from torch import nn

from decoderlab.decoders.attention import TanhMixing
from decoderlab.decoders.combinations import Addition
from decoderlab.decoders.feedback import LinearDecay
from decoderlab.layers.pooling import MeanPooling


class OtherWidth(Addition):
    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.size += 1


class StepsMixed(Addition):
    def forward(self, values, summary):
        return super().forward(values, summary) + values.mean(dim=1, keepdim=True)


class SummaryDropped(Addition):
    def forward(self, values, summary):
        return super().forward(values, summary.detach())


class SpareMixing(TanhMixing):
    def __init__(self, **sizes):
        super().__init__(**sizes)
        self.spare = nn.Linear(2, 2)


class DoubledGradient(TanhMixing):
    def forward(self, context, states, embedded):
        features = super().forward(context, states, embedded)
        return 2 * features - features.detach()


class Counts(TanhMixing):
    calls = 0

    def forward(self, context, states, embedded):
        self.calls += 1
        return super().forward(context, states, embedded) * self.calls


class PaddingAveraged(MeanPooling):
    def forward(self, memory, memory_mask):
        return memory.mean(dim=1)


class BatchCentred(MeanPooling):
    def forward(self, memory, memory_mask):
        pooled = super().forward(memory, memory_mask)
        return pooled - pooled.mean(dim=0)


class MaskedInPlace(MeanPooling):
    def forward(self, memory, memory_mask):
        with torch.no_grad():
            memory.mul_(0.5)
        return super().forward(memory, memory_mask)


class BelowZero(LinearDecay):
    def __call__(self, step):
        return 1 - step / self.decay_steps


class Drawn(LinearDecay):
    def __call__(self, step):
        return random.random()


class CountsItself(LinearDecay):
    done = 0

    def __call__(self, step):
        self.done += 1
        return max(1 - self.done / self.decay_steps, 0.0)


TENSOR_PART_DEFECTS = [
    ("combination", OtherWidth, {}, "what_comes_out_is_as_wide_as_declared"),
    ("combination", StepsMixed, {}, "rows_have_no_influence_on_each_other_nor_steps"),
    ("combination", SummaryDropped, {}, "every_input_and_weight_gets_a_gradient"),
    ("mixing", SpareMixing, {}, "every_input_and_weight_gets_a_gradient"),
    ("mixing", DoubledGradient, {}, "the_parts_gradients_are_right"),
    ("mixing", Counts, {}, "nothing_stays_in_the_part"),
    ("pooling", PaddingAveraged, {}, "padding_does_not_count_in_a_summary"),
    ("pooling", BatchCentred, {}, "rows_have_no_influence_on_each_other_nor_steps"),
    ("pooling", MaskedInPlace, {}, "nothing_stays_in_the_part"),
    ("decay", BelowZero, {}, "shares_are_between_0_and_1"),
    ("decay", Drawn, {}, "it_depends_on_the_update_alone"),
    ("decay", CountsItself, {}, "it_depends_on_the_update_alone"),
]
