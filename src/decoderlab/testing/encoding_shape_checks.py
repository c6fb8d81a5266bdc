"""Checks of what an encoding is: sizes, mask, and numbers for sources of all lengths and tokens."""

from __future__ import annotations

import torch

from decoderlab.contract import Encoded, TokenSpace
from decoderlab.testing.checked_modules import EncoderModule
from decoderlab.testing.differences import Seen, Skipped, seeded
from decoderlab.testing.encoder_outputs import floats, named_states
from decoderlab.testing.subjects import EncoderSubject


def it_returns_the_sizes_that_it_states(subject: EncoderSubject) -> None:
    """The shapes are those of `shape`, for few and for many rows."""
    for lengths in (subject.lengths, subject.many_lengths, subject.many_lengths[1:2]):
        encoder = subject.build()
        encoded, shape, num_rows = (
            subject.run(encoder, lengths=lengths),
            encoder.shape,
            len(lengths),
        )
        num_positions = encoded.memory_mask.shape[1]
        expected = {
            "memory": (num_rows, num_positions, shape.memory_size),
            "memory_mask": (num_rows, num_positions),
            "summary": (num_rows, shape.summary_size),
        }
        for name, sizes in expected.items():
            shape_seen = tuple(getattr(encoded, name).shape)
            if shape_seen != sizes:
                raise Seen(
                    f"{name} has shape {shape_seen}, stated is {sizes} by the attribute `shape`"
                )
        if encoded.memory_mask.dtype != torch.bool:
            raise Seen(f"memory_mask is {encoded.memory_mask.dtype}, promised is bool")
        _check_state(encoder, encoded, num_rows)


def _check_state(encoder: EncoderModule, encoded: Encoded, num_rows: int) -> None:
    shape = encoder.shape
    if (encoded.state is None) != (shape.state_size is None):
        given = "None" if encoded.state is None else "given"
        raise Seen(f"state is {given}, but the stated state_size is {shape.state_size}")
    if encoded.state is None:
        if shape.has_cell or shape.state_num_layers:
            raise Seen("there is no state, but has_cell or state_num_layers say that there is")
        return
    sizes = (shape.state_num_layers, num_rows, shape.state_size)
    if (encoded.state.cell is not None) != shape.has_cell:
        given = "None" if encoded.state.cell is None else "given"
        raise Seen(f"has_cell is {shape.has_cell}, but state.cell is {given}")
    if len(encoded.state.further) != len(shape.further_shapes):
        number, stated = len(encoded.state.further), len(shape.further_shapes)
        raise Seen(f"state.further has {number} parts, further_shapes states {stated}")
    promised = [sizes] * (1 + shape.has_cell)
    promised += [(*sizes[:2], *further) for further in shape.further_shapes]
    for (name, part), stated in zip(named_states(encoded.state).items(), promised, strict=True):
        if tuple(part.shape) != stated:
            raise Seen(f"state.{name} has shape {tuple(part.shape)}, stated is {stated} by `shape`")


def it_reads_sources_of_every_length(subject: EncoderSubject) -> None:
    """An encoding is no NaN and not infinite, for sources of length 1 too."""
    many = [int(length) for length in subject.many_lengths]
    for mode, encoder in subject.modes():
        for lengths in ([1], [1, 1], [2, 1, 1], many) if subject.is_padded else ([1], many):
            encoded = subject.run(seeded(encoder), lengths=torch.tensor(lengths))
            if not all(part.isfinite().all() for part in floats(encoded)):
                raise Seen(
                    f"in {mode}, the encoding is not finite for sources of lengths {lengths}; is "
                    "something divided by a number that can be 0, such as a length less 1?"
                )


def it_reads_unknown_tokens(subject: EncoderSubject) -> None:
    """Sources may hold the unknown token, among others or alone."""
    if not isinstance(subject.space, TokenSpace):
        raise Skipped("sources are not of tokens")
    source, lengths = subject.source(lengths=subject.many_lengths), subject.many_lengths
    unknown = source != subject.space.pad_id
    some = unknown & (torch.arange(source.shape[1]) % 3 == 1)
    for mode, encoder in subject.modes():
        for what, where in (("some", some), ("nothing but", unknown)):
            given, seen = (
                source.masked_fill(where, subject.space.unk_id),
                "numbers that are not finite",
            )
            try:
                encoded = subject.run(encoder, given, lengths)
            except Exception as error:  # whatever somebody's module raises is what was seen
                seen = f"{type(error).__name__}: {error}"
            else:
                if all(part.isfinite().all() for part in floats(encoded)):
                    continue
            raise Seen(
                f"in {mode}, reading sources of {what} unknown tokens (id {subject.space.unk_id}) "
                f"leads to {seen}; test data has tokens that training has not"
            )


def memory_is_zero_at_padding_and_the_mask_says_where(subject: EncoderSubject) -> None:
    """The mask is True at the real positions, which come first, and nowhere else.

    Where the memory is as long as the longest source, they are those of the source. A memory of
    another length has at least one in each row.
    """
    for mode, encoder in subject.modes():
        for lengths in (subject.lengths, subject.many_lengths):
            encoded = subject.run(seeded(encoder), lengths=lengths)
            mask, counted = encoded.memory_mask, encoded.memory_mask.sum(dim=1)
            if not (counted > 0).all():
                raise Seen(f"in {mode}, the mask has no real positions in some row")
            same = subject.is_padded and mask.shape[1] == int(lengths.max())
            if same and not torch.equal(counted, lengths):
                raise Seen(
                    f"in {mode}, the mask has {counted.tolist()} real positions in the rows, their "
                    f"sources have {lengths.tolist()}; make it of source_lengths"
                )
            first = torch.arange(mask.shape[1]) < counted.unsqueeze(1)
            if subject.is_padded and not torch.equal(mask, first):
                raise Seen(
                    f"in {mode}, the mask is not True at the first positions and False after "
                    "them; real positions come first in a memory, padding last"
                )
            if (encoded.memory[~mask] != 0).any():
                raise Seen(
                    f"in {mode}, memory is not zero at padding; multiply it by the mask at last, "
                    "after biases and norms"
                )
