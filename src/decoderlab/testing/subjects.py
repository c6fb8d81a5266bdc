"""What is checked, and inputs for it: sources and targets as real ones are, short and long."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic

import torch
from torch import Tensor, nn

from decoderlab.common.meta_device import reads_values
from decoderlab.common.part_building import taken_by
from decoderlab.contract import (
    Encoded,
    EncoderShape,
    ImageSpace,
    Space,
    State,
    TokenSpace,
    ValueSpace,
    with_source,
)
from decoderlab.testing.checked_modules import Built, DecoderModule, EncoderModule
from decoderlab.testing.differences import Seen, cast, with_buffers_held
from decoderlab.testing.encoder_outputs import as_leaves, without_gradients

LENGTHS = (5, 3, 4)
NUM_ROWS = len(LENGTHS)
TARGET_LENGTH = 6
# Beyond what a threshold may hide behind: long and short rows, ties among them, many of them.
MANY_LENGTHS = (40, 1, 17, 9, 33, 9, 25, 2, 40, 5, 17, 12, 3, 29, 9, 21, 1, 36)
LONG_TARGET = 36
NUM_CALLS = 64  # after which something that counts them would show


@dataclass(frozen=True)
class Subject(Generic[Built]):
    """What is checked, and how to build it anew."""

    make: Callable[..., Built]
    spaces: dict[str, Any]
    settings: dict[str, Any]

    def build(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> Built:
        """Return a new module in evaluation mode; the same weights each time with one seed."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            module = cast(self.make(**self.spaces, **self.settings), torch.float64)
            with torch.no_grad():
                for parameter in module.parameters():
                    # So that nothing is hidden by weights which begin at zero.
                    if parameter.requires_grad:
                        parameter.add_(0.1 * torch.randn_like(parameter))
        return cast(module, dtype).eval()

    def draw(self, seed: int) -> Built:
        """Return a new module whose weights are drawn with a seed."""
        return self.build(seed=seed)

    def modes(self) -> Iterator[tuple[str, Built]]:
        """Yield modules in evaluation and in training mode: a leak in either ruins a study.

        Each call begins with the same saved buffers, which training may change.
        """
        yield "evaluation", self.build()
        yield "training", with_buffers_held(self.build()).train()


