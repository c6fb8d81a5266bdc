"""Bridges: from what the encoder read to the decoder's first state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.common.parts import keep
from decoderlab.contract import Encoded, EncoderShape, State
from decoderlab.layers.equations import Equation, count
from decoderlab.layers.pooling import masked_mean

BRIDGES = ("zero", "copy", "dense", "dense_nonlinear", "mean", "learned")
SOURCES = ("state", "summary", "first")
CELL_STATES = ("encoder", "zero", "hidden")


@dataclass(frozen=True, kw_only=True)
class BridgeSettings:
    """What the decoder starts from.

    Args:
        kind: see `Bridge`.
        source: what copy, dense and dense_nonlinear read: the encoder's `state`, layer by layer,
            its `summary`, or the `first` vector of its memory. The last is no encoding of the
            whole source, and so needs no route.
        cell: where a decoder's LSTM cell state comes from: `encoder` (treated like the hidden
            state), `zero`, or `hidden` (the same numbers as the hidden state).
    """

    kind: str
    source: str = "state"
    cell: str = "encoder"

    def __post_init__(self) -> None:
        require.choice("bridge.kind", self.kind, BRIDGES)
        require.choice("bridge.source", self.source, SOURCES)
        require.choice("bridge.cell", self.cell, CELL_STATES)

    def settled(self) -> BridgeSettings:
        """Return the settings with what has no effect at its default."""
        if self.kind == "zero":
            return keep(self, "kind")
        return keep(self, "kind", "cell") if self.kind in ("mean", "learned") else self

    @property
    def carries(self) -> bool:
        """Whether anything of the source passes."""
        return self.kind not in ("zero", "learned")

    @property
    def needs_route(self) -> bool:
        """Whether it is in force with the route initial_state alone."""
        return self.carries and (self.source != "first" or self.kind == "mean")


class Bridge(nn.Module):
    """Makes the decoder's initial state, for any two depths, widths, directions and cells.

        zero             0
        learned          a learned constant
        copy             h
        dense            W h + b
        dense_nonlinear  tanh(W h + b)
        mean             tanh(W mean(m) + b), the mean over the source's real positions

    h is the encoder's last hidden state. Layers are paired from the top: a decoder with fewer
    layers takes the encoder's topmost ones, one with more repeats the encoder's top layer in its
    own upper layers. An encoder without a recurrent state, and `source: summary`, count as one
    layer whose hidden state is the summary; `source: first` as one of m_1.

    The LSTM's cell state with `cell: encoder`: `copy` copies it, zeros where there is none; the
    other maps have weights of their own for it, and read the encoder's cell, or what the hidden
    state reads where there is none.

    Paper: copy, Sutskever et al. 2014; dense_nonlinear, tanh(V' c), Cho et al. 2014, section 2.2
        (there with `source: summary`); tanh(W h_1), Bahdanau et al. 2015, A.2.2, where h_1 is that
        of the backward pass, and the article's AttentionDecoder (2017), where it is the forward
        one's (`source: first`); mean, Sennrich et al. 2017 (https://arxiv.org/abs/1703.04357,
        section 2).
    Differs: with several layers, each has weights of its own; there is a bias.

    Args:
        settings: which of them.
        encoder_shape: what the encoder offers.
        hidden_size: width H of the decoder's layers.
        num_layers: the decoder's layers L.
        has_cell: whether the decoder's layers carry a cell state.

    Shapes:
        Returns State of (L, B, H) each; the cell is None without `has_cell`.

    Raises:
        ValueError: for `copy` between different widths.
    """

    def __init__(
        self,
        *,
        settings: BridgeSettings,
        encoder_shape: EncoderShape,
        hidden_size: int,
        num_layers: int,
        has_cell: bool,
    ) -> None:
        super().__init__()
        self.kind, self.cell_state = settings.kind, settings.cell if has_cell else None
        self.hidden_size, self.num_layers = hidden_size, num_layers
        self.has_cell = has_cell
        self.has_source_cell = encoder_shape.has_cell
        self.from_state = settings.source == "state" and encoder_shape.state_size is not None
        self.from_first = settings.source == "first"
        if self.kind == "mean" or self.from_first:
            source_size, source_layers = encoder_shape.memory_size, 1
        elif self.from_state:
            source_size, source_layers = encoder_shape.state_size, encoder_shape.state_num_layers
        else:
            source_size, source_layers = encoder_shape.summary_size, 1
        first = max(source_layers - num_layers, 0)
        self.pairing = [min(first + layer, source_layers - 1) for layer in range(num_layers)]
        own_cell = self.cell_state == "encoder"
        if self.kind == "copy" and source_size != hidden_size:
            raise ValueError(
                f"bridge is 'copy', but the encoder's {self.reads} is {source_size} wide and "
                f"the decoder's hidden_size is {hidden_size}; make them equal or take "
                "decoder.bridge.kind=dense"
            )
        if self.kind in ("dense", "dense_nonlinear", "mean"):
            sizes = [(source_size, hidden_size)] * num_layers
            self.hidden = nn.ModuleList(nn.Linear(*size) for size in sizes)
            self.cell = nn.ModuleList(nn.Linear(*size) for size in sizes if own_cell)
        if self.kind == "learned":
            shape = (num_layers, 1, hidden_size)
            self.hidden = nn.Parameter(torch.zeros(shape))
            self.cell = nn.Parameter(torch.zeros(shape)) if own_cell else None

    @property
    def reads(self) -> str | None:
        """What of the encoder the initial state depends on: state, summary, memory or nothing."""
        if self.kind in ("zero", "learned"):
            return None
        if self.kind == "mean":
            return "memory"
        if self.from_first:
            return "first position"
        return "state" if self.from_state else "summary"

    def forward(self, encoded: Encoded) -> State:
        """Return the decoder's first state."""
        hidden, cell = self._hidden_and_cell(encoded)
        match self.cell_state:
            case "zero":
                cell = torch.zeros_like(hidden)
            case "hidden":
                cell = hidden
            case None:
                cell = None
        return State(hidden, cell)

    def equations(self) -> list[Equation]:
        """Return the initial state, and an LSTM's initial cell; see `layers.equations`."""
        read, read_cell = (
            ("the encoder's last h", "the encoder's last k")
            if self.from_state
            else ("m_1" if self.from_first else "c", None)
        )
        patterns = {
            "zero": "0",
            "learned": "a learned constant",
            "copy": "{}",
            "dense": "W_0 {} + b_0",
            "dense_nonlinear": "tanh(W_0 {} + b_0)",
            "mean": "tanh(W_0 mean(m) + b_0)",
        }
        pattern = patterns[self.kind]
        hidden, cell = getattr(self, "hidden", None), getattr(self, "cell", None)
        lines = [Equation("s_0", pattern.format(read), self.hidden_size, count(hidden))]
        if self.num_layers > 1 and self.reads == "state":
            lines.append(
                Equation(
                    "s_0 per layer", f"of the encoder's layers {[row + 1 for row in self.pairing]}"
                )
            )
        match self.cell_state:
            case "hidden":
                lines.append(Equation("k_0", "s_0", self.hidden_size))
            case "zero":
                lines.append(Equation("k_0", "0", self.hidden_size))
            case "encoder":
                copied = self.kind == "copy" and not (self.from_state and self.has_source_cell)
                read_cell = read_cell if self.has_source_cell and self.from_state else read
                right = "0" if copied else pattern.format(read_cell).replace("_0", "_k")
                lines.append(Equation("k_0", right, self.hidden_size, count(cell)))
        return lines

    def _hidden_and_cell(self, encoded: Encoded) -> tuple[Tensor, Tensor | None]:
        num_rows = encoded.summary.shape[0]
        if self.kind == "zero":
            zeros = encoded.summary.new_zeros(self.num_layers, num_rows, self.hidden_size)
            return zeros, zeros
        if self.kind == "learned":
            cell = self.cell
            return (
                self.hidden.repeat(1, num_rows, 1),
                None if cell is None else cell.repeat(1, num_rows, 1),
            )
        hidden, cell = self._read(encoded)
        if self.kind == "copy":
            hidden = hidden[self.pairing]
            return hidden, torch.zeros_like(hidden) if cell is None else cell[self.pairing]
        return (
            self._map(self.hidden, hidden),
            self._map(self.cell, hidden if cell is None else cell) if len(self.cell) else None,
        )

    def _read(self, encoded: Encoded) -> tuple[Tensor, Tensor | None]:
        if self.kind == "mean":
            return masked_mean(encoded.memory, encoded.memory_mask).unsqueeze(0), None
        if self.from_first:
            return encoded.memory[:, 0].unsqueeze(0), None
        if self.from_state:
            return encoded.state.hidden, encoded.state.cell
        return encoded.summary.unsqueeze(0), None

    def _map(self, layers: nn.ModuleList, values: Tensor) -> Tensor:
        mapped = [layer(values[row]) for layer, row in zip(layers, self.pairing, strict=True)]
        stacked = torch.stack(mapped)
        return stacked if self.kind == "dense" else stacked.tanh()
