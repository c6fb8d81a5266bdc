"""A recurrent cell whose memory is a matrix of values that are read by keys."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.contract import State
from decoderlab.layers.cells import StepEquation
from decoderlab.layers.unfused_cells import ParallelCell

# exp of its negative is still a number in float32; where it counts, what is read is 0 but for that.
LOWEST = -80.0


class MatrixLSTM(ParallelCell):
    """mLSTM: writes values under keys into a matrix C, with exponential gates and a normaliser n.

    Paper: Beck et al. 2024, eq. 19 to 27, and the stabiliser of eq. 15 to 17
        (https://arxiv.org/abs/2405.04517).
    Differs: one head; neither the convolution nor the normalisation of the block around it. f is a
        sigmoid, which the paper allows. All gates see the input alone, as there, so that a first
        state s_0 would have no effect: the memory begins as if s_0 had been written, with itself
        as the key; with s_0 = 0 it begins empty, as in the paper.

    Args:
        input_size, hidden_size: see `Cell`.
    """

    gates = ("query", "key", "value", "output")

    def __init__(self, *, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size=input_size, hidden_size=hidden_size)
        self.weight_ih_gates = nn.Parameter(torch.empty(2, input_size))  # i and f, a number each
        self.bias_gates = nn.Parameter(torch.empty(2))
        self.reset_parameters()

    @property
    def further_shapes(self) -> dict[str, tuple[int, ...]]:
        """The state has a matrix, its normaliser, and the logarithm that keeps both in range."""
        size = self.hidden_size
        return {"memory": (size, size), "normaliser": (size,), "stabiliser": (1,)}

    @property
    def start_equations(self) -> Mapping[str, str]:
        """What `start` computes."""
        root = f"sqrt({self.hidden_size})"
        return {"C": f"outer({{s}}, {{s}}) / {root}", "n": f"{{s}} / {root}"}

    @property
    def step_equations(self) -> Sequence[StepEquation]:
        """What a step computes."""
        return (
            ("o", "sigmoid(W_o {x} + b_o)"),
            ("i", "exp(W_i {x} + b_i)", 1),
            ("f", "sigmoid(W_f {x} + b_f)", 1),
            ("q", "W_q {x} + b_q"),
            ("k", f"W_k {{x}} / sqrt({self.hidden_size}) + b_k"),
            ("v", "W_v {x} + b_v"),
            ("C_{t}", "f C_{{{before}}} + i outer(v, k)", (self.hidden_size,) * 2),
            ("n_{t}", "f n_{{{before}}} + i k"),
            ("{n}", "o * (C_{t} q / max(1, abs(n_{t} . q)))"),
        )

    def start(self, state: State) -> tuple[Tensor, ...]:
        """Return the memory with the first state in it, under itself."""
        key = state.hidden / math.sqrt(self.hidden_size)
        memory = state.hidden.unsqueeze(-1) * key.unsqueeze(-2)
        return memory, key, state.hidden.new_zeros(len(key), 1)

    def project(self, inputs: Tensor) -> Tensor:
        """Map the inputs of all steps at once."""
        query, key, value, output = self.weight_ih.chunk(4)
        key = key / math.sqrt(self.hidden_size)
        weight = torch.cat([query, key, value, output, self.weight_ih_gates])
        return functional.linear(inputs, weight, torch.cat([self.bias, self.bias_gates]))

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step; C, n and 1 are divided by exp(stabiliser), which cancels in C q / n q."""
        memory, normaliser, stabiliser = state.further
        size = self.hidden_size
        query, key, value, output, gates = projected.split([size, size, size, size, 2], dim=-1)
        log_input, forget = gates.chunk(2, dim=-1)
        log_forget = functional.logsigmoid(forget) + stabiliser
        stabiliser = torch.maximum(log_forget, log_input)
        write, keep = torch.exp(log_input - stabiliser), torch.exp(log_forget - stabiliser)
        key = write * key
        memory = keep.unsqueeze(-1) * memory + value.unsqueeze(-1) * key.unsqueeze(-2)
        normaliser = keep * normaliser + key
        read = (memory @ query.unsqueeze(-1)).squeeze(-1)
        sought = (normaliser * query).sum(dim=-1, keepdim=True).abs()
        scale = torch.maximum(sought, torch.exp(-stabiliser.clamp(min=LOWEST)))
        hidden = torch.sigmoid(output) * read / scale
        return State(hidden, None, (memory, normaliser, stabiliser))

    def all_steps(
        self, projected: Tensor, state: State, reached: Tensor | None
    ) -> tuple[Tensor, State]:
        """Read at each step what all steps before it have written, weighted by what is left of it.

        Paper: the parallel form, Beck et al. 2024, appendix A.3, with the first memory beside it.
        """
        memory, normaliser, stabiliser = state.further
        size = self.hidden_size
        query, key, value, output, gates = projected.split([size, size, size, size, 2], dim=-1)
        log_input, forget = gates.chunk(2, dim=-1)
        log_forget = functional.logsigmoid(forget)
        if reached is not None:  # padding writes nothing and forgets nothing
            padding = ~reached.unsqueeze(-1)
            log_input = log_input.masked_fill(padding, -math.inf)
            log_forget = log_forget.masked_fill(padding, 0.0)
        since = log_forget.double().cumsum(dim=1)  # of long sums short differences are taken
        num_steps = since.shape[1]
        later = since.new_ones(num_steps, num_steps, dtype=torch.bool).triu(diagonal=1)
        left = (since - since.mT).type_as(query) + log_input.mT
        left = left.masked_fill(later, -math.inf)
        before = since.type_as(query) + stabiliser.unsqueeze(1)
        highest = torch.maximum(before, left.amax(dim=-1, keepdim=True))
        weights, kept = torch.exp(left - highest), torch.exp(before - highest)
        scores = weights * (query @ key.mT)
        read = scores @ value + kept * (query @ memory.mT)
        sought = scores.sum(dim=-1, keepdim=True) + kept * (query @ normaliser.unsqueeze(-1))
        scale = torch.maximum(sought.abs(), torch.exp(-highest.clamp(min=LOWEST)))
        hidden = torch.sigmoid(output) * read / scale
        written, kept_last = weights[:, -1].unsqueeze(-1) * key, kept[:, -1]
        memory = kept_last.unsqueeze(-1) * memory + value.mT @ written
        normaliser = kept_last * normaliser + written.sum(dim=1)
        further = (memory, normaliser, highest[:, -1])
        return hidden, State(_last(hidden, state.hidden, reached), None, further)


def _last(hidden: Tensor, first: Tensor, reached: Tensor | None) -> Tensor:
    """Return the hidden state after each row's last real step; `first` of a row without any."""
    if reached is None:
        return hidden[:, -1]
    steps = torch.cat([first.unsqueeze(1), hidden], dim=1)
    row = torch.arange(len(steps), device=steps.device)
    return steps[row, reached.sum(dim=1)]
