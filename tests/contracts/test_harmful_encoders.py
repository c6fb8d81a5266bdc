"""Each planted defect of an encoder is reported by the check that demands otherwise."""

from __future__ import annotations

import random

import pytest
import torch

from decoderlab.contract import State, ValueSpace
from tests.contracts.honest import HonestEncoder, assert_reported, encoder_outcomes

SIZES = "it_returns_the_sizes_that_it_states"
FINITE = "it_reads_sources_of_every_length"
MASK = "memory_is_zero_at_padding_and_the_mask_says_where"
PADDING = "padding_has_no_influence"
MATES = "encoders_batch_mates_have_no_influence"
ORDER = "order_in_the_batch_has_no_influence"
POSITION = "every_position_has_influence"
KEPT = "nothing_stays_in_the_encoder"
GRADIENTS = "the_encoders_gradients_are_right"
SAVED = "the_encoder_saved_and_loaded_is_the_same"
WEIGHTS = "encodings_follow_the_weights"
RANDOM = "all_that_is_random_in_the_encoder_is_declared"
HANDED_IN = "the_source_stays_as_it_is"


def altering(change):
    """Return an encoder whose encoding is what `change(self, encoded, source, lengths)` makes."""

    class Altering(HonestEncoder):
        def altered(self, encoded, source, lengths):
            return change(self, encoded, source, lengths)

    return Altering


def of_summary(change):
    """Return an encoder whose summary is another."""
    return altering(
        lambda self, e, source, lengths: e._replace(summary=change(self, e, source, lengths))
    )


def of_memory(change):
    return altering(
        lambda self, e, source, lengths: e._replace(memory=change(self, e, source, lengths))
    )


def of_mask(change):
    return altering(
        lambda self, e, source, lengths: e._replace(memory_mask=change(e.memory_mask, lengths))
    )


def of_state(change):
    def altered(self, e, source, lengths):
        return e._replace(state=State(change(self, e, source, lengths), e.state.cell))

    return altering(altered)


class Reads(HonestEncoder):
    """Reads what `given(source, lengths)` makes of a source."""

    def forward(self, source, source_lengths):
        mask = torch.arange(source.shape[1]) < source_lengths.unsqueeze(1)
        encoded = self.inner(*self.given(source, source_lengths))
        memory = encoded.memory[:, : source.shape[1]]
        missing = source.shape[1] - memory.shape[1]
        memory = torch.nn.functional.pad(memory, (0, 0, 0, missing)) * mask.unsqueeze(-1)
        return encoded._replace(memory=memory, memory_mask=mask)


def given(change):
    return type("Given", (Reads,), {"given": lambda self, *inputs: change(*inputs)})


def stated(**sizes):
    class Stated(HonestEncoder):
        def __init__(self, *, source_space):
            super().__init__(source_space=source_space)
            self.shape = type(self.shape)(**vars(self.shape) | sizes)

    return Stated


class Noise(HonestEncoder):
    def __init__(self, *, source_space):
        super().__init__(source_space=source_space)
        self.register_buffer("noise", torch.randn(8), persistent=False)

    def altered(self, encoded, source, lengths):
        return encoded._replace(memory=encoded.memory + self.noise * encoded.memory.ne(0))


class WeightsKept(HonestEncoder):
    scale = None

    def altered(self, encoded, source, lengths):
        if self.scale is None:
            self.scale = float(self.inner.rnn.layers[0].weight_hh_l0.detach().sum())
        return encoded._replace(summary=encoded.summary * (2 + self.scale))


class SourceKept(HonestEncoder):
    """Remembers a source by its address."""

    def __init__(self, *, source_space):
        super().__init__(source_space=source_space)
        self.known = {}

    def forward(self, source, source_lengths):
        key = (source.data_ptr(), source.shape, tuple(source_lengths.tolist()))
        if key not in self.known:
            self.known[key] = (source, super().forward(source, source_lengths))
        return self.known[key][1]


class FewCalls(HonestEncoder):
    calls = 0

    def altered(self, encoded, source, lengths):
        self.calls += 1
        return encoded._replace(summary=encoded.summary * (1 + (self.calls > 20)))


class Trains(HonestEncoder):
    def altered(self, encoded, source, lengths):
        self.inner.train()
        return encoded


class Seeds(HonestEncoder):
    def altered(self, encoded, source, lengths):
        torch.manual_seed(0)
        return encoded


def mean_length(lengths, padded_length):
    """The lengths, (B, 1), or the padded length where they are equal."""
    equal = (lengths == lengths[0]).all()
    return torch.where(equal, torch.tensor(padded_length), lengths).unsqueeze(1)


