"""The checks of bridges; each is named after its requirement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from decoderlab.common.part_choice import Choice
from decoderlab.contract import Encoded, EncoderShape, State
from decoderlab.decoders.bridges import Bridge
from decoderlab.testing.derivatives import check_derivatives, skip_surrogates
from decoderlab.testing.differences import (
    TINY,
    Seen,
    carries,
    check_following,
    check_gradients,
    check_many_rows,
    check_saving,
    gap_between,
    gradient_of,
    scalar_of_all,
    seeded,
    unchanged,
)
from decoderlab.testing.encoder_outputs import (
    as_leaves,
    floats,
    mixed,
    padded,
    parts_of,
    rows_of,
    transformed,
    without_gradients,
)
from decoderlab.testing.initial_weights import (
    what_the_constructor_sets_is_what_training_starts_from,
)
from decoderlab.testing.part_subjects import PartSubject, refuse_spare, trained
from decoderlab.testing.subjects import (
    MANY_LENGTHS,
    it_is_built_without_computing,
    random_encoding,
    unknown_settings_are_refused,
)

HIDDEN_SIZE = 6
# Encoders by what they offer. Widths differ where that is taken; a bridge that copies wants equal.
WIDE, EQUAL = EncoderShape(5, 7, 8), EncoderShape(6, 6, 6)


@dataclass(frozen=True)
class StateParts:
    """What a state consists of; see `EncoderShape`."""

    num_layers: int = 0
    has_cell: bool = False
    further_shapes: tuple[tuple[int, ...], ...] = ()

    def of_width(self, widths: EncoderShape) -> EncoderShape:
        """Return the shape of an encoder with such a state, of these widths."""
        return EncoderShape(
            widths.memory_size,
            widths.summary_size,
            widths.state_size if self.num_layers else None,
            self.num_layers,
            self.has_cell,
            self.further_shapes,
        )


STATES = {
    "an LSTM's state": StateParts(1, has_cell=True),
    "a state of two layers": StateParts(2),
    "a state with more than hidden and cell": StateParts(1, True, ((2, 3),)),
    "no state": StateParts(),
}


@dataclass(frozen=True)
class Case:
    """A bridge between an encoder and a decoder, and what both are."""

    name: str
    subject: PartSubject[Bridge]
    shape: EncoderShape
    num_layers: int
    has_cell: bool

    def encoded(self, seed: int = 1) -> Encoded:
        """Return encodings of three sources, all of whose parts want a gradient."""
        return random_encoding(self.shape, seed=seed)


@dataclass(frozen=True)
class BridgeSubject(PartSubject[Bridge]):
    """A bridge class, and all that it can stand between: `cases`."""

    cases: tuple[Case, ...] = ()

    @classmethod
    def made(cls, make: Callable[..., Bridge], settings: Mapping[str, Any]) -> BridgeSubject:
        """Return the subject; what its constructor refuses by a ValueError is left out."""
        cases, refusal = [], ""
        for (name, state), num_layers, has_cell in _every_case():
            for widths in (WIDE, EQUAL):
                shape = state.of_width(widths)
                known = {
                    "encoder_shape": shape,
                    "hidden_size": HIDDEN_SIZE,
                    "num_layers": num_layers,
                    "has_cell": has_cell,
                    "further_shapes": state.further_shapes,
                }
                part = PartSubject.of(make, settings, known)
                title = f"from {name} to {num_layers} layers {'with' if has_cell else 'without'}"
                try:
                    part.build()
                except ValueError as error:
                    refusal = str(error)
                    continue
                cases.append(Case(f"{title} cell", part, shape, num_layers, has_cell))
                break
        if not cases:
            raise Seen(f"it refuses every encoder: {refusal}")
        first = cases[0].subject
        return cls(first.make, first.spaces, first.settings, tuple(cases))


def _every_case() -> Iterator[tuple[tuple[str, StateParts], int, bool]]:
    for state in STATES.items():
        for num_layers in (1, 2, 3):
            for has_cell in (True, False):
                yield state, num_layers, has_cell


@torch.no_grad()
def the_state_has_the_promised_shape(subject: BridgeSubject) -> None:
    """Hidden is (L, B, H), cell too where layers have one, else None; all are finite."""
    for case in subject.cases:
        for _, bridge in case.subject.modes():
            encoded = without_gradients(case.encoded())
            for rows in ([0, 1, 2], [1]):
                state = bridge(rows_of(encoded, rows))
                _check_state(case, state, len(rows))


def _check_state(case: Case, state: Any, num_rows: int) -> None:
    if not isinstance(state, State):
        raise Seen(f"{case.name}, it returns {type(state).__name__}, promised is a State")
    promised = (case.num_layers, num_rows, HIDDEN_SIZE)
    if (state.cell is not None) != case.has_cell:
        there = "no cell state, which the decoder's layers have"
        if state.cell is not None:
            there = "a cell state, which the decoder's layers do not have"
        raise Seen(f"{case.name}, there is {there}; see `has_cell`")
    if state.further:
        _check_further(case, state, num_rows)
    for part in parts_of(state._replace(further=())):
        if tuple(part.shape) != promised:
            shape = tuple(part.shape)
            raise Seen(f"{case.name}, a part has shape {shape}, promised is {promised} (L, B, H)")
        if not part.isfinite().all():
            raise Seen(f"{case.name}, the state is not finite")


def _check_further(case: Case, state: State, num_rows: int) -> None:
    promised = [(case.num_layers, num_rows, *shape) for shape in case.shape.further_shapes]
    if not getattr(case.subject.make, "carries_further", False):
        raise Seen(
            f"{case.name}, `further` is filled; the cell itself begins with it, unless the bridge "
            "says carries_further = True"
        )
    shapes = [tuple(part.shape) for part in state.further]
    if shapes != promised:
        raise Seen(f"{case.name}, `further` has shapes {shapes}, promised are {promised}")
    if not all(part.isfinite().all() for part in state.further):
        raise Seen(f"{case.name}, the state is not finite")


def it_reads_what_it_says(subject: BridgeSubject) -> None:
    """Gradient reaches exactly what `reads` names: state, summary, memory, its first position."""
    for case in subject.cases:
        bridge, encoded = case.subject.build(), case.encoded()
        loss = scalar_of_all(parts_of(bridge(encoded)))
        if loss.requires_grad:
            loss.backward()
        names = {"state": any(map(carries, parts_of(encoded.state)))}
        names |= {"summary": carries(encoded.summary), "memory": carries(encoded.memory)}
        reached = [name for name, there in names.items() if there]
        if bridge.reads == "first position" and names["memory"]:
            later = gradient_of(encoded.memory)[:, 1:]
            reached = ["first position" if name == "memory" else name for name in reached]
            if later.any():
                raise Seen(
                    f"{case.name}, it reads the memory behind its first position, but it says that "
                    "it reads the first position; `reads` is memory then"
                )
        declared = [] if bridge.reads is None else [bridge.reads]
        if reached != declared:
            raise Seen(
                f"{case.name}, gradient reaches {', '.join(reached) or 'nothing'}, but it says "
                f"that it reads {bridge.reads or 'nothing'}"
            )


def it_needs_its_route_exactly_if_it_carries_the_encoding(subject: BridgeSubject) -> None:
    """`needs_route` is True for what reads the whole source, so that the route can be off."""
    for case in subject.cases:
        bridge = case.subject.build()
        needs = Choice(case.subject.make).stated("needs_route")(case.subject.settings)
        carrying = bridge.reads not in (None, "first position")
        if needs != carrying:
            raise Seen(f"{case.name}, it reads {bridge.reads}, but needs_route is {needs}")


@torch.no_grad()
def rows_of_a_bridge_have_no_influence_on_each_other(subject: BridgeSubject) -> None:
    """A row gives the same alone and beside others, in evaluation and in training."""
    for case in subject.cases:
        encoded = without_gradients(case.encoded())
        other = without_gradients(case.encoded(seed=3))
        together = case.subject.build()(encoded)
        for row in range(3):
            alone = case.subject.build()(rows_of(encoded, [row]))
            gap = _gap(alone, together.map(lambda part, row=row: part[:, row : row + 1]))
            if gap > TINY:
                raise Seen(f"{case.name}, row {row} alone and in its batch differ by {gap:.1e}")
        for mode, bridge in case.subject.modes():
            before = seeded(bridge)(encoded).map(lambda part: part[:, 1])
            mates = mixed(torch.arange(3) == 1, encoded, other)
            gap = _gap(seeded(bridge)(mates).map(lambda part: part[:, 1]), before)
            if gap > TINY:
                raise Seen(f"{case.name}, in {mode}, other rows change a row by {gap:.1e}")
    case = subject.cases[0]
    bridge, many = case.subject.build(), random_encoding(case.shape, lengths=MANY_LENGTHS)
    many = without_gradients(many)

    def outputs(rows: Sequence[Tensor]) -> list[Tensor]:
        state = bridge(rows_of(many, rows[0].tolist()))
        return parts_of(state.map(lambda part: part.transpose(0, 1)))

    check_many_rows(outputs, [torch.arange(len(MANY_LENGTHS))])


@torch.no_grad()
def padding_of_the_memory_has_no_influence(subject: BridgeSubject) -> None:
    """More masked positions, or other contents there, change nothing."""
    for case in subject.cases:
        bridge, encoded = case.subject.build(), without_gradients(case.encoded())
        expected = bridge(encoded)
        gap = _gap(bridge(padded(encoded, 4)), expected)
        if gap > TINY:
            raise Seen(f"{case.name}, 4 more masked positions change the state by {gap:.1e}")
        rubbish = torch.where(encoded.memory_mask.unsqueeze(-1), encoded.memory, 9.0)
        gap = _gap(bridge(encoded._replace(memory=rubbish)), expected)
        if gap > TINY:
            raise Seen(f"{case.name}, what stands at padding changes the state by {gap:.1e}")


@torch.no_grad()
def nothing_stays_in_the_bridge(subject: BridgeSubject) -> None:
    """The state does not depend on what was read before, and is drawn from nothing."""
    for case in subject.cases:
        bridge, encoded = case.subject.build(), without_gradients(case.encoded())
        first = bridge(encoded)
        bridge(without_gradients(case.encoded(seed=3)))
        if _gap(bridge(encoded), first):
            raise Seen(f"{case.name}, the same encoding gives another state at another call")


@torch.no_grad()
def what_a_bridge_is_given_stays_as_it_is(subject: BridgeSubject) -> None:
    """The encoding is not changed in place, and may be changed without the state noticing."""
    for case in subject.cases:
        encoded, named = without_gradients(case.encoded()), {}

        def note(tensor: Tensor, axis: int, named: dict = named) -> Tensor:
            named[f"the encoding (its tensor {len(named)})"] = tensor
            return tensor

        transformed(encoded, note)
        with unchanged(named):
            case.subject.build()(encoded)


def every_weight_of_the_bridge_gets_a_finite_gradient(subject: BridgeSubject) -> None:
    """No trained parameter is without effect, whatever the layers."""
    for case in subject.cases:
        bridge = case.subject.build()
        loss = scalar_of_all(parts_of(bridge(case.encoded())))
        if loss.requires_grad:
            loss.backward()
        try:
            refuse_spare(check_gradients(bridge))
        except Seen as seen:
            raise Seen(f"{case.name}, {seen}") from None


def the_bridges_gradients_are_right(subject: BridgeSubject) -> None:
    """Gradients are the derivatives, by finite differences: of the encoding and the weights."""
    for case in subject.cases:
        skip_surrogates(case.subject.build())
        for mode, bridge in case.subject.modes():
            encoded = as_leaves(case.encoded())

            def outputs(bridge: Bridge = bridge, encoded: Encoded = encoded) -> Tensor:
                return torch.cat([part.flatten() for part in parts_of(seeded(bridge)(encoded))])

            names = ["the memory", "the summary"] + ["the state"] * len(parts_of(encoded.state))
            leaves = [*zip(names, floats(encoded), strict=True), *trained(bridge)]
            check_derivatives(outputs, leaves, f"{case.name}, in {mode}, ")


@torch.no_grad()
def the_bridge_saved_and_loaded_is_the_same(subject: BridgeSubject) -> None:
    """A state dict holds all there is, and nothing computed from weights is kept."""
    for case in subject.cases:
        encoded = without_gradients(case.encoded())

        def outputs(bridge: Bridge, encoded: Encoded = encoded) -> list[Tensor]:
            return parts_of(bridge.eval()(encoded))

        check_saving(case.subject.draw, outputs)
        check_following(case.subject.draw, outputs)


def _gap(state: State, other: State) -> float:
    return max(map(gap_between, parts_of(state), parts_of(other)))


BRIDGE_CHECKS = (
    the_state_has_the_promised_shape,
    unknown_settings_are_refused,
    it_is_built_without_computing,
    it_reads_what_it_says,
    it_needs_its_route_exactly_if_it_carries_the_encoding,
    rows_of_a_bridge_have_no_influence_on_each_other,
    padding_of_the_memory_has_no_influence,
    nothing_stays_in_the_bridge,
    what_a_bridge_is_given_stays_as_it_is,
    every_weight_of_the_bridge_gets_a_finite_gradient,
    the_bridges_gradients_are_right,
    the_bridge_saved_and_loaded_is_the_same,
    what_the_constructor_sets_is_what_training_starts_from,
)
