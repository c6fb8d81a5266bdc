"""The recurrent layers that encoders and decoders are built of, behind one call."""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from decoderlab import checks
from decoderlab.contract import State
from decoderlab.equations import Equation, count


class SteppedCell(nn.Module):
    """Weights of a cell that is run step by step; subclasses say how a step goes.

    Shapes:
        weight_ih: (gates * H, I), weight_hh: (gates * H, H), bias: (gates * H,).
    """

    num_gates: int

    def __init__(self, *, input_size: int, hidden_size: int, gated_size: int = 0) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.gated_size = input_size, hidden_size, gated_size
        self.weight_ih = nn.Parameter(torch.empty(self.num_gates * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(self.num_gates * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(self.num_gates * hidden_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights as torch's recurrent layers do: U(-1/sqrt(H), 1/sqrt(H))."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in (self.weight_ih, self.weight_hh, self.bias):
            nn.init.uniform_(parameter, -bound, bound)

    def project(self, inputs: Tensor) -> Tensor:
        """Map the inputs (B, T, I) of all steps at once."""
        return functional.linear(inputs, self.weight_ih, self.bias)

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step from `projected` (B, ...) and a state of (B, H) each."""
        raise NotImplementedError


class GRUResetBefore(SteppedCell):
    """GRU whose reset gate is applied before the matrix product: n = tanh(W x + U (r * h)).

    Paper: Cho et al. 2014, eq. 5 to 8 (https://arxiv.org/abs/1406.1078); the same in
        Bahdanau et al. 2015, A.1.1 and A.2.2. Our z keeps the old state, as Cho's does; Bahdanau's
        z is one minus ours.
    Differs: has a bias.
    """

    num_gates = 3

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step."""
        hidden, size = state.hidden, self.hidden_size
        recurrent = functional.linear(hidden, self.weight_hh[: 2 * size])
        reset, keep = torch.sigmoid(projected[:, : 2 * size] + recurrent).chunk(2, dim=-1)
        candidate = torch.tanh(
            projected[:, 2 * size :] + functional.linear(reset * hidden, self.weight_hh[2 * size :])
        )
        return State(keep * hidden + (1 - keep) * candidate, None)


class GRUResetSummary(SteppedCell):
    """GRU of Cho's decoder, whose reset gate scales what comes from the state *and* the summary.

    The last `gated_size` numbers of the input are the summary c, the others x:
    n = tanh(W x + r * (U h + C c)).

    Paper: Cho et al. 2014, appendix A.1.2 (https://arxiv.org/abs/1406.1078).
    Differs: has a bias.
    """

    num_gates = 3

    def project(self, inputs: Tensor) -> Tensor:
        """Map the inputs of all steps; the summary's part of the candidate is kept apart."""
        size, plain = self.hidden_size, self.input_size - self.gated_size
        gates = functional.linear(inputs, self.weight_ih[: 2 * size], self.bias[: 2 * size])
        weight, bias = self.weight_ih[2 * size :], self.bias[2 * size :]
        candidate = functional.linear(inputs[..., :plain], weight[:, :plain], bias)
        gated = functional.linear(inputs[..., plain:], weight[:, plain:])
        return torch.cat([gates, candidate, gated], dim=-1)

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step."""
        hidden, size = state.hidden, self.hidden_size
        gates, candidate, gated = projected.split([2 * size, size, size], dim=-1)
        recurrent = functional.linear(hidden, self.weight_hh)
        reset, keep = torch.sigmoid(gates + recurrent[:, : 2 * size]).chunk(2, dim=-1)
        candidate = torch.tanh(candidate + reset * (recurrent[:, 2 * size :] + gated))
        return State(keep * hidden + (1 - keep) * candidate, None)


class LSTMLayerNorm(SteppedCell):
    """LSTM with layer normalisation of both products and of the cell.

    Paper: Ba et al. 2016, eq. 20 to 22 (https://arxiv.org/abs/1607.06450).
    Differs: 1e-5 is added to the variance, as torch does; gates stand in torch's order
        (input, forget, cell, output).
    """

    num_gates = 4

    def __init__(self, *, input_size: int, hidden_size: int, gated_size: int = 0) -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size)
        self.norm_input = nn.LayerNorm(4 * hidden_size)
        self.norm_hidden = nn.LayerNorm(4 * hidden_size)
        self.norm_cell = nn.LayerNorm(hidden_size)

    def project(self, inputs: Tensor) -> Tensor:
        """Map and normalise the inputs of all steps."""
        return self.norm_input(functional.linear(inputs, self.weight_ih)) + self.bias

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step."""
        recurrent = self.norm_hidden(functional.linear(state.hidden, self.weight_hh))
        write, keep, content, read = (projected + recurrent).chunk(4, dim=-1)
        cell = torch.sigmoid(keep) * state.cell + torch.sigmoid(write) * torch.tanh(content)
        return State(torch.sigmoid(read) * torch.tanh(self.norm_cell(cell)), cell)


FUSED = {
    "lstm": lambda *sizes, **options: nn.LSTM(*sizes, **options),
    "gru": lambda *sizes, **options: nn.GRU(*sizes, **options),
    "rnn_tanh": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="tanh", **options),
    "rnn_relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
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


class SteppedLayer(nn.Module):
    """One layer of a stepped cell in one or both directions, called like torch's own layers."""

    def __init__(
        self,
        *,
        kind: type[SteppedCell],
        input_size: int,
        hidden_size: int,
        gated_size: int,
        bidirectional: bool,
    ) -> None:
        super().__init__()
        self.cells = nn.ModuleList(
            kind(input_size=input_size, hidden_size=hidden_size, gated_size=gated_size)
            for _ in range(2 if bidirectional else 1)
        )

    def forward(self, inputs: Tensor, state: State, lengths: Tensor | None) -> tuple[Tensor, State]:
        """Run all T steps; with `lengths` (B,), a row's state stays as it is after its end."""
        outputs, last = [], []
        for direction, cell in enumerate(self.cells):
            first = State(*(None if part is None else part[direction] for part in state))
            read, states = _run(cell, inputs, first, lengths, backward=direction == 1)
            outputs.append(read)
            last.append(states)
        hidden = torch.stack([one.hidden for one in last])
        cell = None if state.cell is None else torch.stack([one.cell for one in last])
        return torch.cat(outputs, dim=-1), State(hidden, cell)


def _run(
    cell: SteppedCell, inputs: Tensor, state: State, lengths: Tensor | None, backward: bool
) -> tuple[Tensor, State]:
    order = None
    if backward:
        num_steps = inputs.shape[1]
        whole = torch.full(inputs.shape[:1], num_steps) if lengths is None else lengths.cpu()
        order = reversed_positions(whole, num_steps).to(inputs.device)
        inputs = in_order(inputs, order)
    outputs = []
    for step, projected in enumerate(cell.project(inputs).unbind(dim=1)):
        new = cell.advance(projected, state)
        output = new.hidden
        if lengths is not None:
            real = (lengths > step).to(inputs.device).unsqueeze(1)
            output = output * real
            new = State(
                *(
                    None if after is None else torch.where(real, after, before)
                    for after, before in zip(new, state, strict=True)
                )
            )
        state = new
        outputs.append(output)
    stacked = torch.stack(outputs, dim=1)
    return (stacked if order is None else in_order(stacked, order)), state


class RecurrentLayers(nn.Module):
    """A stack of recurrent layers with one signature for all cells.

    Paper: LSTM with forget gate (Gers et al. 2000); GRU (Cho et al. 2014, eq. 5 to 8); residual
        connections between layers, Wu et al. 2016, eq. 6 (https://arxiv.org/abs/1609.08144).
    Differs: torch keeps two bias vectors per gate where the papers and Keras have one, so there
        are 4H (LSTM) or 3H (GRU) more numbers per layer and direction; their sum acts as one
        bias. torch's GRU applies the reset gate after the matrix product (as cuDNN does);
        `gru_reset_before` is the papers'. `lstm`, `gru`, `rnn_tanh` and `rnn_relu` are torch's
        fused kernels, the others a loop over the steps, several times slower.

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
        checks.choice("cell", cell, CELLS)
        checks.at_least("hidden_size", hidden_size, 1)
        checks.at_least("num_layers", num_layers, 1)
        checks.ratio("dropout", dropout)
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
        elif residual:
            options = {"batch_first": True, "bidirectional": bidirectional}
            self.layers = nn.ModuleList(
                FUSED[cell](width, hidden_size, **options) for width in widths
            )
        else:  # the kernel knows how to stack layers
            options = {"batch_first": True, "bidirectional": bidirectional}
            stack = FUSED[cell](widths[0], hidden_size, num_layers, dropout=self.dropout, **options)
            self.layers = nn.ModuleList([stack])
        if input_size == 0:
            for name, parameter in self.layers[0].named_parameters():
                if "weight_ih" in name and parameter.shape[-1] == 1:
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
        letters = {"s": f"{state}_{before}", "n": f"{state}_{step}", "x": inputs}
        letters |= {"k": f"k_{before}", "l": f"k_{step}"}
        if len(before) > 1:
            letters |= {key: letters[key].replace(before, f"{{{before}}}") for key in ("s", "k")}
        lines = [
            Equation(left.format(**letters), right.format(**letters), self.hidden_size)
            for left, right in EQUATIONS[self.cell]
        ]
        if self.input_size == 0:  # there is no input to multiply
            lines = [
                one._replace(right=re.sub(rf"W(_g)? {re.escape(inputs)} \+ ", "", one.right))
                for one in lines
            ]
        if self.num_layers > 1:
            added = f", {inputs} added to its output" if self.residual else ""
            lines.append(
                Equation(
                    "layers 2.." + str(self.num_layers),
                    f"the same, the layer below as {inputs}{added}",
                    self.hidden_size,
                )
            )
        if self.num_directions == 2:
            lines.append(Equation("backward", f"the same, from the end: {step}+1 for {before}", ""))
        lines[0] = lines[0]._replace(parameters=count(self))
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


def reversed_positions(lengths: Tensor, num_positions: int) -> Tensor:
    """Return (B, S) indices that reverse the first `lengths[b]` places and keep the padding."""
    positions = torch.arange(num_positions)
    flipped = lengths.unsqueeze(1) - 1 - positions
    return torch.where(flipped >= 0, flipped, positions)


def in_order(values: Tensor, order: Tensor) -> Tensor:
    """Return (B, S) or (B, S, F) values with their positions in another order (B, S)."""
    if values.dim() == 3:
        order = order.unsqueeze(-1).expand_as(values)
    return values.gather(1, order)
