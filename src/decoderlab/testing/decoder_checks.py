"""Checks of coins and of what is fed back, and the list of all checks of decoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from decoderlab.testing.checked_modules import DecoderModule
from decoderlab.testing.differences import (
    Seen,
    Skipped,
    declared_feedback,
    gap_between,
    seeded,
    without_dropout,
)
from decoderlab.testing.initial_weights import (
    what_the_constructor_sets_is_what_training_starts_from,
)
from decoderlab.testing.source_checks import SOURCE_CHECKS
from decoderlab.testing.state_checks import STATE_CHECKS
from decoderlab.testing.subjects import (
    DecoderSubject,
    it_is_built_without_computing,
    unknown_settings_are_refused,
)
from decoderlab.testing.target_checks import TARGET_CHECKS


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
    for position, column in enumerate(coins.unbind(dim=1), start=1):
        _check_share(column.unsqueeze(1), ratio, False, step, f" at position {position}")
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
        output, state = decoder.step(previous, state)
        gap = gap_between(output, outputs[:, t])
        if gap > 1e-8:
            raise Seen(
                f"training does not see the decoder's own most probable output: position {t} "
                f"differs by {gap:.1e} from the step loop that does"
            )
        if t + 1 < num_steps:
            previous = _where(coins[:, t], target[:, t], subject.own(output))


def _telling_steps(declared: Any) -> tuple[int, int | None]:
    """Return a step at which coins fall either way, and one with another ratio, if there is any."""
    steps = range(0, 100_000, 10)
    middle = next((s for s in steps if 0.3 < declared.teacher_ratio(s) < 0.7), 0)
    ratio = declared.teacher_ratio(middle)
    other = next((s for s in steps if abs(declared.teacher_ratio(s) - ratio) > 0.25), None)
    return middle, other


def _coins(subject: DecoderSubject, decoder: DecoderModule, step: int, seed: int) -> Tensor:
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
            f"after {step} updates the target is seen in {share:.0%} of the positions{where}, "
            f"declared is {ratio:.0%}"
        )


def _where(coins: Tensor, value: Tensor, other: Tensor) -> Tensor:
    return torch.where(coins.view(-1, *[1] * (value.dim() - 1)), value, other)


DECODER_CHECKS = (
    unknown_settings_are_refused,
    it_is_built_without_computing,
    *TARGET_CHECKS,
    *SOURCE_CHECKS,
    *STATE_CHECKS,
    coins_fall_as_declared,
    ones_own_output_is_fed_back,
    what_the_constructor_sets_is_what_training_starts_from,
)
