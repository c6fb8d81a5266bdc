"""The recurrent layers that encoders and decoders are built of, behind one call."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.common import require
from decoderlab.common.part_choice import Choice
from decoderlab.contract import State
from decoderlab.layers.cells import Cell, as_module
from decoderlab.layers.equations import Equation, count
from decoderlab.layers.pooling import length_mask
from decoderlab.layers.unfused_cells import ParallelCell
from decoderlab.layers.zoneout import ZonedOut


class Layer(Protocol):
    """A layer of a stack, in one or both directions; a kernel may hold several."""

    def sequence(
        self, inputs: Tensor, state: State, lengths: Tensor | None
    ) -> tuple[Tensor, State]:
        """Run all T steps."""
        ...


class RecurrentLayers(nn.Module):
    """A stack of recurrent layers with one signature for all cells.

    Paper: residual connections between layers, Wu et al. 2016, eq. 6
        (https://arxiv.org/abs/1609.08144); zoneout, Krueger et al. 2017, section 3.1
        (https://arxiv.org/abs/1606.01305); dropout with a mask for all steps, Gal and Ghahramani
        2016, section 4.1 (https://arxiv.org/abs/1512.05287).
    Differs: one probability of zoneout for hidden and cell, none for what else a cell keeps; the
        mask is on the inputs of layers alone, while that paper drops numbers of the state too: in
        cells that hand their state on (GRU), as ours may, that would change the memory itself. A
        cell that has no fused kernel is a loop over the steps, which is slower; with zoneout all
        cells are.

    Args:
        cell: a class of `decoderlab.layers`, or one of your own, see `Cell`.
        input_size: width of the input, 0 for a stack that is driven by its state alone.
        hidden_size: width H of each layer and direction.
        num_layers: layers L, at least 1.
        dropout: between the layers, 0 to 1; none after the last.
        bidirectional: whether a second stack reads from the end.
        residual: whether a layer's input is added to its output, from the second layer on.
        zoneout: probability that a number of hidden or cell stays as it was before a step, 0 to 1;
            in evaluation, the mean of both.
        variational_dropout: on the inputs of all layers, 0 to 1, with one mask for all steps.
        summary_size: how many numbers at the end of the input are the summary, for a cell that
            asks for it.

    Shapes:
        inputs: (B, T, input_size); state: (L, B, ...) each, or None for zeros; without
        `State.further`, see `begin`. lengths: (B,) int64 on the CPU, or None where all rows have T
        steps. masks: (B, sum of the layers' input widths), see `input_masks`.
        Returns outputs (B, T, H), or (B, T, 2H) with both directions, zeros after a row's end,
        and the state after each row's last step, (L, B, ...) or (2L, B, ...) each.

    Raises:
        ValueError: for a cell that is not a class, or a size out of range.
    """

    def __init__(
        self,
        *,
        cell: Callable[..., Cell],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
        residual: bool = False,
        summary_size: int = 0,
        zoneout: float = 0.0,
        variational_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _refuse_no_class(cell)
        require.at_least("hidden_size", hidden_size, 1)
        require.at_least("num_layers", num_layers, 1)
        require.ratio("dropout", dropout)
        require.ratio("zoneout", zoneout)
        require.ratio("variational_dropout", variational_dropout)
        if residual and num_layers == 1:
            raise ValueError("residual is true, but there is one layer; take num_layers=2 or more")
        self.hidden_size, self.num_layers = hidden_size, num_layers
        self.num_directions = 2 if bidirectional else 1
        self.residual, self.zoneout = residual, zoneout
        self.variational_dropout = variational_dropout
        # torch refuses an input of width 0; one constant zero in its place changes no output, and
        # the weights that would multiply it are frozen, so that nobody counts them.
        self.input_size = input_size
        self.widths = widths = [max(input_size, 1)]
        widths += [hidden_size * self.num_directions] * (num_layers - 1)
        self.dropout = dropout if num_layers > 1 else 0.0
        if Choice.of(cell).takes("num_layers") and not zoneout:
            # The kernel knows how to stack layers, but not to add or mask their inputs.
            single = residual or bool(variational_dropout)
            depth = 1 if single else num_layers
            kernel = functools.partial(
                cell,
                hidden_size=hidden_size,
                num_layers=depth,
                dropout=self.dropout if depth > 1 else 0.0,
                bidirectional=bidirectional,
            )
            inputs = widths if single else widths[:1]
            self.layers = nn.ModuleList(as_module(kernel(input_size=width)) for width in inputs)
        else:
            self.layers = nn.ModuleList(
                UnfusedLayer(
                    cell=cell,
                    input_size=width,
                    hidden_size=hidden_size,
                    summary_size=0 if level else summary_size,
                    bidirectional=bidirectional,
                    zoneout=zoneout,
                )
                for level, width in enumerate(widths)
            )
        self._declare()

    def _declare(self) -> None:
        if self.input_size == 0:
            self._freeze_input_weights()
        first = self.cell_of(0, 0)
        self.has_cell = first.has_cell
        self.further_shapes = tuple(tuple(shape) for shape in first.further_shapes.values())

    def input_masks(self, like: Tensor) -> Tensor | None:
        """Draw what the inputs of a sequence are multiplied by; None in evaluation, or without.

        Whoever trains step by step draws them once for `like` (B, ...) and hands them to each step.
        """
        if not (self.training and self.variational_dropout):
            return None
        whole = like.new_ones(len(like), sum(self.widths))
        return functional.dropout(whole, self.variational_dropout)

    def forward(
        self,
        inputs: Tensor,
        state: State | None = None,
        lengths: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Run the stack over all T steps."""
        if masks is None:
            masks = self.input_masks(inputs)
        of_layer = None if masks is None else masks.unsqueeze(1).split(self.widths, dim=-1)
        if self.input_size == 0:
            inputs = inputs.new_zeros(*inputs.shape[:2], 1)
        if state is None:
            rows = self.num_layers * self.num_directions
            zeros = inputs.new_zeros(rows, inputs.shape[0], self.hidden_size)
            state = State(zeros, zeros if self.has_cell else None)
        state = self.begin(state)
        layers = cast(
            "Sequence[Layer]", self.layers
        )  # torch's list says only that it is of modules
        if len(layers) == 1:
            inputs = inputs if of_layer is None else inputs * of_layer[0]
            return layers[0].sequence(inputs, state, lengths)
        last = []
        for level, layer in enumerate(layers):
            if level:
                inputs = functional.dropout(inputs, self.dropout, self.training)
            own = state.map(lambda part, level=level: part[self._rows(level)])
            read = inputs if of_layer is None else inputs * of_layer[level]
            outputs, after = layer.sequence(read, own, lengths)
            last.append(after)
            inputs = outputs + inputs if self.residual and level else outputs
        return inputs, last[0].map(lambda *parts: torch.cat(parts), *last[1:])

    def begin(self, state: State) -> State:
        """Return a state of hidden and cell with what else the cells keep, as they begin it."""
        if len(state.further) == len(self.further_shapes):
            return state
        rows = []
        for row in range(self.num_layers * self.num_directions):
            own = state.map(lambda part, row=row: part[row])
            rows.append(self.cell_of(*divmod(row, self.num_directions)).start(own))
        return state._replace(
            further=tuple(torch.stack(parts) for parts in zip(*rows, strict=True))
        )

    def equations(
        self, state: str, inputs: str, step: str = "t", *, repeated: bool = False
    ) -> list[Equation]:
        """Return what a step computes, from the letters of the state, the input and the step.

        Where another stack repeats the lines, they are those of a stack that has an input.
        """
        before = f"{step}-1"
        letters = {"s": f"{state}_{{{before}}}", "n": f"{state}_{step}", "x": inputs}
        letters |= {"k": f"k_{{{before}}}", "l": f"k_{step}", "t": step, "before": before}
        cell = self.cell_of(0, 0)
        lines = [
            Equation(left.format(**letters), right.format(**letters), math.prod(shape))
            for left, right, shape in self._step_equations()
        ]
        once = self.num_layers == 1 and not repeated
        if self.input_size == 0 and once:  # there is no input to multiply
            product = rf"W(_\w)? {re.escape(inputs)}( / sqrt\(\d+\))? \+ "
            lines = [
                line._replace(
                    right=re.sub(product, "", line.right).replace(f"LN(W {inputs})", "LN(0)")
                )
                for line in lines
            ]
        if self.zoneout:
            both = f"{letters['n']} and {letters['l']}" if self.has_cell else letters["n"]
            kept = f"{both}: {self.zoneout:g} of what it was + {1 - self.zoneout:g} of what it is"
            lines.append(Equation("zoneout", f"{kept}, in training the whole of either"))
        if self.num_layers > 1:
            lines.append(
                Equation(
                    f"layers 2..{self.num_layers}",
                    f"{cell.upper_layers}, the layer below as {inputs}",
                    self.hidden_size,
                )
            )
        both = self.num_directions == 2
        if both:
            lines.append(Equation("backward", f"the same, from the end: {step}+1 for {before}", ""))
        if self.residual:
            read = letters["n"]
            read = f"[forward {read}; backward {read}]" if both else read
            right = f"{read} in layer 1, {inputs} + {read} in the others"
            lines.append(Equation(f"o_{step}", right, self.hidden_size * self.num_directions))
        lines[0] = lines[0]._replace(parameters=count(self))
        if self.input_size == 0 and not once:
            lines.insert(0, Equation(inputs, "0 in layer 1, which has no input", 0))
        return lines

    def further_equations(self, first: str = "0") -> list[Equation]:
        """Return the lines for what is neither hidden nor cell; `first` is the first state."""
        starts = {} if first == "0" else self.cell_of(0, 0).start_equations
        known = {"{n}", "{l}"} if self.has_cell else {"{n}"}
        lines = []
        for left, _, shape in self._step_equations():
            if left in known or not left.endswith(("_{t}", "{l}")):
                continue
            zeros = "0" if len(shape) == 1 else "0, {} rows of {}".format(*shape)
            letter = left.format(l="k", t="").rstrip("_")
            right = starts.get(letter, zeros).format(s=first)
            lines.append(Equation(f"{letter}_0", right, math.prod(shape)))
        return lines

    def _step_equations(self) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        for left, right, *rest in self.cell_of(0, 0).step_equations:
            shape = rest[0] if rest else self.hidden_size
            yield left, right, shape if isinstance(shape, tuple) else (shape,)

    def _freeze_input_weights(self) -> None:
        for direction in range(self.num_directions):
            cell = self.cell_of(0, direction)
            for name, parameter in as_module(cell).named_parameters():
                upper = re.search(r"_l[1-9]", name)  # of a kernel that stacks layers
                if name.startswith(cell.from_input) and parameter.dim() > 1 and not upper:
                    parameter.requires_grad_(False)

    def _rows(self, level: int) -> slice:
        return slice(level * self.num_directions, (level + 1) * self.num_directions)

    def cell_of(self, level: int, direction: int) -> Cell:
        """Return the cell of a layer and direction; a kernel stands for all of its own."""
        layer = self.layers[min(level, len(self.layers) - 1)]
        return layer.cell_of(direction) if isinstance(layer, UnfusedLayer) else cast("Cell", layer)


def _refuse_no_class(cell: object) -> None:
    if not callable(cell):
        raise ValueError(f"cell is {cell!r}; it must be a class, such as decoderlab.layers.LSTM")


class UnfusedLayer(nn.Module):
    """One layer of a cell without a kernel in one or both directions, as a loop over the steps."""

    def __init__(
        self,
        *,
        cell: Callable[..., Cell],
        input_size: int,
        hidden_size: int,
        summary_size: int,
        bidirectional: bool,
        zoneout: float = 0.0,
    ) -> None:
        super().__init__()
        self.zoneout = zoneout
        sizes = {"input_size": input_size, "hidden_size": hidden_size}
        if Choice.of(cell).takes("summary_size"):
            sizes["summary_size"] = summary_size
        self.cells = nn.ModuleList(
            as_module(cell(**sizes)) for _ in range(2 if bidirectional else 1)
        )

    def cell_of(self, direction: int) -> Cell:
        """Return the cell that reads forwards, 0, or backwards, 1."""
        return cast("Cell", self.cells[direction])

    def sequence(
        self, inputs: Tensor, state: State, lengths: Tensor | None
    ) -> tuple[Tensor, State]:
        """Run all T steps; with `lengths` (B,), a row's state stays as it is after its end."""
        outputs, last = [], []
        for direction in range(len(self.cells)):
            first = state.map(lambda part, row=direction: part[row])
            cell = self.cell_of(direction)
            if self.zoneout:
                cell = ZonedOut(cell, self.zoneout, self.training)
            read, after = _run(cell, inputs, first, lengths, backward=direction == 1)
            outputs.append(read)
            last.append(after)
        return torch.cat(outputs, dim=-1), last[0].map(lambda *parts: torch.stack(parts), *last[1:])


def _run(
    cell: Cell | ZonedOut, inputs: Tensor, state: State, lengths: Tensor | None, backward: bool
) -> tuple[Tensor, State]:
    order = None
    if backward:
        num_steps = inputs.shape[1]
        whole = torch.full(inputs.shape[:1], num_steps) if lengths is None else lengths.cpu()
        order = reversed_positions(whole, num_steps).to(inputs.device)
        inputs = in_order(inputs, order)
    outputs = []
    reached = None if lengths is None else length_mask(lengths, inputs.shape[1], inputs.device)
    if isinstance(cell, ParallelCell):
        stacked, state = cell.all_steps(cell.project(inputs), state, reached)
        stacked = stacked if reached is None else stacked * reached.unsqueeze(-1)
        return (stacked if order is None else in_order(stacked, order)), state
    for step, projected in enumerate(cell.project(inputs).unbind(dim=1)):
        new = cell.advance(projected, state)
        output = new.hidden
        if reached is not None:
            real = reached[:, step]
            output = output * real.unsqueeze(-1)
            new = new.map(lambda after, before, real=real: _choose(real, after, before), state)
        state = new
        outputs.append(output)
    stacked = torch.stack(outputs, dim=1)
    return (stacked if order is None else in_order(stacked, order)), state


def _choose(rows: Tensor, after: Tensor, before: Tensor) -> Tensor:
    """Return `after` (B, ...) in the rows (B,) that are True, `before` in the others."""
    return torch.where(rows.view(-1, *[1] * (after.dim() - 1)), after, before)


def reversed_positions(lengths: Tensor, num_positions: int) -> Tensor:
    """Return (B, S) indices that reverse the first `lengths[b]` positions and keep the padding."""
    positions = torch.arange(num_positions)
    flipped = lengths.unsqueeze(1) - 1 - positions
    return torch.where(flipped >= 0, flipped, positions)


def in_order(values: Tensor, order: Tensor) -> Tensor:
    """Return (B, S) or (B, S, F) values with their positions in another order (B, S)."""
    if values.dim() == 3:
        order = order.unsqueeze(-1).expand_as(values)
    return values.gather(1, order)


def side_by_side(state: Tensor, num_directions: int) -> Tensor:
    """Turn torch's (L * directions, B, H, ...) into (L, B, directions * H, ...)."""
    if num_directions == 1:
        return state
    return torch.cat([state[0::2], state[1::2]], dim=2)
