"""Bridges: from the encoder's last state to the decoder's first."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decoderlab import checks
from decoderlab.contract import Encoded, EncoderShape, State

BRIDGES = ("zero", "copy", "dense", "dense_nonlinear")


class Bridge(nn.Module):
    """Turns the encoder state into the decoder's initial state, for any two depths and widths.

    Layers are paired from the top: a decoder with fewer layers takes the encoder's topmost ones,
    one with more repeats the encoder's top layer in its own upper layers. An encoder without a
    recurrent state counts as one layer whose hidden state is the summary.

    The LSTM's cell state: `copy` copies it (zeros where the encoder has none), the dense bridges
    give it weights of their own (from the encoder's cell, or its hidden state where it has none).

    Paper: copy, Sutskever et al. 2014; dense_nonlinear, tanh(V' c), Cho et al. 2014, appendix A.
    Differs: with several layers, each has weights of its own; there is a bias.

    Args:
        kind: `zero`, `copy`, `dense` (affine) or `dense_nonlinear` (affine, then tanh).
        encoder_shape: what the encoder offers.
        hidden_size: width H of the decoder's layers.
        num_layers: the decoder's layers L.
        has_cell: whether the decoder's layers carry a cell state.

    Shapes:
        Returns State of (L, B, H) each; the cell is None without `has_cell`.

    Raises:
        ValueError: for an unknown kind, or for `copy` between different widths.
    """

    def __init__(
        self,
        *,
        kind: str,
        encoder_shape: EncoderShape,
        hidden_size: int,
        num_layers: int,
        has_cell: bool,
    ) -> None:
        super().__init__()
        checks.choice("bridge", kind, BRIDGES)
        self.kind, self.hidden_size, self.num_layers = kind, hidden_size, num_layers
        self.has_cell = has_cell
        source_size = encoder_shape.state_size or encoder_shape.summary_size
        source_layers = max(encoder_shape.state_num_layers, 1)
        first = max(source_layers - num_layers, 0)
        self.pairing = [min(first + layer, source_layers - 1) for layer in range(num_layers)]
        if kind == "copy" and source_size != hidden_size:
            raise ValueError(
                f"bridge is 'copy', but the encoder's state is {source_size} wide and the "
                f"decoder's hidden_size is {hidden_size}; make them equal or take bridge=dense"
            )
        if kind.startswith("dense"):
            sizes = [(source_size, hidden_size)] * num_layers
            self.hidden = nn.ModuleList(nn.Linear(*size) for size in sizes)
            self.cell = nn.ModuleList(nn.Linear(*size) for size in sizes if has_cell)

    def forward(self, encoded: Encoded) -> State:
        """Return the decoder's first state."""
        state = encoded.state or State(encoded.summary.unsqueeze(0), None)
        if self.kind == "zero":
            hidden = encoded.summary.new_zeros(
                self.num_layers, encoded.summary.shape[0], self.hidden_size
            )
            return State(hidden, torch.zeros_like(hidden) if self.has_cell else None)
        if self.kind == "copy":
            hidden = state.hidden[self.pairing]
            if not self.has_cell:
                return State(hidden, None)
            return State(
                hidden, torch.zeros_like(hidden) if state.cell is None else state.cell[self.pairing]
            )
        hidden = self._dense(self.hidden, state.hidden)
        if not self.has_cell:
            return State(hidden, None)
        return State(
            hidden, self._dense(self.cell, state.hidden if state.cell is None else state.cell)
        )

    def _dense(self, layers: nn.ModuleList, values: Tensor) -> Tensor:
        mapped = [layer(values[row]) for layer, row in zip(layers, self.pairing, strict=True)]
        stacked = torch.stack(mapped)
        return stacked.tanh() if self.kind == "dense_nonlinear" else stacked
