"""The checks of decoders; each is named after what it demands."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from decoderlab.contract import Encoded, ValueSpace
from decoderlab.generation.search import beam, greedy, roll_forward
from decoderlab.testing.initial_weights import (
    what_the_constructor_sets_is_what_training_starts_from,
)
from decoderlab.testing.subjects import (
    DecoderSubject,
    Seen,
    Skipped,
    carries,
    check_derivatives,
    check_gradients,
    check_saving,
    choose_rows,
    declared_feedback,
    floats,
    gap_between,
    it_is_built_without_computing,
    parts_of,
    rows_of,
    scalar,
    seeded,
    unknown_settings_are_refused,
    without_dropout,
)

TINY = 1e-10


def outputs_have_the_promised_shape(subject: DecoderSubject) -> None:
    """Forward and step return one output of the right width per target position."""
    decoder, encoded, target = subject.build(), subject.encoded(), subject.target()
    widths = {subject.space.size}
    if isinstance(subject.space, ValueSpace):
        widths.add(2 * subject.space.size)
    outputs = decoder(encoded, target)
    for what, found in (("forward", outputs), ("step", subject.steps(decoder, encoded, target))):
        if found.shape[:2] != target.shape[:2] or found.shape[2:] not in {(w,) for w in widths}:
            raise Seen(
                f"{what} gives outputs of shape {tuple(found.shape)} for a target of shape "
                f"{tuple(target.shape)}; promised is one output, {sorted(widths)} wide, for each "
                "position of the target (a first input is a step of its own that is not scored)"
            )


def all_steps_at_once_equal_step_by_step(subject: DecoderSubject) -> None:
    """Forward equals the loop over step, to 1e-10 in float64 and 1e-5 in float32."""
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        decoder, encoded = subject.build(dtype), subject.encoded(dtype)
        target = subject.target()
        target = target if target.dtype == torch.int64 else target.to(dtype)
        gap = gap_between(decoder(encoded, target), subject.steps(decoder, encoded, target))
        if gap > tolerance:
            raise Seen(f"forward and the step loop differ by {gap:.1e} in {dtype}")


def the_future_has_no_influence(subject: DecoderSubject) -> None:
    """Outputs at t do not depend on the target from t on, in evaluation and in training."""
    encoded, target = subject.encoded(), subject.target()
    for mode, decoder in subject.modes():
        before = seeded(decoder)(encoded, target)
        for t in range(target.shape[1]):
            changed = torch.cat([target[:, :t], subject.changed(target)[:, t:]], dim=1)
            after = seeded(decoder)(encoded, changed)
            gap = gap_between(after[:, : t + 1], before[:, : t + 1])
            if gap > TINY:
                raise Seen(
                    f"in {mode}, the target from position {t} on changes outputs up to {t} by "
                    f"{gap:.1e}; those may see positions before {t} only"
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


def masked_memory_has_no_influence(subject: DecoderSubject) -> None:
    """What stands at masked positions of the memory changes nothing, not by a bit."""
    encoded, target = subject.encoded(), subject.target()
    noise = 100 * torch.randn(encoded.memory.shape, dtype=torch.float64)
    noise = noise.masked_fill(encoded.memory_mask.unsqueeze(-1), 0.0)
    disturbed = encoded._replace(memory=encoded.memory + noise)
    for mode, decoder in subject.modes():
        gap = gap_between(seeded(decoder)(disturbed, target), seeded(decoder)(encoded, target))
        if gap:
            raise Seen(
                f"in {mode}, what stands at masked positions of the memory changes the outputs by "
                f"{gap:g}"
            )


def padded_length_has_no_influence(subject: DecoderSubject) -> None:
    """More masked positions change nothing."""
    decoder, encoded, target = subject.build(), subject.encoded(), subject.target()
    longer = encoded._replace(
        memory=nn.functional.pad(encoded.memory, (0, 0, 0, 3)),
        memory_mask=nn.functional.pad(encoded.memory_mask, (0, 3)),
    )
    gap = gap_between(decoder(longer, target), decoder(encoded, target))
    if gap > TINY:
        raise Seen(
            f"three more masked positions change the outputs by {gap:.1e}; is something divided by "
            "the padded length?"
        )


def batch_mates_have_no_influence(subject: DecoderSubject) -> None:
    """A row gives the same alone, and beside other rows, in evaluation and in training."""
    decoder, encoded, target = subject.build(), subject.encoded(), subject.target()
    together = decoder(encoded, target)
    for row in range(len(target)):
        alone = decoder(rows_of(encoded, [row]), target[row : row + 1])
        gap = gap_between(alone[0], together[row])
        if gap > TINY:
            raise Seen(f"row {row} alone and in its batch differ by {gap:.1e}")
    others, other_target = subject.encoded(seed=3), subject.changed(target)
    for mode, decoder in subject.modes():
        before = seeded(decoder)(encoded, target)
        for row in range(len(target)):
            mine = torch.arange(len(target)) == row
            mates = Encoded(
                *(choose_rows(mine, *pair) for pair in zip(encoded, others, strict=True))
            )
            after = seeded(decoder)(mates, choose_rows(mine, target, other_target))
            gap = gap_between(after[row], before[row])
            if gap > TINY:
                raise Seen(f"in {mode}, other batch mates change row {row} by {gap:.1e}")


def nothing_stays_in_the_module(subject: DecoderSubject) -> None:
    """Two generations can take turns: all that a source needs is in its state."""
    decoder, target = subject.build(), subject.target()
    one, other = subject.encoded(), subject.encoded(seed=3)
    expected = subject.steps(decoder, one, target)
    states = [decoder.start(one), decoder.start(other)]
    previous, outputs = subject.begin(target), []
    for t in range(target.shape[1]):
        taken = [decoder.step(previous, state) for state in states]
        states = [state for _, state in taken]
        outputs.append(taken[0][0])
        previous = target[:, t]
        decoder(other, target)
    gap = gap_between(torch.stack(outputs, dim=1), expected)
    if gap:
        raise Seen(
            f"generating for another source in between changes the outputs by {gap:.1e}; all that "
            "a source needs belongs into the state that start and step return"
        )


def reorder_moves_everything_a_row_knows(subject: DecoderSubject) -> None:
    """Rows that were reordered or doubled go on as they would have."""
    decoder, encoded, target = subject.build(), subject.encoded(), subject.target()
    index = torch.tensor([2, 0, 0, 1])
    with torch.no_grad():
        state = decoder.start(encoded)
        for t, previous in enumerate([subject.begin(target), *target[:, :2].unbind(dim=1)]):
            # A copy, since a decoder may change a state in place: a search uses each one once.
            moved = decoder.reorder(copy.deepcopy(state), index)
            found, _ = decoder.step(previous[index], moved)
            expected, state = decoder.step(previous, state)
            gap = gap_between(found, expected[index])
            if gap > TINY:
                raise Seen(f"after {t} steps, reordered rows go on differently, by {gap:.1e}")


def every_parameter_gets_a_finite_gradient(subject: DecoderSubject) -> None:
    """No trained parameter is without effect."""
    decoder, target = subject.build(), subject.target(num_steps=6)
    scalar(decoder(subject.encoded(), target)).backward()
    check_gradients(decoder)


def the_source_has_influence(subject: DecoderSubject) -> None:
    """Some gradient reaches memory, summary or state."""
    encoded = subject.encoded()
    scalar(subject.build()(encoded, subject.target())).backward()
    if not any(carries(part) for part in floats(encoded)):
        raise Seen("no gradient reaches memory, summary or state: the source is ignored")


def routes_carry_gradient_exactly_when_on(subject: DecoderSubject) -> None:
    """A declared route carries gradient; where none is declared, there is exactly none."""
    decoder, encoded = subject.build(), subject.encoded()
    routes = getattr(decoder, "routes", None)
    if routes is None:
        raise Skipped("no routes are declared")
    scalar(decoder(encoded, subject.target())).backward()
    inner = set(routes) - {"initial_state"}
    state = parts_of(encoded.state)
    reached = {
        "the summary": carries(encoded.summary),
        "the state": any(map(carries, state)),
        "the memory": carries(encoded.memory),
    }
    told = f"routes are {sorted(routes)}"
    if inner and not reached["the summary"]:
        raise Seen(f"{told}, but no gradient reaches the summary")
    if "initial_state" not in routes and reached["the state"]:
        raise Seen(f"{told}, but gradient reaches the encoder's state")
    reads = getattr(getattr(decoder, "bridge", None), "reads", None)
    if "initial_state" in routes and not inner and not any(reached.values()):
        raise Seen(f"{told}, but no gradient reaches anything of the source")
    if "initial_state" in routes and reads is not None and not reached[f"the {reads}"]:
        raise Seen(f"{told} and the bridge reads the {reads}, but no gradient reaches that")
    if not inner and reads != "summary" and reached["the summary"]:
        raise Seen(f"{told}, but gradient reaches the summary")


def gradients_are_right(subject: DecoderSubject) -> None:
    """Gradients for memory, summary and state are the derivatives, by finite differences."""
    decoder, encoded, target = subject.build(), subject.encoded(), subject.target(num_steps=2)

    def outputs(*parts: Tensor) -> Tensor:
        left = list(parts)
        memory, summary = left.pop(0), left.pop(0)
        state = encoded.state and encoded.state.map(lambda _: left.pop(0))
        return decoder(encoded._replace(memory=memory, summary=summary, state=state), target)

    check_derivatives(outputs, floats(encoded))


def saved_and_loaded_it_is_the_same(subject: DecoderSubject) -> None:
    """A state dict holds all there is."""
    encoded, target = subject.encoded(), subject.target()
    check_saving(subject, lambda decoder: decoder(encoded, target))


def coins_fall_as_declared(subject: DecoderSubject) -> None:
    """Scheduled sampling throws a coin per token or per sequence, as often as it says."""
    decoder = without_dropout(subject.build()).train()
    declared = declared_feedback(decoder)
    if declared is None or not declared.samples:
        raise Skipped("no feedback of its own output in training is declared")
    step, later = _telling_steps(declared)
    coins = _coins(subject, decoder, step, seed=7)
    ratio, per_token = declared.teacher_ratio(step), declared.scope == "token"
    if declared.scope is None:
        _check_share(coins, ratio, per_token, step)
        return
    same_for_all_steps = bool((coins == coins[:, :1]).all())
    if bool((coins == coins[:1]).all()):
        raise Seen(f"one coin is thrown for the whole batch, declared is one per {declared.scope}")
    if same_for_all_steps == per_token:
        thrown = "sequence" if same_for_all_steps else "token"
        raise Seen(f"a coin is thrown per {thrown}, declared is one per {declared.scope}")
    for place, column in enumerate(coins.unbind(dim=1), start=1):
        _check_share(column.unsqueeze(1), ratio, False, step, f" at position {place}")
    _check_share(coins, ratio, per_token, step)
    if bool((_coins(subject, decoder, step, seed=8) == coins).all()):
        raise Seen("another seed throws the same coins; at_step must take the seed")
    if later is not None:
        ratio = declared.teacher_ratio(later)
        _check_share(_coins(subject, decoder, later, seed=7), ratio, per_token, later)


def ones_own_output_is_fed_back(subject: DecoderSubject) -> None:
    """Where a coin says so, training sees the decoder's most probable token, or its mean."""
    decoder = without_dropout(subject.build()).train()
    declared = declared_feedback(decoder)
    if declared is None or not declared.samples:
        raise Skipped("no feedback of its own output in training is declared")
    step, num_steps = _telling_steps(declared)[0], 6
    coins = _coins(subject, decoder, step, seed=7)[:, : num_steps - 1]
    encoded = subject.encoded(lengths=(4,) * len(coins))
    target = subject.target(len(coins), 12)
    outputs = seeded(decoder, step)(encoded, target)
    state, previous = decoder.start(encoded), subject.begin(target)
    for t in range(num_steps):
        found, state = decoder.step(previous, state)
        gap = gap_between(found, outputs[:, t])
        if gap > 1e-8:
            raise Seen(
                f"training does not see the decoder's own most probable output: position {t} "
                f"differs by {gap:.1e} from the step loop that does"
            )
        if t + 1 < num_steps:
            previous = choose_rows(coins[:, t], target[:, t], subject.own(found))