def tied_rows(self, e, source, lengths):
    """Rows are sorted by length; those of equal length come back in another order."""
    order = lengths.argsort(descending=True, stable=True)
    back = (lengths * 100 + torch.arange(len(lengths))).argsort(descending=True).argsort()
    return e.summary[order][back]


def standardised(self, e, source, lengths):
    real = e.memory_mask.unsqueeze(-1)
    mean = (e.memory * real).sum(1) / real.sum(1)
    squares = ((e.memory - mean.unsqueeze(1)) * real).square().sum(1)
    return e.summary + (squares / (real.sum(1) - 1)).sqrt()


def mixed(self, e, source, lengths):
    return e.summary + 0.1 * e.summary.mean(dim=0)


def when(condition, change):
    return lambda self, e, s, n: change(self, e, s, n) if condition(s, n) else e.summary


def twice(self, e, source, lengths):
    return 2 * e.summary - e.summary.detach()


def in_place(self, e, source, lengths):
    source[source == 5] = 6
    return e.summary


def lengths_in_place(self, e, source, lengths):
    lengths.sub_(1)
    return e.summary


def coin(self, e, source, lengths):
    return e.summary * (torch.rand(len(source), 1) < 0.5) if self.training else e.summary


def padded_end(self, e, source, lengths):
    return self.inner(source, torch.full_like(lengths, source.shape[1])).state.hidden


def all_true(mask, lengths):
    return torch.ones_like(mask)


def far(source, lengths):
    return int(lengths.max() - lengths.min()) > 5


