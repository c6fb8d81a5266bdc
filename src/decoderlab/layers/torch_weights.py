"""From which distribution torch draws the weights of a module, and what ours declare of gates."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from decoderlab.layers.cells import Cell
from decoderlab.layers.fused_cells import GRU, LSTM
from decoderlab.layers.unfused_cells import UnfusedCell


def _bound(module: nn.Module, name: str) -> float | None:
    """Return the half-width of the uniform distribution, inf for N(0, 1), None if unknown."""
    match module:
        case nn.RNNBase() | nn.RNNCellBase() | UnfusedCell():
            return 1 / math.sqrt(module.hidden_size)
        case nn.Linear():
            return 1 / math.sqrt(module.in_features)
        case nn.Embedding():
            return math.inf
    return None


def _fill(parameter: Tensor, bound: float, generator: torch.Generator) -> None:
    # Drawn on the CPU in float32, so that device and precision do not change the start.
    values = torch.empty(parameter.shape)
    if math.isinf(bound):
        values.normal_(generator=generator)
    else:
        values.uniform_(-bound, bound, generator=generator)
    parameter.copy_(values)


def _declared(module: nn.Module) -> Cell | type[Cell] | None:
    """Return what declares a module's gates: itself, or the class of ours that is torch's."""
    if isinstance(module, Cell):
        return module
    match module:
        case nn.LSTM() | nn.LSTMCell():
            return LSTM
        case nn.RNNBase() | nn.RNNCellBase():
            return GRU
    return None


def _forget_bias(module: nn.Module, name: str, parameter: Tensor) -> Tensor | None:
    """Return the part of a parameter that is the bias of a forget gate; None if none is."""
    declared = _declared(module)
    if declared is None or "forget" not in declared.gates:
        return None
    if not name.startswith(declared.gate_bias):
        return None
    return parameter.chunk(len(declared.gates))[declared.gates.index("forget")]