def the_same_seed_gives_the_same_training_step(subject: DecoderSubject) -> None:
    """The method at_step with one step and seed gives one result."""
    decoder = subject.build().train()
    if not hasattr(decoder, "at_step"):
        raise Skipped("there is no at_step")
    encoded, target = subject.encoded(), subject.target()
    if gap_between(*(seeded(decoder, 3)(encoded, target) for _ in range(2))):
        raise Seen("at_step with the same step and seed does not give the same outputs again")


def a_beam_of_one_is_greedy(subject: DecoderSubject) -> None:
    """Generation runs: a beam of one is greedy; values rolled forward agree with forward."""
    decoder, encoded = subject.build(), subject.encoded()
    if isinstance(subject.space, ValueSpace):
        forecast = roll_forward(decoder, encoded, values=subject.space, num_steps=5)
        gap = gap_between(decoder(encoded, forecast)[..., : subject.space.size], forecast)
        if gap > 1e-8:
            raise Seen(f"a forecast and the outputs given that forecast differ by {gap:.1e}")
        return
    settings = {"tokens": subject.space, "max_length": 6}
    alone = greedy(decoder, encoded, **settings)
    found = beam(decoder, encoded, beam_width=1, **settings).tokens[:, 0]
    if found.tolist() != alone.tolist():
        raise Seen(f"greedy gives {alone.tolist()}, a beam of one {found.tolist()}")
    beam(decoder, encoded, beam_width=3, **settings)


