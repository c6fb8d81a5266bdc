"""The checks of encoders; each is named after what it demands."""

from __future__ import annotations

import torch
from torch import Tensor

from decoderlab.testing.initial_weights import (
    what_the_constructor_sets_is_what_training_starts_from,
)
from decoderlab.testing.subjects import (
    EncoderSubject,
    Seen,
    Skipped,
    check_derivatives,
    check_gradients,
    check_saving,
    choose_rows,
    encoded_gap,
    floats,
    it_is_built_without_computing,
    parts_of,
    rows_of,
    scalar,
    seeded,
    unknown_settings_are_refused,
)

TINY = 1e-10


def it_returns_the_sizes_that_it_states(subject: EncoderSubject) -> None:
    """The shapes are those of `shape`."""
    encoder = subject.build()
    encoded, shape, num_rows = subject.run(encoder), encoder.shape, len(subject.lengths)
    num_positions = encoded.memory_mask.shape[1]
    expected = {
        "memory": (num_rows, num_positions, shape.memory_size),
        "memory_mask": (num_rows, num_positions),
        "summary": (num_rows, shape.summary_size),
    }
    for name, sizes in expected.items():
        found = tuple(getattr(encoded, name).shape)
        if found != sizes:
            raise Seen(f"{name} has shape {found}, stated is {sizes}")
    if encoded.memory_mask.dtype != torch.bool:
        raise Seen(f"memory_mask is {encoded.memory_mask.dtype}, promised is bool")
    if (encoded.state is None) != (shape.state_size is None):
        raise Seen(f"state is {encoded.state}, but the stated state_size is {shape.state_size}")
    if encoded.state is not None:
        sizes = (shape.state_num_layers, num_rows, shape.state_size)
        stated = [sizes] * (1 + shape.has_cell)
        stated += [(*sizes[:2], *one) for one in shape.further_shapes]
        found = [tuple(part.shape) for part in parts_of(encoded.state)]
        if found != stated:
            raise Seen(f"state has parts of shape {found}, stated are {stated}")
        if (encoded.state.cell is not None) != shape.has_cell:
            raise Seen(f"has_cell is {shape.has_cell}, but the state says otherwise")


def memory_is_zero_at_padding_and_the_mask_says_where(subject: EncoderSubject) -> None:
    """The mask has as many real positions as the source."""
    encoded = subject.run(subject.build())
    if subject.is_padded:
        found = encoded.memory_mask.sum(dim=1).tolist()
        if found != subject.lengths.tolist():
            raise Seen(f"the mask has {found} real positions, the sources {subject.lengths}")
    if (encoded.memory[~encoded.memory_mask] != 0).any():
        raise Seen("memory is not zero at padding")


def padding_has_no_influence(subject: EncoderSubject) -> None:
    """More padding, or other contents there, change nothing, in evaluation and in training."""
    if not subject.is_padded:
        raise Skipped("images are not padded")
    source = subject.source()
    real = torch.arange(source.shape[1]) < subject.lengths.unsqueeze(1)
    real = real if source.dim() == 2 else real.unsqueeze(-1)
    rubbish = torch.where(real, source, source.max())
    for mode, encoder in subject.modes():
        expected = subject.run(seeded(encoder))
        gap = encoded_gap(subject.run(seeded(encoder), rubbish), expected)
        if gap > TINY:
            raise Seen(f"in {mode}, other contents of the padding change the encoding by {gap:.1e}")
    encoder = subject.build()
    longer = subject.run(encoder, subject.source(extra=2))
    longer = longer._replace(memory=longer.memory[:, : source.shape[1]])
    gap = encoded_gap(longer, subject.run(encoder))
    if gap > TINY:
        raise Seen(f"two more positions of padding change the encoding by {gap:.1e}")


