"""The checks of attention scores; each is named after its requirement."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from decoderlab.decoders.attention import AttentionScore
from decoderlab.testing.attention_score_subjects import (
    LENGTHS,
    LONG_LENGTHS,
    NUM_POSITIONS,
    NUM_QUERIES,
    NUM_ROWS,
    ScoreSubject,
    keys_of,
    own_weights,
    weights_of,
)
from decoderlab.testing.derivatives import check_derivatives, skip_surrogates
from decoderlab.testing.differences import (
    OVER_THE_BATCH,
    TINY,
    Seen,
    Skipped,
    carries,
    check_batch_before,
    check_evaluates,
    check_following,
    check_gradients,
    check_many_rows,
    check_randomness,
    check_saving,
    gap_between,
    scalar,
    seeded,
    unchanged,
)
from decoderlab.testing.initial_weights import (
    what_the_constructor_sets_is_what_training_starts_from,
)
from decoderlab.testing.part_subjects import normal, refuse_spare, trained
from decoderlab.testing.subjects import (
    it_is_built_without_computing,
    unknown_settings_are_refused,
)


@torch.no_grad()
def weights_have_the_promised_shape(subject: ScoreSubject) -> None:
    """Weights are (B, T, S), no NaN and not negative; keys keep the rows first."""
    for _, score in subject.modes():
        query, memory = subject.query(), subject.memory()
        promised = (NUM_ROWS, NUM_QUERIES, NUM_POSITIONS)
        weights = weights_of(seeded(score), query, memory, subject.mask)
        if tuple(weights.shape) != promised:
            raise Seen(f"weights have shape {tuple(weights.shape)}, promised is {promised}")
        if not weights.isfinite().all() or (weights < 0).any():
            raise Seen("weights are not all finite numbers of at least 0")
        keys = keys_of(score, memory, subject.mask)
        if len(keys) != NUM_ROWS:
            raise Seen(f"keys have shape {tuple(keys.shape)}; their first axis must be the batch")


@torch.no_grad()
def padding_gets_exactly_zero_weight(subject: ScoreSubject) -> None:
    """A masked position has the weight 0, whatever stands there."""
    noise = 100 * normal(NUM_ROWS, NUM_POSITIONS, subject.memory_size, seed=5)
    noise = noise.masked_fill(subject.mask.unsqueeze(-1), 0.0)
    for mode, score in subject.modes():
        before = own_weights(subject, seeded(score))
        padding = ~subject.mask.unsqueeze(1).expand_as(before)
        if before[padding].any():
            largest = float(before[padding].abs().max())
            raise Seen(
                f"in {mode}, padding gets a weight of {largest:g}; scores there must be -inf "
                "before a softmax"
            )
        disturbed = subject.memory() + noise
        after = weights_of(seeded(score), subject.query(), disturbed, subject.mask)
        gap = gap_between(after, before)
        if gap:
            raise Seen(f"in {mode}, what stands at padding changes the weights by {gap:g}")


@torch.no_grad()
def weights_sum_to_one(subject: ScoreSubject) -> None:
    """The weights of each query sum to 1."""
    totals = own_weights(subject, subject.build()).sum(dim=-1)
    gap = gap_between(totals, torch.ones_like(totals))
    if gap > TINY:
        raise Seen(
            f"the weights of a query sum to {float(totals.min()):.6g} up to "
            f"{float(totals.max()):.6g}, up to {gap:.1e} from 1; normalise them over the real "
            "positions, in the precision of the inputs"
        )


@torch.no_grad()
def length_of_the_padding_has_no_influence(subject: ScoreSubject) -> None:
    """More masked positions change nothing."""
    score, query, memory, mask = subject.build(), subject.query(), subject.memory(), subject.mask
    expected = weights_of(score, query, memory, mask)
    for extra in (1, 9):
        longer = functional.pad(memory, (0, 0, 0, extra))
        result = weights_of(score, query, longer, functional.pad(mask, (0, extra)))
        gap = gap_between(result[..., :NUM_POSITIONS], expected)
        if gap > TINY:
            raise Seen(
                f"{extra} more masked positions change the weights by {gap:.1e}; is something "
                "divided by the padded length?"
            )
    pair, length = [1, 1], LENGTHS[1]
    expected = weights_of(score, query[pair], memory[pair, :length], mask[pair, :length])
    result = weights_of(score, query[pair], memory[pair], mask[pair])[..., :length]
    gap = gap_between(result, expected)
    if gap > TINY:
        raise Seen(f"where rows are equally long, padding changes the weights by {gap:.1e}")


@torch.no_grad()
def rows_of_a_score_have_no_influence_on_each_other(subject: ScoreSubject) -> None:
    """A row gives the same alone and beside others, in evaluation and in training."""
    query, memory, mask = subject.query(), subject.memory(), subject.mask
    together = weights_of(subject.build(), query, memory, mask)
    for row, length in enumerate(LENGTHS):
        own = slice(row, row + 1)
        alone = weights_of(subject.build(), query[own], memory[own, :length], mask[own, :length])
        gap = gap_between(alone[0], together[row, :, :length])
        if gap > TINY:
            raise Seen(f"row {row} alone and in its batch differ by {gap:.1e}; {OVER_THE_BATCH}")
    for mode, score in subject.modes():
        before = weights_of(seeded(score), query, memory, mask)
        for row in range(NUM_ROWS):
            mine = (torch.arange(NUM_ROWS) == row).view(-1, 1, 1)
            queries = torch.where(mine, query, subject.query(7))
            memories = torch.where(mine, memory, subject.memory(8))
            after = weights_of(seeded(score), queries, memories, mask)
            gap = gap_between(after[row], before[row])
            if gap > TINY:
                raise Seen(f"in {mode}, other rows change row {row} by {gap:.1e}; {OVER_THE_BATCH}")
    score, many = subject.build(), [row % 36 + 1 for row in range(40)]

    def weights(given: Sequence[Tensor]) -> list[Tensor]:
        return [weights_of(score, given[0], given[1], given[2])]

    check_many_rows(weights, subject.given(many, NUM_QUERIES))


@torch.no_grad()
def queries_at_once_are_queries_in_turn(subject: ScoreSubject) -> None:
    """The weights of a query do not depend on whether others are asked with it."""
    score = subject.build()
    query, memory, mask = subject.given(LONG_LENGTHS, 18)
    one_by_one = weights_of(score, query, memory, mask, single=True)
    gap = gap_between(weights_of(score, query, memory, mask), one_by_one)
    if gap > TINY:
        raise Seen(
            f"queries asked at once and one by one differ by {gap:.1e}; a score that depends on "
            "earlier steps sets `carries`, and none may depend on later ones; `all_weights` gives "
            "what `weights` gives query by query"
        )


@torch.no_grad()
def rows_that_are_reordered_go_on(subject: ScoreSubject) -> None:
    """Keys and what is carried hold all that a row needs, as in a beam search."""
    num_steps, orders = 9, {1: [2, 0, 0, 3, 4], 2: [1, 2, 0, 4, 3], 6: [3, 0, 4, 1, 2]}
    score, other, (query, memory, mask) = (
        subject.build(),
        subject.build(),
        subject.given(LONG_LENGTHS, num_steps),
    )
    rows, keys, real = torch.arange(len(query)), keys_of(score, memory, mask), mask
    carried = score.begin(mask, keys)
    for t in range(num_steps):
        if t in orders:
            index = torch.tensor(orders[t])
            rows, keys, real = rows[index], keys[index], real[index]
            carried = None if carried is None else carried[index]
        result, carried = score.weights(query[rows, t : t + 1], keys, real, carried)
        past = query[rows, : t + 1]
        expected = weights_of(other, past, memory[rows], mask[rows], single=True)[:, t:]
        gap = gap_between(result, expected)
        if gap > TINY:
            raise Seen(
                f"after {t} steps, rows that were reordered go on differently, by {gap:.1e}; what "
                "a row needs belongs into the keys and into what is carried, rows first"
            )


@torch.no_grad()
def nothing_stays_in_the_score(subject: ScoreSubject) -> None:
    """Weights do not depend on what was asked before, and are drawn from nothing."""
    score = subject.build()
    first = own_weights(subject, score)
    keys = keys_of(score, subject.memory(), subject.mask)
    own_weights(subject, score, query=7, memory=8)
    if not score.carries:
        result, _ = score.weights(subject.query(), keys, subject.mask, None)
        if gap_between(result, first):
            raise Seen(
                "keys of another source, made in between, change the weights; keep them out of the "
                "module, `weights` is given them"
            )
    if gap_between(own_weights(subject, score), first):
        raise Seen(
            "the same query gives other weights after another query, or at each call; keep nothing "
            "in the module, and draw nothing in evaluation"
        )
    check_evaluates(score)


def training_keeps_nothing_of_the_memory_before(subject: ScoreSubject) -> None:
    """In training too, weights do not depend on an earlier batch."""

    def outputs(score: AttentionScore, seed: int) -> list[Tensor]:
        return [own_weights(subject, score, seed, seed + 1)]

    check_batch_before(subject.build, outputs)


@torch.no_grad()
def all_that_is_random_in_the_score_is_declared(subject: ScoreSubject) -> None:
    """Evaluation draws nothing, and training nothing but dropout and other noise on features."""
    lengths = (11, 3, 7, 1) * 3 + (11,)
    query, memory, mask = subject.given(lengths, 7)

    def outputs(score: AttentionScore) -> list[Tensor]:
        return [weights_of(score, query, memory, mask)]

    check_randomness(subject.build(), outputs, (len(lengths), 7, 11))


def the_query_and_the_memory_have_influence(subject: ScoreSubject) -> None:
    """Gradients reach the query and the memory, that of each real position.

    A score with `reads_memory` False must not see the memory at all; of a `sparse` one, the
    positions count that it reads.
    """
    for lengths, num_queries in ((LENGTHS, NUM_QUERIES), (LONG_LENGTHS, 24)):
        _check_influence(subject.build(), *subject.given(lengths * 8, num_queries))


def _check_influence(score: AttentionScore, query: Tensor, memory: Tensor, mask: Tensor) -> None:
    query, memory = query.requires_grad_(), memory.requires_grad_()
    weights = weights_of(score, query, memory, mask)
    scalar(weights).backward()
    for name, leaf in (("the query", query), ("the memory", memory)):
        if leaf is memory and not score.reads_memory:
            if carries(leaf):
                raise Seen("the memory has influence, though `reads_memory` is False")
            return
        if not carries(leaf):
            raise Seen(f"no gradient reaches {name}; is it detached, or left out of the score?")
    reached = (memory.grad != 0).any(dim=-1)
    several = mask & (mask.sum(dim=1, keepdim=True) > 1)
    if score.sparse:  # of a query that reads one position alone, small changes do not move it
        read = (weights > 0) & ((weights > 0).sum(dim=-1, keepdim=True) > 1)
        several = several & read.any(dim=1)
    real = mask.sum(dim=1)
    for length in real.unique().tolist():  # a row may have a reason of its own, as a relu has
        rows = real == length
        unread = several[rows].any(dim=0) & ~reached[rows].any(dim=0)
        if unread.any():
            raise Seen(
                f"of {length} positions of the memory, {unread.nonzero().flatten().tolist()} get "
                "no gradient; a score that leaves positions unread on purpose sets `sparse`"
            )


def every_weight_of_the_score_gets_a_finite_gradient(subject: ScoreSubject) -> None:
    """No trained parameter is without effect."""
    score = subject.build()
    if not trained(score):
        raise Skipped("nothing in it is trained")
    scalar(own_weights(subject, score)).backward()
    refuse_spare(check_gradients(score))


def the_scores_gradients_are_right(subject: ScoreSubject) -> None:
    """Gradients are the derivatives, by finite differences: of query, memory and weights."""
    skip_surrogates(subject.build())
    for mode, score in subject.modes():
        query, memory, mask = subject.given((9, 3, 1, 5), 9)
        query, memory = query.requires_grad_(), memory.requires_grad_()

        def outputs(
            score: AttentionScore = score,
            query: Tensor = query,
            memory: Tensor = memory,
            mask: Tensor = mask,
        ) -> Tensor:
            return weights_of(seeded(score), query, memory, mask)

        leaves = [("the query", query), ("the memory", memory), *trained(score)]
        check_derivatives(outputs, leaves, f"in {mode}, ")


@torch.no_grad()
def what_a_score_is_given_stays_as_it_is(subject: ScoreSubject) -> None:
    """Query, memory and mask are not changed in place."""
    query, memory, mask = subject.query(), subject.memory(), subject.mask
    with unchanged({"the query": query, "the memory": memory, "the mask": mask}):
        weights_of(subject.build(), query, memory, mask)


@torch.no_grad()
def the_score_saved_and_loaded_is_the_same(subject: ScoreSubject) -> None:
    """A state dict holds all there is, and nothing computed from weights is kept."""

    def outputs(score: AttentionScore) -> list[Tensor]:
        return [own_weights(subject, score.eval())]

    check_saving(subject.draw, outputs)
    check_following(subject.draw, outputs)


SCORE_CHECKS = (
    weights_have_the_promised_shape,
    unknown_settings_are_refused,
    it_is_built_without_computing,
    padding_gets_exactly_zero_weight,
    weights_sum_to_one,
    length_of_the_padding_has_no_influence,
    rows_of_a_score_have_no_influence_on_each_other,
    queries_at_once_are_queries_in_turn,
    rows_that_are_reordered_go_on,
    nothing_stays_in_the_score,
    training_keeps_nothing_of_the_memory_before,
    all_that_is_random_in_the_score_is_declared,
    the_query_and_the_memory_have_influence,
    every_weight_of_the_score_gets_a_finite_gradient,
    the_scores_gradients_are_right,
    what_a_score_is_given_stays_as_it_is,
    the_score_saved_and_loaded_is_the_same,
    what_the_constructor_sets_is_what_training_starts_from,
)
