"""Each planted defect of what a decoder remembers is reported by the check that forbids it."""

from __future__ import annotations

import random

import pytest
import torch

from tests.contracts.honest import Honest, assert_reported, outcomes

REORDER = "reorder_moves_everything_a_row_knows"
SAVED = "saved_and_loaded_it_is_the_same"
WEIGHTS = "outputs_follow_the_weights"
MODULE = "nothing_stays_in_the_module"
HANDED_IN = "what_is_handed_in_stays_as_it_is"
RANDOM = "all_that_is_random_is_declared"


def reordering(change):
    """Return a decoder whose reorder is `change(move, (state, step), index)`."""

    class Reordering(Honest):
        def reorder(self, state, index):
            return change(super().reorder, state, index)

    return Reordering


def overwriting(move, state, index):
    """In place, so that a row may be read after it was overwritten."""
    inner, t = state
    if len(index) != inner.recurrent.hidden.shape[1]:
        return move(state, index)
    moved = inner._replace(
        recurrent=inner.recurrent._replace(hidden=inner.recurrent.hidden.clone())
    )
    hidden = moved.recurrent.hidden
    for row, wanted in enumerate(index.tolist()):
        hidden[:, row] = hidden[:, wanted]
    return move((inner, t), index)[0]._replace(recurrent=moved.recurrent), t


def inverse(move, state, index):
    is_permutation = sorted(index.tolist()) == list(range(len(state[0].memory)))
    return move(state, index.argsort() if is_permutation else index)


def without_doubles(move, state, index):
    if len(index) != len(state[0].memory):
        return move(state, index)
    unique = index.unique()
    return move(state, torch.cat([unique, index.new_zeros(len(index) - len(unique))]))


def losing(part, *, since=0, when=lambda rows, wanted: True):
    """Return a reorder that leaves one part of the state in another order."""

    def change(move, state, index):
        moved, t = move(state, index)
        rows = len(state[0].memory)
        if t < since or not when(rows, len(index)):
            return moved, t
        other = move(state, torch.arange(len(index)) % rows)[0]
        return moved._replace(**{part: getattr(other, part)}), t

    return change


def spread(state, index):
    """Rows that all come from one are taken from several."""
    alike = len(index) > 1 and len(index.unique()) == 1
    return torch.arange(len(index)) % len(state[0].memory) if alike else index


class OnlyOnce(Honest):
    """The first time of reordering is the only one that does anything."""

    def start(self, encoded):
        return *super().start(encoded), False

    def step(self, previous, state):
        outputs, after = super().step(previous, state[:2])
        return outputs, (*after, state[2])

    def reorder(self, state, index):
        if state[2] and len(index) == len(state[0].memory):
            return state
        return *super().reorder(state[:2], index), True


class InTheEncoding(Honest):
    """What is moved is moved in the encoder's own memory."""

    def reorder(self, state, index):
        inner, t = super().reorder(state, index)
        if len(index) == len(state[0].memory):
            state[0].memory.copy_(inner.memory)
        return inner, t


def reading(change):
    class Reading(Honest):
        def read(self, encoded):
            change(self, encoded)
            return encoded

    return Reading


class TargetOverwritten(Honest):
    def forward(self, encoded, target):
        target[target == 2] = 0
        return super().forward(encoded, target)


class TokenOverwritten(Honest):
    def step(self, previous, state):
        outputs, state = super().step(previous.clone(), state)
        previous.fill_(4)
        return outputs, state


class Buffer(Honest):
    def __init__(self, *, target_space, encoder_shape):
        super().__init__(target_space=target_space, encoder_shape=encoder_shape)
        self.register_buffer("noise", torch.randn(9), persistent=False)

    def written(self, outputs, t):
        return outputs + self.noise


class Attribute(Honest):
    def __init__(self, *, target_space, encoder_shape):
        super().__init__(target_space=target_space, encoder_shape=encoder_shape)
        self.scale = random.random()

    def written(self, outputs, t):
        return outputs * (1 + self.scale)


class Gathered(Honest):
    """A mean over training that is not saved."""

    mean = 0.0

    def written(self, outputs, t):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * float(outputs.detach().mean())
        return outputs - (0.0 if self.training else self.mean)


class WeightsKept(Honest):
    """The product of two matrices is worked out once."""

    kept_table = None

    def written(self, outputs, t):
        if self.kept_table is None:
            self.kept_table = self.inner.embedding.weight.detach().sum(dim=-1)
        return outputs + self.kept_table


class EncodingKept(Honest):
    """What was made of a memory is kept under the address of it."""

    def __init__(self, *, target_space, encoder_shape):
        super().__init__(target_space=target_space, encoder_shape=encoder_shape)
        self.known = {}

    def start(self, encoded):
        key = encoded.memory.data_ptr()
        if key not in self.known:
            self.known[key] = (encoded.memory, super().start(encoded))
        state, t = self.known[key][1]
        return state._replace(memory=state.memory.clone(), keys=state.keys.clone()), t


class CountsItsSteps(Honest):
    """The number of the step is in the module, and starts again with the next source."""

    count = 0

    def start(self, encoded):
        self.count = 0
        return super().start(encoded)

    def written(self, outputs, t):
        self.count += 1
        return outputs * (1 + 0.1 * self.count)


def drawing(draw, *, evaluation=False):
    """Return a decoder that feeds the token 4 where a draw (B,) says so."""

    class Drawing(Honest):
        def seen(self, previous, t):
            if not (self.training or evaluation):
                return previous
            return torch.where(draw(self, previous) < 0.5, previous, 4)

    return Drawing


