"""Bridges that map what they read: dense, with or without a tanh, and mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from decoderlab.contract import Encoded, EncoderShape, State
from decoderlab.decoders.bridges.bridge import (
    Bridge,
    CellState,
    Reading,
    pairing,
    pairing_equations,
)
from decoderlab.layers.equations import Equation, count
from decoderlab.layers.pooling import masked_mean


class DenseBridge(Bridge):
    """s_0 = W h + b, or tanh(W h + b), of the encoder's last hidden state h.

    Layers are paired from the top, see `pairing`. The cell state has weights of its own, and reads
    the encoder's cell, or what the hidden state reads where there is none.

    Paper: with the tanh, tanh(V' c), Cho et al. 2014, section 2.2
        (https://arxiv.org/abs/1406.1078), there with source `summary`; tanh(W h_1), Bahdanau et
        al. 2015, A.2.2 (https://arxiv.org/abs/1409.0473), where h_1 is that of the backward pass,
        and the article's AttentionDecoder (2017), where it is the forward one's (source `first`).
    Differs: with several layers, each has weights of its own; there is a bias.

    Args:
        encoder_shape: what the encoder offers.
        hidden_size: width H of the decoder's layers.
        num_layers: the decoder's layers L.
        has_cell: whether the decoder's layers carry a cell state.
        nonlinear: whether there is a tanh.
        source: what h is, see `Reading`.
        cell: where the cell state comes from, see `CellState`.

    Shapes:
        as in `Bridge`.
    """

    def __init__(
        self,
        *,
        encoder_shape: EncoderShape,
        hidden_size: int,
        num_layers: int,
        has_cell: bool,
        nonlinear: bool = False,
        source: str = "state",
        cell: str = "encoder",
    ) -> None:
        super().__init__()
        self.reading = Reading(source=source, encoder_shape=encoder_shape)
        self.reads, self.hidden_size = self.reading.name, hidden_size
        self.nonlinear = nonlinear
        self.pairing = pairing(self.reading.num_layers, num_layers)
        self.cell_state = CellState(cell=cell, has_cell=has_cell)
        self.hidden = _maps(self.reading.size, hidden_size, num_layers)
        self.cell = _maps(self.reading.size, hidden_size, num_layers * self.cell_state.own)

    @classmethod
    def needs_route(cls, settings: Mapping[str, Any]) -> bool:
        """Whether it carries the encoding: not with source `first`."""
        return settings.get("source") != "first"

    def forward(self, encoded: Encoded) -> State:
        """Return the decoder's first state."""
        hidden, cell = self.reading(encoded)
        own = None
        if self.cell_state.own:
            own = self._mapped(self.cell, hidden if cell is None else cell)
        return self.cell_state.beside(self._mapped(self.hidden, hidden), own)

    def _mapped(self, maps: nn.ModuleList, values: Tensor) -> Tensor:
        mapped = _apply(maps, values[self.pairing])
        return mapped.tanh() if self.nonlinear else mapped

    def equations(self) -> list[Equation]:
        """Return the initial state, and an LSTM's initial cell."""
        read, read_cell = self.reading.letters()
        pattern = "tanh(W_{0} {1} + b_{0})" if self.nonlinear else "W_{0} {1} + b_{0}"
        size, own = self.hidden_size, pattern.format("k", read_cell)
        return [
            Equation("s_0", pattern.format("0", read), size, count(self.hidden)),
            *pairing_equations(self.reads, self.pairing),
            *self.cell_state.equations(size, own, count(self.cell)),
        ]


class MeanBridge(Bridge):
    """s_0 = tanh(W mean(m) + b), the mean over the source's real positions.

    Paper: Sennrich et al. 2017, section 2 (https://arxiv.org/abs/1703.04357).
    Differs: with several layers, each has weights of its own; a cell state has weights of its own.

    Args:
        encoder_shape: what the encoder offers.
        hidden_size: width H of the decoder's layers.
        num_layers: the decoder's layers L.
        has_cell: whether the decoder's layers carry a cell state.
        cell: where the cell state comes from, see `CellState`.

    Shapes:
        as in `Bridge`.
    """

    reads = "memory"

    def __init__(
        self,
        *,
        encoder_shape: EncoderShape,
        hidden_size: int,
        num_layers: int,
        has_cell: bool,
        cell: str = "encoder",
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.cell_state = CellState(cell=cell, has_cell=has_cell)
        self.hidden = _maps(encoder_shape.memory_size, hidden_size, num_layers)
        self.cell = _maps(encoder_shape.memory_size, hidden_size, num_layers * self.cell_state.own)

    def forward(self, encoded: Encoded) -> State:
        """Return the decoder's first state."""
        mean = masked_mean(encoded.memory, encoded.memory_mask).expand(len(self.hidden), -1, -1)
        own = _apply(self.cell, mean).tanh() if self.cell_state.own else None
        return self.cell_state.beside(_apply(self.hidden, mean).tanh(), own)

    def equations(self) -> list[Equation]:
        """Return the initial state, and an LSTM's initial cell."""
        right, size = "tanh(W_{0} mean(m) + b_{0})", self.hidden_size
        return [
            Equation("s_0", right.format("0"), size, count(self.hidden)),
            *self.cell_state.equations(size, right.format("k"), count(self.cell)),
        ]


def _maps(source_size: int, hidden_size: int, number: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(source_size, hidden_size) for _ in range(number))


def _apply(maps: nn.ModuleList, values: Tensor) -> Tensor:
    """Return each layer's values through its own map."""
    return torch.stack([layer(row) for layer, row in zip(maps, values, strict=True)])
