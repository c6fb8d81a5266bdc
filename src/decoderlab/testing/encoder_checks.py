"""The checks of encoders; each is named after its requirement."""

from __future__ import annotations

import torch
from torch import Tensor

from decoderlab.contract import Encoded
from decoderlab.testing.checked_modules import EncoderModule
from decoderlab.testing.derivatives import check_derivatives, skip_surrogates
from decoderlab.testing.differences import (
    OVER_THE_BATCH,
    TINY,
    Seen,
    Skipped,
    check_batch_before,
    check_evaluates,
    check_following,
    check_gradients,
    check_randomness,
    check_saving,
    encoded_gap,
    scalar_of_all,
    seeded,
    unchanged,
)
from decoderlab.testing.encoder_outputs import floats, named_states, rows_of, trimmed
from decoderlab.testing.encoding_shape_checks import (
    it_reads_sources_of_every_length,
    it_reads_unknown_tokens,
    it_returns_the_sizes_that_it_states,
    memory_is_zero_at_padding_and_the_mask_says_where,
)
from decoderlab.testing.initial_weights import (
    what_the_constructor_sets_is_what_training_starts_from,
)
from decoderlab.testing.subjects import (
    NUM_CALLS,
    EncoderSubject,
    it_is_built_without_computing,
    unknown_settings_are_refused,
)


def _gap_of_rows(encoded: Encoded, expected: Encoded, when: str) -> float:
    """Return the largest difference of two encodings of the same sources, however long padded."""
    real = [value.memory_mask.sum(dim=1).tolist() for value in (encoded, expected)]
    if real[0] != real[1]:
        raise Seen(
            f"{when}, the mask has {real[0]} real positions, before it had {real[1]}; their number "
            "follows from a row's own length"
        )
    return encoded_gap(*(trimmed(value, max(real[0])) for value in (encoded, expected)))


def padding_has_no_influence(subject: EncoderSubject) -> None:
    """More padding, or other contents there, change nothing, in evaluation and in training."""
    if not subject.is_padded:
        raise Skipped("images are not padded")
    equal = subject.lengths[[1, 1]]
    for lengths in (subject.lengths, subject.many_lengths, equal, equal[:1]):
        source = subject.source(lengths=lengths)
        real = torch.arange(source.shape[1]) < lengths.unsqueeze(1)
        real = real if source.dim() == 2 else real.unsqueeze(-1)
        rubbish = torch.where(real, source, source.max())
        for mode, encoder in subject.modes():
            expected = subject.run(seeded(encoder), source, lengths)
            gap = encoded_gap(subject.run(seeded(encoder), rubbish, lengths), expected)
            if gap > TINY:
                raise Seen(
                    f"in {mode}, other contents of the padding change the encoding by {gap:.1e}; "
                    "is something read beyond source_lengths, or from the end of the padding?"
                )
        encoder = subject.build()
        for extra in (2, 30):
            longer = subject.source(extra=extra, lengths=lengths)
            what = f"{extra} more positions of padding"
            result = subject.run(encoder, longer, lengths)
            gap = _gap_of_rows(result, subject.run(encoder, source, lengths), f"with {what}")
            if gap > TINY:
                raise Seen(
                    f"{what} change the encoding by {gap:.1e}; is something divided by the padded "
                    "length, or the largest of zeros at padding?"
                )


def encoders_batch_mates_have_no_influence(subject: EncoderSubject) -> None:
    """A row gives the same alone, and beside other rows, in evaluation and in training."""
    for lengths in (subject.lengths, subject.many_lengths):
        source = subject.source(lengths=lengths)
        together = subject.run(subject.build(), source, lengths)
        for row, length in enumerate(lengths.tolist()):
            short = source[row : row + 1, :length] if subject.is_padded else source[row : row + 1]
            alone = subject.run(subject.build(), short, lengths[row : row + 1])
            gap = _gap_of_rows(alone, rows_of(together, [row]), f"for row {row} alone")
            if gap > TINY:
                raise Seen(
                    f"row {row} alone and in its batch differ by {gap:.1e}; {OVER_THE_BATCH}"
                )
        for mode, encoder in subject.modes():
            before = subject.run(seeded(encoder), source, lengths)
            for row in range(0, len(source), 1 if len(source) < 5 else 5):
                mine = (torch.arange(len(source)) == row).view(-1, *[1] * (source.dim() - 1))
                mates = torch.where(mine, source, subject.changed(source))
                after = subject.run(seeded(encoder), mates, lengths)
                gap = encoded_gap(rows_of(after, [row]), rows_of(before, [row]))
                if gap > TINY:
                    raise Seen(
                        f"in {mode}, other batch mates change row {row} by {gap:.1e}; "
                        f"{OVER_THE_BATCH}"
                    )


