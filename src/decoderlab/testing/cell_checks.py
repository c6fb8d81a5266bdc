"""The checks of recurrent cells; each is named after its requirement."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from decoderlab.common.part_choice import Choice
from decoderlab.contract import State
from decoderlab.layers.cells import Cell
from decoderlab.layers.recurrent_stack import RecurrentLayers
from decoderlab.testing.checked_modules import CellModule
from decoderlab.testing.derivatives import check_derivatives, skip_surrogates
from decoderlab.testing.differences import (
    Seen,
    check_generators,
    check_gradients,
    check_many_rows,
    check_saving,
    gap_between,
    scalar_of_all,
)
from decoderlab.testing.encoder_outputs import parts_of
from decoderlab.testing.initial_weights import (
    what_the_constructor_sets_is_what_training_starts_from,
)
from decoderlab.testing.subjects import Subject, unknown_settings_are_refused

TINY = 1e-10
INPUT_SIZE, HIDDEN_SIZE, NUM_STEPS, SUMMARY_SIZE = 3, 4, 5, 2
SIZES = {"input_size": INPUT_SIZE, "hidden_size": HIDDEN_SIZE}
LENGTHS = torch.tensor([3, 5, 1])


@dataclass(frozen=True)
class CellSubject(Subject[CellModule]):
    """A cell class: `build` gives a cell, `stack` layers of it in one or both directions."""

    def stack(self, *, num_layers: int = 1, bidirectional: bool = False) -> RecurrentLayers:
        """Return layers of the cell, in evaluation mode; the same weights each time."""
        summary_size = SUMMARY_SIZE if Choice.of(self.make).takes("summary_size") else 0
        sizes = {"num_layers": num_layers, "bidirectional": bidirectional}
        settings = {"cell": functools.partial(self.make, **self.settings), **sizes}
        whole = Subject(RecurrentLayers, self.spaces, settings | {"summary_size": summary_size})
        return whole.build()

    def inputs(self, seed: int = 1) -> Tensor:
        """Return the inputs of three rows, (3, T, I)."""
        return _normal(len(LENGTHS), NUM_STEPS, INPUT_SIZE, seed=seed)

    def state(self, cell: Cell, seed: int = 2) -> State:
        """Return a state of three rows that is not the initial state, (3, ...) each."""
        shapes = [(HIDDEN_SIZE,)] * (1 + cell.has_cell) + list(cell.further_shapes.values())
        parts = [
            _normal(len(LENGTHS), *shape, seed=seed + number) for number, shape in enumerate(shapes)
        ]
        if not cell.has_cell:
            return State(parts[0], None, tuple(parts[1:]))
        return State(parts[0], parts[1], tuple(parts[2:]))


def a_step_returns_the_state_that_is_declared(subject: CellSubject) -> None:
    """A step, the first state and the whole layer have the parts and shapes declared."""
    cell, inputs = subject.build(), subject.inputs()
    state = subject.state(cell)
    declared = _shapes(state)
    shapes = _shapes(cell.advance(cell.project(inputs)[:, 0], state))
    if shapes != declared:
        raise Seen(f"a step returns a state of shapes {shapes}, declared are {declared}")
    first = _shapes(state._replace(further=cell.start(state._replace(further=()))))
    if first != declared:
        raise Seen(f"`start` gives a state of shapes {first}, declared are {declared}")


def steps_are_the_sequence(subject: CellSubject) -> None:
    """The layer gives what single steps give, whether or not it has a kernel."""
    layers, inputs = subject.stack(), subject.inputs()
    cell = layers.cell_of(0, 0)
    outputs, last = layers(inputs, _with_layer(subject.state(cell)))
    state, single = subject.state(cell), []
    for step in range(NUM_STEPS):
        state = cell.advance(cell.project(inputs[:, step : step + 1])[:, 0], state)
        single.append(state.hidden)
    gap = max(gap_between(outputs, torch.stack(single, dim=1)), _gap(last, _with_layer(state)))
    if gap > TINY:
        raise Seen(
            f"single steps and the sequence differ by {gap:.1e}; does a kernel order the gates, or "
            "add the biases, in another way?"
        )


def a_sequence_can_be_cut(subject: CellSubject) -> None:
    """Going on from the state after two steps gives the rest: the state is all there is."""
    layers, inputs = subject.stack(num_layers=2), subject.inputs()
    outputs, last = layers(inputs)
    first, state = layers(inputs[:, :2])
    second, end = layers(inputs[:, 2:], state)
    gap = max(gap_between(outputs, torch.cat([first, second], dim=1)), _gap(last, end))
    if gap > TINY:
        raise Seen(
            f"in two pieces a sequence gives something else, by {gap:.1e}; all that a step needs "
            "of the steps before belongs into the state"
        )


def rows_that_have_ended_keep_their_state(subject: CellSubject) -> None:
    """Padding changes neither state nor outputs, in one or both directions."""
    for bidirectional in (False, True):
        layers, inputs = subject.stack(bidirectional=bidirectional), subject.inputs()
        outputs, last = layers(inputs, lengths=LENGTHS)
        for row, length in enumerate(LENGTHS.tolist()):
            alone, state = layers(inputs[row : row + 1, :length])
            mine = last.map(lambda part, row=row: part[:, row : row + 1])
            gap = max(gap_between(outputs[row : row + 1, :length], alone), _gap(mine, state))
            if gap > TINY:
                raise Seen(f"padding changes a row of {length} steps by {gap:.1e}")
            if outputs[row, length:].any():
                raise Seen("outputs are not zero at padding")


def a_cells_batch_mates_have_no_influence(subject: CellSubject) -> None:
    """A row gives the same beside other rows, in evaluation and in training."""
    for layers in (subject.stack(), subject.stack().train()):
        inputs, other = subject.inputs(), subject.inputs(seed=9)
        torch.default_generator.manual_seed(0)
        expected, state = layers(inputs)
        other[1] = inputs[1]
        torch.default_generator.manual_seed(0)
        outputs, after = layers(other)
        gap = gap_between(outputs[1], expected[1])
        gap = max(gap, _gap(after.map(lambda part: part[:, 1]), state.map(lambda part: part[:, 1])))
        if gap > TINY:
            raise Seen(f"other batch mates change a row by {gap:.1e}")
    layers = subject.stack()

    def rows(given: Sequence[Tensor]) -> list[Tensor]:
        every, last = layers(given[0])
        return [every, *parts_of(last.map(lambda part: part.transpose(0, 1)))]

    check_many_rows(rows, [_normal(40, NUM_STEPS, INPUT_SIZE, seed=4)])


def a_step_changes_nothing_in_place(subject: CellSubject) -> None:
    """The state that a step was given can be used again, as a beam search does."""
    cell, inputs = subject.build(), subject.inputs()
    state, projected = subject.state(cell), cell.project(inputs)[:, 0].detach()
    before, was = state.map(Tensor.clone), projected.clone()
    cell.advance(projected, state)
    if _gap(state, before) or gap_between(projected, was):
        raise Seen("a step changes its arguments in place; work on a copy of what was handed in")


def every_part_of_the_state_has_influence(subject: CellSubject) -> None:
    """Each part that is declared changes the steps that follow; hidden may do so by `start`."""
    layers, inputs = subject.stack(), subject.inputs()
    state = _with_layer(subject.state(layers.cell_of(0, 0)))
    expected, _ = layers(inputs, state)
    for number in range(len(parts_of(state))):
        counter = iter(range(len(parts_of(state))))
        changed = state.map(lambda part, n=number, c=counter: part + 3 * (next(c) == n))
        gap = gap_between(layers(inputs, changed)[0], expected)
        if number == 0 and state.further:
            bare, changed = (each._replace(further=()) for each in (state, changed))
            gap = max(gap, gap_between(layers(inputs, changed)[0], layers(inputs, bare)[0]))
        if not gap:
            raise Seen(f"part {number} of the state (hidden first) changes nothing")


def every_weight_of_the_cell_gets_a_finite_gradient(subject: CellSubject) -> None:
    """No trained parameter is without effect, in either direction."""
    layers = subject.stack(bidirectional=True)
    outputs, last = layers(subject.inputs())
    scalar_of_all([outputs, *parts_of(last)]).backward()
    without = check_gradients(layers)
    if without:
        raise Seen(f"{without[0]} gets no gradient; leave it out, or freeze it")


def the_cells_gradients_are_right(subject: CellSubject) -> None:
    """Gradients are the derivatives, by finite differences: of inputs, state and weights."""
    layers, inputs = subject.stack(), subject.inputs()[:, :3].requires_grad_()
    skip_surrogates(layers)
    state = _with_layer(subject.state(layers.cell_of(0, 0))).map(Tensor.requires_grad_)
    leaves = [("the inputs", inputs)]
    leaves += [(f"part {number} of the state", part) for number, part in enumerate(parts_of(state))]
    leaves += [parameter for parameter in layers.named_parameters() if parameter[1].requires_grad]

    def outputs() -> Tensor:
        every, last = layers(inputs, state)
        return torch.cat([every.flatten(), *(part.flatten() for part in parts_of(last))])

    check_derivatives(outputs, leaves)


def weights_are_named_by_what_they_multiply(subject: CellSubject) -> None:
    """Those that begin with `from_input` multiply the input, those with `from_state` the state."""
    for attribute, zero in (("from_input", "inputs"), ("from_state", "state")):
        cell = subject.build()
        inputs, state = subject.inputs()[:, :1], subject.state(cell)
        if zero == "inputs":
            inputs = torch.zeros_like(inputs)
        else:
            state = state.map(torch.zeros_like)
        after = parts_of(cell.advance(cell.project(inputs)[:, 0], state))
        scalar_of_all(part for part in after if part.requires_grad).backward()
        for name, weight in cell.named_parameters():
            named = name.startswith(getattr(cell, attribute)) and weight.dim() > 1
            if named and weight.grad is not None and weight.grad.any():
                raise Seen(f"{attribute} says that {name} multiplies the {zero}, which it does not")


def both_directions_are_two_cells(subject: CellSubject) -> None:
    """The second direction reads from the end: on a source turned around it is the first."""
    layers, inputs = subject.stack(bidirectional=True), subject.inputs()
    outputs, _ = layers(inputs)
    backward = outputs[..., HIDDEN_SIZE:]
    other = inputs.clone()
    other[:, -1] += 1
    changed = layers(other)[0]
    if not gap_between(changed[:, 0, HIDDEN_SIZE:], backward[:, 0]):
        raise Seen("the last step does not reach the backward outputs of the first")
    if gap_between(changed[:, :-1, :HIDDEN_SIZE], outputs[:, :-1, :HIDDEN_SIZE]) > TINY:
        raise Seen("the last step reaches the forward outputs before it")


def the_cell_saved_and_loaded_is_the_same(subject: CellSubject) -> None:
    """A state dict holds all there is."""
    inputs = subject.inputs()

    def outputs(cell: CellModule) -> list[Tensor]:
        return parts_of(cell.eval().advance(cell.project(inputs)[:, 0], subject.state(cell)))

    with torch.no_grad():
        check_saving(subject.draw, outputs)
        check_generators(subject.build(), outputs)


CELL_CHECKS = (
    a_step_returns_the_state_that_is_declared,
    unknown_settings_are_refused,
    steps_are_the_sequence,
    a_sequence_can_be_cut,
    rows_that_have_ended_keep_their_state,
    a_cells_batch_mates_have_no_influence,
    a_step_changes_nothing_in_place,
    every_part_of_the_state_has_influence,
    every_weight_of_the_cell_gets_a_finite_gradient,
    the_cells_gradients_are_right,
    weights_are_named_by_what_they_multiply,
    both_directions_are_two_cells,
    the_cell_saved_and_loaded_is_the_same,
    what_the_constructor_sets_is_what_training_starts_from,
)


def _normal(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _shapes(state: State) -> tuple:
    cell = None if state.cell is None else tuple(state.cell.shape)
    return tuple(state.hidden.shape), cell, tuple(tuple(part.shape) for part in state.further)


def _with_layer(state: State) -> State:
    return state.map(lambda part: part.unsqueeze(0))


def _gap(state: State, other: State) -> float:
    return max(map(gap_between, parts_of(state), parts_of(other)))
