"""The cells that torch has no kernel for; they run step by step in Python."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.contract import State
from decoderlab.layers.cells import Cell

# exp of it is still a number in float32.
NEGLIGIBLE = -60.0


class UnfusedCell(nn.Module, Cell):
    """Weights of a cell that torch has no kernel for, H rows for each of its `gates`.

    Attributes:
        multiplies_state: whether it has weights that multiply the state.

    Shapes:
        weight_ih: (gates * H, I), weight_hh: (gates * H, H), bias: (gates * H,).
    """

    multiplies_state: ClassVar[bool] = True
    weight_hh: nn.Parameter

    def __init__(self, *, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = len(self.gates) * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        if self.multiplies_state:
            self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias = nn.Parameter(torch.empty(rows))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights as torch's recurrent layers do: U(-1/sqrt(H), 1/sqrt(H))."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters(recurse=False):
            nn.init.uniform_(parameter, -bound, bound)

    def project(self, inputs: Tensor) -> Tensor:
        """Map the inputs (B, T, I) of all steps at once."""
        return functional.linear(inputs, self.weight_ih, self.bias)


class ParallelCell(UnfusedCell):
    """A cell whose gates do not see the state, so that all steps can be computed at once."""

    multiplies_state = False

    @abstractmethod
    def all_steps(
        self, projected: Tensor, state: State, reached: Tensor | None
    ) -> tuple[Tensor, State]:
        """Return what `advance` gives, step after step.

        Args:
            projected: what `project` gave, (B, T, P).
            state: before the first step.
            reached: (B, T) bool, real steps before padding; None where all are real.

        Returns:
            Hidden states (B, T, H), whatever at padding, and the state after each row's last real
            step.
        """


class GRUResetBefore(UnfusedCell):
    """GRU whose reset gate is applied before the matrix product: n = tanh(W x + U (r * h)).

    Paper: Cho et al. 2014, eq. 5 to 8 (https://arxiv.org/abs/1406.1078); the same in
        Bahdanau et al. 2015, A.1.1 and A.2.2. Our z keeps the old state, as Cho's does; Bahdanau's
        z is one minus ours.
    Differs: has a bias.

    Args:
        input_size, hidden_size: see `Cell`.
    """

    gates = ("reset", "update", "content")

    @property
    def step_equations(self) -> Sequence[tuple[str, str]]:
        """What a step computes."""
        return (
            ("r, z", "sigmoid(W {x} + U {s} + b)"),
            ("g", "tanh(W_g {x} + U_g (r * {s}) + b_g)"),
            ("{n}", "z * {s} + (1 - z) * g"),
        )

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step."""
        hidden, size = state.hidden, self.hidden_size
        recurrent = functional.linear(hidden, self.weight_hh[: 2 * size])
        reset, keep = torch.sigmoid(projected[:, : 2 * size] + recurrent).chunk(2, dim=-1)
        candidate = torch.tanh(
            projected[:, 2 * size :] + functional.linear(reset * hidden, self.weight_hh[2 * size :])
        )
        return State(keep * hidden + (1 - keep) * candidate)


class GRUResetSummary(UnfusedCell):
    """GRU of Cho's decoder, whose reset gate scales what comes from the state *and* the summary.

    The last `summary_size` numbers of the input are the summary c, the others x:
    n = tanh(W x + r * (U h + C c)).

    Paper: Cho et al. 2014, appendix A.1.2 (https://arxiv.org/abs/1406.1078).
    Differs: has a bias.

    Args:
        input_size, hidden_size, summary_size: see `Cell`.
    """

    gates = ("reset", "update", "content")
    upper_layers = "the same with C c = 0"  # the summary enters the first layer alone

    def __init__(self, *, input_size: int, hidden_size: int, summary_size: int = 0) -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size)
        self.summary_size = summary_size

    @property
    def step_equations(self) -> Sequence[tuple[str, str]]:
        """What a step computes."""
        return (
            ("r, z", "sigmoid(W {x} + U {s} + b)"),
            ("g", "tanh(W_g {x} without c + b_g + r * (U_g {s} + C c))"),
            ("{n}", "z * {s} + (1 - z) * g"),
        )

    def project(self, inputs: Tensor) -> Tensor:
        """Map the inputs of all steps; the summary's part of the candidate is kept apart."""
        size, plain = self.hidden_size, self.input_size - self.summary_size
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
        return State(keep * hidden + (1 - keep) * candidate)


