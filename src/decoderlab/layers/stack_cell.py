"""A recurrent cell with a stack that it pushes to and pops from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.common import require
from decoderlab.contract import State
from decoderlab.layers.cells import StepEquation
from decoderlab.layers.unfused_cells import UnfusedCell

ACTIONS = ("push", "pop", "keep")


class StackRNN(UnfusedCell):
    """A plain recurrent layer that reads the top of a stack, and changes the stack by mixing.

    After each step it pushes a vector with probability p_1, pops the top with p_2 and leaves the
    stack as it is with p_3: the new stack is the mean of the three, so that it has a gradient.

    Paper: Joulin and Mikolov 2015, section 3.2 (https://arxiv.org/abs/1503.01007); as in Deletang
        et al. 2023 (https://arxiv.org/abs/2207.02098), one stack of vectors.
    Differs: the state is a tanh, and so is what is pushed, both a sigmoid there; an empty place is
        0, which the first paper has as -1. What is pushed beyond the depth is lost at the bottom.

    Args:
        input_size, hidden_size: see `Cell`.
        depth: places of the stack, at least 1.
        width: of each place, at least 1.

    Raises:
        ValueError: for a depth or width below 1.
    """

    gates = ("content",)

    def __init__(
        self, *, input_size: int, hidden_size: int, depth: int = 30, width: int = 8
    ) -> None:
        require.at_least("cell.depth", depth, 1)
        require.at_least("cell.width", width, 1)
        super().__init__(input_size=input_size, hidden_size=hidden_size)
        self.depth, self.width = depth, width
        self.weight_top = nn.Parameter(torch.empty(hidden_size, width))
        self.weight_action = nn.Parameter(torch.empty(len(ACTIONS), hidden_size))
        self.bias_action = nn.Parameter(torch.empty(len(ACTIONS)))
        self.weight_pushed = nn.Parameter(torch.empty(width, hidden_size))
        self.bias_pushed = nn.Parameter(torch.empty(width))
        self.reset_parameters()

    @property
    def further_shapes(self) -> dict[str, tuple[int, ...]]:
        """The state has a stack, its top first."""
        return {"stack": (self.depth, self.width)}

    @property
    def step_equations(self) -> Sequence[StepEquation]:
        """What a step computes."""
        before = "M_{{{before}}}"
        return (
            ("{n}", f"tanh(W {{x}} + U {{s}} + V top({before}) + b)"),
            ("p", "softmax(W_p {n} + b_p)", len(ACTIONS)),
            ("v", "tanh(W_v {n} + b_v)", self.width),
            (
                "M_{t}",
                f"(p)_1 push(v, {before}) + (p)_2 pop({before}) + (p)_3 {before}",
                (self.depth, self.width),
            ),
        )

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step: the state first, which then decides on the stack."""
        (stack,) = state.further
        recurrent = functional.linear(state.hidden, self.weight_hh)
        top = functional.linear(stack[:, 0], self.weight_top)
        hidden = torch.tanh(projected + recurrent + top)
        actions = functional.linear(hidden, self.weight_action, self.bias_action)
        push, pop, keep = torch.softmax(actions, dim=-1)[..., None, None].unbind(dim=1)
        value = torch.tanh(functional.linear(hidden, self.weight_pushed, self.bias_pushed))
        pushed = torch.cat([value.unsqueeze(1), stack[:, :-1]], dim=1)
        popped = functional.pad(stack[:, 1:], (0, 0, 0, 1))
        return State(hidden, None, (push * pushed + pop * popped + keep * stack,))
