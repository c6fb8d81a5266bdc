"""The checks of heads; each is named after what it demands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.decoders.heads import Head, SourceRead
from decoderlab.decoders.heads.head import STATES
from decoderlab.testing.derivatives import check_derivatives, skip_surrogates
from decoderlab.testing.differences import (
    TINY,
    Seen,
    Skipped,
    carries,
    check_following,
    check_gradients,
    check_many_rows,
    check_saving,
    gap_between,
    gradient_of,
    scalar,
    seeded,
    unchanged,
)
from decoderlab.testing.initial_weights import (
    what_the_constructor_sets_is_what_training_starts_from,
)
from decoderlab.testing.part_subjects import PartSubject, normal, refuse_spare, trained
from decoderlab.testing.subjects import (
    aligned,
    it_is_built_without_computing,
    unknown_settings_are_refused,
)

FEATURES_SIZE, HIDDEN_SIZE, EMBEDDING_SIZE = 8, 6, 5
NUM_ROWS, NUM_STEPS = 4, 5
SPACES: dict[str, TokenSpace | ValueSpace] = {"tokens": TokenSpace(9), "values": ValueSpace(3)}
SOURCE_SPACE = TokenSpace(11)
SYMBOLS = (4, 7, 5, 4, 8)  # of every source, all of them aligned; a symbol stands twice


@dataclass(frozen=True)
class HeadSubject(PartSubject[Head]):
    """A head class, built for each kind of target that it takes: `writing`."""

    writing: tuple[tuple[str, PartSubject[Head]], ...] = ()

    @classmethod
    def made(cls, make: Callable[..., Head], settings: Mapping[str, Any]) -> HeadSubject:
        """Return the subject; a kind of target that its constructor refuses is left out."""
        writing = cls.accepted(make, settings, {name: known(name) for name in SPACES})
        if "tokens" in writing and writing["tokens"].build().tied:
            writing = {"tokens": writing["tokens"]}  # values have no table of embeddings
        first = next(iter(writing.values()))
        return cls(first.make, first.spaces, first.settings, tuple(writing.items()))


def known(name: str) -> dict[str, Any]:
    """Return what a decoder lets a head know, for a kind of target."""
    return {
        "features_size": FEATURES_SIZE,
        "hidden_size": HIDDEN_SIZE,
        "target_space": SPACES[name],
        "embedding_size": EMBEDDING_SIZE,
        "source_space": SOURCE_SPACE,
        "alignment": aligned(SOURCE_SPACE, SPACES[name]),
    }


def features(seed: int = 1) -> Tensor:
    """Return features (B, T, features_size)."""
    return normal(NUM_ROWS, NUM_STEPS, FEATURES_SIZE, seed=seed)


def table(name: str) -> Tensor:
    """Return the table of embeddings (V, E)."""
    return normal(SPACES[name].size, EMBEDDING_SIZE, seed=9)


def source_read(given: Tensor) -> SourceRead:
    """Return what attention reads beside features: the same in every row and step."""
    weights = torch.softmax(normal(len(SYMBOLS), seed=11), dim=0)
    return SourceRead(
        torch.tensor(SYMBOLS).repeat(len(given), 1), weights.repeat(*given.shape[:2], 1)
    )


def head_outputs(
    head: Head, name: str, given: Tensor, read: SourceRead | None = None, tied: Tensor | None = None
) -> Tensor:
    """Return the outputs as a decoder asks for them."""
    leaf = (table(name) if tied is None else tied) if head.tied else None
    if head.sees_source:
        return head(given, leaf, read=read or source_read(given))
    return head(given, leaf)


def what_the_decoder_asks_for_is_there(subject: HeadSubject) -> None:
    """`tied` and `sees_previous` are True or False, `state` is current or previous."""
    for _, part in subject.writing:
        head = part.build()
        for name in ("tied", "sees_previous"):
            if not isinstance(getattr(head, name, None), bool):
                raise Seen(f"{name} is {getattr(head, name, None)!r}; it must be True or False")
        if head.state not in STATES:
            raise Seen(f"state is {head.state!r}; it must be one of {', '.join(STATES)}")


@torch.no_grad()
def outputs_are_as_wide_as_their_distribution(subject: HeadSubject) -> None:
    """V logits of tokens; of values F means, or as many numbers as the distribution says."""
    for name, part in subject.writing:
        size, distribution = SPACES[name].size, part.build().distribution
        widths = {size} if name == "tokens" else {size, 2 * size}
        if distribution is not None:
            widths = {size * distribution.numbers}
        for _, head in part.modes():
            for given in (features(), features()[:1], features()[:, :1]):
                shape = tuple(head_outputs(head, name, given).shape)
                promised = [(*given.shape[:2], width) for width in sorted(widths)]
                if shape not in promised:
                    raise Seen(
                        f"over {name}, outputs have shape {shape}, promised is "
                        + " or ".join(map(str, promised))
                    )


@torch.no_grad()
def values_have_a_density_around_their_means(subject: HeadSubject) -> None:
    """The density of each value sums up to 1, and its mean is the first of its outputs."""
    part = dict(subject.writing).get("values")
    distribution = None if part is None else part.build().distribution
    if part is None or distribution is None:
        raise Skipped("it has no distribution of values")
    outputs = head_outputs(part.build(), "values", 0.3 * features()[:1, :2])
    size, (grid, width) = SPACES["values"].size, (torch.linspace(-60, 60, 24001), 120 / 24000)
    for value in range(size):
        target = outputs[..., :size].repeat(len(grid), 1, 1)
        target[..., value] += grid.double()[:, None]
        nats = distribution.nats(outputs.repeat(len(grid), 1, 1), target)
        if nats.shape != target.shape:
            raise Seen(f"nats have shape {tuple(nats.shape)}, promised is {tuple(target.shape)}")
        density = torch.exp(-nats[..., value])
        total = float(density[:, 0].sum() * width)
        if not abs(total - 1) < 1e-2:
            raise Seen(f"the density of a value sums up to {total:.3f}, not 1")
        mean = float((density[:, 0] * grid).sum() * width)
        if not abs(mean) < 1e-2:
            raise Seen(f"the mean of the density is {mean:.3f} beside the first of the outputs")


@torch.no_grad()
def a_head_gives_logits_or_logarithms_of_probabilities(subject: HeadSubject) -> None:
    """Over tokens, outputs are logits, or log-probabilities whose exp sums to 1."""
    if "tokens" not in dict(subject.writing):
        raise Skipped("it writes values alone")
    head = dict(subject.writing)["tokens"].build()
    values = head_outputs(head, "tokens", 20 * normal(30, 40, FEATURES_SIZE))
    values = torch.cat([values, head_outputs(head, "tokens", normal(30, 40, FEATURES_SIZE))])
    if values.isnan().any():
        raise Seen(
            "outputs are not finite for features of a size of 20; take log_softmax in place of the "
            "logarithm of a softmax"
        )
    if (values >= 0).all() and (values <= 1).all():
        raise Seen("all outputs are between 0 and 1, as if they were probabilities; return logits")
    totals = values.exp().sum(dim=-1)
    if (values <= 0).all() and gap_between(totals, torch.ones_like(totals)) > 1e-6:
        raise Seen(
            "no output is above 0, as if they were logarithms of probabilities, but their exp "
            f"does not sum to 1: {float(totals.min()):.3f} to {float(totals.max()):.3f}"
        )


@torch.no_grad()
def rows_and_steps_have_no_influence_on_each_other(subject: HeadSubject) -> None:
    """Each row and step gives the same alone and beside others."""
    for name, part in subject.writing:
        given, head = features(), part.build()
        together = head_outputs(head, name, given)
        for row in range(NUM_ROWS):
            gap = gap_between(head_outputs(head, name, given[row : row + 1])[0], together[row])
            if gap > TINY:
                raise Seen(f"row {row} alone and in its batch differ by {gap:.1e}")
        for step in range(NUM_STEPS):
            alone = head_outputs(head, name, given[:, step : step + 1])[:, 0]
            gap = gap_between(alone, together[:, step])
            if gap > TINY:
                raise Seen(f"step {step} alone and among others differs by {gap:.1e}")
        for mode, head in part.modes():
            before = head_outputs(seeded(head), name, given)
            mine = torch.zeros(NUM_ROWS, NUM_STEPS, 1, dtype=torch.bool)
            mine[1, 2] = True
            after = head_outputs(seeded(head), name, torch.where(mine, given, features(7)))
            gap = gap_between(after[1, 2], before[1, 2])
            if gap > TINY:
                raise Seen(f"in {mode}, other rows and steps change an output by {gap:.1e}")
        many, plain = normal(40, NUM_STEPS, FEATURES_SIZE, seed=3), part.build()

        def outputs(
            inputs: Sequence[Tensor], plain: Head = plain, name: str = name
        ) -> Sequence[Tensor]:
            return [head_outputs(plain, name, inputs[0])]

        check_many_rows(outputs, [many])


@torch.no_grad()
def every_output_of_the_head_changes(subject: HeadSubject) -> None:
    """No token or number has the same output whatever the features."""
    for name, part in subject.writing:
        space = SPACES[name]
        never = space.never_generated if isinstance(space, TokenSpace) else []
        outputs = head_outputs(part.build(), name, features()).flatten(0, 1)[:, : space.size]
        for index, column in enumerate(outputs.unbind(dim=1)):
            if index not in never and bool((column == column[0]).all()):
                what = "token" if name == "tokens" else "number"
                raise Seen(f"the output of {what} {index} is the same whatever the features")


def a_tied_table_is_used(subject: HeadSubject) -> None:
    """With `tied`, the table of embeddings gets a gradient, in every row that can be written."""
    tied = [(name, part.build()) for name, part in subject.writing]
    tied = [(name, head) for name, head in tied if head.tied]
    if not tied:
        raise Skipped("it is not tied")
    for name, head in tied:
        leaf = table(name).requires_grad_()
        scalar(head_outputs(head, name, features(), tied=leaf)).backward()
        if not carries(leaf):
            raise Seen("tied is True, but no gradient reaches the table of embeddings")
        unused = (leaf.grad == 0).all(dim=1).nonzero().flatten().tolist()
        if unused:
            raise Seen(f"row {unused[0]} of the table of embeddings is not used")


def the_source_counts_row_by_row(subject: HeadSubject) -> None:
    """With `sees_source`, what attention reads has an effect, on its own row and step alone."""
    seeing = [(name, part.build()) for name, part in subject.writing]
    seeing = [(name, head) for name, head in seeing if head.sees_source]
    if not seeing:
        raise Skipped("it does not see the source")
    for name, head in seeing:
        given = features()
        source, weights = source_read(given)
        leaf = weights.clone().requires_grad_()
        outputs = head_outputs(head, name, given, SourceRead(source, leaf))
        outputs[1, 2].square().sum().backward()
        reached = gradient_of(leaf) != 0
        if not reached[1, 2].all():
            raise Seen("no gradient reaches the attention weights of some positions")
        if int(reached.sum()) > reached.shape[-1]:
            raise Seen("attention weights of other rows or steps have an effect")
        other = source.clone()
        other[1] = source[1].roll(1)
        changed = head_outputs(head, name, given, SourceRead(other, weights))
        gaps = [gap_between(changed[row], outputs[row]) for row in range(NUM_ROWS)]
        if gaps[1] <= TINY:
            raise Seen("other symbols of the source change nothing")
        if max(gaps[:1] + gaps[2:]) > TINY:
            raise Seen("the symbols of a source change the outputs of other rows")


def the_features_and_every_weight_get_a_gradient(subject: HeadSubject) -> None:
    """Gradient reaches each feature, and no trained parameter is without effect."""
    for name, part in subject.writing:
        head, given = part.build(), features().requires_grad_()
        scalar(head_outputs(head, name, given)).backward()
        if not carries(given):
            raise Seen("no gradient reaches the features")
        unread = (given.grad == 0).all(dim=0).all(dim=0).nonzero().flatten().tolist()
        if unread:
            raise Seen(f"number {unread[0]} of the features has no influence")
        refuse_spare(check_gradients(head))


def the_heads_gradients_are_right(subject: HeadSubject) -> None:
    """Gradients are the derivatives, by finite differences: of features, table and weights."""
    for name, part in subject.writing:
        skip_surrogates(part.build())
        for mode, head in part.modes():
            given, leaf = features().requires_grad_(), table(name).requires_grad_()

            def outputs(
                head: Head = head, name: str = name, given: Tensor = given, leaf: Tensor = leaf
            ) -> Tensor:
                return head_outputs(seeded(head), name, given, tied=leaf)

            leaves = [("the features", given), *trained(head)]
            leaves += [("the table", leaf)] * head.tied
            check_derivatives(outputs, leaves, f"over {name}, in {mode}, ")


@torch.no_grad()
def nothing_stays_in_the_head(subject: HeadSubject) -> None:
    """Outputs do not depend on what was read before, which stays as it is, or on chance."""
    for name, part in subject.writing:
        head, given = part.build(), features()
        with unchanged({"the features": given}):
            first = head_outputs(head, name, given)
            head_outputs(head, name, features(7))
            if gap_between(head_outputs(head, name, given), first):
                raise Seen("the same features give other outputs at another call")


@torch.no_grad()
def the_head_saved_and_loaded_is_the_same(subject: HeadSubject) -> None:
    """A state dict holds all there is, and nothing computed from weights is kept."""
    for name, part in subject.writing:

        def outputs(head: Head, name: str = name) -> list[Tensor]:
            return [head_outputs(head.eval(), name, features())]

        check_saving(part.draw, outputs)
        check_following(part.draw, outputs)


HEAD_CHECKS = (
    what_the_decoder_asks_for_is_there,
    outputs_are_as_wide_as_their_distribution,
    values_have_a_density_around_their_means,
    unknown_settings_are_refused,
    it_is_built_without_computing,
    a_head_gives_logits_or_logarithms_of_probabilities,
    rows_and_steps_have_no_influence_on_each_other,
    every_output_of_the_head_changes,
    a_tied_table_is_used,
    the_source_counts_row_by_row,
    the_features_and_every_weight_get_a_gradient,
    the_heads_gradients_are_right,
    nothing_stays_in_the_head,
    the_head_saved_and_loaded_is_the_same,
    what_the_constructor_sets_is_what_training_starts_from,
)
