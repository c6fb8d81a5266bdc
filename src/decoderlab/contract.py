"""What encoders, decoders and tasks hand to each other: the whole interface in one file.

Axis letters: B batch, S source positions, T target positions, H hidden, D summary,
V vocabulary, L layers. Masks are True for real tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class State(NamedTuple):
    """The recurrent state of a stack of layers.

    Shapes:
        hidden: (L, B, H), the output of each layer's last step.
        cell: (L, B, H), or None where the cell type has none (GRU).
        further: (L, B, ...) each, whatever else a cell keeps, such as a matrix (L, B, H, H) and a
            normaliser (L, B, H).

    A bidirectional encoder puts both directions side by side in the third axis.
    """

    hidden: Tensor
    cell: Tensor | None = None
    further: tuple[Tensor, ...] = ()

    def hidden_and_cell(self) -> tuple[Tensor, Tensor]:
        """Return both vectors.

        Raises:
            ValueError: if there is no cell.
        """
        if self.cell is None:
            raise ValueError("the state has no cell, which an LSTM needs; give State(hidden, cell)")
        return self.hidden, self.cell

    def map(self, function: Callable[..., Tensor], *others: State) -> State:
        """Return a state of the same parts: a function of each, and of the same part of others.

        Example:
            >>> import torch
            >>> state = State(torch.zeros(2), None, (torch.ones(3),))
            >>> state.map(torch.add, state).further
            (tensor([2., 2., 2.]),)
        """
        cell = None
        if self.cell is not None:
            cell = function(self.cell, *(other.cell for other in others))
        return State(
            function(self.hidden, *(other.hidden for other in others)),
            cell,
            tuple(
                function(*parts)
                for parts in zip(self.further, *(other.further for other in others), strict=True)
            ),
        )


class Encoded(NamedTuple):
    """What an encoder read.

    An encoder may have a memory of another length S than its source: a shorter one, as a pyramid or
    a convolution with a stride has, or one with positions of its own. Then no head can copy from
    that source and no score can read its symbols, which take memory and source position by
    position.

    Shapes:
        memory: (B, S, M), one vector per source position; zeros at padding.
        memory_mask: (B, S) bool, True for real positions, at least one in each row, padding last.
        summary: (B, D), the one fixed-length encoding of the source (Cho's c).
        state: per layer, after the last real token, or None for an encoder without a recurrent
            state.
        source: (B, S) int64, the ids that were read, `pad_id` after the end; None where the source
            is not of tokens. Encoders leave it out: it is added to what they return.
    """

    memory: Tensor
    memory_mask: Tensor
    summary: Tensor
    state: State | None
    source: Tensor | None = None


def with_source(encoded: Encoded, source: Tensor) -> Encoded:
    """Return an encoding with the ids of its source; unchanged where the source has no tokens.

    Args:
        encoded: of an encoder; further fields and attributes of a type of your own are kept.
        source: the ids.

    Shapes:
        source: as in `Batch`.
    """
    if source.is_floating_point() or "source" not in encoded._fields:
        return encoded
    beside = encoded._replace(source=source)
    for name, value in getattr(encoded, "__dict__", {}).items():
        setattr(beside, name, value)
    return beside


class Batch(NamedTuple):
    """One training or evaluation batch.

    Shapes:
        source: (B, S) int64 token ids, `pad_id` after the end; or (B, S, F) floats, zeros after
            the end; or images (B, C, height, width), whose lengths are 1.
        source_lengths: (B,) int64 on the CPU, so that asking for a length never waits for a GPU.
        target: (B, T) int64 token ids, with EOS where the task has one, `pad_id` after the end; or
            (B, T, F) floats, all of one length.
        index: (B,) int64 row of each example in its split.
    """

    source: Tensor
    source_lengths: Tensor
    target: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride] - it hides tuple.index, unused


@dataclass(frozen=True)
class EncoderShape:
    """The sizes an encoder states, so that a decoder fits it without a YAML repeating them.

    Args:
        memory_size: width M of `Encoded.memory`.
        summary_size: width D of `Encoded.summary`.
        state_size: width H of `Encoded.state`, None where the encoder has no state.
        state_num_layers: layers L of `Encoded.state` (0 without a state).
        has_cell: whether the state carries an LSTM cell.
        further_shapes: of each of `State.further`, without the axes L and B.
    """

    memory_size: int
    summary_size: int
    state_size: int | None = None
    state_num_layers: int = 0
    has_cell: bool = False
    further_shapes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class TokenSpace:
    """A set of token ids: what one position of a sequence can be.

    Args:
        size: number of ids V, special ones included.
        pad_id, bos_id, eos_id, unk_id: the special ids.
    """

    kind: ClassVar[str] = "tokens"
    size: int
    pad_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    unk_id: int = 3

    @property
    def never_generated(self) -> list[int]:
        """The ids that no search ever returns."""
        return [self.pad_id, self.bos_id, self.unk_id]


@dataclass(frozen=True)
class ValueSpace:
    """Real-valued vectors: one position of a series, such as a reading of several sensors.

    Args:
        size: numbers F per position.
    """

    kind: ClassVar[str] = "real values"
    size: int


@dataclass(frozen=True)
class ImageSpace:
    """Images of one size.

    Args:
        channels, height, width: of each image, in pixels.
    """

    kind: ClassVar[str] = "images"
    channels: int
    height: int
    width: int


Space = TokenSpace | ValueSpace | ImageSpace


@runtime_checkable
class Encoder(Protocol):
    """A module that reads a source.

    The constructor takes the keyword `source_space` (a `Space`) besides its own settings, and
    raises ValueError for one that it cannot read. Sources of tokens may hold the unknown one. In
    training an encoding depends on nothing that earlier batches contained, except through what was
    trained; statistics of batches may be kept for evaluation, in saved buffers.
    """

    shape: EncoderShape

    def __call__(self, source: Tensor, source_lengths: Tensor) -> Encoded:
        """Encode a batch: `source` as in `Batch`, of which row b has `source_lengths[b]` places."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """A module that writes a target.

    The constructor takes the keywords `target_space` (`TokenSpace` or `ValueSpace`) and
    `encoder_shape` (`EncoderShape`) besides its own settings. The state is the decoder's own
    business: generation only passes it on and reorders it, and it uses each state once, so that a
    step may change the one that it gets.

    A decoder that copies from the source finds its ids in `Encoded.source`. Its constructor may
    take, besides, `source_space` (a `Space`) and `alignment`: of each source id the target id of
    the same token, (source vocabulary,) int64, -1 for special ids and for tokens that targets lack;
    None where source or target is not of tokens, or nobody knows.

    Over tokens a position's output is V logits, or V log-probabilities that the decoder normalised
    itself: the loss is the same function of both. Over values it is F means, or F means followed
    by F logarithms of standard deviations. A decoder whose values have another distribution returns
    F means and whatever else that has, and has a method `negative_log_density(outputs, target)`,
    which returns the nats of each value, (B, T, F); None stands for those two.

    In training outputs depend on nothing that earlier batches contained, except through what was
    trained; statistics of batches may be kept for evaluation, in saved buffers.

    A decoder whose training is random or changes with time has, besides, a method
    `at_step(step, seed)`, called before every training update with the number of updates done and
    a seed of that step.

    A decoder that is trained by an objective of its own, such as a marginal likelihood, has a
    method `training_loss(encoded, batch)`, which returns what an `Objective` returns and is used in
    place of one. Validation measures the likelihood of the outputs all the same.

    A decoder that adds a term to whatever is trained by has a method
    `with_further_loss(encoded, target)`, which returns what a call does and a term, a sum over all
    target positions; None stands for no such method.
    """

    def __call__(self, encoded: Encoded, target: Tensor) -> Tensor:
        """Return outputs (B, T, V); those at t may depend on `target[:, :t]` only.

        In evaluation mode all of `target[:, :t]` is seen, if the decoder sees outputs at all.
        """
        ...

    def start(self, encoded: Encoded) -> Any:
        """Return the state before the first target position, from what is `encoded`."""
        ...

    def step(self, previous: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return outputs (B, V) and the next state.

        `previous` is the token before, (B,), BOS at first; or the values before, (B, F), zeros at
        first.
        """
        ...

    def reorder(self, state: Any, index: Tensor) -> Any:
        """Return the state of the batch rows `index` (N,), for beam search."""
        ...


@runtime_checkable
class Objective(Protocol):
    """What training makes small.

    The constructor takes the keyword `target_space` if it has a use for it, besides its own
    settings, and raises ValueError for targets that it is not for. An objective with tensors of its
    own is a `torch.nn.Module`: its parameters are trained. It draws nothing and keeps nothing of
    the batches before.

    An objective of whole outputs, such as what one is expected to cost, has a method
    `sequence_loss(decoder, encoded, batch)`, which returns the same and is used in place of a call:
    it may search or draw outputs, and show them to the decoder. Its draws depend on the step and
    the rows' numbers alone: it has, besides, a method `at_step(step, seed)` as decoders have.
    """

    def __call__(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the sum over all target positions, and their number, padding left out.

        `outputs` are the decoder's, in training mode.
        """
        ...
