"""The bridge that copies the encoder's last state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from decoderlab.contract import Encoded, EncoderShape, State
from decoderlab.decoders.bridges.bridge import (
    Bridge,
    CellState,
    Reading,
    pairing,
    pairing_equations,
)
from decoderlab.layers.equations import Equation


class CopyBridge(Bridge):
    """s_0 = h, the encoder's last hidden state, layer by layer.

    Layers are paired from the top, see `pairing`. A cell state is copied too, and is zeros where
    the encoder has none.

    Paper: Sutskever et al. 2014, section 2 (https://arxiv.org/abs/1409.3215).
    Differs: none.

    Args:
        encoder_shape: what the encoder offers.
        hidden_size: width H of the decoder's layers; that of the encoder.
        num_layers: the decoder's layers L.
        has_cell: whether the decoder's layers carry a cell state.
        source: what h is, see `Reading`.
        cell: where the cell state comes from, see `CellState`.

    Raises:
        ValueError: for different widths.

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
        source: str = "state",
        cell: str = "encoder",
    ) -> None:
        super().__init__()
        self.reading = Reading(source=source, encoder_shape=encoder_shape)
        self.reads, self.hidden_size = self.reading.name, hidden_size
        if self.reading.size != hidden_size:
            raise ValueError(
                f"bridge is 'copy', but the encoder's {self.reads} is {self.reading.size} wide and "
                f"the decoder's hidden_size is {hidden_size}; make them equal or take "
                "decoder/bridge=dense"
            )
        self.pairing = pairing(self.reading.num_layers, num_layers)
        self.cell_state = CellState(cell=cell, has_cell=has_cell)

    @classmethod
    def needs_route(cls, settings: Mapping[str, Any]) -> bool:
        """Whether it carries the encoding: not with source `first`."""
        return settings.get("source") != "first"

    def forward(self, encoded: Encoded) -> State:
        """Return the decoder's first state."""
        hidden, cell = self.reading(encoded)
        hidden = hidden[self.pairing]
        own = torch.zeros_like(hidden) if cell is None else cell[self.pairing]
        return self.cell_state.beside(hidden, own)

    def equations(self) -> list[Equation]:
        """Return the initial state, and an LSTM's initial cell."""
        read, read_cell = self.reading.letters()
        own = read_cell if self.reading.has_cell else "0"
        return [
            Equation("s_0", read, self.hidden_size),
            *pairing_equations(self.reads, self.pairing),
            *self.cell_state.equations(self.hidden_size, own),
        ]