def order_in_the_batch_has_no_influence(subject: EncoderSubject) -> None:
    """Rows in another order give the same, those of equal length too."""
    encoder, few = subject.build(), subject.lengths
    ties = few[[0, 1, 1, 0, 2, 1, 2, 2, 0, 0, 1, 2]]
    for lengths in (few, ties, subject.many_lengths):
        source = subject.source(lengths=lengths)
        together = subject.run(encoder, source, lengths)
        generator = torch.Generator().manual_seed(5)
        orders = [torch.randperm(len(lengths), generator=generator) for _ in range(2)]
        orders += [torch.arange(len(lengths)).flip(0), torch.arange(len(lengths)).roll(1)]
        # More rows, and fewer, which may then be padded all alike.
        orders += [torch.arange(len(lengths)).repeat(3), torch.tensor([1, 0]), torch.tensor([1])]
        for order in orders:
            shuffled = subject.run(encoder, source[order], lengths[order])
            ordered = rows_of(together, order.tolist())
            gap = _gap_of_rows(shuffled, ordered, "for rows in another order")
            if gap > TINY:
                raise Seen(
                    f"another order of the rows changes them by {gap:.1e}; rows that were sorted "
                    "are put back by the inverse permutation, order.argsort()"
                )


@torch.no_grad()
def every_position_has_influence(subject: EncoderSubject) -> None:
    """Each real position of a source changes the memory, the summary and the state."""
    encoder, copies = subject.build(), 24
    if not subject.is_padded:
        source = subject.source(lengths=subject.many_lengths)
        outputs = [
            subject.run(encoder, images, subject.many_lengths)
            for images in (source, subject.changed(source))
        ]
        for name, gap in _gaps(*outputs):
            if not gap.any():
                raise Seen(f"another image gives the same {name}")
        return
    for lengths, positions in (
        ([9, 4, 7, 1], range(9)),
        ([40, 20, 31, 5], (0, 4, 8, 16, 17, 19, 30, 32, 39)),
    ):
        rows = torch.tensor(lengths * copies)
        source = subject.source(lengths=rows)
        changed = subject.changed(source)
        before = subject.run(encoder, source, rows)
        for position in positions:
            other = source.clone()
            other[:, position] = changed[:, position]
            after = subject.run(encoder, other, rows)
            for name, gap in _gaps(after, before):
                for length in set(lengths):
                    if position < length and not gap[rows == length].any():
                        raise Seen(
                            f"position {position} of sources of length {length} changes nothing "
                            f"in the {name}; is a length too short, or is there a limit on "
                            "positions?"
                        )


def _gaps(value: Encoded, other: Encoded) -> list[tuple[str, Tensor]]:
    """Return the name of each part, and (B,) bool where the encodings differ in it."""
    named = [("memory", value.memory, other.memory), ("summary", value.summary, other.summary)]
    if value.state is not None:
        for name, part in named_states(value.state).items():
            another = named_states(other.state)[name]
            named.append((f"state's {name}", part.transpose(0, 1), another.transpose(0, 1)))
    return [(name, (mine != its).flatten(1).any(dim=1)) for name, mine, its in named]


def nothing_stays_in_the_encoder(subject: EncoderSubject) -> None:
    """An encoding does not depend on what was read before."""
    encoder, source = subject.build(), subject.source()
    first = subject.run(encoder, source)
    subject.run(encoder, source.flip(0), subject.lengths.flip(0))
    subject.run(encoder, lengths=subject.many_lengths)
    for _ in range(NUM_CALLS):
        subject.run(encoder, source[:1], subject.lengths[:1])
    if encoded_gap(subject.run(encoder, source), first):
        raise Seen(
            "the same source gives another encoding after another batch; keep nothing of a batch "
            "in the module"
        )
    check_evaluates(encoder)
    source.copy_(subject.changed(source))
    if encoded_gap(subject.run(encoder, source), subject.run(subject.build(), source)):
        raise Seen(
            "what stood in the source before it was overwritten still has influence; do not "
            "remember an encoding by the address of its source"
        )


