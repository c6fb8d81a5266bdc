"""Recurrent layers as a scan over the steps, which a program of any number of steps can hold."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch.utils import _pytree as pytree

from decoderlab.contract import State
from decoderlab.layers.cells import Cell
from decoderlab.layers.recurrent_stack import RecurrentLayers, UnfusedLayer
from decoderlab.layers.zoneout import ZonedOut


def scanned(model: nn.Module) -> nn.Module:
    """Return a copy of a module in which every recurrent layer is a scan; the weights are shared.

    Args:
        model: of ours or of anybody's; what is no `RecurrentLayers` stays as it is.
    """
    weights = list(model.parameters()) + list(model.buffers())
    model = copy.deepcopy(model, {id(weight): weight for weight in weights})
    for stack in model.modules():
        if isinstance(stack, RecurrentLayers):
            for layer in stack.layers:
                cast("Any", layer).sequence = _sequence_of(layer)
    return model


def _sequence_of(layer: nn.Module) -> Callable[..., tuple[Tensor, State]]:
    """Return what runs all steps of a layer, or of a kernel of several."""
    if isinstance(layer, UnfusedLayer):
        own = [_alone(layer.cell_of(direction)) for direction in range(len(layer.cells))]
        layer.cells = nn.ModuleList(cast("Any", own))
        zoned = [ZonedOut(cast("Any", cell), layer.zoneout, layer.training) for cell in own]
        cells = [zoned if layer.zoneout else own]
    else:
        kernel = cast("Any", layer)
        directions = ("", "_reverse") if kernel.bidirectional else ("",)
        cells = [
            [LoneCell(layer, f"_l{level}{direction}") for direction in directions]
            for level in range(kernel.num_layers)
        ]
        # Tracing knows the weights of the modules below the one that it traces.
        kernel.lone_cells = nn.ModuleList(cell for level in cells for cell in level)

    def sequence(inputs: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        last, row = [], 0
        for level in cells:
            outputs = []
            for direction, cell in enumerate(level):
                own = state.map(lambda part, row=row: part[row])
                read, after = _scan(cell, inputs, own, backward=direction == 1)
                outputs.append(read)
                last.append(after)
                row += 1
            inputs = torch.cat(outputs, dim=-1)
        return inputs, last[0].map(lambda *parts: torch.stack(parts), *last[1:])

    return sequence


def _alone(cell: Any) -> Any:
    """Return a cell without a kernel: what is one is taken apart, as where it runs all steps."""
    return LoneCell(cell, "_l0") if isinstance(cell, nn.RNNBase) else cell


class LoneCell(nn.Module):
    """A layer and direction of a kernel as a cell of its own, with the same weights.

    It is no kernel itself: torch refuses to look into one.

    Args:
        kernel: of `decoderlab.layers`.
        ending: of the names of the weights, such as `_l1_reverse`.
    """

    def __init__(self, kernel: nn.Module, ending: str) -> None:
        super().__init__()
        self.kind = type(kernel)
        for name, value in kernel.named_parameters():
            if name.endswith(ending):
                self.register_parameter(name.removesuffix(ending) + "_l0", cast("Any", value))
        self.hidden_size: Any = kernel.hidden_size
        self.nonlinearity = getattr(kernel, "nonlinearity", None)

    def project(self, inputs: Tensor) -> Tensor:
        """Map the inputs of all steps at once."""
        return cast("Any", self.kind).project(self, inputs)

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step."""
        return cast("Any", self.kind).advance(self, projected, state)


def _scan(
    cell: Cell | LoneCell | ZonedOut, inputs: Tensor, state: State, backward: bool
) -> tuple[Tensor, State]:
    """Run all T steps of a cell; inputs and outputs are (B, T, ...)."""
    projected = cell.project(inputs).transpose(0, 1)
    leaves, spec = pytree.tree_flatten(state)
    positions = [at for at, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]

    def state_of(carried: tuple[Tensor, ...]) -> State:
        rest: list[Any] = [None] * len(leaves)
        for at, tensor in zip(positions, carried, strict=True):
            rest[at] = tensor
        return pytree.tree_unflatten(rest, spec)

    def step(carried: tuple[Tensor, ...], now: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        new = cell.advance(now, state_of(carried))
        tensors = pytree.tree_leaves(new)
        return tuple(tensors[at].clone() for at in positions), new.hidden.clone()

    first = tuple(leaves[at].clone() for at in positions)
    carried, outputs = scan(step, first, projected, reverse=backward)
    return outputs.transpose(0, 1), state_of(carried)
