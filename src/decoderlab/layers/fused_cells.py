"""The cells that torch has fused kernels for: LSTM, GRU and the plain recurrent layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from decoderlab.common import require
from decoderlab.contract import State
from decoderlab.layers.cells import Cell

BIASES = ("double", "single")
First = TypeVar("First", Tensor, tuple[Tensor, Tensor])  # a kernel's state: with or without a cell


class LSTM(nn.LSTM, Cell):
    """LSTM with a forget gate, as torch's fused kernel.

    Paper: Gers et al. 2000 (https://doi.org/10.1162/089976600300015015).
    Differs: torch trains two bias vectors per gate, which are added. The paper and Keras have one;
        `bias: single` trains one.

    Args:
        input_size, hidden_size, num_layers, dropout, bidirectional: see `Cell`.
        bias: `double`, torch's, or `single`: the second vector stays zero. With two, an optimizer
            such as Adam moves their sum twice as far. The two are a closed set, as torch's kernel
            is; a cell with biases of another kind is a class of your own, see `Cell`.
    """

    has_cell = True
    gates = ("input", "forget", "content", "output")
    gate_bias = "bias_ih"
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
        bias: str = "double",
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout,
            bidirectional=bidirectional,
        )
        _train_biases(self, bias)

    @property
    def step_equations(self) -> Sequence[tuple[str, str]]:
        """What a step computes."""
        return (
            ("i, f, o", "sigmoid(W {x} + U {s} + b)"),
            ("{l}", "f * {k} + i * tanh(W_g {x} + U_g {s} + b_g)"),
            ("{n}", "o * tanh({l})"),
        )

    def project(self, inputs: Tensor) -> Tensor:
        """Map the inputs of all steps at once."""
        return functional.linear(inputs, self.weight_ih_l0, self.bias_ih_l0)

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step."""
        hidden, before = state.hidden_and_cell()
        recurrent = functional.linear(hidden, self.weight_hh_l0, self.bias_hh_l0)
        write, keep, content, read = (projected + recurrent).chunk(4, dim=-1)
        cell = torch.sigmoid(keep) * before + torch.sigmoid(write) * torch.tanh(content)
        return State(torch.sigmoid(read) * torch.tanh(cell), cell)

    def sequence(
        self, inputs: Tensor, state: State, lengths: Tensor | None
    ) -> tuple[Tensor, State]:
        """Run all T steps of all layers."""
        outputs, (hidden, cell) = _run_kernel(self, inputs, state.hidden_and_cell(), lengths)
        return outputs, State(hidden, cell)


class GRU(nn.GRU, Cell):
    """GRU whose reset gate is applied after the matrix product, as torch's fused kernel.

    Paper: Cho et al. 2014, eq. 5 to 8 (https://arxiv.org/abs/1406.1078); the reset gate as in
        cuDNN and in Keras (`reset_after`).
    Differs: the papers' reset gate comes before the product, see `GRUResetBefore`. There are two
        bias vectors, as there are in Keras's GRU with `reset_after`: inside the reset gate they
        are two.

    Args:
        input_size, hidden_size, num_layers, dropout, bidirectional: see `Cell`.
    """

    gates = ("reset", "update", "content")
    gate_bias = "bias_ih"
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout,
            bidirectional=bidirectional,
        )

    @property
    def step_equations(self) -> Sequence[tuple[str, str]]:
        """What a step computes."""
        return (
            ("r, z", "sigmoid(W {x} + U {s} + b)"),
            ("g", "tanh(W_g {x} + b_g + r * (U_g {s} + d_g))"),
            ("{n}", "z * {s} + (1 - z) * g"),
        )

    def project(self, inputs: Tensor) -> Tensor:
        """Map the inputs of all steps at once."""
        return functional.linear(inputs, self.weight_ih_l0, self.bias_ih_l0)

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step."""
        hidden, gated = state.hidden, 2 * self.hidden_size
        recurrent = functional.linear(hidden, self.weight_hh_l0, self.bias_hh_l0)
        gates = torch.sigmoid(projected[:, :gated] + recurrent[:, :gated])
        reset, keep = gates.chunk(2, dim=-1)
        candidate = torch.tanh(projected[:, gated:] + reset * recurrent[:, gated:])
        return State(keep * hidden + (1 - keep) * candidate)

    def sequence(
        self, inputs: Tensor, state: State, lengths: Tensor | None
    ) -> tuple[Tensor, State]:
        """Run all T steps of all layers."""
        outputs, last = _run_kernel(self, inputs, state.hidden, lengths)
        return outputs, State(last)


class RNN(nn.RNN, Cell):
    """Plain recurrent layer, as torch's fused kernel.

    Paper: Elman 1990 (https://doi.org/10.1207/s15516709cog1402_1).
    Differs: as for `LSTM`.

    Args:
        input_size, hidden_size, num_layers, dropout, bidirectional: see `Cell`.
        nonlinearity: `tanh` or `relu`, the two that torch's kernel has. A cell with another is a
            class of your own, see `Cell`.
        bias: see `LSTM`.
    """

    gates = ("content",)
    gate_bias = "bias_ih"
    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(
        self,
        *,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
        nonlinearity: str = "tanh",
        bias: str = "double",
    ) -> None:
        require.choice("cell.nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout,
            bidirectional=bidirectional,
            nonlinearity=nonlinearity,
        )
        _train_biases(self, bias)

    @property
    def step_equations(self) -> Sequence[tuple[str, str]]:
        """What a step computes."""
        applied = {"tanh": "tanh(", "relu": "max(0, "}[self.nonlinearity]
        return [("{n}", f"{applied}W {{x}} + U {{s}} + b)")]

    def project(self, inputs: Tensor) -> Tensor:
        """Map the inputs of all steps at once."""
        return functional.linear(inputs, self.weight_ih_l0, self.bias_ih_l0)

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step."""
        recurrent = functional.linear(state.hidden, self.weight_hh_l0, self.bias_hh_l0)
        return State(getattr(torch, self.nonlinearity)(projected + recurrent))

    def sequence(
        self, inputs: Tensor, state: State, lengths: Tensor | None
    ) -> tuple[Tensor, State]:
        """Run all T steps of all layers."""
        outputs, last = _run_kernel(self, inputs, state.hidden, lengths)
        return outputs, State(last)


def _train_biases(kernel: nn.RNNBase, bias: str) -> None:
    """Train both bias vectors of torch's kernel, or the first alone."""
    require.choice("cell.bias", bias, BIASES)
    if bias == "single":
        for name, parameter in kernel.named_parameters():
            if name.startswith("bias_hh"):
                nn.init.zeros_(parameter).requires_grad_(False)


def _run_kernel(
    kernel: nn.RNNBase,
    inputs: Tensor,
    first: First,
    lengths: Tensor | None,
) -> tuple[Tensor, First]:
    if lengths is None:
        return kernel(inputs, first)
    # Packing is exact for any mixture of lengths but slow on a CPU, which is why batches are made
    # of sources of one length wherever the data allow it.
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    outputs, last = kernel(packed, first)
    outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=inputs.shape[1])
    return outputs, last
