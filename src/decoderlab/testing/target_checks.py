"""Checks of what a decoder sees of the target, and of what it gives for it."""

from __future__ import annotations

import torch
from torch import Tensor

from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.testing.differences import (
    TINY,
    Seen,
    Skipped,
    declared_feedback,
    gap_between,
    seeded,
    with_buffers_held,
    without_dropout,
)
from decoderlab.testing.encoder_outputs import rows_of, without_gradients
from decoderlab.testing.subjects import LONG_TARGET, MANY_LENGTHS, DecoderSubject, first_real

ROUNDING = 1e-13
HOPELESS = -30.0  # nats: a token that is never seen with more than this is never generated


def outputs_have_the_promised_shape(subject: DecoderSubject) -> None:
    """Forward and step return one output of the right width per target position."""
    decoder, encoded, target = subject.build(), subject.encoded(), subject.target()
    widths = {subject.space.size}
    if isinstance(subject.space, ValueSpace):
        widths.add(2 * subject.space.size)
    for what, outputs in zip(
        ("forward", "step"), subject.both(decoder, encoded, target), strict=True
    ):
        if outputs.shape[:2] != target.shape[:2] or outputs.shape[2:] not in {(w,) for w in widths}:
            raise Seen(
                f"{what} gives outputs of shape {tuple(outputs.shape)} for a target of shape "
                f"{tuple(target.shape)}; promised is one output, {sorted(widths)} wide, for each "
                "position of the target (a first input is a step of its own that is not scored)"
            )


@torch.no_grad()
def outputs_are_numbers_at_every_length(subject: DecoderSubject) -> None:
    """Outputs are no NaN and not infinite, with sources and targets of length 1 too."""
    never = subject.space.never_generated if isinstance(subject.space, TokenSpace) else []
    kept = torch.ones(2 * subject.space.size, dtype=torch.bool)
    kept[never] = False  # padding, BOS and the unknown token may be excluded
    for mode, decoder in subject.modes():
        for lengths, num_steps in (((1,), 1), ((1, 2, 1), 2), ((1, 1), 5), ((4, 1, 3), 1)):
            encoded = subject.encoded(lengths=lengths)
            target = subject.ended(len(lengths), num_steps)
            outputs = [seeded(decoder)(encoded, target)]
            if mode == "evaluation":
                outputs.append(subject.steps(decoder, encoded, target))
            for values in outputs:
                result = values[..., kept[: values.shape[-1]]]
                if not result.isfinite().all() or values.isnan().any():
                    raise Seen(
                        f"in {mode}, outputs are not finite for sources of lengths {lengths} and "
                        f"targets of length {num_steps}; is something divided by a number that can "
                        "be 0, such as a length less 1?"
                    )


@torch.no_grad()
def outputs_are_logits_or_logarithms_of_probabilities(subject: DecoderSubject) -> None:
    """Over tokens, outputs are logits, or log-probabilities whose exp sums to 1."""
    if not isinstance(subject.space, TokenSpace):
        raise Skipped("outputs are values")
    encoded, target = subject.encoded(), subject.ended()
    decoder = subject.build()
    outputs = [decoder(encoded, target)]
    for parameter in decoder.parameters():  # so that what has no bound shows it
        parameter.mul_(10)
    outputs.append(decoder(encoded, target))
    values = torch.cat([output.flatten() for output in outputs])
    if (values >= 0).all() and (values <= 1).all():
        raise Seen(
            "all outputs are between 0 and 1, so that they seem to be probabilities; return logits "
            "or logarithms"
        )
    totals = outputs[0].exp().sum(dim=-1)
    gap = gap_between(totals, torch.ones_like(totals))
    if (values <= 0).all() and (values < 0).any() and gap > 1e-6:
        raise Seen(
            "no output is above 0, so that they seem to be logarithms of probabilities, but "
            f"their exp does not sum to 1: {float(totals.min()):.3f} to {float(totals.max()):.3f}"
        )


@torch.no_grad()
def every_token_can_be_generated(subject: DecoderSubject) -> None:
    """The output of each token changes with the inputs, and leaves it a probability."""
    decoder, encoded = subject.build(), subject.many()
    outputs = decoder(encoded, subject.ended(len(MANY_LENGTHS), 12)).flatten(0, 1)
    tokens = subject.space if isinstance(subject.space, TokenSpace) else None
    never = {tokens.pad_id, tokens.bos_id} if tokens else set()
    shares = outputs.log_softmax(dim=-1).amax(dim=0)
    for index in range(subject.space.size):
        if index in never or (tokens and index == tokens.unk_id):
            continue
        name = f"{'token' if tokens else 'number'} {index}"
        name += " (EOS)" if tokens and index == tokens.eos_id else ""
        if not (outputs[:, index] - outputs[0, index]).abs().max() > 0:
            raise Seen(f"the output of {name} is the same everywhere, {outputs[0, index]:.3g}")
        if tokens and shares[index] < HOPELESS:
            raise Seen(
                f"{name} is never generated: its log-probability is at most {shares[index]:.3g}"
            )
        if tokens and (outputs[:, index, None] == outputs[:, index + 1 :]).all(dim=0).any():
            raise Seen(
                f"the output of {name} is everywhere that of another token, so that greedy "
                "search never chooses it; give each token an output of its own"
            )
    if tokens and shares[tokens.unk_id] < HOPELESS:
        raise Seen(
            f"token {tokens.unk_id} (UNK) stands in targets, but its log-probability is at "
            f"most {shares[tokens.unk_id]:.3g}; generation excludes it by itself"
        )


