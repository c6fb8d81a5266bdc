"""The checks of feedbacks; each is named after what it demands."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from decoderlab.contract import EncoderShape, TokenSpace, ValueSpace
from decoderlab.decoders import RecurrentDecoder
from decoderlab.decoders.feedback import Feedback, before_each
from decoderlab.layers import GRU
from decoderlab.testing.checked_modules import of_decoders
from decoderlab.testing.decoder_checks import coins_fall_as_declared, ones_own_output_is_fed_back
from decoderlab.testing.differences import TINY, Seen, Skipped, gap_between, unchanged
from decoderlab.testing.initial_weights import (
    what_the_constructor_sets_is_what_training_starts_from,
)
from decoderlab.testing.part_subjects import PartSubject, normal
from decoderlab.testing.state_checks import the_same_seed_gives_the_same_training_step
from decoderlab.testing.subjects import DecoderSubject, unknown_settings_are_refused
from decoderlab.testing.target_checks import (
    all_steps_at_once_equal_step_by_step,
    the_future_has_no_influence,
    the_output_before_has_influence_at_every_position,
    the_previous_output_has_influence_exactly_with_feedback,
)

SPACES: dict[str, TokenSpace | ValueSpace] = {"tokens": TokenSpace(9), "values": ValueSpace(3)}
SHAPE = EncoderShape(8, 8, state_size=8, state_num_layers=1)
NUM_ROWS, NUM_STEPS = 400, 8
STEPS = (0, 1, 10, 100, 1_000, 10_000, 1_000_000)
SCOPES = (None, "token", "sequence")


@dataclass(frozen=True)
class FeedbackSubject(PartSubject[Feedback]):
    """A feedback class, built for each kind of target that it takes: `seeing`."""

    seeing: tuple[tuple[str, PartSubject[Feedback]], ...] = ()

    @classmethod
    def made(cls, make: Callable[..., Feedback], settings: Mapping[str, Any]) -> FeedbackSubject:
        """Return the subject; a kind of target that its constructor refuses is left out."""
        known = {name: {"target_space": space} for name, space in SPACES.items()}
        seeing = cls.accepted(make, settings, known)
        first = next(iter(seeing.values()))
        return cls(first.make, first.spaces, first.settings, tuple(seeing.items()))

    def targets(self) -> Iterator[tuple[Feedback, TokenSpace | ValueSpace, Tensor]]:
        """Yield a feedback in training mode, what it sees, and a target for each kind."""
        for name, part in self.seeing:
            space = SPACES[name]
            target = normal(NUM_ROWS, NUM_STEPS, 3)
            if isinstance(space, TokenSpace):
                generator = torch.Generator().manual_seed(1)
                target = torch.randint(4, 9, (NUM_ROWS, NUM_STEPS), generator=generator)
            yield part.build().train(), space, target

    def decoders(self) -> Iterator[DecoderSubject]:
        """Yield a recurrent decoder with the feedback, for each kind of target."""
        for name, part in self.seeing:
            settings = {
                "cell": GRU,
                "hidden_size": 8,
                "routes": ["every_input"],
                "embedding_size": 4,
                "feedback": functools.partial(part.make, **part.settings),
            }
            spaces = {"target_space": SPACES[name], "encoder_shape": SHAPE}
            yield DecoderSubject(
                of_decoders(RecurrentDecoder), spaces, settings, SPACES[name], SHAPE
            )


def declarations_agree(subject: FeedbackSubject) -> None:
    """What is declared is True or False, a scope is one that there is, and all fits together."""
    for feedback, space, _ in subject.targets():
        for name in ("sees_output", "sees_target", "samples", "sees_distribution"):
            if not isinstance(getattr(feedback, name), bool):
                raise Seen(f"{name} is {getattr(feedback, name)!r}; it must be True or False")
        if feedback.scope not in SCOPES:
            raise Seen(f"scope is {feedback.scope!r}; it must be token, sequence or None")
        if feedback.scope is not None and not feedback.samples:
            raise Seen(f"scope is {feedback.scope}, but samples is False: no coin is thrown")
        seen = [
            name
            for name in ("sees_target", "samples", "sees_distribution")
            if getattr(feedback, name)
        ]
        if seen and not feedback.sees_output:
            raise Seen(f"{' and '.join(seen)}, but sees_output is False")
        if feedback.sees_distribution and not isinstance(space, TokenSpace):
            raise Seen("sees_distribution, over values, which have none; refuse them")


def the_teacher_ratio_is_a_probability(subject: FeedbackSubject) -> None:
    """`teacher_ratio` is from 0 to 1 after any number of updates."""
    for feedback, _, _ in subject.targets():
        for step in STEPS:
            ratio = feedback.teacher_ratio(step)
            if not (isinstance(ratio, int | float) and math.isfinite(ratio) and 0 <= ratio <= 1):
                raise Seen(f"after {step} updates the teacher ratio is {ratio}; it is from 0 to 1")


def coins_are_thrown_as_said(subject: FeedbackSubject) -> None:
    """Coins are (B, T) bool, as often True as `teacher_ratio` says, per token or sequence."""
    for feedback, _, _ in subject.targets():
        for step in STEPS if feedback.samples else (0,):
            feedback.at_step(step, 5)
            coins = feedback.coins(NUM_ROWS, NUM_STEPS)
            if coins.dtype != torch.bool or tuple(coins.shape) != (NUM_ROWS, NUM_STEPS):
                raise Seen(
                    f"coins are {coins.dtype} of shape {tuple(coins.shape)}, not bool (B, T)"
                )
            if coins.device.type != "cpu":
                raise Seen("coins are not on the CPU, where they are the same on every machine")
            if not feedback.samples:
                continue
            ratio = feedback.teacher_ratio(step)
            _check_columns(coins, ratio, step)
            if not 0.1 < ratio < 0.9:
                continue
            if feedback.scope is None:
                raise Seen(f"the teacher ratio is {ratio:.0%}, but scope is None: there is no coin")
            same = bool((coins == coins[:, :1]).all())
            if same != (feedback.scope == "sequence"):
                thrown = "sequence" if same else "token"
                raise Seen(f"a coin is thrown per {thrown}, declared is one per {feedback.scope}")


def _check_columns(coins: Tensor, ratio: float, step: int) -> None:
    allowed = 5 * math.sqrt(ratio * (1 - ratio) / len(coins)) + 1e-9
    for position, column in enumerate(coins.double().mean(dim=0).tolist()):
        if abs(column - ratio) > allowed:
            raise Seen(
                f"after {step} updates {column:.0%} of the coins at position {position} say that "
                f"the target is seen, declared is {ratio:.0%}"
            )


def at_step_seeds_all_that_is_drawn(subject: FeedbackSubject) -> None:
    """The same step and seed give the same coins and inputs, whatever was drawn before."""
    for feedback, space, target in subject.targets():
        before = before_each(target, space)
        drawn = {}
        for name, step, seed, noise in (
            ("first", 3, 5, 1),
            ("other", 3, 6, 2),
            ("again", 3, 5, 3),
            ("later", 4, 5, 4),
            ("third", 3, 5, 5),
        ):
            torch.default_generator.manual_seed(noise)
            feedback.at_step(step, seed)
            drawn[name] = [feedback.coins(NUM_ROWS, NUM_STEPS), feedback.inputs(before)]
        for name in ("again", "third"):
            if not all(map(torch.equal, drawn["first"], drawn[name])):
                raise Seen(
                    "at_step with the same step and seed does not give the same coins and inputs; "
                    "draw from a generator that at_step seeds"
                )
        ratio = feedback.teacher_ratio(3)
        tossed = feedback.samples and feedback.scope is not None and 0.1 < ratio < 0.9
        if tossed and torch.equal(drawn["first"][0], drawn["other"][0]):
            raise Seen("another seed throws the same coins; at_step must take the seed")


def inputs_stand_for_the_target_before_them(subject: FeedbackSubject) -> None:
    """`inputs` keeps shape and type, and what it gives at t depends on nothing after t."""
    for feedback, space, target in subject.targets():
        before = before_each(target, space)
        feedback.at_step(3, 5)
        with unchanged({"the target": before}):
            seen = feedback.inputs(before)
        if seen.shape != before.shape or seen.dtype != before.dtype:
            raise Seen(
                f"inputs gives {seen.dtype} of shape {tuple(seen.shape)} for {before.dtype} of "
                f"shape {tuple(before.shape)}"
            )
        if isinstance(space, TokenSpace) and ((seen < 0) | (seen >= space.size)).any():
            raise Seen("inputs gives ids that are none of the tokens")
        other = before_each(target.flip(0), space)
        for t in range(1, NUM_STEPS):
            feedback.at_step(3, 5)
            changed = torch.cat([before[:, :t], other[:, t:]], dim=1)
            if gap_between(feedback.inputs(changed)[:, :t], seen[:, :t]):
                raise Seen(f"what stands from {t} on changes the inputs before it")
        feedback.at_step(3, 5)
        mates = torch.cat([before[:1], other[1:]])
        if gap_between(feedback.inputs(mates)[0], seen[0]):
            raise Seen("other rows change the inputs of a row")


def a_coin_chooses_between_target_and_own_output(subject: FeedbackSubject) -> None:
    """Where the coin is True, `choose` gives the target's, elsewhere the decoder's own."""
    for feedback, _, target in subject.targets():
        if not feedback.samples:
            raise Skipped("it does not sample")
        before, own = target[:, :1], target.flip(0)[:, 1:2]
        coins = (torch.arange(NUM_ROWS) % 3 == 0).unsqueeze(1)
        chosen = feedback.choose(coins, before, own)
        if chosen.shape != before.shape or chosen.dtype != before.dtype:
            raise Seen(f"choose gives {chosen.dtype} of shape {tuple(chosen.shape)}")
        rows = coins if before.dim() == 2 else coins.unsqueeze(-1)
        for name, right, mine in (("target's", before, rows), ("decoder's own", own, ~rows)):
            if ((chosen != right) & mine).any():
                raise Seen(f"where the coin says so, choose does not give the {name}")


def a_distribution_is_one(subject: FeedbackSubject) -> None:
    """Weights over tokens are at least 0, sum to 1, and are 0 for what is never generated."""
    for feedback, space, _ in subject.targets():
        if not feedback.sees_distribution:
            raise Skipped("it sees no distribution")
        if not isinstance(space, TokenSpace):
            raise Seen("sees_distribution, over values, which have none; refuse them")
        logits = 3 * normal(NUM_ROWS, space.size)
        logits[:, space.never_generated] = float("-inf")
        feedback.at_step(3, 5)
        weights = feedback.distribution(logits)
        if weights.shape != logits.shape or not weights.isfinite().all() or (weights < 0).any():
            raise Seen("the weights are not one finite number of at least 0 for each token")
        totals = weights.sum(dim=-1)
        if gap_between(totals, torch.ones_like(totals)) > 1e-9:
            raise Seen(f"the weights sum to {float(totals.min()):.4g} or more, not 1")
        if weights[:, space.never_generated].any():
            raise Seen("tokens that are never generated have a weight")
        feedback.at_step(3, 5)
        mates = torch.cat([logits[:1], logits[1:].flip(0)])
        if gap_between(feedback.distribution(mates)[0], weights[0]) > TINY:
            raise Seen("other rows change the weights of a row")


def evaluation_sees_the_target_exactly_if_declared(subject: FeedbackSubject) -> None:
    """In a decoder in evaluation, the target before a position matters, if `sees_target`."""
    for decoder in subject.decoders():
        the_previous_output_has_influence_exactly_with_feedback(decoder)
        _unless_skipped(the_output_before_has_influence_at_every_position, decoder)


def in_a_decoder_steps_agree_and_see_no_future(subject: FeedbackSubject) -> None:
    """A decoder with the feedback takes steps as it takes all at once, and sees no future."""
    for decoder in subject.decoders():
        all_steps_at_once_equal_step_by_step(decoder)
        the_future_has_no_influence(decoder)
        the_same_seed_gives_the_same_training_step(decoder)


def in_a_decoder_the_own_output_is_seen_as_declared(subject: FeedbackSubject) -> None:
    """A decoder in training sees its own output where a coin says so, and only there."""
    for feedback, _, _ in subject.targets():
        if not feedback.samples:
            raise Skipped("it does not sample")
    for decoder in subject.decoders():
        coins_fall_as_declared(decoder)
        ones_own_output_is_fed_back(decoder)


def _unless_skipped(check: Callable[[DecoderSubject], None], subject: DecoderSubject) -> None:
    try:
        check(subject)
    except Skipped:
        return


FEEDBACK_CHECKS = (
    declarations_agree,
    unknown_settings_are_refused,
    the_teacher_ratio_is_a_probability,
    coins_are_thrown_as_said,
    at_step_seeds_all_that_is_drawn,
    inputs_stand_for_the_target_before_them,
    a_coin_chooses_between_target_and_own_output,
    a_distribution_is_one,
    evaluation_sees_the_target_exactly_if_declared,
    in_a_decoder_steps_agree_and_see_no_future,
    in_a_decoder_the_own_output_is_seen_as_declared,
    what_the_constructor_sets_is_what_training_starts_from,
)
