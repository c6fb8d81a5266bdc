"""What a bridge is, and what several of them share: what they read, and an LSTM's cell state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.contract import Encoded, EncoderShape, State
from decoderlab.layers.equations import Equation

SOURCES = ("state", "summary", "first")
CELL_STATES = ("encoder", "zero", "hidden")


class Bridge(nn.Module):
    """Makes the decoder's initial state; a bridge of your own is a subclass.

    It needs `forward` and, to be printed, `equations`. The constructor takes those of these
    keywords that it has a use for, besides its own settings: `encoder_shape`, what the encoder
    offers; `hidden_size`, the width H of the decoder's layers; `num_layers`, their number L;
    `has_cell`, whether they carry a cell state; `further_shapes`, of what else they keep, without
    the axes L and B.

    `reads` says what of the encoder the state depends on: "state", "summary", "memory", "first
    position" or None for nothing of the source. The battery checks it. `carries_further` says
    whether it fills `State.further` too; what it leaves out begins as the cells begin it.

    Settings in `OPTIONAL` are those that a YAML may give to any bridge: one whose constructor has
    no such keyword is built without it.

    Shapes:
        Returns State of (L, B, H) each; the cell is None without `has_cell`.
    """

    INJECTED: ClassVar[tuple[str, ...]] = (
        "encoder_shape",
        "hidden_size",
        "num_layers",
        "has_cell",
        "further_shapes",
    )
    OPTIONAL: ClassVar[tuple[str, ...]] = ("source", "cell")
    reads: str | None = "state"
    carries_further: ClassVar[bool] = False

    @classmethod
    def needs_route(cls, settings: Mapping[str, Any]) -> bool:
        """Whether a bridge with these settings is in force with the route initial_state alone.

        True for one that carries the encoding; False for one that carries nothing of the source,
        or no encoding of the whole of it.
        """
        return True

    def forward(self, encoded: Encoded) -> State:
        """Return the decoder's first state."""
        raise NotImplementedError

    def equations(self) -> list[Equation]:
        """Return the initial state, and an LSTM's initial cell; see `layers.equations`."""
        parameters = sum(
            parameter.numel() for parameter in self.parameters() if parameter.requires_grad
        )
        return [Equation("s_0", f"{type(self).__name__}(encoder)", "", parameters)]


class Reading:
    """What copy and dense bridges read: the setting `source`.

    The three are a closed set, since they are what `Encoded` offers without weights. A bridge that
    reads something else, such as a pooled memory, is a class of its own, a `Bridge`.

    Args:
        source: the encoder's `state`, layer by layer, its `summary`, or the `first` vector of its
            memory. An encoder without a recurrent state offers its summary as its state.
        encoder_shape: what the encoder offers.

    Attributes:
        size: width of a layer.
        num_layers: layers that are read.
        name: what is read; see `Bridge.reads`.
        has_cell: whether a cell state is read.
    """

    def __init__(self, *, source: str, encoder_shape: EncoderShape) -> None:
        require.choice("bridge.source", source, SOURCES)
        self.num_layers, self.has_cell = 1, False
        if source == "first":
            self.name, self.size = "first position", encoder_shape.memory_size
        elif source == "state" and encoder_shape.state_size is not None:
            self.name, self.size = "state", encoder_shape.state_size
            self.num_layers = encoder_shape.state_num_layers
            self.has_cell = encoder_shape.has_cell
        else:
            self.name, self.size = "summary", encoder_shape.summary_size

    def __call__(self, encoded: Encoded) -> tuple[Tensor, Tensor | None]:
        """Return the hidden and the cell state (L, B, size), None where there is no cell."""
        match self.name:
            case "state":
                state = require.given("the encoder's state", encoded.state)
                return state.hidden, state.cell
            case "summary":
                return encoded.summary.unsqueeze(0), None
        return encoded.memory[:, 0].unsqueeze(0), None

    def letters(self) -> tuple[str, str]:
        """Return the letters of the hidden and of the cell state."""
        hidden = {"state": "the encoder's last h", "summary": "c", "first position": "m_1"}
        return hidden[self.name], "the encoder's last k" if self.has_cell else hidden[self.name]


def pairing(source_layers: int, num_layers: int) -> list[int]:
    """Return the encoder's layer that each of the decoder's layers reads, paired from the top.

    A decoder with fewer layers takes the encoder's topmost ones, one with more repeats the
    encoder's top layer in its own upper layers.

    Example:
        >>> pairing(3, 2), pairing(1, 3)
        ([1, 2], [0, 0, 0])
    """
    first = max(source_layers - num_layers, 0)
    return [min(first + layer, source_layers - 1) for layer in range(num_layers)]


def pairing_equations(read: str | None, paired: list[int]) -> list[Equation]:
    """Return the line that says which layers are paired, where there are several."""
    if len(paired) == 1 or read != "state":
        return []
    return [Equation("s_0 per layer", f"of the encoder's layers {[row + 1 for row in paired]}")]


class CellState:
    """Where a decoder's LSTM cell state comes from: the setting `cell` of a bridge.

    The three are a closed set: the bridge's own cell state, none, or the hidden state. Whatever
    else a cell state is made of is the business of a `Bridge` class of its own.

    Args:
        cell: `encoder` (treated like the hidden state), `zero`, or `hidden` (the same numbers as
            the hidden state).
        has_cell: whether the decoder's layers carry a cell state.

    Attributes:
        own: whether the bridge makes a cell state of its own, with `encoder`.
    """

    def __init__(self, *, cell: str, has_cell: bool) -> None:
        require.choice("bridge.cell", cell, CELL_STATES)
        self.cell = cell if has_cell else None
        self.own = self.cell == "encoder"

    def beside(self, hidden: Tensor, own: Tensor | None) -> State:
        """Return the state; `own` is the bridge's own cell state."""
        match self.cell:
            case "encoder":
                return State(hidden, own)
            case "zero":
                return State(hidden, torch.zeros_like(hidden))
            case "hidden":
                return State(hidden, hidden)
        return State(hidden, None)

    def equations(self, size: int, own: str, parameters: int = 0) -> list[Equation]:
        """Return the line of the cell state; `own` is how the bridge makes it."""
        right = {"encoder": own, "zero": "0", "hidden": "s_0", None: None}[self.cell]
        parameters = parameters if self.own else 0
        return [] if right is None else [Equation("k_0", right, size, parameters)]
