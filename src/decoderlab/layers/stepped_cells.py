"""Cells that are run step by step in Python: those that torch has no kernel for."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.contract import State
from decoderlab.layers.pooling import length_mask


class SteppedCell(nn.Module):
    """Weights of a cell that is run step by step.

    Subclasses say how a step goes: `advance(projected, state)` takes a step's part of what
    `project` returned, (B, ...), and a state of (B, H) each, and returns the next state.

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
    if lengths is not None:
        reached = length_mask(lengths, inputs.shape[1], inputs.device)
    for step, projected in enumerate(cell.project(inputs).unbind(dim=1)):
        new = cell.advance(projected, state)
        output = new.hidden
        if lengths is not None:
            real = reached[:, step : step + 1]
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
