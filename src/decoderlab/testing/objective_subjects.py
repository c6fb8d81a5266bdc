"""Objectives as subjects of checks: outputs and targets of every kind that an objective takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from decoderlab.contract import Batch, Encoded, TokenSpace, ValueSpace
from decoderlab.testing.checked_modules import ObjectiveModule
from decoderlab.testing.differences import Seen
from decoderlab.testing.part_subjects import PartSubject, normal
from decoderlab.testing.subjects import first_real

TOKENS, VALUES = TokenSpace(9), ValueSpace(4)
# Of each space the outputs that there are, and their widths.
WIDTHS: tuple[tuple[TokenSpace | ValueSpace, dict[str, int]], ...] = (
    (TOKENS, {"tokens": TOKENS.size}),
    (VALUES, {"means": VALUES.size, "means and deviations": 2 * VALUES.size}),
)
# Rows, steps and widths differ, so that an objective does not take by chance what is not for it.
LENGTHS = torch.tensor([6, 4, 1, 5, 3])
NUM_ROWS, NUM_STEPS = len(LENGTHS), int(LENGTHS.max())


class TableDecoder(nn.Module):
    """A decoder whose outputs at step t are those of a table, whatever was written before.

    Args:
        outputs: (B, T, V); steps after the last have its outputs.
    """

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, encoded: Encoded, target: Tensor) -> Tensor:
        """Return the outputs of so many steps (B, T, V)."""
        steps = torch.arange(target.shape[1]).clamp(max=self.outputs.shape[1] - 1)
        return self.outputs[:, steps]

    def start(self, encoded: Encoded) -> tuple[int, Tensor]:
        """Return the step and the rows."""
        return 0, torch.arange(self.outputs.shape[0])

    def step(self, previous: Tensor, state: tuple[int, Tensor]) -> tuple[Tensor, Any]:
        """Return the outputs of the step (B, V) and the next state."""
        step, rows = state
        return self.outputs[rows, min(step, self.outputs.shape[1] - 1)], (step + 1, rows)

    def reorder(self, state: tuple[int, Tensor], index: Tensor) -> tuple[int, Tensor]:
        """Return the state of the rows `index` (N,)."""
        return state[0], state[1].index_select(0, index)


def called(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a class; one of whole outputs is called as others are, on a table of outputs."""
    if not (isinstance(make, type) and hasattr(make, "sequence_loss")):
        return make

    def on_table(self: Any, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        summary = torch.zeros(len(outputs), 1, dtype=outputs.dtype)
        mask = torch.ones(len(outputs), 1, dtype=torch.bool)
        encoded = Encoded(summary.unsqueeze(1), mask, summary, None)
        return self.sequence_loss(TableDecoder(outputs).train(), encoded, batch)

    name = "forward" if issubclass(make, nn.Module) else "__call__"
    return type(make.__name__, (make,), {name: on_table, "__module__": make.__module__})


class ObjectivePart(PartSubject[ObjectiveModule]):
    """An objective class; what it builds is in training mode, in which alone it is called."""

    @property
    def looks_at_whole_outputs(self) -> bool:
        """Whether it has a `sequence_loss`."""
        return hasattr(self.make, "sequence_loss")

    def build(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> ObjectiveModule:
        """Return a new objective, whose weights are moved a little if it has any."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            objective = self.make(**self.spaces, **self.settings)
        if isinstance(objective, nn.Module):
            return super().build(dtype, seed).train()
        return objective


@dataclass(frozen=True)
class ObjectiveCase:
    """Outputs of a kind, targets for them, and an objective that takes both."""

    name: str
    subject: ObjectivePart
    space: TokenSpace | ValueSpace
    width: int

    @property
    def real(self) -> Tensor:
        """Where the target counts: (B, T) bool."""
        if isinstance(self.space, ValueSpace):
            return torch.ones(NUM_ROWS, NUM_STEPS, dtype=torch.bool)
        return torch.arange(NUM_STEPS) < LENGTHS.unsqueeze(1)

    def target(self, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return targets: tokens with ends, padding and an unknown, or values."""
        if isinstance(self.space, ValueSpace):
            return normal(NUM_ROWS, NUM_STEPS, self.space.size, seed=seed).to(dtype)
        generator = torch.Generator().manual_seed(seed)
        sizes, first = (NUM_ROWS, NUM_STEPS), first_real(self.space)
        target = torch.randint(first, self.space.size, sizes, generator=generator)
        target[torch.arange(NUM_ROWS), LENGTHS - 1] = self.space.eos_id
        target[0, 1] = self.space.unk_id
        return target.masked_fill(~self.real, self.space.pad_id)

    def batch(self, target: Tensor | None = None) -> Batch:
        """Return a batch with a target."""
        source = torch.arange(NUM_ROWS * 3).reshape(NUM_ROWS, 3) % 5 + 4
        lengths = torch.full((NUM_ROWS,), 3)
        target = self.target() if target is None else target
        return Batch(source, lengths, target, torch.arange(NUM_ROWS))

    def outputs(self, seed: int = 2) -> Tensor:
        """Return outputs (B, T, width), which want a gradient."""
        return normal(NUM_ROWS, NUM_STEPS, self.width, seed=seed).requires_grad_()

    def even(self) -> Tensor:
        """Return outputs that tell nothing of the target: all tokens alike, or means beside it."""
        outputs = torch.zeros(NUM_ROWS, NUM_STEPS, self.width, dtype=torch.float64)
        if isinstance(self.space, ValueSpace):
            outputs[..., : self.space.size] = self.target() + 0.5 * normal(
                NUM_ROWS, NUM_STEPS, self.space.size, seed=3
            )
        return outputs.requires_grad_()

    def towards(self, outputs: Tensor) -> Tensor:
        """Return, at every position, the way from outputs to what is right."""
        ways = torch.zeros_like(outputs)
        if isinstance(self.space, ValueSpace):
            ways[..., : self.space.size] = self.target() - outputs[..., : self.space.size]
            return ways.detach()
        return ways.scatter(2, self.target().unsqueeze(-1), 1.0)

    def error(self) -> str:
        """Return what a call raises, as text; the empty text where it raises nothing."""
        batch = self.batch(self.target(dtype=torch.float32))
        try:
            self.subject.build(torch.float32)(self.outputs().float(), batch)
        except Exception as error:  # whatever outputs that are not for it lead to
            return f"{type(error).__name__}: {error}"
        return ""


@dataclass(frozen=True)
class ObjectiveSubject(ObjectivePart):
    """An objective class, and the kinds of outputs that it takes: `cases`."""

    cases: tuple[ObjectiveCase, ...] = ()

    @classmethod
    def made(cls, make: Callable[..., Any], settings: Mapping[str, Any]) -> ObjectiveSubject:
        """Return the subject.

        A kind of target that the constructor refuses is left out, and of outputs over values those
        without or with deviations, if the other kind is taken.
        """
        make = called(make)
        cases: list[ObjectiveCase] = []
        refusals: dict[str, str] = {}
        for space, widths in WIDTHS:
            part = ObjectivePart.of(make, settings, {"target_space": space})
            try:
                part.build()
            except ValueError as error:
                refusals[space.kind] = str(error)
                continue
            taken = []
            for name, width in widths.items():
                case = ObjectiveCase(name, part, space, width)
                if error := case.error():
                    refusals[space.kind] = error
                else:
                    taken.append(case)
            if not taken and part.spaces:
                raise Seen(
                    f"its constructor takes {space.kind}, but a call raises "
                    f"{refusals[space.kind]}; refuse by a ValueError there what it is not for"
                )
            cases += taken
        if not cases:
            reasons = "; ".join(f"{kind}: {refusal}" for kind, refusal in refusals.items())
            raise Seen(f"it takes no kind of target ({reasons})")
        first = cases[0].subject
        return cls(first.make, first.spaces, first.settings, tuple(cases))
