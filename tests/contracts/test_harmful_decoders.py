"""Each planted defect of what a decoder sees is reported by the check that demands otherwise."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from decoderlab.contract import ValueSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.layers import GRU
from tests import parts
from tests.contracts.honest import Honest, assert_reported, outcomes

SAME = "all_steps_at_once_equal_step_by_step"
BEFORE = "the_output_before_has_influence_at_every_position"
SOURCE = "the_source_has_influence"
MATES = "batch_mates_have_no_influence"
MASKED = "masked_memory_has_no_influence"
LOGITS = "outputs_are_logits_or_logarithms_of_probabilities"
TOKENS = "every_token_can_be_generated"
FINITE = "outputs_are_numbers_at_every_length"
GRADIENTS = "gradients_are_right"
READ = "what_is_read_at_first_is_read_at_every_step"
MEMORY = "all_of_the_memory_is_read"
PADDED = "padded_length_has_no_influence"
EOS, UNK = 2, 3


class StepsForgetAtTheEnd(Honest):
    def step(self, previous, state):
        if (previous == EOS).any() and not getattr(self, "at_once", False):
            zeros = torch.zeros_like(state[0].recurrent.hidden)
            keep = (previous != EOS).view(1, -1, 1)
            hidden = torch.where(keep, state[0].recurrent.hidden, zeros)
            recurrent = state[0].recurrent._replace(hidden=hidden)
            state = (state[0]._replace(recurrent=recurrent), state[1])
        return super().step(previous, state)

    def forward(self, encoded, target):
        self.at_once = True
        outputs = super().forward(encoded, target)
        self.at_once = False
        return outputs


class ShiftedByTwo(Honest):
    def start(self, encoded):
        bos = torch.full((len(encoded.summary),), 1)
        return *super().start(encoded), bos

    def step(self, previous, state):
        outputs, after = super().step(state[2], state[:2])
        return outputs, (*after, previous)

    def reorder(self, state, index):
        return *super().reorder(state[:2], index), state[2][index]


class ShiftedByTwoInTraining(Honest):
    def before(self, target):
        before = super().before(target)
        return before.roll(1, 1) if self.training else before


def blind(*, since, training=False):
    """Return a decoder that does not see the tokens from position `since` on."""

    class Blind(Honest):
        def seen(self, previous, t):
            off = t >= since and (self.training or not training)
            return torch.full_like(previous, 4) if off else previous

    return Blind


def sourceless(since, *, training=False, whole=False):
    """Return a decoder that has no memory from step `since` on, or no state either."""

    class Sourceless(Honest):
        def kept(self, inner, t):
            if t < since or (training and not self.training):
                return inner
            inner = inner._replace(memory=0 * inner.memory, keys=0 * inner.keys)
            if whole:
                hidden = 0 * inner.recurrent.hidden
                inner = inner._replace(
                    summary=0 * inner.summary, recurrent=inner.recurrent._replace(hidden=hidden)
                )
            return inner

    return Sourceless


def reading(change):
    """Return a decoder that reads what `change(decoder, encoded)` makes of an encoding."""

    class Reading(Honest):
        def read(self, encoded):
            return change(self, encoded)

    return Reading


def writing(change):
    """Return a decoder that writes what `change(outputs)` makes of its outputs."""

    class Writing(Honest):
        def written(self, outputs, t):
            return change(outputs)

    return Writing


def masked_from(first):
    """Return how positions from `first(real)` on are left out, where that leaves any."""

    def change(decoder, encoded):
        mask = encoded.memory_mask
        real = mask.sum(1, keepdim=True)
        kept = mask & (torch.arange(mask.shape[1]) < first(real).clamp(min=1))
        return encoded._replace(memory_mask=kept)

    return change


def only_when(condition, change):
    return lambda decoder, encoded: change(decoder, encoded) if condition(encoded) else encoded


def of_memory(change):
    return lambda decoder, encoded: encoded._replace(memory=change(encoded.memory))


def of_summary(change):
    return lambda decoder, encoded: encoded._replace(summary=change(encoded.summary))


def of_state(change):
    return lambda decoder, encoded: encoded._replace(
        state=encoded.state._replace(hidden=change(encoded.state.hidden))
    )


def doubled(values):
    return 2 * values - values.detach()


def in_training(change):
    def changed(decoder, encoded):
        return change(decoder, encoded) if decoder.training else encoded

    return changed


def weights_doubled(self, encoded):
    """A hook would do it as well: the table's gradient is twice what it is."""
    table = self.inner.embedding.weight
    if table.requires_grad and not getattr(self, "hooked", False):
        self.hooked = True
        table.register_hook(lambda gradient: 2 * gradient)
    return encoded


def end_without_gradient(self, encoded):
    table = self.inner.embedding.weight
    if table.requires_grad and not getattr(self, "hooked", False):
        self.hooked = True
        kept = torch.ones(len(table), 1).index_fill(0, torch.tensor(EOS), 0.0)
        table.register_hook(lambda gradient: kept.to(gradient) * gradient)
    return encoded