DEFECTS = {
    "state of the padded end": (of_state(padded_end), PADDING, "padding"),
    "state constant": (of_state(lambda self, e, s, n: 0 * e.state.hidden), POSITION, "hidden"),
    "cell constant": (
        altering(lambda self, e, s, n: e._replace(state=State(e.state.hidden, 0 * e.state.cell))),
        POSITION, "cell",
    ),
    "state of the first position": (
        of_state(lambda self, e, s, n: e.memory[:, 0].unsqueeze(0)), POSITION, "position 1",
    ),
    "state of other rows": (of_state(lambda self, e, s, n: e.state.hidden.roll(1, 1)), MATES, "d"),
    "state detached": (of_state(lambda self, e, s, n: e.state.hidden.detach()), GRADIENTS, "state"),
    "summary constant": (of_summary(lambda self, e, s, n: 0 * e.summary), POSITION, "summary"),
    "summary of the first position": (
        of_summary(lambda self, e, s, n: e.memory[:, 0]), POSITION, "position 1 .*summary",
    ),
    "summary of all but the last": (
        of_summary(lambda self, e, s, n: e.memory[torch.arange(len(n)), (n - 2).clamp(min=0)]),
        POSITION, "changes nothing",
    ),
    "summary of the first sixteen": (
        of_summary(lambda self, e, s, n: e.memory[torch.arange(len(n)), n.clamp(max=16) - 1]),
        POSITION, "position 16",
    ),
    "summary of the padded length": (
        of_summary(lambda self, e, s, n: e.memory.mean(dim=1)), PADDING, "more positions",
    ),
    "memory constant": (
        of_memory(lambda self, e, s, n: e.memory_mask.unsqueeze(-1) + 0 * e.memory),
        POSITION, "memory",
    ),
    "memory at padding": (
        of_memory(lambda self, e, s, n: e.memory + 1e-3), MASK, "not zero",
    ),
    "memory at far padding": (
        of_memory(lambda self, e, s, n: e.memory + (e.memory.shape[1] > 16)), MASK, "not zero",
    ),
    "mask all true": (of_mask(all_true), MASK, "real positions"),
    "mask shifted": (of_mask(lambda mask, lengths: mask.roll(1, 1)), MASK, "first positions"),
    "mask from the end": (of_mask(lambda mask, lengths: mask.flip(1)), MASK, "first positions"),
    "mask all true beyond 16": (
        of_mask(lambda mask, lengths: mask | (torch.arange(mask.shape[1]) >= 16)), MASK, "real",
    ),
    "length ignored": (
        given(lambda source, lengths: (source, torch.full_like(lengths, source.shape[1]))),
        PADDING, "padding",
    ),
    "source cut at 16": (
        given(lambda source, lengths: (source[:, :16], lengths.clamp(max=16))), POSITION, "16",
    ),
    "last token unread": (
        given(lambda source, lengths: (source, (lengths - 1).clamp(min=1))), POSITION, "nothing",
    ),
    "first token unread": (
        given(lambda source, lengths: (torch.cat([source[:, :1] * 0 + 5, source[:, 1:]], 1),
                                       lengths)),
        POSITION, "position 0",
    ),
    "rows mixed in large batches": (
        of_summary(when(lambda s, n: len(n) > 8, mixed)), MATES, "in its batch",
    ),
    "rows mixed where lengths differ": (of_summary(when(far, mixed)), MATES, "in its batch"),
    "rows mixed in long sources": (
        of_summary(when(lambda s, n: s.shape[1] > 16, mixed)), MATES, "differ|change",
    ),
    "rows mixed in training": (
        of_summary(lambda self, e, s, n: mixed(self, e, s, n) if self.training else e.summary),
        MATES, "in training",
    ),
    "rows of equal length swapped": (of_summary(tied_rows), ORDER, "another order"),
    "no number at length 1": (of_summary(standardised), FINITE, r"lengths \[1\]"),
    "source changed in place": (of_summary(in_place), HANDED_IN, "the source is changed"),
    "lengths changed in place": (of_summary(lengths_in_place), HANDED_IN, "source_lengths"),
    "buffer not saved": (Noise, SAVED, "gives other outputs"),
    "weights kept": (WeightsKept, WEIGHTS, "new weights"),
    "source kept": (SourceKept, KEPT, "before it was overwritten"),
    "gradient doubled": (of_summary(twice), GRADIENTS, "summary"),
    "memory detached": (of_memory(lambda self, e, s, n: e.memory.detach()), GRADIENTS, "memory"),
    "gradient doubled in training": (
        of_summary(lambda self, e, s, n: twice(self, e, s, n) if self.training else e.summary),
        GRADIENTS, "in training",
    ),
    "mask all true where lengths are equal": (
        of_mask(lambda mask, lengths: mask | (lengths == lengths[0]).all()), PADDING, "the mask",
    ),
    "mean over padding where lengths are equal": (
        of_summary(lambda self, e, s, n: e.memory.sum(1) / mean_length(n, e.memory.shape[1])),
        PADDING, "more positions",
    ),
    "rows mixed in pairs": (of_summary(when(lambda s, n: len(n) == 2, mixed)), ORDER, "order"),
    "rows mixed in very large batches": (
        of_summary(when(lambda s, n: len(n) > 32, mixed)), ORDER, "order",
    ),
    "every second position unread": (
        of_summary(lambda self, e, s, n: e.memory[:, ::2].sum(1)), POSITION, "nothing",
    ),
    "dropout in evaluation": (
        of_memory(lambda self, e, s, n: torch.nn.functional.dropout(e.memory, 0.1, training=True)),
        RANDOM, "in evaluation",
    ),
    "the twentieth call": (FewCalls, KEPT, "after another batch"),
    "training mode in evaluation": (Trains, KEPT, "training mode"),
    "torch seeded": (Seeds, RANDOM, "of torch itself"),
    "rounded to single precision": (
        of_summary(lambda self, e, s, n: e.summary.float().to(e.summary.dtype)),
        GRADIENTS, "summary",
    ),
    "coin in training": (of_summary(coin), RANDOM, "a coin"),
    "coin of python": (
        of_summary(lambda self, e, s, n: e.summary * (1 + self.training * random.random())),
        RANDOM, "again",
    ),
    "noise in evaluation": (
        of_summary(lambda self, e, s, n: e.summary + torch.randn_like(e.summary)),
        RANDOM, "in evaluation",
    ),
    "state_size wrong": (stated(state_size=9), SIZES, "stated is"),
    "summary_size wrong": (stated(summary_size=7), SIZES, "stated is"),
    "has_cell wrong": (stated(has_cell=False), SIZES, "has_cell"),
    "layers wrong": (stated(state_num_layers=2), SIZES, "stated is"),
    "no state stated": (stated(state_size=None), SIZES, "state_size"),
    "state stated where there is none": (
        altering(lambda self, e, s, n: e._replace(state=None)), SIZES, "state is None",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_reported_by_name(name):
    kind, check, seen = DEFECTS[name]
    assert_reported(encoder_outcomes(kind, check), check, seen)


def test_without_a_defect_all_is_well():
    assert not encoder_outcomes(HonestEncoder)


def test_values_are_not_changed_in_place_either():
    def doubled(self, encoded, source, lengths):
        source.mul_(2)
        return encoded.summary

    kind = of_summary(doubled)
    assert "the source" in encoder_outcomes(kind, HANDED_IN, source_space=ValueSpace(2))[HANDED_IN]
