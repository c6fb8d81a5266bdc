"""The recurrent layers that encoders and decoders are built of, behind one call."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decoderlab import checks
from decoderlab.contract import State

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


class RecurrentLayers(nn.Module):
    """A stack of recurrent layers with one signature for LSTM and GRU.

    Paper: LSTM with forget gate (Gers et al. 2000); GRU (Cho et al. 2014, eq. 5 to 8).
    Differs: torch keeps two bias vectors per gate where the papers and Keras have one, so there
        are 4H (LSTM) or 3H (GRU) more numbers per layer and direction; their sum acts as one
        bias. torch's GRU applies the reset gate after the matrix product (as cuDNN does).

    Args:
        cell: `lstm` or `gru`.
        input_size: width of the input, 0 for a stack that is driven by its state alone.
        hidden_size: width H of each layer and direction.
        num_layers: layers L, at least 1.
        dropout: between the layers, 0 to 1; none after the last.
        bidirectional: whether a second stack reads from the end.

    Shapes:
        inputs: (B, T, input_size); state: (L, B, H) each, or None for zeros.
        Returns outputs (B, T, H), or (B, T, 2H) with both directions, and the last state.

    Raises:
        ValueError: for an unknown cell or a size out of range.
    """

    def __init__(
        self,
        *,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        checks.choice("cell", cell, list(CELLS))
        checks.at_least("hidden_size", hidden_size, 1)
        checks.at_least("num_layers", num_layers, 1)
        checks.ratio("dropout", dropout)
        self.has_cell = cell == "lstm"
        self.num_directions = 2 if bidirectional else 1
        # torch refuses an input of width 0; one constant zero in its place changes no output, and
        # the weights that would multiply it are frozen, so that nobody counts them.
        self.input_size = input_size
        self.layers = CELLS[cell](
            max(input_size, 1),
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        if input_size == 0:
            self.layers.weight_ih_l0.requires_grad_(False)

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run the stack over all T steps. `inputs` may also be a PackedSequence."""
        if self.input_size == 0:
            inputs = inputs.new_zeros(*inputs.shape[:2], 1)
        if state is None:
            outputs, last = self.layers(inputs)
        elif self.has_cell:
            outputs, last = self.layers(inputs, (state.hidden, state.cell))
        else:
            outputs, last = self.layers(inputs, state.hidden)
        return outputs, State(*last) if self.has_cell else State(last, None)


def side_by_side(state: Tensor, num_directions: int) -> Tensor:
    """Turn torch's (L * directions, B, H) into (L, B, directions * H)."""
    if num_directions == 1:
        return state
    return torch.cat([state[0::2], state[1::2]], dim=-1)
