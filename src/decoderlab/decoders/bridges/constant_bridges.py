"""Bridges that carry nothing of the source: zero, and a learned constant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from decoderlab.contract import Encoded, State
from decoderlab.decoders.bridges.bridge import Bridge, CellState
from decoderlab.layers.equations import Equation, count


class ZeroBridge(Bridge):
    """s_0 = 0.

    Args:
        hidden_size: width H of the decoder's layers.
        num_layers: the decoder's layers L.
        has_cell: whether the decoder's layers carry a cell state.

    Shapes:
        as in `Bridge`.
    """

    reads = None

    def __init__(self, *, hidden_size: int, num_layers: int, has_cell: bool) -> None:
        super().__init__()
        self.hidden_size, self.num_layers = hidden_size, num_layers
        self.cell_state = CellState(cell="zero", has_cell=has_cell)

    @classmethod
    def needs_route(cls, settings: Mapping[str, Any]) -> bool:
        """Return False: nothing of the source passes."""
        return False

    def forward(self, encoded: Encoded) -> State:
        """Return the decoder's first state."""
        num_rows = encoded.summary.shape[0]
        zeros = encoded.summary.new_zeros(self.num_layers, num_rows, self.hidden_size)
        return self.cell_state.beside(zeros, None)

    def equations(self) -> list[Equation]:
        """Return the initial state."""
        own = self.cell_state.equations(self.hidden_size, "0")
        return [Equation("s_0", "0", self.hidden_size), *own]


class LearnedBridge(Bridge):
    """s_0 is a learned constant, the same for every source.

    Args:
        hidden_size: width H of the decoder's layers.
        num_layers: the decoder's layers L.
        has_cell: whether the decoder's layers carry a cell state.
        cell: see `CellState`; `encoder` is a constant of its own.

    Shapes:
        as in `Bridge`.
    """

    reads = None

    def __init__(
        self, *, hidden_size: int, num_layers: int, has_cell: bool, cell: str = "encoder"
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.cell_state = CellState(cell=cell, has_cell=has_cell)
        shape = (num_layers, 1, hidden_size)
        self.hidden = nn.Parameter(torch.zeros(shape))
        self.cell = nn.Parameter(torch.zeros(shape)) if self.cell_state.own else None

    @classmethod
    def needs_route(cls, settings: Mapping[str, Any]) -> bool:
        """Return False: nothing of the source passes."""
        return False

    def forward(self, encoded: Encoded) -> State:
        """Return the decoder's first state."""
        num_rows = encoded.summary.shape[0]
        own = None if self.cell is None else self.cell.repeat(1, num_rows, 1)
        return self.cell_state.beside(self.hidden.repeat(1, num_rows, 1), own)

    def equations(self) -> list[Equation]:
        """Return the initial state, and an LSTM's initial cell."""
        constant, size = "a learned constant", self.hidden_size
        own = self.cell_state.equations(size, constant, count(self.cell))
        return [Equation("s_0", constant, size, count(self.hidden)), *own]