class OwnGenerator(Honest):
    """Coins have a generator of their own, which at_step does not seed."""

    def __init__(self, *, target_space, encoder_shape):
        super().__init__(target_space=target_space, encoder_shape=encoder_shape)
        self.generator = torch.Generator().manual_seed(1)

    def at_step(self, step, seed):
        pass

    def seen(self, previous, t):
        if not self.training:
            return previous
        return torch.where(torch.rand(len(previous), generator=self.generator) < 0.5, previous, 4)


class SamplesItself(Honest):
    """Scheduled sampling that nobody knows of."""

    def forward(self, encoded, target):
        state, outputs, own = self.start(encoded), [], None
        for previous in self.before(target).unbind(dim=1):
            if own is not None and self.training:
                previous = torch.where(torch.rand(len(previous)) < 0.5, previous, own)
            output, state = self.step(previous, state)
            own = output.argmax(dim=-1)
            outputs.append(output)
        return torch.stack(outputs, dim=1)


class GrowsSlowly(Honest):
    """A schedule that counts its own calls."""

    calls = 0

    def forward(self, encoded, target):
        self.calls += self.training
        return super().forward(encoded, target) * (1 - 0.5**self.calls if self.training else 1)


DEFECTS = {
    "reorder in place": (reordering(overwriting), REORDER, "go on differently"),
    "reorder with the inverse": (reordering(inverse), REORDER, "go on differently"),
    "reorder without doubles": (reordering(without_doubles), REORDER, "go on differently"),
    "reorder not at all": (
        reordering(lambda move, state, index: move(state, torch.arange(len(index)) % 2)),
        REORDER,
        "go on differently",
    ),
    **{
        f"reorder loses {part}{name}": (reordering(losing(part, **given)), REORDER, "after")
        for part in ("memory", "memory_mask", "summary", "recurrent", "keys")
        for name, given in {
            "": {},
            " from the third step on": {"since": 3},
        }.items()
    },
    "reorder loses memory where rows are more": (
        reordering(losing("memory", when=lambda rows, wanted: wanted > rows)), REORDER, "after",
    ),
    "reorder loses memory where rows are fewer": (
        reordering(losing("memory", when=lambda rows, wanted: wanted < rows)), REORDER, "after",
    ),
    "reorder loses memory where rows are many": (
        reordering(losing("memory", when=lambda rows, wanted: wanted > 8)), REORDER, "after",
    ),
    "reorder loses memory after five steps": (
        reordering(losing("memory", since=6)), REORDER, "after",
    ),
    "reorder of large beams": (
        reordering(lambda move, state, index: move(state, index % (16 if len(index) > 32 else 99))),
        REORDER, "go on differently",
    ),
    "reorder to a single row": (
        reordering(lambda move, state, index: move(state, index * (len(index) > 1))),
        REORDER, "go on differently",
    ),
    "reorder to rows that are alike": (
        reordering(lambda move, state, index: move(state, spread(state, index))),
        REORDER, "go on differently",
    ),
    "reorder in order": (
        reordering(lambda move, state, index: move(state, index.sort().values)),
        REORDER, "go on differently",
    ),
    "reorder loses memory after twelve steps": (
        reordering(losing("memory", since=13)), REORDER, "after",
    ),
    "reorder only once": (OnlyOnce, REORDER, "2 times"),
    "reorder in the encoding": (InTheEncoding, HANDED_IN, "the encoding"),
    "memory doubled in place": (
        reading(lambda self, encoded: encoded.memory.mul_(2)), HANDED_IN, "the encoding",
    ),
    "summary cut in place": (
        reading(lambda self, encoded: encoded.summary.clamp_(-0.1, 0.1)), HANDED_IN, "encoding",
    ),
    "mask set in place": (
        reading(lambda self, encoded: encoded.memory_mask[:, :1].fill_(False)), HANDED_IN, "enc",
    ),
    "state set in place in training": (
        reading(lambda self, encoded: encoded.state.hidden.mul_(1 + self.training)), HANDED_IN, "",
    ),
    "target overwritten": (TargetOverwritten, HANDED_IN, "the target"),
    "token overwritten": (TokenOverwritten, HANDED_IN, "the previous output"),
    "buffer that is not saved": (Buffer, SAVED, "gives other outputs"),
    "attribute that is not saved": (Attribute, SAVED, "gives other outputs"),
    "mean that is not saved": (Gathered, SAVED, "gives other outputs"),
    "weights kept": (WeightsKept, WEIGHTS, "not those of the new weights"),
    "encoding kept": (EncodingKept, MODULE, "before it was overwritten"),
    "steps counted in the module": (CountsItsSteps, MODULE, "for another source"),
    "coin for the batch": (drawing(lambda self, p: torch.rand(())), RANDOM, "a coin"),
    "coin for each row": (drawing(lambda self, p: torch.rand(len(p))), RANDOM, "a coin"),
    "coin of python": (drawing(lambda self, p: torch.tensor(random.random())), RANDOM, "again"),
    "coin in evaluation": (
        drawing(lambda self, p: torch.rand(len(p)), evaluation=True), RANDOM, "in evaluation",
    ),
    "generator not seeded": (OwnGenerator, RANDOM, "again"),
    "scheduled sampling undeclared": (SamplesItself, RANDOM, "a coin"),
    "calls counted": (GrowsSlowly, RANDOM, "again"),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_reported_by_name(name):
    kind, check, seen = DEFECTS[name]
    assert_reported(outcomes(kind, check), check, seen)
