"""The checks of parts that are functions of tensors: combinations, mixings and poolings; of decays.

Each is named after what it demands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.common.part_choice import Choice
from decoderlab.decoders.feedback import Decay
from decoderlab.testing.derivatives import check_derivatives, skip_surrogates
from decoderlab.testing.differences import (
    TINY,
    Seen,
    Skipped,
    carries,
    check_following,
    check_gradients,
    check_many_rows,
    check_saving,
    gap_between,
    scalar,
    seeded,
    unchanged,
)
from decoderlab.testing.initial_weights import (
    what_the_constructor_sets_is_what_training_starts_from,
)
from decoderlab.testing.part_subjects import PartSubject, normal, refuse_spare, trained
from decoderlab.testing.subjects import it_is_built_without_computing, unknown_settings_are_refused

NUM_ROWS, NUM_STEPS = 4, 5
LENGTHS = (5, 3, 1, 4)
# Of the inputs of each kind, in the order in which they are handed over: keyword and width.
INPUTS = {
    "combination": {"size": 6, "summary_size": 4},
    "mixing": {"memory_size": 4, "query_size": 6, "embedded_size": 3},
    "pooling": {"memory_size": 6},
}


@dataclass(frozen=True)
class TensorPartSubject(PartSubject[nn.Module]):
    """A combination, mixing or pooling class, `kind`, with inputs for it."""

    kind: str = "combination"

    @classmethod
    def made(
        cls, kind: str, make: Callable[..., nn.Module], settings: Mapping[str, Any]
    ) -> TensorPartSubject:
        """Return the subject."""
        return replace(cls.of(make, settings, INPUTS[kind]), kind=kind)

    def inputs(self, seed: int = 1) -> list[Tensor]:
        """Return the inputs (B, T, width) that want a gradient; a memory is 0 at padding."""
        widths = list(INPUTS[self.kind].values())
        if self.kind == "mixing" and not getattr(self.make, "sees_embedded", False):
            del widths[-1]
        values = [
            normal(NUM_ROWS, NUM_STEPS, width, seed=10 * seed + number)
            for number, width in enumerate(widths)
        ]
        if self.kind == "pooling":
            values = [values[0] * self.mask.unsqueeze(-1)]
        return [value.requires_grad_() for value in values]

    @property
    def mask(self) -> Tensor:
        """Return (B, S) bool, True for real positions."""
        return torch.arange(NUM_STEPS) < torch.tensor(LENGTHS).unsqueeze(1)

    def run(self, part: nn.Module, inputs: list[Tensor], mask: Tensor | None = None) -> Tensor:
        """Return what comes out, as a decoder or an encoder asks for it."""
        if self.kind == "pooling":
            return part(inputs[0], self.mask if mask is None else mask)
        without_embedding = [None] * (self.kind == "mixing" and len(inputs) == 2)
        return part(*inputs, *without_embedding)


@torch.no_grad()
def what_comes_out_is_as_wide_as_declared(subject: TensorPartSubject) -> None:
    """The last axis is as wide as the attribute `size` says, the others are the input's."""
    for _, part in subject.modes():
        size = getattr(part, "size", None)
        if not isinstance(size, int):
            raise Seen(f"size is {size!r}; it must say how wide the outputs are")
        leading = (NUM_ROWS,) if subject.kind == "pooling" else (NUM_ROWS, NUM_STEPS)
        shape = tuple(subject.run(part, subject.inputs()).shape)
        if shape != (*leading, size):
            raise Seen(f"outputs have shape {shape}, promised is {(*leading, size)}")


@torch.no_grad()
def rows_have_no_influence_on_each_other_nor_steps(subject: TensorPartSubject) -> None:
    """A row, and of a combination or a mixing a step, gives the same whatever is beside it."""
    for mode, part in subject.modes():
        inputs, others = subject.inputs(), subject.inputs(seed=2)
        before = subject.run(seeded(part), inputs)
        mine = torch.zeros(NUM_ROWS, NUM_STEPS, 1, dtype=torch.bool)
        mine[1, slice(None) if subject.kind == "pooling" else 2] = True
        mixed = [torch.where(mine, own, other) for own, other in zip(inputs, others, strict=True)]
        after = subject.run(seeded(part), mixed)
        at = 1 if subject.kind == "pooling" else (1, 2)
        gap = gap_between(after[at], before[at])
        if gap > TINY:
            raise Seen(f"in {mode}, other rows or steps change an output by {gap:.1e}")
    part, lengths = subject.build(), torch.arange(40) % 36 + 1
    mask = torch.arange(36) < lengths.unsqueeze(1)
    many = [
        normal(len(lengths), 36, leaf.shape[-1], seed=3) * mask.unsqueeze(-1)
        for leaf in subject.inputs()
    ]
    check_many_rows(lambda inputs: [subject.run(part, [*inputs[1:]], inputs[0])], [mask, *many])