def encoders_batch_mates_have_no_influence(subject: EncoderSubject) -> None:
    """A row gives the same alone, and beside other rows, in evaluation and in training."""
    encoder, source = subject.build(), subject.source()
    together = subject.run(encoder)
    for row, length in enumerate(subject.lengths.tolist()):
        short = source[row : row + 1, :length] if subject.is_padded else source[row : row + 1]
        alone = encoder(short, subject.lengths[row : row + 1])
        mine = rows_of(together, [row])
        mine = mine._replace(memory=mine.memory[:, : alone.memory.shape[1]])
        gap = encoded_gap(alone, mine)
        if gap > TINY:
            raise Seen(f"row {row} alone and in its batch differ by {gap:.1e}")
    for mode, encoder in subject.modes():
        before = subject.run(seeded(encoder))
        for row in range(len(source)):
            mine = torch.arange(len(source)) == row
            mates = choose_rows(mine, source, subject.changed(source))
            after = subject.run(seeded(encoder), mates)
            gap = encoded_gap(rows_of(after, [row]), rows_of(before, [row]))
            if gap > TINY:
                raise Seen(f"in {mode}, other batch mates change row {row} by {gap:.1e}")


def order_in_the_batch_has_no_influence(subject: EncoderSubject) -> None:
    """Rows in another order give the same."""
    encoder, order = subject.build(), torch.tensor([2, 0, 1])
    shuffled = encoder(subject.source()[order], subject.lengths[order])
    gap = encoded_gap(shuffled, rows_of(subject.run(encoder), order.tolist()))
    if gap > TINY:
        raise Seen(f"another order of the rows changes them by {gap:.1e}")


def every_position_has_influence(subject: EncoderSubject) -> None:
    """Each real position of a source changes its encoding."""
    encoder, source, expected = subject.build(), subject.source(), subject.run(subject.build())
    other = subject.changed(source)
    if not subject.is_padded:
        if not encoded_gap(subject.run(encoder, other), expected):
            raise Seen("another image gives the same encoding")
        return
    for position in range(int(subject.lengths.min())):
        changed = source.clone()
        changed[:, position] = other[:, position]
        if not encoded_gap(subject.run(encoder, changed), expected):
            raise Seen(f"position {position} of the source changes nothing")


def nothing_stays_in_the_encoder(subject: EncoderSubject) -> None:
    """An encoding does not depend on what was read before."""
    encoder = subject.build()
    first = subject.run(encoder)
    encoder(subject.source().flip(0), subject.lengths.flip(0))
    if encoded_gap(subject.run(encoder), first):
        raise Seen("the same source gives another encoding after another batch")


def every_weight_of_the_encoder_gets_a_finite_gradient(subject: EncoderSubject) -> None:
    """No trained parameter is without effect."""
    encoder = subject.build()
    encoded = subject.run(encoder)
    sum(scalar(part) for part in floats(encoded)).backward()
    check_gradients(encoder)


def the_encoders_gradients_are_right(subject: EncoderSubject) -> None:
    """Gradients for the weights are the derivatives, by finite differences."""
    encoder = subject.build()
    named = {name: one for name, one in encoder.named_parameters() if one.requires_grad}

    def summary(*weights: Tensor) -> Tensor:
        chosen = dict(zip(named, weights, strict=True))
        given = (subject.source(), subject.lengths)
        return torch.func.functional_call(encoder, chosen, given).summary

    check_derivatives(summary, tuple(named.values()))


def the_encoder_saved_and_loaded_is_the_same(subject: EncoderSubject) -> None:
    """A state dict holds all there is."""
    check_saving(subject, lambda encoder: subject.run(encoder).summary)


ENCODER_CHECKS = (
    it_returns_the_sizes_that_it_states,
    unknown_settings_are_refused,
    it_is_built_without_computing,
    memory_is_zero_at_padding_and_the_mask_says_where,
    padding_has_no_influence,
    encoders_batch_mates_have_no_influence,
    order_in_the_batch_has_no_influence,
    every_position_has_influence,
    nothing_stays_in_the_encoder,
    every_weight_of_the_encoder_gets_a_finite_gradient,
    the_encoders_gradients_are_right,
    the_encoder_saved_and_loaded_is_the_same,
    what_the_constructor_sets_is_what_training_starts_from,
)