def training_keeps_nothing_of_the_sources_before(subject: EncoderSubject) -> None:
    """In training too, an encoding does not depend on the sources of an earlier batch."""

    def outputs(encoder: EncoderModule, seed: int) -> tuple[Tensor, ...]:
        return floats(subject.run(encoder, subject.source(seed=seed)))

    check_batch_before(subject.build, outputs)


def the_source_stays_as_it_is(subject: EncoderSubject) -> None:
    """Source and lengths are not changed in place."""
    for _, encoder in subject.modes():
        for lengths in (subject.lengths.clone(), subject.many_lengths):
            source = subject.source(lengths=lengths)
            with unchanged({"the source": source, "source_lengths": lengths}):
                seeded(encoder)(source, lengths)


def every_weight_of_the_encoder_gets_a_finite_gradient(subject: EncoderSubject) -> None:
    """No trained parameter is without effect."""
    encoder = subject.build()
    for lengths in (subject.lengths, subject.many_lengths):
        encoded = subject.run(encoder, lengths=lengths)
        scalar_of_all(part for part in floats(encoded) if part.requires_grad).backward()
        without = check_gradients(encoder)
        if not without:
            return
    raise Seen(f"{without[0]} gets no gradient; leave it out, or freeze it")


def the_encoders_gradients_are_right(subject: EncoderSubject) -> None:
    """Gradients for the weights are the derivatives, by finite differences, in every part."""
    skip_surrogates(subject.build())
    for mode, encoder in subject.modes():
        weights = [weight for weight in encoder.named_parameters() if weight[1].requires_grad]
        for lengths in (subject.lengths, subject.many_lengths[[0, 1, 2]]):
            number = len(floats(subject.run(encoder, lengths=lengths)))
            names = ["memory", "summary"] + ["state"] * (number - 2)
            for part, name in enumerate(names):

                def values(part=part, encoder=encoder, lengths=lengths) -> Tensor:
                    return floats(subject.run(seeded(encoder), lengths=lengths))[part]

                check_derivatives(values, weights, f"in {mode}, from the {name}, ")


def the_encoder_saved_and_loaded_is_the_same(subject: EncoderSubject) -> None:
    """A state dict holds all there is."""

    def outputs(encoder: EncoderModule) -> tuple[Tensor, ...]:
        evaluation = floats(subject.run(encoder.eval()))
        return evaluation + floats(subject.run(seeded(encoder.train())))

    with torch.no_grad():
        check_saving(subject.draw, outputs)


def encodings_follow_the_weights(subject: EncoderSubject) -> None:
    """Nothing that was computed from weights is kept when they change."""
    with torch.no_grad():
        check_following(subject.draw, lambda encoder: floats(subject.run(encoder)))


def all_that_is_random_in_the_encoder_is_declared(subject: EncoderSubject) -> None:
    """Evaluation draws nothing, and training nothing but dropout and other noise on features."""
    lengths = torch.tensor([7, 3, 5, 1] * 3 + [7])
    lengths = lengths if subject.is_padded else torch.ones_like(lengths)

    def outputs(encoder: EncoderModule) -> tuple[Tensor, ...]:
        return floats(subject.run(encoder, lengths=lengths))

    with torch.no_grad():
        check_randomness(subject.build(), outputs, (13, 7))


ENCODER_CHECKS = (
    it_returns_the_sizes_that_it_states,
    unknown_settings_are_refused,
    it_is_built_without_computing,
    it_reads_sources_of_every_length,
    it_reads_unknown_tokens,
    memory_is_zero_at_padding_and_the_mask_says_where,
    padding_has_no_influence,
    encoders_batch_mates_have_no_influence,
    order_in_the_batch_has_no_influence,
    every_position_has_influence,
    nothing_stays_in_the_encoder,
    training_keeps_nothing_of_the_sources_before,
    the_source_stays_as_it_is,
    every_weight_of_the_encoder_gets_a_finite_gradient,
    the_encoders_gradients_are_right,
    the_encoder_saved_and_loaded_is_the_same,
    encodings_follow_the_weights,
    all_that_is_random_in_the_encoder_is_declared,
    what_the_constructor_sets_is_what_training_starts_from,
)
