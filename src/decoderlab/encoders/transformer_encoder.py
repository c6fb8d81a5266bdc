"""The transformer's encoder: every position looks at all others."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.contract import Encoded, EncoderShape, Space, TokenSpace
from decoderlab.layers.attention_blocks import (
    MultiHeadAttention,
    Residual,
    ScaledEmbedding,
    embedded_equation,
    feed_forward,
    part_equation,
)
from decoderlab.layers.embedding import build_embedding
from decoderlab.layers.equations import Equation, Letters, count
from decoderlab.layers.pooling import Pooling, build_pooling, length_mask
from decoderlab.layers.positions import sinusoidal_positions


class TransformerEncoder(nn.Module):
    """Reads the source with self-attention; the summary is pooled over positions.

    With e the embedding, scaled by the square root of hidden_size, and p the positions:

        h_0 = e + p
        h_l = feed-forward(self-attention(h_{l-1})), each with its residual and normalisation
        memory = h_L;  summary = mean or maximum of memory over the real positions

    Paper: Vaswani et al. 2017, sections 3.1, 3.4 and 3.5 (https://arxiv.org/abs/1706.03762);
        `norm_first` is Xiong et al. 2020 (https://arxiv.org/abs/2002.04745), with their
        normalisation after the last layer.
    Differs: the summary, for decoders that take one vector, is ours. Values are mapped to
        hidden_size by an affine map, and not scaled. Of the parts see `layers.attention_blocks`.

    Args:
        source_space: token ids or values.
        hidden_size: width of embedding, layers, memory and summary; a multiple of `num_heads`.
        num_layers: at least 1.
        num_heads: at least 1.
        feedforward_size: width inside the feed-forward part; None for four times `hidden_size`.
        dropout: on embeddings and on what each part adds, 0 to 1.
        summary: how the memory is pooled: `mean` or `max`.
        norm_first: normalise before each part, not after it.

    Shapes:
        source: (B, S) int64, or (B, S, F) floats; source_lengths: (B,) int64, each at least 1.
        Returns Encoded: memory (B, S, H), zeros at padding; memory_mask (B, S) bool;
        summary (B, H); no state.

    Raises:
        ValueError: for a size out of range, an unknown `summary`, or images.

    Example:
        >>> import torch
        >>> encoder = TransformerEncoder(source_space=TokenSpace(10), hidden_size=8, num_heads=2)
        >>> encoded = encoder(torch.tensor([[4, 5], [6, 0]]), torch.tensor([2, 1]))
        >>> encoded.memory.shape, encoded.summary.shape, encoded.state
        (torch.Size([2, 2, 8]), torch.Size([2, 8]), None)
    """

    def __init__(
        self,
        *,
        source_space: Space,
        hidden_size: int,
        num_layers: int = 1,
        num_heads: int = 2,
        feedforward_size: int | None = None,
        dropout: float = 0.0,
        summary: str | Callable[..., Pooling] = "mean",
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        require.at_least("hidden_size", hidden_size, 1)
        require.at_least("num_layers", num_layers, 1)
        require.ratio("dropout", dropout)
        if isinstance(source_space, TokenSpace):
            self.embedding = ScaledEmbedding(space=source_space, size=hidden_size)
        else:
            self.embedding, _ = build_embedding(source_space, hidden_size)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.layers = nn.ModuleList(
            TransformerEncoderLayer(
                hidden_size=hidden_size,
                num_heads=num_heads,
                feedforward_size=feedforward_size,
                dropout=dropout,
                norm_first=norm_first,
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_size) if norm_first else nn.Identity()
        self.num_heads = num_heads
        self.pool = require.given("summary", build_pooling(summary, hidden_size))
        self.shape = EncoderShape(memory_size=hidden_size, summary_size=self.pool.size)

    def forward(self, source: Tensor, source_lengths: Tensor) -> Encoded:
        """Encode a batch."""
        memory_mask = length_mask(source_lengths, source.shape[1], source.device)
        padding_mask = ~memory_mask.unsqueeze(-1)
        hidden = self.embedding(source)
        hidden = hidden + sinusoidal_positions(*hidden.shape[1:], like=hidden)
        hidden = self.dropout(hidden).masked_fill(padding_mask, 0.0)
        for layer in self.layers:
            hidden = layer(hidden, memory_mask[:, None, None])
        memory = self.norm(hidden).masked_fill(padding_mask, 0.0)
        return Encoded(memory, memory_mask, self.pool(memory, memory_mask), None)

    def equations(self) -> list[Equation]:
        """Return what is computed at position j; see `decoderlab.layers.equations`."""
        size, number = self.shape.memory_size, len(self.layers)
        heads = f"attention of {self.num_heads} heads"
        top = f"h^{number}_j"
        return [
            embedded_equation("h^0_j", "source_j", self.embedding, size),
            part_equation(
                f"a^l_j, l = 1..{number}",
                "h^{l-1}_j",
                heads + "({}, to all real positions)",
                self.layers,
                "attention",
            ),
            part_equation(
                "h^l_j", "a^l_j", "V_l max(0, W_l {} + b_l) + d_l", self.layers, "feed_forward"
            ),
            Equation("m_j", f"LN({top})" if count(self.norm) else top, size, count(self.norm)),
            Equation("c", self.pool.right_side(), self.shape.summary_size, count(self.pool)),
        ]

    @staticmethod
    def equation_letters() -> Letters:
        """Return which parameter a letter of `equations` is; see `layers.equations`."""
        return {
            "h^0_j": {
                "table": "embedding.weight",
                "W_e": "embedding.weight",
                "b_e": "embedding.bias",
            },
            "a^l_j": {"LN": "layers.{l}.attention_residual.norm", "heads": "layers.{l}.attention"},
            "h^l_j": {
                "LN": "layers.{l}.feed_forward_residual.norm",
                "W_l": "layers.{l}.feed_forward.0.weight",
                "b_l": "layers.{l}.feed_forward.0.bias",
                "V_l": "layers.{l}.feed_forward.2.weight",
                "d_l": "layers.{l}.feed_forward.2.bias",
            },
            "m_j": {"LN": "norm"},
        }


class TransformerEncoderLayer(nn.Module):
    """Self-attention and a feed-forward part. Arguments as in `TransformerEncoder`."""

    def __init__(
        self,
        *,
        hidden_size: int,
        num_heads: int,
        feedforward_size: int | None,
        dropout: float,
        norm_first: bool,
    ) -> None:
        super().__init__()
        around = {"size": hidden_size, "dropout": dropout, "norm_first": norm_first}
        self.attention = MultiHeadAttention(
            query_size=hidden_size, memory_size=hidden_size, num_heads=num_heads
        )
        self.attention_residual = Residual(**around)
        self.feed_forward = feed_forward(hidden_size, feedforward_size)
        self.feed_forward_residual = Residual(**around)

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Return (B, S, H) for inputs of that shape; `mask` (B, 1, 1, S) is True for real ones."""
        query = self.attention_residual.before(inputs)
        attended = self.attention(query, *self.attention.keys_and_values(query), mask)
        hidden = self.attention_residual.after(inputs, attended)
        made = self.feed_forward(self.feed_forward_residual.before(hidden))
        return self.feed_forward_residual.after(hidden, made)
