"""The transformer's decoder: every position looks at those before it, and at the memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.contract import Encoded, EncoderShape, TokenSpace, ValueSpace
from decoderlab.decoders.feedback import before_each
from decoderlab.layers.attention_blocks import (
    MultiHeadAttention,
    Residual,
    ScaledEmbedding,
    embedded_equation,
    feed_forward,
    part_equation,
)
from decoderlab.layers.equations import Equation, Letters, count
from decoderlab.layers.positions import sinusoidal_positions


class LayerCache(NamedTuple):
    """What a layer has already worked out; each (B, heads, positions, head_size).

    Shapes:
        keys, values: of the t target positions so far; memory_keys, memory_values: of the source.
    """

    keys: Tensor
    values: Tensor
    memory_keys: Tensor
    memory_values: Tensor


class TransformerState(NamedTuple):
    """Everything that a step needs besides the token; the keys' length says how many there were.

    Shapes:
        layers: one cache for each; memory_mask: (B, S) bool, True for real source positions.
    """

    layers: tuple[LayerCache, ...]
    memory_mask: Tensor


class TransformerDecoder(nn.Module):
    """Writes the target with masked self-attention and attention over the memory.

    With e the embedding, scaled by the square root of hidden_size, p the positions, y the target
    (y_0 is BOS) and m the memory:

        h_0 = e(y_{t-1}) + p
        h_l = feed-forward(attention to m(masked self-attention(h_{l-1}))),
              each with its residual and normalisation
        logits = W_o h_L

    Nothing but the memory reaches it from the source: summary and state are not looked at.

    Paper: Vaswani et al. 2017, sections 3.1, 3.4 and 3.5 (https://arxiv.org/abs/1706.03762);
        `norm_first` is Xiong et al. 2020 (https://arxiv.org/abs/2002.04745), with their
        normalisation after the last layer.
    Differs: the output layer has a bias and weights of its own; a memory of another width is
        mapped to hidden_size by the keys and values. Of the parts see `layers.attention_blocks`.

    Args:
        target_space: token ids.
        encoder_shape: what the encoder offers.
        hidden_size: width of embedding and layers; a multiple of `num_heads`.
        num_layers: at least 1.
        num_heads: at least 1.
        feedforward_size: width inside the feed-forward part; None for four times `hidden_size`.
        dropout: on embeddings and on what each part adds, 0 to 1.
        norm_first: normalise before each part, not after it.

    Shapes:
        target: (B, T) int64. Returns logits (B, T, V); those at t depend on target[:, :t].
        step takes a token (B,) and returns logits (B, V).

    Raises:
        ValueError: if the targets are values, or for a size out of range.

    Example:
        >>> decoder = TransformerDecoder(
        ...     target_space=TokenSpace(7),
        ...     encoder_shape=EncoderShape(memory_size=5, summary_size=5),
        ...     hidden_size=8, num_heads=2)
        >>> encoded = Encoded(torch.ones(2, 3, 5), torch.ones(2, 3).bool(), torch.ones(2, 5), None)
        >>> decoder(encoded, torch.ones(2, 6).long()).shape
        torch.Size([2, 6, 7])
    """

    def __init__(
        self,
        *,
        target_space: TokenSpace | ValueSpace,
        encoder_shape: EncoderShape,
        hidden_size: int,
        num_layers: int = 1,
        num_heads: int = 2,
        feedforward_size: int | None = None,
        dropout: float = 0.0,
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(target_space, TokenSpace):
            raise ValueError(
                f"the transformer decoder writes tokens, but the targets are {target_space.kind}; "
                "take a task with tokens as targets, or decoder=luong"
            )
        require.at_least("hidden_size", hidden_size, 1)
        require.at_least("num_layers", num_layers, 1)
        require.ratio("dropout", dropout)
        self.target_space, self.num_heads = target_space, num_heads
        self.embedding = ScaledEmbedding(space=target_space, size=hidden_size)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.layers = nn.ModuleList(
            TransformerDecoderLayer(
                hidden_size=hidden_size,
                memory_size=encoder_shape.memory_size,
                num_heads=num_heads,
                feedforward_size=feedforward_size,
                dropout=dropout,
                norm_first=norm_first,
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_size) if norm_first else nn.Identity()
        self.head = nn.Linear(hidden_size, target_space.size)

    def forward(self, encoded: Encoded, target: Tensor) -> Tensor:
        """Return the logits of all positions, given the target before each."""
        previous = before_each(target, self.target_space)
        return self._advance(previous, self.start(encoded))[0]

    def start(self, encoded: Encoded) -> TransformerState:
        """Return the state before the first target position."""
        layers = cast("Iterable[TransformerDecoderLayer]", self.layers)
        caches = tuple(layer.start(encoded.memory) for layer in layers)
        return TransformerState(caches, encoded.memory_mask)

    def step(self, previous: Tensor, state: TransformerState) -> tuple[Tensor, TransformerState]:
        """Take the previous token (B,), return the logits (B, V) of the next and the state."""
        logits, state = self._advance(previous.unsqueeze(1), state)
        return logits.squeeze(1), state

    def reorder(self, state: TransformerState, index: Tensor) -> TransformerState:
        """Return the state of the batch rows `index` (N,)."""
        layers = tuple(
            LayerCache(*(value.index_select(0, index) for value in layer)) for layer in state.layers
        )
        return TransformerState(layers, state.memory_mask.index_select(0, index))

    def _advance(
        self, previous: Tensor, state: TransformerState
    ) -> tuple[Tensor, TransformerState]:
        """Run T positions at once, after the t that the state already holds.

        Shapes:
            previous: (B, T) the token before each position. Returns logits (B, T, V).
        """
        num_before, num_new = state.layers[0].keys.shape[2], previous.shape[1]
        hidden = self.embedding(previous)
        hidden = hidden + sinusoidal_positions(
            num_new, hidden.shape[2], first=num_before, like=hidden
        )
        hidden = self.dropout(hidden)
        # New position i looks at all that came before, and at the new ones up to itself.
        causal_mask = torch.ones(
            num_new, num_before + num_new, dtype=torch.bool, device=hidden.device
        ).tril(num_before)
        layers = []
        for layer, cache in zip(self.layers, state.layers, strict=True):
            hidden, cache = layer(hidden, cache, causal_mask, state.memory_mask[:, None, None])
            layers.append(cache)
        return self.head(self.norm(hidden)), state._replace(layers=tuple(layers))

    def equations(self) -> list[Equation]:
        """Return what is computed at step t; see `decoderlab.layers.equations`."""
        size, number = self.head.in_features, len(self.layers)
        heads = f"attention of {self.num_heads} heads"
        top = f"h^{number}_t"
        return [
            embedded_equation("h^0_t", "y_{t-1}", self.embedding, size),
            part_equation(
                f"b^l_t, l = 1..{number}",
                "h^{l-1}_t",
                heads + "({}, to steps up to t)",
                self.layers,
                "self_attention",
            ),
            part_equation("a^l_t", "b^l_t", heads + "({}, to m)", self.layers, "memory_attention"),
            part_equation(
                "h^l_t", "a^l_t", "V_l max(0, W_l {} + b_l) + d_l", self.layers, "feed_forward"
            ),
            Equation("f_t", f"LN({top})" if count(self.norm) else top, size, count(self.norm)),
            Equation("logits_t", "W_o f_t + b_o", self.head.out_features, count(self.head)),
        ]

    @staticmethod
    def equation_letters() -> Letters:
        """Return which parameter a letter of `equations` is; see `layers.equations`."""
        return {
            "h^0_t": {
                "table": "embedding.weight",
                "W_e": "embedding.weight",
                "b_e": "embedding.bias",
            },
            "b^l_t": {
                "LN": "layers.{l}.self_attention_residual.norm",
                "heads": "layers.{l}.self_attention",
            },
            "a^l_t": {
                "LN": "layers.{l}.memory_attention_residual.norm",
                "heads": "layers.{l}.memory_attention",
            },
            "h^l_t": {
                "LN": "layers.{l}.feed_forward_residual.norm",
                "W_l": "layers.{l}.feed_forward.0.weight",
                "b_l": "layers.{l}.feed_forward.0.bias",
                "V_l": "layers.{l}.feed_forward.2.weight",
                "d_l": "layers.{l}.feed_forward.2.bias",
            },
            "f_t": {"LN": "norm"},
            "logits_t": {"W_o": "head.weight", "b_o": "head.bias"},
        }


class TransformerDecoderLayer(nn.Module):
    """Self-attention, attention over the memory, feed-forward. Arguments as in the decoder."""

    def __init__(
        self,
        *,
        hidden_size: int,
        memory_size: int,
        num_heads: int,
        feedforward_size: int | None,
        dropout: float,
        norm_first: bool,
    ) -> None:
        super().__init__()
        around = {"size": hidden_size, "dropout": dropout, "norm_first": norm_first}
        self.self_attention = MultiHeadAttention(
            query_size=hidden_size, memory_size=hidden_size, num_heads=num_heads
        )
        self.self_attention_residual = Residual(**around)
        self.memory_attention = MultiHeadAttention(
            query_size=hidden_size, memory_size=memory_size, num_heads=num_heads
        )
        self.memory_attention_residual = Residual(**around)
        self.feed_forward = feed_forward(hidden_size, feedforward_size)
        self.feed_forward_residual = Residual(**around)

    def start(self, memory: Tensor) -> LayerCache:
        """Return what is known before the first target position."""
        memory_keys, memory_values = self.memory_attention.keys_and_values(memory)
        nothing = memory_keys[:, :, :0]
        return LayerCache(nothing, nothing, memory_keys, memory_values)

    def forward(
        self, inputs: Tensor, cache: LayerCache, causal_mask: Tensor, memory_mask: Tensor
    ) -> tuple[Tensor, LayerCache]:
        """Return outputs of the inputs' shape (B, T, H) and the cache with T more positions."""
        query = self.self_attention_residual.before(inputs)
        keys, values = self.self_attention.keys_and_values(query)
        keys = torch.cat([cache.keys, keys], dim=2)
        values = torch.cat([cache.values, values], dim=2)
        attended = self.self_attention(query, keys, values, causal_mask)
        hidden = self.self_attention_residual.after(inputs, attended)

        query = self.memory_attention_residual.before(hidden)
        attended = self.memory_attention(query, cache.memory_keys, cache.memory_values, memory_mask)
        hidden = self.memory_attention_residual.after(hidden, attended)

        made = self.feed_forward(self.feed_forward_residual.before(hidden))
        outputs = self.feed_forward_residual.after(hidden, made)
        return outputs, cache._replace(keys=keys, values=values)
