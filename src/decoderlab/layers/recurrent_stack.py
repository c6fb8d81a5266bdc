"""The recurrent layers that encoders and decoders are built of, behind one call."""

from __future__ import annotations

import re
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from decoderlab.common import require
from decoderlab.contract import State
from decoderlab.layers.equations import Equation, count
from decoderlab.layers.stepped_cells import (
    GRUResetBefore,
    GRUResetSummary,
    LSTMLayerNorm,
    SteppedLayer,
)

FUSED = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn_tanh": partial(nn.RNN, nonlinearity="tanh"),
    "rnn_relu": partial(nn.RNN, nonlinearity="relu"),
}
STEPPED = {
    "gru_reset_before": GRUResetBefore,
    "gru_reset_summary": GRUResetSummary,
    "lstm_layer_norm": LSTMLayerNorm,
}
CELLS = (*FUSED, *STEPPED)

# What a step computes; {s} is the state before, {n} the state after, {x} the input, {k} and {l} an
# LSTM's cell before and after. Bias vectors that are only added to each other are written as one.
EQUATIONS = {
    "lstm": [
        ("i, f, o", "sigmoid(W {x} + U {s} + b)"),
        ("{l}", "f * {k} + i * tanh(W_g {x} + U_g {s} + b_g)"),
        ("{n}", "o * tanh({l})"),
    ],
    "gru": [
        ("r, z", "sigmoid(W {x} + U {s} + b)"),
        ("g", "tanh(W_g {x} + b_g + r * (U_g {s} + d_g))"),
        ("{n}", "z * {s} + (1 - z) * g"),
    ],
    "rnn_tanh": [("{n}", "tanh(W {x} + U {s} + b)")],
    "rnn_relu": [("{n}", "max(0, W {x} + U {s} + b)")],
    "gru_reset_before": [
        ("r, z", "sigmoid(W {x} + U {s} + b)"),
        ("g", "tanh(W_g {x} + U_g (r * {s}) + b_g)"),
        ("{n}", "z * {s} + (1 - z) * g"),
    ],
    "gru_reset_summary": [
        ("r, z", "sigmoid(W {x} + U {s} + b)"),
        ("g", "tanh(W_g {x} without c + b_g + r * (U_g {s} + C c))"),
        ("{n}", "z * {s} + (1 - z) * g"),
    ],
    "lstm_layer_norm": [
        ("i, f, o, g", "LN(W {x}) + LN(U {s}) + b"),
        ("{l}", "sigmoid(f) * {k} + sigmoid(i) * tanh(g)"),
        ("{n}", "sigmoid(o) * tanh(LN({l}))"),
    ],
}