@torch.no_grad()
def padding_does_not_count_in_a_summary(subject: TensorPartSubject) -> None:
    """More padding, and whatever stands there, changes no summary."""
    if subject.kind != "pooling":
        raise Skipped("it sees no padding")
    part, (memory,) = subject.build(), subject.inputs()
    expected = subject.run(part, [memory])
    noise = 100 * normal(*memory.shape, seed=5).masked_fill(subject.mask.unsqueeze(-1), 0.0)
    longer, mask = functional.pad(memory, (0, 0, 0, 7)), functional.pad(subject.mask, (0, 7))
    for what, summary in (
        ("what stands at padding", subject.run(part, [memory + noise])),
        ("more padding", subject.run(part, [longer], mask)),
    ):
        gap = gap_between(summary, expected)
        if gap > TINY:
            raise Seen(f"{what} changes the summary by {gap:.1e}")
    pair, length = [1, 1], LENGTHS[1]
    short = subject.run(part, [memory[pair, :length]], subject.mask[pair, :length])
    gap = gap_between(subject.run(part, [memory[pair]], subject.mask[pair]), short)
    if gap > TINY:
        raise Seen(f"where rows are equally long, padding changes the summary by {gap:.1e}")


def every_input_and_weight_gets_a_gradient(subject: TensorPartSubject) -> None:
    """Gradient reaches each input, and no trained parameter is without effect."""
    part, inputs = subject.build(), subject.inputs()
    scalar(subject.run(part, inputs)).backward()
    for name, leaf in zip(INPUTS[subject.kind], inputs, strict=False):
        if not carries(leaf):
            raise Seen(f"no gradient reaches the input whose width is {name}; is it detached?")
    refuse_spare(check_gradients(part))


def the_parts_gradients_are_right(subject: TensorPartSubject) -> None:
    """Gradients are the derivatives, by finite differences: of inputs and weights."""
    skip_surrogates(subject.build())
    for mode, part in subject.modes():
        inputs = subject.inputs()

        def outputs(part: nn.Module = part, inputs: list[Tensor] = inputs) -> Tensor:
            return subject.run(seeded(part), inputs)

        leaves = [(f"input {number}", leaf) for number, leaf in enumerate(inputs)]
        check_derivatives(outputs, [*leaves, *trained(part)], f"in {mode}, ")


@torch.no_grad()
def nothing_stays_in_the_part(subject: TensorPartSubject) -> None:
    """Outputs depend on nothing that was read before, and inputs stay as they are."""
    part, inputs = subject.build(), [leaf.detach() for leaf in subject.inputs()]
    with unchanged({f"input {number}": leaf for number, leaf in enumerate(inputs)}):
        first = subject.run(part, inputs)
        subject.run(part, [leaf.detach() for leaf in subject.inputs(seed=2)])
        if gap_between(subject.run(part, inputs), first):
            raise Seen("the same inputs give other outputs at another call")


@torch.no_grad()
def the_part_saved_and_loaded_is_the_same(subject: TensorPartSubject) -> None:
    """A state dict holds all there is, and nothing computed from weights is kept."""

    def outputs(part: nn.Module) -> list[Tensor]:
        return [subject.run(part.eval(), subject.inputs())]

    check_saving(subject.draw, outputs)
    check_following(subject.draw, outputs)


TENSOR_PART_CHECKS = (
    what_comes_out_is_as_wide_as_declared,
    unknown_settings_are_refused,
    it_is_built_without_computing,
    rows_have_no_influence_on_each_other_nor_steps,
    padding_does_not_count_in_a_summary,
    every_input_and_weight_gets_a_gradient,
    the_parts_gradients_are_right,
    nothing_stays_in_the_part,
    the_part_saved_and_loaded_is_the_same,
    what_the_constructor_sets_is_what_training_starts_from,
)


@dataclass(frozen=True)
class DecaySubject:
    """A decay class with its settings."""

    make: Callable[..., Decay]
    settings: dict[str, Any]

    def build(self, decay_steps: int) -> Decay:
        """Return a decay over so many updates."""
        return Choice(self.make, self.settings).build(decay_steps=decay_steps)


def shares_are_between_0_and_1(subject: DecaySubject) -> None:
    """However many updates are done, what is left is a share."""
    for decay_steps in (1, 100):
        decay = subject.build(decay_steps)
        for step in (0, 1, 50, 100, 101, 10**9):
            share = decay(step)
            if not (isinstance(share, int | float) and 0 <= share <= 1):
                raise Seen(f"after {step} updates it is {share!r}, no number from 0 to 1")


def it_depends_on_the_update_alone(subject: DecaySubject) -> None:
    """A run that goes on has what it would have had: nothing is drawn, and nothing kept."""
    steps = (0, 7, 3, 250, 3)
    decay = subject.build(100)
    if [decay(step) for step in steps] != [subject.build(100)(step) for step in steps]:
        raise Seen("the same update has another share in another decay")
    if decay(3) != subject.build(100)(3):
        raise Seen("the same update has another share at another call")


DECAY_CHECKS = (shares_are_between_0_and_1, it_depends_on_the_update_alone)
