"""Cells whose step is linear in the state, so that all steps can be computed at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from decoderlab.contract import State
from decoderlab.layers.unfused_cells import ParallelCell


class LinearCell(ParallelCell):
    """s_t = keep_t * s_{t-1} + write_t, where both depend on the input alone."""

    @abstractmethod
    def keep_and_write(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Return keep_t and write_t, (..., H) each, from what `project` gave, (..., P)."""

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step."""
        keep, write = self.keep_and_write(projected)
        return State(keep * state.hidden + write)

    def all_steps(
        self, projected: Tensor, state: State, reached: Tensor | None
    ) -> tuple[Tensor, State]:
        """Run all steps as one `scan`."""
        keep, write = self.keep_and_write(projected)
        if reached is not None:
            padding = ~reached.unsqueeze(-1)
            keep, write = keep.masked_fill(padding, 1.0), write.masked_fill(padding, 0.0)
        states = scan(keep, write, state.hidden)
        return states, State(states[:, -1])


class MinGRU(LinearCell):
    """A GRU whose gate and candidate do not see the state.

    Paper: Feng et al. 2024, section 3.1.1 (https://arxiv.org/abs/2410.01201).
    Differs: z keeps the old state, as in our GRUs; the paper's is one minus ours.

    Args:
        input_size, hidden_size: see `Cell`.
    """

    gates = ("update", "content")

    @property
    def step_equations(self) -> Sequence[tuple[str, str]]:
        """What a step computes."""
        return (
            ("z", "sigmoid(W {x} + b)"),
            ("g", "W_g {x} + b_g"),
            ("{n}", "z * {s} + (1 - z) * g"),
        )

    def keep_and_write(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Return z and (1 - z) * g."""
        update, content = projected.chunk(2, dim=-1)
        keep = torch.sigmoid(update)
        return keep, (1 - keep) * content


class MinLSTM(LinearCell):
    """An LSTM whose gates and candidate do not see the state; f and i are normalised to 1.

    Paper: Feng et al. 2024, section 3.2 (https://arxiv.org/abs/2410.01201).
    Differs: none. The state is one vector, without a cell.

    Args:
        input_size, hidden_size: see `Cell`.
    """

    gates = ("forget", "input", "content")

    @property
    def step_equations(self) -> Sequence[tuple[str, str]]:
        """What a step computes."""
        return (
            ("f, i", "sigmoid(W {x} + b)"),
            ("g", "W_g {x} + b_g"),
            ("{n}", "(f * {s} + i * g) / (f + i)"),
        )

    def keep_and_write(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Return f / (f + i) and i g / (f + i)."""
        forget, write, content = projected.chunk(3, dim=-1)
        # f / (f + i) = sigmoid(log f - log i), which does not divide small numbers
        keep = torch.sigmoid(functional.logsigmoid(forget) - functional.logsigmoid(write))
        return keep, (1 - keep) * content


def scan(keep: Tensor, write: Tensor, first: Tensor) -> Tensor:
    """Return all states of s_t = keep_t * s_{t-1} + write_t, in log2(T) rounds.

    Paper: Hillis and Steele 1986, "Data parallel algorithms", prefix sums.

    Shapes:
        keep, write: (B, T, H); first: (B, H). Returns (B, T, H).

    Example:
        >>> half, ones = torch.full((1, 3, 1), 0.5), torch.ones(1, 3, 1)
        >>> scan(half, ones, torch.zeros(1, 1)).flatten().tolist()
        [1.0, 1.5, 1.75]
    """
    reach = 1
    while reach < keep.shape[1]:
        before_keep = functional.pad(keep[:, :-reach], (0, 0, reach, 0), value=1.0)
        before_write = functional.pad(write[:, :-reach], (0, 0, reach, 0))
        keep, write = keep * before_keep, keep * before_write + write
        reach *= 2
    return keep * first.unsqueeze(1) + write
