"""Checks of what a decoder remembers: all of it in its state, and nothing in the module."""

from __future__ import annotations

import torch
from torch import Tensor

from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.generation import beam, greedy, roll_forward
from decoderlab.testing.checked_modules import DecoderModule
from decoderlab.testing.differences import (
    TINY,
    Seen,
    Skipped,
    check_batch_before,
    check_evaluates,
    check_following,
    check_randomness,
    check_saving,
    gap_between,
    seeded,
    unchanged,
)
from decoderlab.testing.encoder_outputs import rows_of, transformed, without_gradients
from decoderlab.testing.subjects import LONG_TARGET, MANY_LENGTHS, NUM_CALLS, DecoderSubject


@torch.no_grad()
def nothing_stays_in_the_module(subject: DecoderSubject) -> None:
    """Two generations can take turns: all that a source needs is in its state."""
    decoder, target = subject.build(), subject.ended()
    encoded, other = (
        without_gradients(subject.encoded()),
        without_gradients(subject.encoded(seed=3)),
    )
    smaller = rows_of(other, [1])
    expected = subject.both(decoder, encoded, target)
    states = [decoder.start(encoded), decoder.start(other)]
    previous, outputs = subject.begin(target), []
    for t in range(target.shape[1]):
        taken = [decoder.step(previous, state) for state in states]
        states = [state for _, state in taken]
        outputs.append(taken[0][0])
        previous = target[:, t]
        decoder(other, target)
    gap = gap_between(torch.stack(outputs, dim=1), expected[1])
    if not gap:
        decoder(smaller, target[:1, :2])
        decoder(subject.many(), subject.target(len(MANY_LENGTHS), LONG_TARGET))
        gap = gap_between(decoder(encoded, target), expected[0])
    if not gap:
        state, first = decoder.start(smaller), subject.begin(target)[:1]
        for _ in range(NUM_CALLS):
            decoder.step(first, state)
        gap = gap_between(decoder(encoded, target), expected[0])
    if gap:
        raise Seen(
            f"generating for another source in between changes the outputs by {gap:.1e}; all that "
            "a source needs belongs into the state that start and step return"
        )
    check_evaluates(decoder)
    # The same tensors, of which a decoder may remember that it knows them, with other contents.
    fresh = subject.both(subject.build(), other, target)
    transformed(encoded, lambda mine, others, axis: mine.copy_(others), other)
    if any(map(gap_between, subject.both(decoder, encoded, target), fresh)):
        raise Seen(
            "what stood in the encoding before it was overwritten still has influence; do not "
            "remember anything by the address of a tensor"
        )


def training_keeps_nothing_of_the_batch_before(subject: DecoderSubject) -> None:
    """In training too, outputs do not depend on the encodings and targets of an earlier batch."""

    def outputs(decoder: DecoderModule, seed: int) -> list[Tensor]:
        return [decoder(subject.encoded(seed=seed), subject.ended(seed=10 + seed))]

    check_batch_before(subject.build, outputs)


def what_is_handed_in_stays_as_it_is(subject: DecoderSubject) -> None:
    """Encoding, target, tokens and rows are not changed in place."""
    for _, decoder in subject.modes():
        encoded, target = without_gradients(subject.encoded()), subject.ended(num_steps=9)
        index = torch.tensor([1, 2, 0])
        named = {"the target": target, "the index of reorder": index}

        def note(tensor: Tensor, axis: int, named=named) -> Tensor:
            named[f"the encoding (its tensor {len(named) - 1})"] = tensor
            return tensor

        transformed(encoded, note)
        previous = subject.begin(target)
        with unchanged(named), torch.no_grad():
            seeded(decoder)(encoded, target)
            state = decoder.start(encoded)
            for t in range(target.shape[1]):
                with unchanged({"the previous output": previous}):
                    _, state = decoder.step(previous, state)
                state, previous = decoder.reorder(state, index), target[index, t].clone()


def reorder_moves_everything_a_row_knows(subject: DecoderSubject) -> None:
    """Rows that were reordered, doubled or left out go on as they would have, time after time."""
    decoder = subject.build()
    # Permutations are none that is its own inverse; then more rows, and fewer.
    thrice = [row for row in (0, 1, 2, 3) for _ in range(3)]
    turned = [(5 * row + 1) % 12 for row in range(12)]
    orders = {
        "short": [[2, 0, 0, 1], [1, 2, 3, 0], [3, 1, 0, 2, 2, 1], [4, 0, 5, 1, 2, 3], [2, 0]],
        "beam": [thrice, [*turned[1:], turned[0]], [0, 0, 2, 5, 4, 3, 11, 7, 6, 9, 9, 1], turned],
        "kept": [[1, 2, 0], [2, 0, 1], [0, 1, 2], [0, 0, 2], [2, 1, 1], [1, 2, 0], [2, 0, 1]],
        "alike": [[2, 2, 2], [1, 0, 2], [1], [0], [0, 0, 0]],
    }
    wide = [row for row in (0, 1, 2, 3) for _ in range(10)]
    with torch.no_grad():
        for waits in (0, 3):
            for name, indices in orders.items():
                _check_orders(subject, decoder, indices, waits, 3 if name != "beam" else 4)
        _check_orders(subject, decoder, orders["kept"], waits=13, num_rows=3)
        turned = [(7 * row + 3) % 40 for row in range(40)]
        _check_orders(subject, decoder, [wide, turned, turned[::-1]], waits=0, num_rows=4)