def all_steps_at_once_equal_step_by_step(subject: DecoderSubject) -> None:
    """Forward equals the loop over step, to 1e-10 in float64 and 1e-5 in float32.

    Before and after the end of a row, for short and for long targets.
    """
    for dtype, tolerance in ((torch.float64, TINY), (torch.float32, 1e-5)):
        for lengths, num_steps in (((5, 3, 4), 6), (MANY_LENGTHS, LONG_TARGET)):
            if dtype == torch.float32 and num_steps > 6:
                continue  # rounding adds up over many steps
            decoder = subject.build(dtype)
            encoded = without_gradients(subject.encoded(dtype, lengths=lengths))
            target = subject.ended(len(lengths), num_steps)
            target = target if target.dtype == torch.int64 else target.to(dtype)
            with torch.no_grad():
                gap = gap_between(*subject.both(decoder, encoded, target))
            if gap > tolerance:
                raise Seen(
                    f"forward and the step loop differ by {gap:.1e} in {dtype}, for {len(lengths)} "
                    f"targets of length {num_steps}; usually an input, the state or a mask is a "
                    "step apart in the two"
                )


@torch.no_grad()
def the_future_has_no_influence(subject: DecoderSubject) -> None:
    """Outputs at t do not depend on the target from t on, in evaluation and in training.

    Nor on where it ends, on its unknowns, on its padded length, or on whether there is more.
    """
    _check_futures_at_once(subject)
    encoded, target = without_gradients(subject.encoded()), subject.ended()
    num_steps = target.shape[1]
    for mode, decoder in subject.modes():
        before = seeded(decoder)(encoded, target)
        for t in range(num_steps):
            futures = subject.futures(target, t)
            chosen = futures if t == 1 else [futures[t % len(futures)]]
            for other in chosen:
                after = seeded(decoder)(encoded, other)
                gap = gap_between(after[:, : t + 1], before[:, : t + 1])
                if gap > TINY:
                    raise _future_seen(mode, t, gap)
    decoder = with_buffers_held(subject.build()).train()
    many, target = subject.many(), subject.ended(len(MANY_LENGTHS), 20)
    before = seeded(decoder)(many, target)
    for t, kind in ((4, 0), (10, 1), (17, 4), (19, 0)):
        after = seeded(decoder)(many, subject.futures(target, t)[kind % 4])
        gap = gap_between(after[:, : t + 1], before[:, : t + 1])
        if gap > TINY:
            raise _future_seen("training", t, gap)
    _check_cut_in_training(subject)


def _check_cut_in_training(subject: DecoderSubject) -> None:
    """Check targets that are cut off in training, where nothing is drawn but torch's dropout."""
    decoder = with_buffers_held(without_dropout(subject.build())).train()
    encoded, target = without_gradients(subject.encoded()), subject.ended()
    before = seeded(decoder)(encoded, target)
    if gap_between(seeded(decoder, seed=8)(encoded, target), before):
        return  # another length would draw other numbers
    for t in (1, 2, target.shape[1] - 1):
        gap = gap_between(seeded(decoder)(encoded, target[:, :t]), before[:, :t])
        if gap > TINY:
            raise _cut_seen("in training, ", t, gap)


def _check_futures_at_once(subject: DecoderSubject) -> None:
    """Check all positions of long targets, and other lengths, in evaluation mode."""
    encoded, target = subject.encoded(lengths=(12, 4)), subject.ended(4, LONG_TARGET)[[0, 2]]
    decoder = subject.build()
    before = decoder(encoded, target)
    cuts, others = [], []
    for t in range(LONG_TARGET):
        futures = subject.futures(target, t)
        few = t > 12 and t not in (16, 17, LONG_TARGET - 1)
        for other in futures[t % 3 :: 3] if few else futures:
            cuts += [t] * len(target)
            others.append(other)
    rows = rows_of(encoded, [*range(len(target))] * len(others))
    outputs = decoder(without_gradients(rows), torch.cat(others))
    gaps = outputs - before.repeat(len(others), 1, 1)
    gaps = gaps.masked_fill(gaps.isnan() & outputs.isinf(), 0.0).abs().amax(dim=-1)
    seen = torch.arange(LONG_TARGET) <= torch.tensor(cuts).unsqueeze(1)
    for t in range(LONG_TARGET):
        gap = float(gaps.masked_fill(~seen, 0.0)[torch.tensor(cuts) == t].max())
        if not gap <= TINY:
            raise _future_seen("evaluation", t, gap)
    for t in (1, 2, 7, 8, 9, 16, 17, 33):
        gap = gap_between(decoder(encoded, target[:, :t]), before[:, :t])
        if gap > TINY:
            raise _cut_seen("", t, gap)