def cut_off_at(step, *, training=False):
    class CutOff(Honest):
        def kept(self, inner, t):
            if t != step or (training and not self.training):
                return inner
            hidden = inner.recurrent.hidden.detach()
            return inner._replace(recurrent=inner.recurrent._replace(hidden=hidden))

    return CutOff


def mixed_rows(values):
    return values + 0.1 * values.mean(dim=0, keepdim=True)


def sorted_wrongly(decoder, encoded):
    """Rows are sorted by length, and rows of equal length come back in another order."""
    lengths = encoded.memory_mask.sum(1)
    order = lengths.argsort(descending=True, stable=True)
    back = (lengths * 100 + torch.arange(len(lengths))).argsort(descending=True).argsort()
    return encoded._replace(summary=encoded.summary[order][back])


def standardised(decoder, encoded):
    rows = []
    for memory, mask in zip(encoded.memory, encoded.memory_mask, strict=True):
        memory = memory[mask] - memory[mask].mean(dim=0)
        rows.append((memory.square().sum(dim=0) / (len(memory) - 1)).sqrt())  # 0 / 0
    return encoded._replace(summary=encoded.summary + torch.stack(rows))


def far_apart(encoded):
    real = encoded.memory_mask.sum(1)
    return int(real.max() - real.min()) > 5


def at(index, value):
    def change(outputs):
        outputs = outputs.clone()
        outputs[..., index] = value if not callable(value) else value(outputs[..., index])
        return outputs

    return change


class NoNumberAtOnce(Honest):
    def forward(self, encoded, target):
        return super().forward(encoded, target) + 0 / torch.tensor(target.shape[1] - 1.0)


def without_mask(decoder, encoded):
    return encoded._replace(memory_mask=torch.ones_like(encoded.memory_mask))


def equally_long(encoded):
    real = encoded.memory_mask.sum(1)
    return len(real) > 1 and bool((real == real[0]).all())


def turned_around(encoded):
    """True at padding, and where there is none everywhere, so that attention finds something."""
    mask = encoded.memory_mask
    return ~mask | mask.all(1, keepdim=True)


def of_first(encoded):
    return encoded.memory_mask[:1].expand_as(encoded.memory_mask)


def every_second(encoded):
    return encoded.memory_mask & (torch.arange(encoded.memory_mask.shape[1]) % 2 == 0)


def long_memory(encoded):
    return encoded.memory.shape[1] > 16


def many_rows(encoded):
    return len(encoded.memory) > 8