def _check_orders(
    subject: DecoderSubject, decoder: DecoderModule, orders: list, waits: int, num_rows: int
) -> None:
    """Check a generation that reorders before every step, after `waits` without."""
    encoded = without_gradients(subject.encoded(lengths=(5, 3, 4, 9)[:num_rows]))
    num_steps = waits + len(orders) + 3
    tokens = subject.target(40, num_steps, seed=5)  # what each row takes at each step
    origin = torch.arange(num_rows)
    previous = torch.empty_like(tokens[:num_rows, :0])
    state, last, outputs = decoder.start(encoded), subject.begin(tokens[:num_rows]), []
    plan = [None] * waits + orders + [None] * 3
    for t, order in enumerate(plan):
        if order is not None:
            index = torch.tensor(order)
            state = decoder.reorder(state, index)
            origin, previous, last = origin[index], previous[index], last[index]
        output, state = decoder.step(last, state)
        outputs.append((output, origin, previous))
        last = tokens[: len(origin), t]
        previous = torch.cat([previous, last.unsqueeze(1)], dim=1)
    taken = [
        torch.cat([before, tokens[: len(rows), before.shape[1] :]], dim=1)
        for _, rows, before in outputs
    ]
    rows = rows_of(encoded, torch.cat([rows for _, rows, _ in outputs]).tolist())
    alone = decoder(rows, torch.cat(taken)).split([len(rows) for _, rows, _ in outputs])
    for t, order in enumerate(plan):
        gap = gap_between(outputs[t][0], alone[t][:, t])
        if gap > TINY and t >= waits:
            times = sum(row is not None for row in plan[: t + 1])
            raise Seen(
                f"after {t} steps and {times} times of reordering, rows go on differently, by "
                f"{gap:.1e}; the last index was {order}"
            )


def saved_and_loaded_it_is_the_same(subject: DecoderSubject) -> None:
    """A state dict holds all there is."""
    encoded, target = without_gradients(subject.encoded()), subject.ended()

    def outputs(decoder: DecoderModule) -> list[Tensor]:
        evaluation = subject.both(decoder.eval(), encoded, target)
        return [*evaluation, seeded(decoder.train())(encoded, target)]

    with torch.no_grad():
        check_saving(subject.draw, outputs)


def outputs_follow_the_weights(subject: DecoderSubject) -> None:
    """Nothing that was computed from weights is kept when they change."""
    encoded, target = without_gradients(subject.encoded()), subject.ended()
    with torch.no_grad():
        check_following(subject.draw, lambda module: subject.both(module, encoded, target))


def all_that_is_random_is_declared(subject: DecoderSubject) -> None:
    """Evaluation draws nothing; training draws dropout, and else what at_step seeds."""
    encoded = without_gradients(subject.encoded(lengths=(5, 3, 4) * 4 + (5,)))
    target = subject.ended(13, 7)

    def outputs(decoder: DecoderModule) -> list[Tensor]:
        if decoder.training:
            return [decoder(encoded, target)]
        return subject.both(decoder, encoded, target)

    with torch.no_grad():
        check_randomness(subject.build(), outputs, (13, 7))


def the_same_seed_gives_the_same_training_step(subject: DecoderSubject) -> None:
    """The method at_step with one step and seed gives one result."""
    decoder = subject.build().train()
    if not hasattr(decoder, "at_step"):
        raise Skipped("there is no at_step")
    encoded, target = subject.encoded(), subject.target()
    if gap_between(*(seeded(decoder, 3)(encoded, target) for _ in range(2))):
        raise Seen(
            "at_step with the same step and seed does not give the same outputs again; draw from a "
            "generator that at_step seeds"
        )


def a_beam_of_one_is_greedy(subject: DecoderSubject) -> None:
    """Generation runs: a beam of one is greedy; values rolled forward agree with forward."""
    decoder, encoded = subject.build(), subject.encoded()
    if isinstance(subject.space, ValueSpace):
        forecast = roll_forward(decoder, encoded, values=subject.space, num_steps=5)
        gap = gap_between(decoder(encoded, forecast)[..., : subject.space.size], forecast)
        if gap > 1e-8:
            raise Seen(f"a forecast and the outputs given that forecast differ by {gap:.1e}")
        return
    tokens: TokenSpace = subject.space
    alone = greedy(decoder, encoded, tokens=tokens, max_length=6)
    searched = beam(decoder, encoded, beam_width=1, tokens=tokens, max_length=6).tokens[:, 0]
    if searched.tolist() != alone.tolist():
        raise Seen(
            f"greedy gives {alone.tolist()}, a beam of one {searched.tolist()}; reorder must keep "
            "all rows, and step must not change a state that is used again"
        )
    beam(decoder, encoded, beam_width=3, tokens=tokens, max_length=6)


STATE_CHECKS = (
    nothing_stays_in_the_module,
    training_keeps_nothing_of_the_batch_before,
    what_is_handed_in_stays_as_it_is,
    reorder_moves_everything_a_row_knows,
    saved_and_loaded_it_is_the_same,
    outputs_follow_the_weights,
    all_that_is_random_is_declared,
    the_same_seed_gives_the_same_training_step,
    a_beam_of_one_is_greedy,
)
