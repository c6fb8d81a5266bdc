"""A model as four programs of tensors alone: encode, start, step and reorder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from decoderlab.common.errors import ConfigError
from decoderlab.contract import Decoder, Encoded, ImageSpace, Space, TokenSpace, ValueSpace
from decoderlab.training.module import EncoderDecoder

# Sizes of the examples that are traced, equal to no other size; the axes that differ are free.
SIZES = ({"batch": 13, "source": 11}, {"batch": 17, "source": 19})


class WholeLengths:
    """Lengths (B,) of sources without padding; asking whether they are whole asks no tensor."""

    def __init__(self, lengths: Tensor) -> None:
        self.lengths = lengths

    def __eq__(self, other: object) -> WholeLengths:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def all(self) -> bool:
        """Return that all of them are."""
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lengths, name)


class Layout:
    """Which tensors a value is made of, and what of it is none and never changes.

    Args:
        value: an example: any nesting of tuples, dictionaries, tensors and plain values.
    """

    def __init__(self, value: Any) -> None:
        leaves, self.spec = pytree.tree_flatten(value)
        self.rest = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self.positions = [at for at, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def tensors(self, value: Any) -> list[Tensor]:
        """Return the tensors of a value of this layout; of further ones nothing is kept.

        Raises:
            ConfigError: for a plain value that has changed, or other parts than the example's,
                which no program could follow.
        """
        leaves, spec = pytree.tree_flatten(value)
        if spec != self.spec or not all(isinstance(leaves[at], Tensor) for at in self.positions):
            raise ConfigError("the decoder's state has other parts after a step than before it")
        for at, kept in enumerate(self.rest):
            changed = not isinstance(leaves[at], Tensor) and leaves[at] != kept
            if at not in self.positions and changed:
                raise ConfigError(
                    f"the decoder's state keeps a number beside its tensors ({kept!r}, then "
                    f"{leaves[at]!r})"
                )
        return [leaves[at] for at in self.positions]

    def keep(self, numbers: Sequence[int]) -> None:
        """Keep some of the tensors; the others are none from now on."""
        self.positions = [self.positions[number] for number in numbers]

    def value(self, tensors: Sequence[Tensor]) -> Any:
        """Return the value that tensors belong to."""
        leaves = list(self.rest)
        for at, tensor in zip(self.positions, tensors, strict=True):
            leaves[at] = tensor
        return pytree.tree_unflatten(leaves, self.spec)


class Encode(nn.Module):
    """From sources of one length to what the encoder read."""

    layout: Layout  # of what is wanted of it

    def __init__(self, model: EncoderDecoder) -> None:
        super().__init__()
        self.model = model

    def read(self, source: Tensor) -> Encoded:
        """Encode a batch."""
        positions = 1 if source.dim() == 4 else source.shape[1]
        lengths: Any = WholeLengths(torch.full((source.shape[0],), positions))
        return self.model.encode(source, lengths)

    def forward(self, source: Tensor) -> list[Tensor]:
        """Return the tensors of it."""
        return [leaf.clone() for leaf in self.layout.tensors(self.read(source))]


class Features(Encode):
    """The encoder alone: the summary (B, D) and the memory (B, S, M) of sources of one length."""

    def forward(self, source: Tensor) -> list[Tensor]:
        """Return summary and memory."""
        encoded = self.read(source)
        return [encoded.summary, encoded.memory]


class Start(nn.Module):
    """From what was read to the decoder's first state."""

    def __init__(self, model: EncoderDecoder, encoded: Layout) -> None:
        super().__init__()
        self.decoder, self.encoded = model.get_submodule("decoder"), encoded

    def forward(self, first: Tensor, *tensors: Tensor) -> list[Tensor]:
        """Return the tensors of the state."""
        encoded = self.encoded.value([first, *tensors])
        state = self.decoder.start(encoded)  # pyright: ignore[reportCallIssue]
        # No input of a program is its output: what is only handed on is copied.
        return [leaf.clone() for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor)]


class StepProgram(nn.Module):
    """From the output before and the state to outputs and the next state."""

    def __init__(self, model: EncoderDecoder, state: Layout) -> None:
        super().__init__()
        self.decoder, self.state = model.get_submodule("decoder"), state

    def forward(self, previous: Tensor, *tensors: Tensor) -> list[Tensor]:
        """Return the outputs and the tensors of the state."""
        before = self.state.value(tensors)
        outputs, after = self.decoder.step(previous, before)  # pyright: ignore[reportCallIssue]
        return [outputs, *(tensor.clone() for tensor in self.state.tensors(after))]


class Reorder(nn.Module):
    """From a state to that of some of its rows."""

    def __init__(self, model: EncoderDecoder, state: Layout) -> None:
        super().__init__()
        self.decoder, self.state = model.get_submodule("decoder"), state

    def forward(self, index: Tensor, *tensors: Tensor) -> list[Tensor]:
        """Return the tensors of the state of the rows `index`."""
        rows = self.decoder.reorder(self.state.value(tensors), index)  # pyright: ignore[reportCallIssue]
        return self.state.tensors(rows)


