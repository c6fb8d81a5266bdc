"""What a recurrent cell is: it declares its state, gates and equations, and takes a step.

A cell is one layer in one direction. A cell of your own is a class that follows `Cell`, and a YAML
in `conf/encoder/cell` and `conf/decoder/cell` that names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from decoderlab.contract import State

# Left, right, and the shape of the left side, where it is not a vector (H,).
StepEquation = tuple[str, str] | tuple[str, str, int | tuple[int, ...]]


@runtime_checkable
class Cell(Protocol):
    """A recurrent layer in one direction: a module that is constructed with its two sizes.

    The constructor takes the keywords `input_size` and `hidden_size` (H) besides its own settings.
    If it takes `summary_size` too, the cell is for decoders that put the summary at the end of
    every input, and is given its width there (0 above the first layer). If it takes `num_layers`,
    `dropout` and `bidirectional` too, it is a fused kernel: a whole stack, in `sequence`.

    Most of a cell's declarations have a default that a class inherits from here.

    Args:
        has_cell: whether the state has a second vector `State.cell`, (H,), that bridges can fill.
        further_shapes: by name, the shapes of what else the state has, for one example:
            `State.further` in that order.
        gates: the gates, in the order of the rows of `from_input` and `from_state`, H rows each.
            The bias of one called `forget` begins with ones in Keras's scheme.
        from_input: how the names of the weights begin that multiply the input.
        from_state: how the names of the weights begin that multiply the state.
        gate_bias: how the names of the biases begin that are added to all gates; of two that are
            added to each other, the first.
        step_equations: what a step computes, left and right, and the shape of the left side where
            that is not (H,): a width, or the rows and columns of a matrix; {s} is the state before,
            {n} the state after, {x} the input, {k} and {l} an LSTM's cell before and after, {t} the
            step, {before} the step before.
        start_equations: by letter, what `start` makes of the first state {s}, where that is not 0.
        upper_layers: what the layers above the first compute.
    """

    INJECTED: ClassVar[Sequence[str]] = (
        "input_size",
        "hidden_size",
        "summary_size",
        "num_layers",
        "dropout",
        "bidirectional",
    )

    has_cell: ClassVar[bool] = False
    gates: ClassVar[Sequence[str]] = ()
    from_input: ClassVar[str] = "weight_ih"
    from_state: ClassVar[str] = "weight_hh"
    gate_bias: ClassVar[str] = "bias"
    upper_layers: ClassVar[str] = "the same"
    hidden_size: int

    @property
    def further_shapes(self) -> dict[str, tuple[int, ...]]:
        """Nothing, unless a class says otherwise."""
        return {}

    @property
    def step_equations(self) -> Sequence[StepEquation]:
        """The name of the class, unless a class says more."""
        return [("{n}", f"{type(self).__name__}({{x}}, {{s}})")]

    @property
    def start_equations(self) -> Mapping[str, str]:
        """Nothing: zeros, unless a class says otherwise."""
        return {}

    def start(self, state: State) -> tuple[Tensor, ...]:
        """Return what `State.further` begins with, where `state` is the rest: zeros.

        A cell whose steps do not read the hidden state writes that into the rest here.

        Shapes:
            state: (B, H) each. Returns (B, ...) each.
        """
        rows = state.hidden.shape[0]
        return tuple(state.hidden.new_zeros(rows, *shape) for shape in self.further_shapes.values())

    def project(self, inputs: Tensor) -> Tensor:
        """Map the inputs (B, T, I) of all steps at once, to (B, T, P) of any width P."""
        ...

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step: a step's part (B, P) of what `project` gave, a state of (B, ...) each."""
        ...


def as_module(cell: Cell) -> nn.Module:
    """Return a cell as the module that it is.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(cell, nn.Module):
        raise ValueError(
            f"the cell {type(cell).__name__} is not a torch module; let its class extend nn.Module"
        )
    return cell