DEFECTS = {
    "steps forget at the end": (StepsForgetAtTheEnd, SAME, "differ by"),
    "target shifted by two": (ShiftedByTwo, BEFORE, "no influence on the output at 1"),
    "target shifted by two in training": (ShiftedByTwoInTraining, BEFORE, "in training"),
    "target unseen after three": (blind(since=4), BEFORE, "output at 4"),
    "target unseen after sixteen": (blind(since=17), BEFORE, "output at 17"),
    "target unseen after three in training": (blind(since=4, training=True), BEFORE, "in training"),
    "source ignored from 4 on": (sourceless(4, whole=True), SOURCE, "no influence .* at 4"),
    "source ignored from 4 on in training": (
        sourceless(4, training=True, whole=True), SOURCE, "in training.* at 4",
    ),
    "memory ignored from 4 on": (sourceless(4), READ, "no longer at step 4"),
    "memory ignored from 16 on": (sourceless(16), READ, "no longer at step 16"),
    "memory beyond the third ignored": (
        reading(masked_from(lambda real: torch.full_like(real, 3))), MEMORY, "position 3 is not",
    ),
    "memory beyond 24 ignored": (
        reading(masked_from(lambda real: torch.full_like(real, 24))), MEMORY, "position 24 is not",
    ),
    "memory beyond 40 ignored": (
        reading(masked_from(lambda real: torch.full_like(real, 40))), MEMORY, "position 40 is not",
    ),
    "every second position ignored": (
        reading(lambda decoder, encoded: encoded._replace(memory_mask=every_second(encoded))),
        MEMORY, "position 1 is not",
    ),
    "memory beyond 16 ignored": (
        reading(masked_from(lambda real: torch.full_like(real, 16))), MEMORY, "position 16 is not",
    ),
    "last position of the memory ignored": (
        reading(masked_from(lambda real: real - 1)), MEMORY, "position 2 is not",
    ),
    "last position of the memory ignored in training": (
        reading(in_training(masked_from(lambda real: real - 1))), MEMORY, "in training",
    ),
    "first of the memory alone": (
        reading(masked_from(lambda real: torch.full_like(real, 2))), MEMORY, "position 2 is not",
    ),
    "memory detached": (reading(of_memory(torch.detach)), GRADIENTS, "the memory"),
    "summary detached": (reading(of_summary(torch.detach)), GRADIENTS, "the summary"),
    "state detached": (reading(of_state(torch.detach)), GRADIENTS, "part of the state"),
    "memory's gradient doubled": (reading(of_memory(doubled)), GRADIENTS, "the memory"),
    "summary's gradient doubled": (reading(of_summary(doubled)), GRADIENTS, "the summary"),
    "state's gradient doubled": (reading(of_state(doubled)), GRADIENTS, "part of the state"),
    "memory detached in training": (
        reading(in_training(of_memory(torch.detach))), GRADIENTS, "in training",
    ),
    "table's gradient doubled": (reading(weights_doubled), GRADIENTS, "embedding"),
    "gradient of the end's embedding lost": (reading(end_without_gradient), GRADIENTS, "embedding"),
    "rounded to single precision": (writing(lambda o: o.float().to(o.dtype)), GRADIENTS, "is not"),
    "gradient cut at step 3": (cut_off_at(3), GRADIENTS, "part of the state"),
    "gradient cut at step 16": (cut_off_at(16), GRADIENTS, "length 20"),
    "gradient cut in training": (cut_off_at(8, training=True), GRADIENTS, "in training"),
    "rows mixed in large batches": (
        reading(only_when(many_rows, of_summary(mixed_rows))), MATES, "batch of 18",
    ),
    "rows mixed in large batches in training": (
        reading(in_training(only_when(many_rows, of_summary(mixed_rows)))), MATES, "in training",
    ),
    "rows mixed where lengths differ": (
        reading(only_when(far_apart, of_summary(mixed_rows))), MATES, "differ by",
    ),
    "rows of equal length swapped": (reading(sorted_wrongly), MATES, "differ by"),
    "mask ignored in long memories": (
        reading(only_when(long_memory, without_mask)), MASKED, "in evaluation",
    ),
    "mask turned around": (
        reading(lambda decoder, encoded: encoded._replace(memory_mask=turned_around(encoded))),
        MASKED, "in evaluation",
    ),
    "mask ignored where lengths are equal": (
        reading(only_when(equally_long, without_mask)), PADDED, "3 more masked positions",
    ),
    "mask ignored for a single row": (
        reading(only_when(lambda encoded: len(encoded.memory) == 1, without_mask)),
        PADDED, "3 more masked positions",
    ),
    "mask of the first row": (
        reading(lambda decoder, encoded: encoded._replace(memory_mask=of_first(encoded))),
        MATES, "differ by",
    ),
    "mask ignored in long memories in training": (
        reading(in_training(only_when(long_memory, without_mask))), MASKED, "in training",
    ),
    "divided by a long padded length": (
        reading(only_when(long_memory, lambda _, one: one._replace(summary=one.memory.mean(1)))),
        PADDED,
        "more masked positions",
    ),
    "no number at source length 1": (reading(standardised), FINITE, r"lengths \(1,\)"),
    "no number at target length 1": (NoNumberAtOnce, FINITE, "targets of length 1"),
    "probabilities": (writing(lambda o: o.softmax(-1)), LOGITS, "between 0 and 1"),
    "probabilities of their own": (writing(torch.sigmoid), LOGITS, "between 0 and 1"),
    "logarithms that do not sum": (writing(nn.functional.logsigmoid), LOGITS, "sum to 1"),
    "constant logit of EOS": (writing(at(EOS, 0.5)), TOKENS, r"2 \(EOS\) is the same"),
    "constant logit of a token": (writing(at(8, 0.0)), TOKENS, "token 8 is the same"),
    "EOS at -1e9": (writing(at(EOS, -1e9)), TOKENS, "EOS"),
    "EOS at -1e9 and a little": (writing(at(EOS, lambda o: o - 1e9)), TOKENS, "never generated"),
    "EOS at -50": (writing(at(EOS, lambda o: o - 50)), TOKENS, "never generated"),
    "a token at -1e4": (writing(at(5, lambda o: o - 1e4)), TOKENS, "token 5 is never generated"),
    "unknown at -inf": (writing(at(UNK, -torch.inf)), TOKENS, "stands in targets"),
}  # fmt: skip


@pytest.mark.thinned
@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_reported_by_name(name):
    kind, check, seen = DEFECTS[name]
    assert_reported(outcomes(kind, check), check, seen)


def test_without_a_defect_all_is_well():
    assert not outcomes(Honest)


def test_a_constant_number_is_reported_where_values_are_written():
    class Constant(RecurrentDecoder):
        def _advance(self, previous, state):
            outputs, *others = super()._advance(previous, state)
            return torch.cat([outputs[..., :2], 0 * outputs[..., :1]], dim=-1), *others

    chosen = {"cell": GRU, "hidden_size": 8, "routes": ["every_input"]}
    chosen |= {"head": parts.head("linear", distribution="point"), "target_space": ValueSpace(3)}
    assert not outcomes(RecurrentDecoder, TOKENS, **chosen)
    assert "number 2" in outcomes(Constant, TOKENS, **chosen)[TOKENS]