class Program(NamedTuple):
    """A module of tensors alone, with what it is traced with.

    Args:
        module: takes and returns tensors.
        inputs, outputs: their names.
        arguments: two lists of examples, of two sizes.
    """

    module: nn.Module
    inputs: list[str]
    outputs: list[str]
    arguments: list[list[Tensor]]

    def free_axes(self) -> list[dict[int, str]]:
        """Return of each input which axes are free, and of what they are the size.

        Raises:
            ConfigError: if the number of axes depends on the input.
        """
        small, large = SIZES
        axes = []
        for smaller, larger in zip(*self.arguments, strict=True):
            free = {}
            for axis, (before, after) in enumerate(zip(smaller.shape, larger.shape, strict=True)):
                for name in SIZES[0]:
                    if before != after and (before, after) == (small[name], large[name]):
                        free[axis] = name
                if before != after and axis not in free:
                    raise ConfigError(f"an axis has {before} dimensions, then {after}")
            axes.append(free)
        return axes


@torch.no_grad()
def programs_of(model: EncoderDecoder, space: Space) -> dict[str, Program]:
    """Return the programs of a model, by name.

    Args:
        model: in evaluation mode, on the CPU.
        space: of its sources.

    Raises:
        ConfigError: if its decoder keeps anything but tensors of the same shapes in its state.
    """
    encode, decoder = Encode(model), model.decoder
    sources = examples(space)
    read = [encode.read(source) for source in sources]
    encode.layout = encoded = Layout(read[0])
    encoded.keep(_used(Start(model, encoded), encoded.tensors(read[0])))
    states = [decoder.start(encoding) for encoding in read]
    state = Layout(states[0])
    given = [state.tensors(started) for started in states]
    rows = [size["batch"] for size in SIZES]
    previous = [first_input(model, *pair) for pair in zip(read, rows, strict=True)]
    for before, row in zip(states, previous, strict=True):
        _check_step(decoder, state, before, row)
    tensors = [encoded.tensors(encoding) for encoding in read]
    names = [f"encoded_{number}" for number in range(len(tensors[0]))]
    before = [f"state_{number}" for number in range(len(given[0]))]
    after = [f"next_{name}" for name in before]
    index = [torch.arange(number).flip(0) for number in rows]
    return {
        "encode": Program(encode, ["source"], names, [[source] for source in sources]),
        "start": Program(Start(model, encoded), names, before, tensors),
        "step": Program(
            StepProgram(model, state),
            ["previous", *before],
            ["outputs", *after],
            _with(previous, given),
        ),
        "reorder": Program(Reorder(model, state), ["index", *before], after, _with(index, given)),
        "features": Program(
            Features(model), ["source"], ["summary", "memory"], [[source] for source in sources]
        ),
    }


def first_input(model: EncoderDecoder, encoded: Encoded, rows: int) -> Tensor:
    """Return what the decoder reads at the first step: BOS, or zeros for values."""
    target = model.target_space
    if isinstance(target, TokenSpace):
        return torch.full((rows,), target.bos_id)
    return encoded.summary.new_zeros(rows, target.size)


def examples(space: Space) -> list[Tensor]:
    """Return sources that a model is traced with, of two sizes."""
    return [_example(space, **size) for size in SIZES]


def _check_step(decoder: Decoder, state: Layout, before: Any, previous: Tensor) -> None:
    """Raise ConfigError unless steps need nothing but tensors that the first state has too."""
    after = decoder.step(previous, before)[1]
    own, kept = state.tensors(before), state.tensors(after)
    # A step that changes a shape, as a growing cache does, is no program of fixed axes.
    if [tensor.shape for tensor in own] != [tensor.shape for tensor in kept]:
        raise ConfigError("the decoder's state grows with every step")
    outputs, whole = decoder.step(previous, after)
    others, without = decoder.step(previous, state.value(kept))
    pairs = zip([outputs, *state.tensors(whole)], [others, *state.tensors(without)], strict=True)
    if not all(torch.equal(whole_part, part) for whole_part, part in pairs):
        raise ConfigError(
            "the decoder's state has a tensor after the first step that is None before it, and "
            "later steps depend on it; give it a tensor at the start"
        )


def _used(module: nn.Module, arguments: list[Tensor]) -> list[int]:
    """Return which of its arguments a module looks at."""
    program = torch.export.export(module, tuple(arguments), strict=False)
    names = list(program.graph_signature.user_inputs)
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    return [number for number, name in enumerate(names) if nodes[str(name)].users]


def _with(first: list[Tensor], others: list[list[Tensor]]) -> list[list[Tensor]]:
    return [[leading, *more] for leading, more in zip(first, others, strict=True)]


def _example(space: Space, batch: int, source: int) -> Tensor:
    match space:
        case TokenSpace():
            return torch.full((batch, source), space.size - 1)
        case ValueSpace():
            return torch.zeros(batch, source, space.size)
        case ImageSpace():
            return torch.zeros(batch, space.channels, space.height, space.width)
