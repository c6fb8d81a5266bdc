"""Checks of what a decoder sees of the source, and of the gradients that reach it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from decoderlab.contract import TokenSpace
from decoderlab.testing.checked_modules import DecoderModule
from decoderlab.testing.derivatives import check_derivatives, skip_surrogates
from decoderlab.testing.differences import (
    OVER_THE_BATCH,
    TINY,
    Seen,
    Skipped,
    carries,
    check_gradients,
    gap_between,
    scalar,
    seeded,
)
from decoderlab.testing.encoder_outputs import (
    floats,
    mixed,
    padded,
    parts_of,
    rows_of,
    without_gradients,
)
from decoderlab.testing.subjects import MANY_LENGTHS, DecoderSubject

TRIED = (0, 1, 2, 3, 4, 5, 6, 8, 9, 12, 16, 17, 19)  # steps at which reading is looked at


@torch.no_grad()
def masked_memory_has_no_influence(subject: DecoderSubject) -> None:
    """What stands at masked positions of the memory changes nothing, not by a bit."""
    for lengths, num_steps in (((5, 3, 4), 6), (MANY_LENGTHS, 10)):
        encoded = without_gradients(subject.encoded(lengths=lengths))
        target = subject.ended(len(lengths), num_steps)
        noise = 100 * torch.randn(encoded.memory.shape, dtype=torch.float64)
        noise = noise.masked_fill(encoded.memory_mask.unsqueeze(-1), 0.0)
        disturbed = encoded._replace(memory=encoded.memory + noise)
        if hasattr(encoded, "__dict__"):
            vars(disturbed).update(vars(encoded))
        for mode, decoder in subject.modes():
            gap = gap_between(seeded(decoder)(disturbed, target), seeded(decoder)(encoded, target))
            if gap:
                raise Seen(
                    f"in {mode}, what stands at masked positions of the memory changes the outputs "
                    f"by {gap:g}; scores there must be -inf before a softmax, and a mean must "
                    "leave them out"
                )


@torch.no_grad()
def padded_length_has_no_influence(subject: DecoderSubject) -> None:
    """More masked positions change nothing."""
    decoder, equal = subject.build(), [((4,), 6, 3), ((4, 4), 6, 3), ((4, 4, 4), 6, 1)]
    unequal = [((5, 3, 4), 6, 3), ((5, 3, 4), 20, 30), (MANY_LENGTHS, 6, 9)]
    for lengths, num_steps, extra in unequal + equal:
        encoded = without_gradients(subject.encoded(lengths=lengths))
        target = subject.ended(len(lengths), num_steps)
        gap = gap_between(decoder(padded(encoded, extra), target), decoder(encoded, target))
        if gap > TINY:
            raise Seen(
                f"{extra} more masked positions change the outputs by {gap:.1e}; is something "
                "divided by the padded length?"
            )


@torch.no_grad()
def batch_mates_have_no_influence(subject: DecoderSubject) -> None:
    """A row gives the same alone, and beside other rows, in evaluation and in training."""
    decoder, encoded, target = subject.build(), subject.encoded(), subject.ended()
    together = decoder(encoded, target)
    for row in range(len(target)):
        alone = decoder(rows_of(encoded, [row]), target[row : row + 1])
        gap = gap_between(alone[0], together[row])
        if gap > TINY:
            raise Seen(f"row {row} alone and in its batch differ by {gap:.1e}; {OVER_THE_BATCH}")
    _check_pieces(subject, decoder)
    for lengths, num_steps, rows in (((5, 3, 4), 6, (0, 1, 2)), (MANY_LENGTHS, 10, (5, 17))):
        encoded = without_gradients(subject.encoded(lengths=lengths))
        others = without_gradients(subject.encoded(lengths=lengths[::-1], seed=3))
        target = subject.ended(len(lengths), num_steps)
        other_target = subject.target(len(lengths), num_steps, seed=4)
        for mode, decoder in subject.modes():
            before = seeded(decoder)(encoded, target)
            for row in rows:
                mine = torch.arange(len(target)) == row
                mates = mixed(mine, encoded, others)
                chosen = torch.where(mine.view(-1, *[1] * (target.dim() - 1)), target, other_target)
                gap = gap_between(seeded(decoder)(mates, chosen)[row], before[row])
                if gap > TINY:
                    raise Seen(
                        f"in {mode}, other batch mates change row {row} by {gap:.1e}; "
                        f"{OVER_THE_BATCH}"
                    )


def _check_pieces(subject: DecoderSubject, decoder: DecoderModule) -> None:
    """Check rows of very different lengths: in pieces of the batch, and in another order."""
    encoded, num_rows = subject.many(), len(MANY_LENGTHS)
    target = subject.ended(num_rows, 18)
    together = decoder(encoded, target)
    pieces = [[0], [1], [2, 3], [8, 0, 1], list(range(num_rows - 1, -1, -1)), list(range(4, 13))]
    pieces.append([5, 3, 10, 14, 2, 10, 5])  # of equal length, and the same row twice
    for rows in pieces:
        gap = gap_between(decoder(rows_of(encoded, rows), target[rows]), together[rows])
        if gap > TINY:
            raise Seen(
                f"rows {rows} of a batch of {num_rows} differ by {gap:.1e} when they are a batch "
                "of their own, in this order"
            )


def the_source_has_influence(subject: DecoderSubject) -> None:
    """Some gradient reaches memory, summary or state; the source matters at every position."""
    encoded = subject.encoded()
    scalar(subject.build()(encoded, subject.target())).backward()
    if not any(carries(part) for part in floats(encoded)):
        raise Seen("no gradient reaches memory, summary or state: the source is ignored")
    with torch.no_grad():
        target, other = subject.target(num_steps=20), subject.encoded(seed=3)
        for mode, decoder in subject.modes():
            gaps = seeded(decoder)(encoded, target) != seeded(decoder)(other, target)
            # A head that reads the state before has only the first state to read at first.
            reads_before = getattr(getattr(decoder, "head", None), "state", None) == "previous"
            for t in range(int(reads_before), target.shape[1]):
                if not gaps[:, t].any():
                    raise Seen(f"in {mode}, the source has no influence on the output at {t}")


@torch.no_grad()
def what_is_read_at_first_is_read_at_every_step(subject: DecoderSubject) -> None:
    """A part of the state that stays as it was is read to the end, if the first steps read it."""
    decoder, encoded = subject.build(), without_gradients(subject.encoded())
    target = subject.target(num_steps=20)
    state, previous = decoder.start(encoded), subject.begin(target)
    first = [copy.deepcopy(leaf) for leaf in tree_flatten(state)[0]]
    read: dict[int, list[bool]] = {number: [] for number in range(len(first))}
    staying = set(read)
    for t in range(target.shape[1]):
        leaves, structure = tree_flatten(copy.deepcopy(state))
        expected, after = decoder.step(previous, state)
        same = len(leaves) == len(first)
        staying = {index for index in staying if same and _same_floats(leaves[index], first[index])}
        for number in staying if t in TRIED else ():
            changed, leaf = copy.deepcopy(leaves), leaves[number]
            changed[number] = leaf + torch.linspace(0.1, 1, leaf.numel()).view(leaf.shape).to(leaf)
            outputs, _ = decoder.step(previous, tree_unflatten(changed, structure))
            read[number].append(bool((outputs != expected).any()))
        state, previous = after, target[:, t]
    for steps in read.values():
        if len(steps) > 2 and steps[0] and steps[1] and not all(steps):
            raise Seen(
                f"what start has put into the state is read at the first steps, but no longer at "
                f"step {TRIED[steps.index(False)]}"
            )


def _same_floats(value: object, other: object) -> bool:
    if not (isinstance(value, Tensor) and isinstance(other, Tensor)):
        return False
    return value.is_floating_point() and value.numel() > 0 and torch.equal(value, other)


def all_of_the_memory_is_read(subject: DecoderSubject) -> None:
    """Where more than an end of the memory is read, every real position is, up to the last."""
    for mode, decoder in subject.modes():
        for lengths, block in (((3, 6, 9) * 8, 1), ((20, 10) * 12, 2), ((48, 34) * 8, 4)):
            encoded = subject.encoded(lengths=lengths)
            target = subject.target(len(lengths), max(lengths) + 3)
            scalar(seeded(decoder)(encoded, target)).backward()
            if not carries(encoded.memory):
                continue
            reached = (encoded.memory.grad != 0).any(dim=-1)
            real = encoded.memory_mask.sum(dim=1)
            for length in real.unique().tolist():
                rows = reached[real == length][:, :length].any(dim=0)
                read = rows.nonzero().flatten().tolist()
                if read in ([0], [length - 1]):
                    continue
                for start in range(0, length, block):
                    if not rows[start : start + block].any():
                        raise Seen(
                            f"in {mode}, of {length} positions of the memory {read} are read, "
                            f"position {start} is not; is a length too short, or is there a limit "
                            "on positions?"
                        )


def every_parameter_gets_a_finite_gradient(subject: DecoderSubject) -> None:
    """No trained parameter is without effect, in evaluation and in training together."""
    decoder, without = subject.build(), []
    # A decoder may keep weights for each position, and some for training alone.
    for num_steps, training in ((6, False), (6, True), (40, False), (130, False)):
        decoder.train(training)
        scalar(seeded(decoder)(subject.encoded(), subject.ended(num_steps=num_steps))).backward()
        without = check_gradients(decoder)
        if not without:
            return
    raise Seen(f"{without[0]} gets no gradient; leave it out, or freeze it")


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
    declared = f"routes are {sorted(routes)}"
    if inner and not reached["the summary"]:
        raise Seen(f"{declared}, but no gradient reaches the summary")
    if "initial_state" not in routes and reached["the state"]:
        raise Seen(f"{declared}, but gradient reaches the encoder's state")
    reads = getattr(getattr(decoder, "bridge", None), "reads", None)
    if "initial_state" in routes and not inner and not any(reached.values()):
        raise Seen(f"{declared}, but no gradient reaches anything of the source")
    reads = "memory" if reads == "first position" else reads
    if "initial_state" in routes and reads is not None and not reached[f"the {reads}"]:
        raise Seen(f"{declared} and the bridge reads the {reads}, but no gradient reaches that")
    if not inner and reads != "summary" and reached["the summary"]:
        raise Seen(f"{declared}, but gradient reaches the summary")


def gradients_are_right(subject: DecoderSubject) -> None:
    """Gradients for the encoding and the weights are the derivatives, by finite differences."""
    skip_surrogates(subject.build())
    for mode in ("evaluation", "training"):  # where a norm's iteration comes to its end
        decoder = subject.build().train(mode == "training")
        weights = [weight for weight in decoder.named_parameters() if weight[1].requires_grad]
        for lengths, num_steps in (((5, 3, 4), 6), ((20, 3), 20)):
            if mode == "evaluation" and num_steps > 6:
                continue
            encoded = subject.encoded(lengths=lengths)
            # Without padding: its embedding may stay zero, whatever its derivative.
            target, parts = subject.target(len(lengths), num_steps), floats(encoded)
            if isinstance(subject.space, TokenSpace):
                target[:2, 2] = torch.tensor([subject.space.unk_id, subject.space.eos_id])
            names = ["the memory", "the summary"] + ["a part of the state"] * len(parts)
            parts = list(zip(names, parts, strict=False))

            def outputs(decoder=decoder, encoded=encoded, target=target) -> Tensor:
                return seeded(decoder)(encoded, target)

            where = f"in {mode}, for targets of length {num_steps}, "
            check_derivatives(outputs, parts + weights, where)


SOURCE_CHECKS = (
    masked_memory_has_no_influence,
    padded_length_has_no_influence,
    batch_mates_have_no_influence,
    the_source_has_influence,
    what_is_read_at_first_is_read_at_every_step,
    all_of_the_memory_is_read,
    every_parameter_gets_a_finite_gradient,
    routes_carry_gradient_exactly_when_on,
    gradients_are_right,
)
