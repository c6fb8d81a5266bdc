"""A recurrent cell of one's own, whose state is a matrix: the mLSTM of Beck et al. 2024."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from decoderlab.contract import State
from decoderlab.layers.cells import Cell


class MatrixMemory(nn.Module, Cell):
    """Writes values under keys into a matrix and reads them by queries.

    With q, k, v maps of the input and of the state before, i and f gates, o a vector of gates:

        C_t = f C_{t-1} + i v k^T
        n_t = f n_{t-1} + i k
        s_t = o * C_t q / max(|n_t q|, 1)

    Paper: Beck et al. 2024, section 2.3 (https://arxiv.org/abs/2405.04517).
    Differs: the gates are sigmoids; the input gate of the paper is an exponential, with a
        stabiliser. The maps read the state before too, so that a step depends on the last one.

    Args:
        input_size: width of the input.
        hidden_size: width H of the state's vector.

    Shapes:
        The state: a vector (H,), a matrix C (H, H) and a normaliser n (H,).
    """

    def __init__(self, *, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_ih = nn.Linear(input_size, 4 * hidden_size + 2)
        self.weight_hh = nn.Linear(hidden_size, 4 * hidden_size + 2, bias=False)

    @property
    def further_shapes(self) -> dict[str, tuple[int, ...]]:
        """The state has a matrix and a normaliser besides its vector."""
        return {"matrix": (self.hidden_size, self.hidden_size), "normaliser": (self.hidden_size,)}

    def project(self, inputs: Tensor) -> Tensor:
        """Map the inputs of all steps at once."""
        return self.weight_ih(inputs)

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step."""
        size, (matrix, normaliser) = self.hidden_size, state.further
        parts = projected + self.weight_hh(state.hidden)
        query, key, value, output, gates = parts.split([size, size, size, size, 2], dim=-1)
        write, keep = torch.sigmoid(gates).chunk(2, dim=-1)
        key = write * key / math.sqrt(size)
        matrix = keep.unsqueeze(-1) * matrix + value.unsqueeze(-1) * key.unsqueeze(-2)
        normaliser = keep * normaliser + key
        read = (matrix @ query.unsqueeze(-1)).squeeze(-1)
        scale = (normaliser * query).sum(dim=-1, keepdim=True).abs().clamp(min=1)
        hidden = torch.sigmoid(output) * read / scale
        return State(hidden, None, (matrix, normaliser))

    @property
    def step_equations(self) -> list[tuple[str, str]]:
        """What a step computes."""
        return [
            ("q, k, v", "W {x} + U {s} + b"),
            ("i, f, o", "sigmoid(W_g {x} + U_g {s} + b_g)"),
            ("C_{t}", "f C_{{{before}}} + i v k^T / sqrt(H)"),
            ("n_{t}", "f n_{{{before}}} + i k / sqrt(H)"),
            ("{n}", "o * C_{t} q / max(|n_{t} q|, 1)"),
        ]
