"""A head of one's own that sees the source: what attention reads there biases the logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.contract import Space, TokenSpace, ValueSpace
from decoderlab.decoders.heads import Head, SourceRead
from decoderlab.layers.equations import Equation, count


class LexiconHead(Head):
    """W f + b + log(l_t + epsilon), l_t the sum of w_tj over the positions j that hold a token.

    Paper: Arthur et al. 2016, the lexicon as a bias (https://arxiv.org/abs/1606.02006).
    Differs: the lexicon translates each token by itself, and one that targets lack by nothing.

    Args:
        features_size: width of the features f.
        target_space: tokens.
        source_space: tokens.
        alignment: (source vocabulary,) int64, of each source id the target id of the same token, or
            -1; None where nobody knows.
        epsilon: above 0; the less, the more the lexicon decides.

    Raises:
        ValueError: if sources or targets are no tokens, or epsilon is out of range.
    """

    sees_source = True
    target_ids: Tensor

    def __init__(
        self,
        *,
        features_size: int,
        target_space: TokenSpace | ValueSpace,
        source_space: Space | None = None,
        alignment: Tensor | None = None,
        epsilon: float = 0.001,
    ) -> None:
        super().__init__()
        both = isinstance(target_space, TokenSpace) and isinstance(source_space, TokenSpace)
        if not both or alignment is None:
            raise ValueError("a lexicon is of tokens on both sides; take decoder/head=linear")
        require.positive("epsilon", epsilon)
        self.epsilon = epsilon
        self.output = nn.Linear(features_size, target_space.size)
        self.register_buffer("target_ids", alignment, persistent=False)

    def forward(
        self, features: Tensor, table: Tensor | None = None, *, read: SourceRead | None = None
    ) -> Tensor:
        """Return logits (B, T, V)."""
        read, logits = require.given("what attention read", read), self.output(features)
        ids = self.target_ids[read.source].unsqueeze(1)  # (B, 1, S)
        weights = read.weights * (ids >= 0)
        index = ids.clamp(min=0).expand_as(weights)
        translated = torch.zeros_like(logits).scatter_add(-1, index, weights)
        return logits + torch.log(translated + self.epsilon)

    def equations(self, features: str) -> list[Equation]:
        """Return what the lexicon says, and the output."""
        vocabulary, bias = self.output.out_features, f"log(l_t + {self.epsilon:g})"
        right = f"W_o {features} + b_o + {bias}"
        return [
            Equation("l_t", "sum of w_tj over the positions j that hold y_t", vocabulary),
            Equation("logits_t", right, vocabulary, count(self.output)),
        ]