def _telling_steps(declared: Any) -> tuple[int, int | None]:
    """Return a step at which coins fall either way, and one with another ratio, if there is any."""
    steps = range(0, 100_000, 10)
    middle = next((s for s in steps if 0.3 < declared.teacher_ratio(s) < 0.7), 0)
    ratio = declared.teacher_ratio(middle)
    other = next((s for s in steps if abs(declared.teacher_ratio(s) - ratio) > 0.25), None)
    return middle, other


def _coins(subject: DecoderSubject, decoder: nn.Module, step: int, seed: int) -> Tensor:
    """Return (B, T - 1) bool: where another target before a position changes its output."""
    num_rows, num_steps = 300, 12
    encoded = subject.encoded(lengths=(4,) * num_rows)
    target = subject.target(num_rows, num_steps)
    before = seeded(decoder, step, seed)(encoded, target)
    columns = []
    for t in range(1, num_steps):
        changed = target.clone()
        changed[:, t - 1] = subject.changed(target)[:, t - 1]
        after = seeded(decoder, step, seed)(encoded, changed)
        columns.append((after[:, t] != before[:, t]).any(dim=-1))
    return torch.stack(columns, dim=1)


def _check_share(coins: Tensor, ratio: float, per_token: bool, step: int, where: str = "") -> None:
    share, thrown = float(coins.double().mean()), coins.numel() if per_token else len(coins)
    if abs(share - ratio) > 5 * (ratio * (1 - ratio) / thrown) ** 0.5 + 1e-9:
        raise Seen(
            f"after {step} updates the target is seen in {share:.0%} of the places{where}, "
            f"declared is {ratio:.0%}"
        )


DECODER_CHECKS = (
    outputs_have_the_promised_shape,
    unknown_settings_are_refused,
    it_is_built_without_computing,
    all_steps_at_once_equal_step_by_step,
    the_future_has_no_influence,
    the_previous_output_has_influence_exactly_with_feedback,
    masked_memory_has_no_influence,
    padded_length_has_no_influence,
    batch_mates_have_no_influence,
    nothing_stays_in_the_module,
    reorder_moves_everything_a_row_knows,
    every_parameter_gets_a_finite_gradient,
    the_source_has_influence,
    routes_carry_gradient_exactly_when_on,
    gradients_are_right,
    saved_and_loaded_it_is_the_same,
    coins_fall_as_declared,
    ones_own_output_is_fed_back,
    the_same_seed_gives_the_same_training_step,
    a_beam_of_one_is_greedy,
    what_the_constructor_sets_is_what_training_starts_from,
)
