"""What the checks share: modules built anew, inputs for them, and how differences are seen."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError, gradcheck

from decoderlab.contract import (
    Encoded,
    EncoderShape,
    ImageSpace,
    Space,
    State,
    TokenSpace,
    ValueSpace,
)

LENGTHS = (5, 3, 4)
NUM_ROWS = len(LENGTHS)
TARGET_LENGTH = 4


class Seen(Exception):  # noqa: N818 - not an error of the battery
    """What a check saw that must not be."""


class Skipped(Exception):  # noqa: N818 - not an error either
    """Why a check does not apply."""


@dataclass(frozen=True)
class Subject:
    """What is checked, and how to build it anew."""

    make: Callable[..., nn.Module]
    spaces: dict[str, Any]
    settings: dict[str, Any]

    def build(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        """Return a new module in evaluation mode; the same weights each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = self.make(**self.spaces, **self.settings).double()
            with torch.no_grad():
                for parameter in module.parameters():
                    # So that nothing is hidden by weights which begin at zero.
                    if parameter.requires_grad:
                        parameter.add_(0.1 * torch.randn_like(parameter))
        return module.to(dtype).eval()

    def modes(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield modules in evaluation and in training mode: a leak in either ruins a study."""
        yield "evaluation", self.build()
        yield "training", self.build().train()


@dataclass(frozen=True)
class DecoderSubject(Subject):
    """A decoder class with inputs for it."""

    space: TokenSpace | ValueSpace
    shape: EncoderShape

    def encoded(self, dtype: torch.dtype = torch.float64, *, lengths=LENGTHS, seed=1) -> Encoded:
        """Return an encoding of sources of some lengths, all of whose parts want a gradient."""
        generator = torch.Generator().manual_seed(seed)

        def values(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

        num_rows, shape = len(lengths), self.shape
        mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
        memory = values(num_rows, max(lengths), shape.memory_size) * mask.unsqueeze(-1)
        state = None
        if shape.state_size is not None:
            sizes = (shape.state_num_layers, num_rows, shape.state_size)
            hidden, cell = values(*sizes), values(*sizes) if shape.has_cell else None
            further = tuple(values(*sizes[:2], *one) for one in shape.further_shapes)
            state = State(hidden, cell, further)
        encoded = Encoded(memory, mask, values(num_rows, shape.summary_size), state)
        for part in floats(encoded):
            part.requires_grad_()
        return encoded

    @property
    def first_real(self) -> int:
        """The first id after the special ones."""
        space = self.space
        return max(space.pad_id, space.bos_id, space.eos_id, space.unk_id) + 1

    def target(self, num_rows=NUM_ROWS, num_steps=TARGET_LENGTH, seed=2) -> Tensor:
        """Return targets without special tokens."""
        generator = torch.Generator().manual_seed(seed)
        if isinstance(self.space, ValueSpace):
            sizes = (num_rows, num_steps, self.space.size)
            return torch.randn(*sizes, generator=generator, dtype=torch.float64)
        first = self.first_real
        return torch.randint(first, self.space.size, (num_rows, num_steps), generator=generator)

    def changed(self, target: Tensor) -> Tensor:
        """Return a target that differs at every position."""
        if isinstance(self.space, ValueSpace):
            return target + 1
        first = self.first_real
        return (target - first + 1) % (self.space.size - first) + first

    def begin(self, target: Tensor) -> Tensor:
        """Return what precedes the first position: (B,) or (B, F)."""
        value = 0 if isinstance(self.space, ValueSpace) else self.space.bos_id
        return torch.full_like(target[:, 0], value)

    def own(self, outputs: Tensor) -> Tensor:
        """Return the most probable token (B,), or the mean (B, F), of outputs (B, V)."""
        if isinstance(self.space, ValueSpace):
            return outputs[:, : self.space.size]
        never = torch.tensor(self.space.never_generated)
        return outputs.index_fill(-1, never, float("-inf")).argmax(dim=-1)

    def steps(self, decoder: nn.Module, encoded: Encoded, target: Tensor) -> Tensor:
        """Return the outputs of the step loop that generation uses."""
        state, previous, outputs = decoder.start(encoded), self.begin(target), []
        for t in range(target.shape[1]):
            output, state = decoder.step(previous, state)
            outputs.append(output)
            previous = target[:, t]
        return torch.stack(outputs, dim=1)


@dataclass(frozen=True)
class EncoderSubject(Subject):
    """An encoder class with inputs for it."""

    space: Space
    lengths: Tensor = field(default_factory=lambda: torch.tensor(LENGTHS))

    def source(self, dtype: torch.dtype = torch.float64, *, extra: int = 0) -> Tensor:
        """Return sources of `lengths`, with `extra` more positions of padding."""
        generator = torch.Generator().manual_seed(1)
        num_rows, longest = len(self.lengths), int(self.lengths.max())
        real = (torch.arange(longest + extra) < self.lengths.unsqueeze(1)).unsqueeze(-1)
        match self.space:
            case TokenSpace():
                shape = (num_rows, longest)
                tokens = torch.randint(4, self.space.size, shape, generator=generator)
                tokens = nn.functional.pad(tokens, (0, extra))
                return tokens.masked_fill(~real.squeeze(-1), self.space.pad_id)
            case ValueSpace():
                values = torch.randn(num_rows, longest, self.space.size, generator=generator)
                return (nn.functional.pad(values, (0, 0, 0, extra)) * real).to(dtype)
        sizes = (self.space.channels, self.space.height, self.space.width)
        return torch.randn(num_rows, *sizes, generator=generator).to(dtype)

    def changed(self, source: Tensor) -> Tensor:
        """Return sources that differ at every real position; padding stays what it is."""
        if isinstance(self.space, TokenSpace):
            other = (source - 4 + 1) % (self.space.size - 4) + 4
            return torch.where(source == self.space.pad_id, source, other)
        if isinstance(self.space, ImageSpace):
            return source + 1
        real = torch.arange(source.shape[1]) < self.lengths.unsqueeze(1)
        return source + real.unsqueeze(-1).to(source.dtype)

    @property
    def is_padded(self) -> bool:
        """Whether sources have padding at all."""
        return not isinstance(self.space, ImageSpace)

    def run(self, encoder: nn.Module, source: Tensor | None = None) -> Encoded:
        """Return the encoding of a source."""
        return encoder(self.source() if source is None else source, self.lengths)


def unknown_settings_are_refused(subject: Subject) -> None:
    """A misspelt setting raises TypeError."""
    try:
        subject.make(**subject.spaces, **subject.settings, no_such_setting=1)
    except TypeError:
        return
    raise Seen("the constructor swallows a setting that it does not know; take no **kwargs")


def it_is_built_without_computing(subject: Subject) -> None:
    """The constructor works on the meta device, where studies check sizes."""
    with torch.device("meta"):
        module = subject.make(**subject.spaces, **subject.settings)
    if any(parameter.device.type != "meta" for parameter in module.parameters()):
        raise Seen("a parameter is put on a device by hand; leave the device to the caller")


def floats(encoded: Encoded) -> tuple[Tensor, ...]:
    """Return the parts of an encoding that carry gradients."""
    return (encoded.memory, encoded.summary, *parts_of(encoded.state))


def parts_of(state: State | None) -> list[Tensor]:
    """Return all tensors of a state."""
    if state is None:
        return []
    return [part for part in (state.hidden, state.cell, *state.further) if part is not None]


def rows_of(encoded: Encoded, rows: list[int]) -> Encoded:
    """Return some rows of an encoding."""
    state = encoded.state and encoded.state.map(lambda part: part[:, rows])
    source = None if encoded.source is None else encoded.source[rows]
    kept = (encoded.memory[rows], encoded.memory_mask[rows], encoded.summary[rows])
    return Encoded(*kept, state, source)


def gap_between(one: Tensor, other: Tensor) -> float:
    """Return the largest difference; infinite where there is no number."""
    if one.shape != other.shape:
        raise Seen(f"shapes {tuple(one.shape)} and {tuple(other.shape)} should be equal")
    gap = float((one - other).detach().abs().max())
    return gap if gap == gap else float("inf")


def encoded_gap(one: Encoded, other: Encoded) -> float:
    """Return the largest difference between two encodings."""
    return max(gap_between(*parts) for parts in zip(floats(one), floats(other), strict=True))


def scalar(values: Tensor) -> Tensor:
    """Return a number that depends on every value, each in its own way."""
    weights = torch.linspace(-1, 1, values.numel(), dtype=values.dtype).reshape(values.shape)
    return (values.square() * weights).sum() + (values * weights.flip(-1)).sum()


def carries(leaf: Tensor) -> bool:
    """Whether any gradient reached a leaf."""
    return leaf.grad is not None and bool(leaf.grad.abs().sum() > 0)


def check_gradients(module: nn.Module) -> None:
    """Raise Seen unless every trained parameter has a gradient, and a finite one."""
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            raise Seen(f"the gradient of {name} is not finite")
        if parameter.grad is None or not parameter.grad.abs().sum() > 0:
            raise Seen(f"{name} gets no gradient; leave it out, or freeze it")


def check_saving(subject: Subject, run: Callable[[nn.Module], Tensor]) -> None:
    """Raise Seen if a module with the saved weights of another gives something else."""
    module, file = subject.build(), io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other = subject.build()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(torch.load(file, weights_only=True))
    if gap_between(run(module), run(other)):
        raise Seen("another module with the saved weights gives other outputs")


def choose_rows(mine: Tensor, one: Any, other: Any) -> Any:
    """Return the rows of `one` where `mine` (B,) is True, those of `other` elsewhere."""
    if one is None:
        return None
    if isinstance(one, State):

        def chosen(part: Tensor, another: Tensor) -> Tensor:
            return torch.where(mine.view(1, -1, *[1] * (part.dim() - 2)), part, another)

        return one.map(chosen, other)
    rows = mine.view(-1, *[1] * (one.dim() - 1))
    return torch.where(rows, one, other)


def check_derivatives(outputs: Callable[..., Tensor], leaves: tuple[Tensor, ...]) -> None:
    """Raise Seen unless gradients are what finite differences say."""
    try:
        gradcheck(outputs, leaves, fast_mode=True)
    except GradcheckError as error:
        raise Seen(f"a gradient is not the derivative: {str(error).splitlines()[0]}") from error


def without_dropout(module: nn.Module) -> nn.Module:
    """Return the module with torch's own dropout off."""
    for part in module.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        elif isinstance(getattr(part, "dropout", None), float):
            part.dropout = 0.0
    return module


def seeded(module: nn.Module, step: int = 1, seed: int = 7) -> nn.Module:
    """Return the module as it is before the update after `step` others, its randomness seeded.

    With the same inputs, two calls then drop out the same.
    """
    torch.manual_seed(seed)
    if hasattr(module, "at_step"):
        module.at_step(step, seed=seed)
    return module


def declared_feedback(decoder: nn.Module) -> Any:
    """Return the declared `Feedback`, None where there is none."""
    return getattr(decoder, "feedback", None)
