"""A head of one's own that copies: a pointer-generator network is this head with any attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.common import require
from decoderlab.contract import Space, TokenSpace, ValueSpace
from decoderlab.decoders.heads import Head, SourceRead
from decoderlab.layers.equations import Equation, count


class CopyingHead(Head):
    """log(g P(y) + (1 - g) sum of w_j over the source positions j that hold y).

    P = softmax(W f + b), g = sigmoid(v . f + d), w the attention weights, f the features.

    Paper: See et al. 2017, eq. 8 and 9 (https://arxiv.org/abs/1704.04368).
    Differs: a word that targets lack cannot be copied; the weight of such a position, (1 - g) w_j,
        goes to P. The gate reads the features alone.

    Args:
        features_size: width of the features f.
        target_space: tokens.
        source_space: tokens.
        alignment: (source vocabulary,) int64, of each source id the target id of the same token, or
            -1; None where nobody knows.
        gate_bias: d in the beginning; above 0, the head begins with generating more than copying.

    Raises:
        ValueError: if sources or targets are no tokens, or have no vocabularies to be aligned.
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
        gate_bias: float = 0.0,
    ) -> None:
        super().__init__()
        both = isinstance(target_space, TokenSpace) and isinstance(source_space, TokenSpace)
        if not both or alignment is None:
            raise ValueError(
                "only tokens of a known source can be copied into a target of tokens; take "
                "decoder/head=linear"
            )
        self.generated = nn.Linear(features_size, target_space.size)
        self.gate = nn.Linear(features_size, 1)
        nn.init.constant_(self.gate.bias, gate_bias)
        self.register_buffer("target_ids", alignment, persistent=False)

    def forward(
        self, features: Tensor, table: Tensor | None = None, *, read: SourceRead | None = None
    ) -> Tensor:
        """Return log-probabilities (B, T, V)."""
        read = require.given("what attention read", read)
        log_generated = torch.log_softmax(self.generated(features), dim=-1)
        ids = self.target_ids[read.source]  # (B, S)
        weights = read.weights * (ids >= 0).unsqueeze(1)
        copied = torch.zeros_like(log_generated).scatter_add(
            -1, ids.clamp(min=0).unsqueeze(1).expand_as(weights), weights
        )
        # (1 - g) of all that can be copied; what is left generates.
        share = torch.sigmoid(-self.gate(features))
        log_copied = torch.log((share * copied).clamp(min=torch.finfo(copied.dtype).tiny))
        # 1 - (1 - g) sum of w = g + (1 - g) (1 - sum of w), which is never 0
        lost = (1 - weights.sum(dim=-1, keepdim=True)).clamp(min=0)
        log_share = torch.logaddexp(
            functional.logsigmoid(self.gate(features)),
            torch.log((share * lost).clamp(min=torch.finfo(copied.dtype).tiny)),
        )
        return torch.logaddexp(log_share + log_generated, log_copied)

    def equations(self, features: str) -> list[Equation]:
        """Return the gate, what is generated, and the output."""
        vocabulary = self.generated.out_features
        right = "log(g_t P_t(y) + (1 - g_t) sum over source_j = y of w_tj)"
        return [
            Equation("g_t", f"sigmoid(v . {features} + d)", 1, count(self.gate)),
            Equation("P_t", f"softmax(W_o {features} + b_o)", vocabulary, count(self.generated)),
            Equation("log p_t(y)", right, vocabulary),
        ]
