"""A head of one's own that returns log-probabilities: a mixture of softmaxes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.decoders.heads import Head
from decoderlab.layers.equations import Equation, count


class MixtureOfSoftmaxes(Head):
    """log sum_k pi_k softmax(W tanh(V_k f + d_k) + b), pi = softmax(U f + u).

    Over all contexts, the logits of one softmax have a rank of at most its width. A mixture's
    log-probabilities have no such bound.

    Paper: Yang et al. 2018, section 2.3 (https://arxiv.org/abs/1711.03953).
    Differs: there are biases.

    Args:
        features_size: width of the features f.
        hidden_size: the decoder's, the default of `size`.
        target_space: tokens.
        num_softmaxes: K, at least 1.
        size: width of each hidden layer, at least 1; None for `hidden_size`.

    Raises:
        ValueError: for real-valued targets, or a number out of range.
    """

    def __init__(
        self,
        *,
        features_size: int,
        hidden_size: int,
        target_space: TokenSpace | ValueSpace,
        num_softmaxes: int = 3,
        size: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(target_space, TokenSpace):
            raise ValueError("the targets are real values; take decoder/head=linear")
        if num_softmaxes < 1:
            raise ValueError(f"num_softmaxes is {num_softmaxes}; it must be at least 1")
        self.num_softmaxes, size = num_softmaxes, size or hidden_size
        self.weights = nn.Linear(features_size, num_softmaxes)
        self.hidden = nn.Linear(features_size, num_softmaxes * size)
        self.output = nn.Linear(size, target_space.size)

    def forward(self, features: Tensor, table: Tensor | None = None) -> Tensor:
        """Return log-probabilities (..., V)."""
        hidden = torch.tanh(self.hidden(features)).unflatten(-1, (self.num_softmaxes, -1))
        each = torch.log_softmax(self.output(hidden), dim=-1)
        weights = torch.log_softmax(self.weights(features), dim=-1).unsqueeze(-1)
        return torch.logsumexp(weights + each, dim=-2)

    def equations(self, features: str) -> list[Equation]:
        """Return the weights, the hidden layers and the output."""
        number, vocabulary = self.num_softmaxes, self.output.out_features
        right = f"log sum over k = 1..{number} of pi_k softmax(W_o u^k_t + b_o)"
        return [
            Equation("pi", f"softmax(U {features} + u)", number, count(self.weights)),
            Equation(
                "u^k_t", f"tanh(V_k {features} + d_k)", self.output.in_features, count(self.hidden)
            ),
            Equation("log p_t", right, vocabulary, count(self.output)),
        ]