class LSTMLayerNorm(UnfusedCell):
    """LSTM with layer normalisation of both products and of the cell.

    Paper: Ba et al. 2016, eq. 20 to 22 (https://arxiv.org/abs/1607.06450).
    Differs: 1e-5 is added to the variance, as torch does; gates stand in torch's order
        (input, forget, cell, output).

    Args:
        input_size, hidden_size: see `Cell`.
    """

    has_cell = True
    gates = ("input", "forget", "content", "output")

    def __init__(self, *, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size)
        self.norm_input = nn.LayerNorm(4 * hidden_size)
        self.norm_hidden = nn.LayerNorm(4 * hidden_size)
        self.norm_cell = nn.LayerNorm(hidden_size)

    @property
    def step_equations(self) -> Sequence[tuple[str, str]]:
        """What a step computes."""
        return (
            ("i, f, o, g", "LN(W {x}) + LN(U {s}) + b"),
            ("{l}", "sigmoid(f) * {k} + sigmoid(i) * tanh(g)"),
            ("{n}", "sigmoid(o) * tanh(LN({l}))"),
        )

    def project(self, inputs: Tensor) -> Tensor:
        """Map and normalise the inputs of all steps."""
        return self.norm_input(functional.linear(inputs, self.weight_ih)) + self.bias

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step."""
        hidden, before = state.hidden_and_cell()
        recurrent = self.norm_hidden(functional.linear(hidden, self.weight_hh))
        write, keep, content, read = (projected + recurrent).chunk(4, dim=-1)
        cell = torch.sigmoid(keep) * before + torch.sigmoid(write) * torch.tanh(content)
        return State(torch.sigmoid(read) * torch.tanh(self.norm_cell(cell)), cell)


class ScalarLSTM(UnfusedCell):
    """sLSTM: an LSTM with exponential gates, and a normaliser n of its cell k.

    Paper: Beck et al. 2024, eq. 8 to 17 (https://arxiv.org/abs/2405.04517).
    Differs: one head, so U is no block diagonal; neither the convolution nor the normalisation of
        the block around it. f is a sigmoid, which the paper allows. As k and n begin as 0, what is
        constant in i cancels: b_i has no effect.

    Args:
        input_size, hidden_size: see `Cell`.
    """

    gates = ("input", "forget", "content", "output")

    @property
    def further_shapes(self) -> dict[str, tuple[int, ...]]:
        """The state has a cell, its normaliser, and the logarithm that keeps both in range."""
        return dict.fromkeys(("memory", "normaliser", "stabiliser"), (self.hidden_size,))

    @property
    def step_equations(self) -> Sequence[tuple[str, str]]:
        """What a step computes."""
        return (
            ("i", "exp(W_i {x} + U_i {s} + b_i)"),
            ("f, o", "sigmoid(W {x} + U {s} + b)"),
            ("g", "tanh(W_g {x} + U_g {s} + b_g)"),
            ("{l}", "f * {k} + i * g"),
            ("n_{t}", "f * n_{{{before}}} + i"),
            ("{n}", "o * {l} / n_{t}"),
        )

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step; i and f are divided by exp(stabiliser), which cancels in k / n."""
        memory, normaliser, stabiliser = state.further
        gates = projected + functional.linear(state.hidden, self.weight_hh)
        log_input, forget, content, output = gates.chunk(4, dim=-1)
        log_forget = functional.logsigmoid(forget) + stabiliser
        # Where nothing has been written yet, what is written may be too small beside what is kept.
        unscaled = (normaliser == 0) & (log_input < log_forget + NEGLIGIBLE)
        log_forget = log_forget.masked_fill(unscaled, -math.inf)
        stabiliser = torch.maximum(log_forget, log_input)
        write, keep = torch.exp(log_input - stabiliser), torch.exp(log_forget - stabiliser)
        memory = keep * memory + write * torch.tanh(content)
        normaliser = keep * normaliser + write
        hidden = torch.sigmoid(output) * memory / normaliser
        return State(hidden, None, (memory, normaliser, stabiliser))