class RecurrentLayers(nn.Module):
    """A stack of recurrent layers with one signature for all cells.

    Paper: LSTM with forget gate (Gers et al. 2000); GRU (Cho et al. 2014, eq. 5 to 8); residual
        connections between layers, Wu et al. 2016, eq. 6 (https://arxiv.org/abs/1609.08144).
    Differs: torch keeps two bias vectors per gate where the papers and Keras have one, so there
        are 4H (LSTM) or 3H (GRU) more numbers per layer and direction; their sum acts as one
        bias. torch's GRU applies the reset gate after the matrix product (as cuDNN does);
        `gru_reset_before` is the papers'. `lstm`, `gru`, `rnn_tanh` and `rnn_relu` are torch's
        fused kernels, the others a loop over the steps, which is slower.

    Args:
        cell: one of `CELLS`.
        input_size: width of the input, 0 for a stack that is driven by its state alone.
        hidden_size: width H of each layer and direction.
        num_layers: layers L, at least 1.
        dropout: between the layers, 0 to 1; none after the last.
        bidirectional: whether a second stack reads from the end.
        residual: whether a layer's input is added to its output, from the second layer on.
        gated_size: with `gru_reset_summary`, how many numbers at the end of the input are the
            summary.

    Shapes:
        inputs: (B, T, input_size); state: (L, B, H) each, or None for zeros; lengths: (B,) int64
        on the CPU, or None where all rows have T steps.
        Returns outputs (B, T, H), or (B, T, 2H) with both directions, zeros after a row's end,
        and the state after each row's last step, (L, B, H) or (2L, B, H) each.

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
        residual: bool = False,
        gated_size: int = 0,
    ) -> None:
        super().__init__()
        require.choice("cell", cell, CELLS)
        require.at_least("hidden_size", hidden_size, 1)
        require.at_least("num_layers", num_layers, 1)
        require.ratio("dropout", dropout)
        if residual and num_layers == 1:
            raise ValueError("residual is true, but there is one layer; take num_layers=2 or more")
        self.cell, self.hidden_size, self.num_layers = cell, hidden_size, num_layers
        self.has_cell = cell.startswith("lstm")
        self.num_directions = 2 if bidirectional else 1
        self.residual = residual
        # torch refuses an input of width 0; one constant zero in its place changes no output, and
        # the weights that would multiply it are frozen, so that nobody counts them.
        self.input_size = input_size
        widths = [max(input_size, 1)] + [hidden_size * self.num_directions] * (num_layers - 1)
        self.dropout = dropout if num_layers > 1 else 0.0
        if cell in STEPPED:
            self.layers = nn.ModuleList(
                SteppedLayer(
                    kind=STEPPED[cell],
                    input_size=width,
                    hidden_size=hidden_size,
                    gated_size=0 if level else gated_size,
                    bidirectional=bidirectional,
                )
                for level, width in enumerate(widths)
            )
        else:
            # The kernel knows how to stack layers, but not to add their inputs.
            depth = 1 if residual else num_layers
            self.layers = nn.ModuleList(
                FUSED[cell](
                    width,
                    hidden_size,
                    depth,
                    batch_first=True,
                    dropout=self.dropout if depth > 1 else 0.0,
                    bidirectional=bidirectional,
                )
                for width in (widths if residual else widths[:1])
            )
        if input_size == 0:
            for name, parameter in self.layers[0].named_parameters():
                if name.endswith(("weight_ih", "weight_ih_l0", "weight_ih_l0_reverse")):
                    parameter.requires_grad_(False)

    def forward(
        self, inputs: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run the stack over all T steps."""
        if self.input_size == 0:
            inputs = inputs.new_zeros(*inputs.shape[:2], 1)
        if state is None:
            rows = self.num_layers * self.num_directions
            zeros = inputs.new_zeros(rows, inputs.shape[0], self.hidden_size)
            state = State(zeros, zeros if self.has_cell else None)
        if len(self.layers) == 1:
            return self._layer(self.layers[0], inputs, state, lengths)
        last = []
        for level, layer in enumerate(self.layers):
            if level:
                inputs = functional.dropout(inputs, self.dropout, self.training)
            rows = slice(level * self.num_directions, (level + 1) * self.num_directions)
            own = State(*(None if part is None else part[rows] for part in state))
            outputs, after = self._layer(layer, inputs, own, lengths)
            last.append(after)
            inputs = outputs + inputs if self.residual and level else outputs
        cell = torch.cat([one.cell for one in last]) if self.has_cell else None
        return inputs, State(torch.cat([one.hidden for one in last]), cell)

    def equations(self, state: str, inputs: str, step: str = "t") -> list[Equation]:
        """Return what a step computes, from the letters of the state, the input and the step."""
        before = f"{step}-1"
        letters = {"s": f"{state}_{{{before}}}", "n": f"{state}_{step}", "x": inputs}
        letters |= {"k": f"k_{{{before}}}", "l": f"k_{step}"}
        lines = [
            Equation(left.format(**letters), right.format(**letters), self.hidden_size)
            for left, right in EQUATIONS[self.cell]
        ]
        if self.input_size == 0 and self.num_layers == 1:  # there is no input to multiply
            missing = re.escape(inputs)
            lines = [
                one._replace(
                    right=re.sub(rf"W(_g)? {missing} \+ ", "", one.right).replace(
                        f"LN(W {inputs})", "LN(0)"
                    )
                )
                for one in lines
            ]
        if self.num_layers > 1:
            same = "the same"
            if self.cell == "gru_reset_summary":  # the summary enters the first layer alone
                same = "the same with C c = 0"
            lines.append(
                Equation(
                    f"layers 2..{self.num_layers}",
                    f"{same}, the layer below as {inputs}",
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
        if self.input_size == 0 and self.num_layers > 1:
            lines.insert(0, Equation(inputs, "0 in layer 1, which has no input", 0))
        return lines

    def _layer(
        self, layer: nn.Module, inputs: Tensor, state: State, lengths: Tensor | None
    ) -> tuple[Tensor, State]:
        if isinstance(layer, SteppedLayer):
            return layer(inputs, state, lengths)
        first = (state.hidden, state.cell) if self.has_cell else state.hidden
        if lengths is None:
            outputs, last = layer(inputs, first)
        else:
            # Packing is exact for any mixture of lengths but slow on a CPU, which is why
            # batches are made of sources of one length wherever the data allow it.
            packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
            outputs, last = layer(packed, first)
            outputs, _ = pad_packed_sequence(
                outputs, batch_first=True, total_length=inputs.shape[1]
            )
        return outputs, State(*last) if self.has_cell else State(last, None)


def side_by_side(state: Tensor, num_directions: int) -> Tensor:
    """Turn torch's (L * directions, B, H) into (L, B, directions * H)."""
    if num_directions == 1:
        return state
    return torch.cat([state[0::2], state[1::2]], dim=-1)