def _cut_seen(where: str, t: int, gap: float) -> Seen:
    return Seen(
        f"{where}targets that are cut off after {t} positions have other outputs, by {gap:.1e}; "
        "the length of the target is not known while it is written"
    )


def _future_seen(mode: str, t: int, gap: float) -> Seen:
    return Seen(
        f"in {mode}, the target from position {t} on changes outputs up to {t} by {gap:.1e}; those "
        f"may see positions before {t} only"
    )


def the_previous_output_has_influence_exactly_with_feedback(subject: DecoderSubject) -> None:
    """With a declared feedback, the target matters exactly if that sees it."""
    decoder, encoded, target = subject.build(), subject.encoded(), subject.target()
    declared = declared_feedback(decoder)
    if declared is None:
        raise Skipped("no feedback is declared")
    gap = gap_between(decoder(encoded, target), decoder(encoded, subject.changed(target)))
    if not declared.sees_target and gap:
        kind = type(declared).__name__
        raise Seen(f"feedback is {kind}, but another target changes the outputs by {gap:.1e}")
    if declared.sees_target and not gap:
        raise Seen(f"feedback is {type(declared).__name__}, but the target changes nothing")


@torch.no_grad()
def the_output_before_has_influence_at_every_position(subject: DecoderSubject) -> None:
    """What stands at t - 1 matters at t, if the target matters at all, in forward and in step."""
    num_rows, num_steps = 4, 24
    encoded, target = subject.encoded(lengths=(5, 3, 4, 12)), subject.target(num_rows, num_steps)
    decoder, steps = subject.build(), range(1, num_steps)
    before = decoder(encoded, target)
    if not gap_between(decoder(encoded, subject.changed(target)), before):
        raise Skipped("the decoder does not see outputs at all")
    stacked = without_gradients(rows_of(encoded, [*range(num_rows)] * len(steps)))
    others = torch.cat([_changed_at(subject, target, t - 1) for t in steps])
    for what, outputs in zip(
        ("forward", "step"), subject.both(decoder, stacked, others), strict=True
    ):
        differs = (outputs != before.repeat(len(steps), 1, 1)).any(dim=-1)
        for t, rows in zip(steps, differs.split(num_rows), strict=True):
            if not rows[:, t].any():
                raise Seen(
                    f"in {what}, the target at {t - 1} has no influence on the output at {t}; is "
                    "teacher forcing shifted by more than a step?"
                )
    if isinstance(subject.space, TokenSpace):
        _check_tokens_differ(subject, subject.space)
    _check_influence_in_training(subject)


def _check_tokens_differ(subject: DecoderSubject, space: TokenSpace) -> None:
    """Check that no two tokens are the same to a decoder that sees tokens."""
    decoder, tokens = subject.build(), torch.arange(first_real(space), space.size)
    encoded = rows_of(without_gradients(subject.encoded()), [0] * len(tokens))
    _, state = decoder.step(torch.full_like(tokens, space.bos_id), decoder.start(encoded))
    outputs, _ = decoder.step(tokens, state)
    # Rows of a batch differ by rounding.
    gaps = (outputs.unsqueeze(1) - outputs).nan_to_num(0.0).abs().amax(dim=-1)
    same = (gaps < ROUNDING).triu(1).nonzero()
    if len(same) and (gaps > ROUNDING).any():
        first, second = tokens[same[0]].tolist()
        raise Seen(
            f"whether the output before is token {first} or {second} makes no difference; give "
            "each token an embedding of its own"
        )


def _check_influence_in_training(subject: DecoderSubject) -> None:
    decoder, num_rows = without_dropout(subject.build().train()), 12
    declared = declared_feedback(decoder)
    if hasattr(decoder, "at_step") and (declared is None or declared.samples):
        return  # coins may say that the target is not seen
    encoded, target = subject.encoded(lengths=(4,) * num_rows), subject.target(num_rows)
    before = seeded(decoder)(encoded, target)
    if not gap_between(seeded(decoder)(encoded, subject.changed(target)), before):
        return
    for t in range(1, target.shape[1]):
        after = seeded(decoder)(encoded, _changed_at(subject, target, t - 1))
        if not gap_between(after[:, t], before[:, t]):
            raise Seen(f"in training, the target at {t - 1} has no influence on the output at {t}")


def _changed_at(subject: DecoderSubject, target: Tensor, position: int) -> Tensor:
    other = target.clone()
    other[:, position] = subject.changed(target)[:, position]
    return other


TARGET_CHECKS = (
    outputs_have_the_promised_shape,
    outputs_are_numbers_at_every_length,
    outputs_are_logits_or_logarithms_of_probabilities,
    every_token_can_be_generated,
    all_steps_at_once_equal_step_by_step,
    the_future_has_no_influence,
    the_previous_output_has_influence_exactly_with_feedback,
    the_output_before_has_influence_at_every_position,
)