@dataclass(frozen=True)
class DecoderSubject(Subject[DecoderModule]):
    """A decoder class with inputs for it.

    Args:
        space: what it writes.
        shape: what it reads.
        encoder: whose encodings it reads, with that encoder's space; random ones if None.
    """

    space: TokenSpace | ValueSpace
    shape: EncoderShape
    encoder: nn.Module | None = None
    source_space: Space = field(default_factory=lambda: TokenSpace(11))

    def encoded(self, dtype: torch.dtype = torch.float64, *, lengths=LENGTHS, seed=1) -> Encoded:
        """Return an encoding of sources of some lengths, all of whose parts want a gradient."""
        if self.encoder is not None and isinstance(self.source_space, ImageSpace):
            lengths = (1,) * len(lengths)
        given = torch.tensor(lengths)
        source = sources(self.source_space, given, dtype, seed=seed)
        if self.encoder is None:
            encoded = random_encoding(self.shape, dtype, lengths=lengths, seed=seed)
        else:
            with torch.no_grad():
                encoded = copy.deepcopy(self.encoder).to(dtype).eval()(source, given)
        return as_leaves(with_source(encoded, source))

    def many(self, seed: int = 1) -> Encoded:
        """Return an encoding of more and longer sources than `encoded`, without gradients."""
        return without_gradients(self.encoded(lengths=MANY_LENGTHS, seed=seed))

    def target(self, num_rows=NUM_ROWS, num_steps=TARGET_LENGTH, seed=2) -> Tensor:
        """Return targets without special tokens."""
        generator = torch.Generator().manual_seed(seed)
        if isinstance(self.space, ValueSpace):
            sizes = (num_rows, num_steps, self.space.size)
            return torch.randn(*sizes, generator=generator, dtype=torch.float64)
        first = first_real(self.space)
        return torch.randint(first, self.space.size, (num_rows, num_steps), generator=generator)

    def ended(self, num_rows=NUM_ROWS, num_steps=TARGET_LENGTH, seed=2) -> Tensor:
        """Return targets as batches have them: with ends, padding after those, and unknowns.

        Of each four rows one ends after two thirds, one is whole, one has unknowns and ends at
        last, one ends soon.
        """
        target = self.target(num_rows, num_steps, seed)
        if isinstance(self.space, ValueSpace):
            return target
        space = self.space
        for row in range(num_rows):
            end = (2 * num_steps // 3, num_steps, num_steps - 1, min(row // 4 + 1, num_steps))
            length = end[row % 4]
            if row % 4 == 2:
                target[row, 1::3] = space.unk_id
            target[row, length : length + 1] = space.eos_id
            target[row, length + 1 :] = space.pad_id
        return target

    def futures(self, target: Tensor, t: int) -> list[Tensor]:
        """Return targets that are the same before t, and after it whatever there can be."""
        before, num_left = target[:, :t], target.shape[1] - t
        after = self.target(len(target), num_left, seed=40 + t)
        first = target[:, :1]
        if isinstance(self.space, ValueSpace):
            others = [after, target[:, t:] + 1, first.expand(-1, num_left, -1), 0 * after]
            return [torch.cat([before, other], dim=1) for other in others]
        space, real = self.space, self.target(len(target), 1, seed=60)
        again = torch.where(first >= first_real(space), first, real)

        def ending(start: Tensor) -> Tensor:
            """Return what starts so, ends, and is padded."""
            other = torch.full_like(after, space.pad_id)
            start = torch.cat([start, torch.full_like(real, space.eos_id)], dim=1)[:, :num_left]
            other[:, : start.shape[1]] = start
            return other

        unknown = after.clone()
        unknown[:, -1] = space.unk_id
        others = [
            after,
            self.changed(after),
            unknown,
            again.expand(-1, num_left),
            ending(after[:, :0]),
            ending(again),
            ending(after[:, : num_left // 2]),
            ending(after[:, :-1]),
        ]
        return [torch.cat([before, other], dim=1) for other in others]

    def changed(self, target: Tensor) -> Tensor:
        """Return a target that differs at every position, and has no special tokens."""
        if isinstance(self.space, ValueSpace):
            return target + 1
        first = first_real(self.space)
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

    def steps(self, decoder: DecoderModule, encoded: Encoded, target: Tensor) -> Tensor:
        """Return the outputs of the step loop that generation uses."""
        state, previous, outputs = decoder.start(encoded), self.begin(target), []
        for t in range(target.shape[1]):
            output, state = decoder.step(previous, state)
            outputs.append(output)
            previous = target[:, t]
        return torch.stack(outputs, dim=1)

    def both(self, decoder: DecoderModule, encoded: Encoded, target: Tensor) -> list[Tensor]:
        """Return the outputs of forward, and of the step loop."""
        return [decoder(encoded, target), self.steps(decoder, encoded, target)]


@dataclass(frozen=True)
class EncoderSubject(Subject[EncoderModule]):
    """An encoder class with inputs for it."""

    space: Space
    lengths: Tensor = field(default_factory=lambda: torch.tensor(LENGTHS))

    @property
    def many_lengths(self) -> Tensor:
        """The lengths of more and longer sources."""
        return torch.tensor(MANY_LENGTHS if self.is_padded else (1,) * len(MANY_LENGTHS))

    def source(
        self,
        dtype: torch.dtype = torch.float64,
        *,
        extra: int = 0,
        lengths: Tensor | None = None,
        seed: int = 1,
    ) -> Tensor:
        """Return sources of some lengths, with `extra` more positions of padding."""
        lengths = self.lengths if lengths is None else lengths
        return sources(self.space, lengths, dtype, extra=extra, seed=seed)

    def changed(self, source: Tensor) -> Tensor:
        """Return sources that differ at every real position; padding stays what it is."""
        if isinstance(self.space, TokenSpace):
            first = first_real(self.space)
            other = (source - first + 1) % (self.space.size - first) + first
            return torch.where(source == self.space.pad_id, source, other)
        if isinstance(self.space, ImageSpace):
            return source + torch.linspace(0, 1, source[0].numel()).view(source.shape[1:]).to(
                source
            )
        return torch.where(source == 0, source, source + 1)

    @property
    def is_padded(self) -> bool:
        """Whether sources have padding at all."""
        return not isinstance(self.space, ImageSpace)

    def run(
        self, encoder: nn.Module, source: Tensor | None = None, lengths: Tensor | None = None
    ) -> Encoded:
        """Return the encoding of a source."""
        lengths = self.lengths if lengths is None else lengths
        return encoder(self.source(lengths=lengths) if source is None else source, lengths.clone())


def random_encoding(
    shape: EncoderShape,
    dtype: torch.dtype = torch.float64,
    *,
    lengths: tuple[int, ...] = LENGTHS,
    seed: int = 1,
) -> Encoded:
    """Return random numbers as an encoding of sources, all of whose parts want a gradient."""
    generator = torch.Generator().manual_seed(seed)

    def values(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    num_rows = len(lengths)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    memory = values(num_rows, max(lengths), shape.memory_size) * mask.unsqueeze(-1)
    state = None
    if shape.state_size is not None:
        sizes = (shape.state_num_layers, num_rows, shape.state_size)
        hidden, cell = values(*sizes), values(*sizes) if shape.has_cell else None
        further = tuple(values(*sizes[:2], *shape) for shape in shape.further_shapes)
        state = State(hidden, cell, further)
    return as_leaves(Encoded(memory, mask, values(num_rows, shape.summary_size), state))


def known_to_decoders(
    make: Callable[..., nn.Module],
    target: TokenSpace | ValueSpace,
    shape: EncoderShape,
    source: Space,
) -> dict[str, Any]:
    """Return what a decoder's constructor is given, of which it need not take the last two.

    See `aligned`.
    """
    offered = {"source_space": source, "alignment": aligned(source, target)}
    return {"target_space": target, "encoder_shape": shape, **taken_by(make, offered)}


def aligned(source: Space, target: TokenSpace | ValueSpace) -> Tensor | None:
    """Return of each source id the target id of the same token; None where there are no tokens.

    Each token of the source is aligned with the token of the same id of the target, if both have
    it and it is no special one.
    """
    if not (isinstance(source, TokenSpace) and isinstance(target, TokenSpace)):
        return None
    ids = torch.arange(source.size)
    copied = (ids >= first_real(source)) & (ids >= first_real(target)) & (ids < target.size)
    return torch.where(copied, ids, -1)


def first_real(space: TokenSpace) -> int:
    """Return the first id after the special ones."""
    return max(space.pad_id, space.bos_id, space.eos_id, space.unk_id) + 1


def sources(
    space: Space, lengths: Tensor, dtype: torch.dtype, *, extra: int = 0, seed: int = 1
) -> Tensor:
    """Return sources of some lengths, with `extra` more positions of padding."""
    generator = torch.Generator().manual_seed(seed)
    num_rows, longest = len(lengths), int(lengths.max())
    real = (torch.arange(longest + extra) < lengths.unsqueeze(1)).unsqueeze(-1)
    match space:
        case TokenSpace():
            shape, first = (num_rows, longest), first_real(space)
            tokens = torch.randint(first, space.size, shape, generator=generator)
            tokens = nn.functional.pad(tokens, (0, extra))
            return tokens.masked_fill(~real.squeeze(-1), space.pad_id)
        case ValueSpace():
            values = torch.randn(num_rows, longest, space.size, generator=generator)
            return (nn.functional.pad(values, (0, 0, 0, extra)) * real).to(dtype)
    sizes = (space.channels, space.height, space.width)
    return torch.randn(num_rows, *sizes, generator=generator).to(dtype)


def unknown_settings_are_refused(subject: Subject[nn.Module]) -> None:
    """A misspelt setting raises TypeError."""
    try:
        subject.make(**subject.spaces, **subject.settings, no_such_setting=1)
    except TypeError:
        return
    raise Seen("the constructor swallows a setting that it does not know; take no **kwargs")


def it_is_built_without_computing(subject: Subject[nn.Module]) -> None:
    """The constructor works on the meta device, where studies check sizes."""
    try:
        with torch.device("meta"):
            module = subject.make(**subject.spaces, **subject.settings)
    except Exception as error:  # whatever somebody's constructor raises
        message = reads_values(error)
        if message is None:
            raise
        raise Seen(message) from error
    # A table that was loaded is where it was loaded; what is drawn belongs where the caller says.
    for parameter in module.parameters():
        if parameter.device.type not in ("meta", "cpu"):
            raise Seen("a parameter is put on a device by hand; leave the device to the caller")
    if not _has_meta(module):
        raise Seen("no parameter is on the caller's device; leave the device to the caller")


def _has_meta(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return not parameters or any(parameter.device.type == "meta" for parameter in parameters)
