"""A bridge of one's own: the memory is pooled by attention without a query."""

from __future__ import annotations

import torch
from torch import nn

from decoderlab.contract import Encoded, EncoderShape, State
from decoderlab.decoders.attention import masked_softmax
from decoderlab.decoders.bridges import Bridge
from decoderlab.layers.equations import Equation, count


class PooledBridge(Bridge):
    """s_0 = tanh(V sum_j w_j m_j + b), w = softmax over j of u . tanh(W m_j).

    Paper: Lin et al. 2017, eq. 1 (https://arxiv.org/abs/1703.03130), with one row of weights.
    Differs: the paper pools for a classifier; here what was pooled is mapped to each layer's state.
        An LSTM's cell begins at zero.

    Args:
        encoder_shape: what the encoder offers.
        hidden_size: width H of the decoder's layers.
        num_layers: the decoder's layers L.
        has_cell: whether the decoder's layers carry a cell state.
        size: width of the hidden layer of the weights, at least 1; None for `hidden_size`.
    """

    reads = "memory"

    def __init__(
        self,
        *,
        encoder_shape: EncoderShape,
        hidden_size: int,
        num_layers: int,
        has_cell: bool,
        size: int | None = None,
    ) -> None:
        super().__init__()
        self.num_layers, self.has_cell, size = num_layers, has_cell, size or hidden_size
        self.hidden = nn.Linear(encoder_shape.memory_size, size, bias=False)
        self.score_vector = nn.Linear(size, 1, bias=False)
        self.state = nn.Linear(encoder_shape.memory_size, num_layers * hidden_size)

    def forward(self, encoded: Encoded) -> State:
        """Return the decoder's first state."""
        scores = self.score_vector(torch.tanh(self.hidden(encoded.memory))).transpose(1, 2)
        pooled = masked_softmax(scores, encoded.memory_mask) @ encoded.memory
        hidden = torch.tanh(self.state(pooled)).unflatten(-1, (self.num_layers, -1))
        hidden = hidden.squeeze(1).transpose(0, 1).contiguous()
        return State(hidden, torch.zeros_like(hidden) if self.has_cell else None)

    def equations(self) -> list[Equation]:
        """Return the weights and the initial state."""
        own = count(self.hidden) + count(self.score_vector)
        size = self.state.out_features // self.num_layers
        return [
            Equation("w_j", "softmax over j of u . tanh(W_b m_j)", "S", own),
            Equation("s_0", "tanh(V_0 (sum over j of w_j m_j) + b_0)", size, count(self.state)),
        ]
