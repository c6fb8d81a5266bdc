"""What transformer encoders and decoders are built of."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.common import require
from decoderlab.contract import TokenSpace
from decoderlab.layers.equations import Equation, count


class ScaledEmbedding(nn.Module):
    """A learned table of token vectors, multiplied by the square root of their width.

    Paper: Vaswani et al. 2017, section 3.4 (https://arxiv.org/abs/1706.03762). The paper says
        nothing of initial values; the authors' code, tensor2tensor, draws N(0, 1/H), so that the
        scaled numbers have the size of the positions that are added to them.
    Differs: the table is not shared with the output layer. The vector of `pad_id` is zero.

    Args:
        space: the token ids.
        size: width H of a vector.

    Shapes:
        tokens: (...) int64. Returns (..., H).
    """

    def __init__(self, *, space: TokenSpace, size: int) -> None:
        super().__init__()
        self.padding_idx = space.pad_id
        self.scale = math.sqrt(size)
        self.weight = nn.Parameter(torch.empty(space.size, size))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the table anew."""
        self.weight.normal_(std=1 / self.scale)
        self.weight[self.padding_idx].zero_()

    def forward(self, tokens: Tensor) -> Tensor:
        """Look the vectors up."""
        return functional.embedding(tokens, self.weight, self.padding_idx) * self.scale


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention of several heads.

    Keys and values are made apart from the rest, so that a decoder can keep them.

    Paper: Vaswani et al. 2017, section 3.2, eq. 1 (https://arxiv.org/abs/1706.03762).
    Differs: the maps have biases, as torch's have, but for the keys: a bias there adds the same
        number to all scores of a query, which the softmax takes out again. Equation 1 is written
        out, because the counter of operations sees nothing in torch's fused attention on a CPU.

    Args:
        query_size: width of queries and outputs; the heads share it equally.
        memory_size: width of what is looked at.
        num_heads: at least 1; it must divide `query_size`.

    Raises:
        ValueError: if `num_heads` does not divide `query_size`.
    """

    def __init__(self, *, query_size: int, memory_size: int, num_heads: int) -> None:
        super().__init__()
        require.at_least("hidden_size", query_size, 1)
        require.at_least("num_heads", num_heads, 1)
        if query_size % num_heads:
            raise ValueError(
                f"hidden_size is {query_size} and num_heads is {num_heads}; the heads share "
                "hidden_size equally, so make it a multiple of num_heads"
            )
        self.num_heads = num_heads
        self.query = nn.Linear(query_size, query_size)
        self.key = nn.Linear(memory_size, query_size, bias=False)
        self.value = nn.Linear(memory_size, query_size)
        self.output = nn.Linear(query_size, query_size)

    def keys_and_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Turn (B, S, memory_size) into keys and values, (B, heads, S, head_size) each."""
        return self._split(self.key(memory)), self._split(self.value(memory))

    def forward(self, inputs: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Return what each of the inputs (B, T, query_size) finds; the shape is the same.

        `mask` is bool, True where input t may look at position s, and fits (B, heads, T, S). At
        least one position must be open to each input.
        """
        queries = self._split(self.query(inputs))
        attention_scores = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[-1])
        attention_weights = attention_scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)
        context = attention_weights @ values  # eq. 1
        return self.output(context.transpose(1, 2).flatten(2))

    def _split(self, vectors: Tensor) -> Tensor:
        """Turn (B, S, heads * head_size) into (B, heads, S, head_size)."""
        return vectors.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


class Residual(nn.Module):
    """What stands around each part of a layer: residual connection, dropout, normalisation.

    Paper: Vaswani et al. 2017, section 3.1: LayerNorm(x + part(x)); dropout as in its section 5.4.
        With `norm_first` Xiong et al. 2020, figure 1b (https://arxiv.org/abs/2002.04745):
        x + part(LayerNorm(x)), which learns without a warm-up of the learning rate.
    Differs: none.
    """

    def __init__(self, *, size: int, dropout: float, norm_first: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.norm_first = norm_first
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def before(self, inputs: Tensor) -> Tensor:
        """Return what the part gets."""
        return self.norm(inputs) if self.norm_first else inputs

    def after(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """Return what the next part gets, from what this one got and made."""
        total = inputs + self.dropout(outputs)
        return total if self.norm_first else self.norm(total)


def embedded_equation(left: str, of: str, embedding: nn.Module, size: int) -> Equation:
    """Return the embedding with its position; see `decoderlab.layers.equations`."""
    if isinstance(embedding, ScaledEmbedding):
        right = f"sqrt({size}) row {of} of a table + p"
    else:
        right = f"W_e {of} + b_e + p"
    return Equation(
        left, f"{right}, p the sinusoidal positions, the first 0", size, count(embedding)
    )


def part_equation(left: str, of: str, part: str, layers: nn.ModuleList, name: str) -> Equation:
    """Return one part of every layer with its residual connection.

    Args:
        left: what the part gives.
        of: what it gets.
        part: what it is, with `{}` for what it gets.
        layers: with the attributes `name` and `name + "_residual"`.
        name: of the part.
    """
    residual = getattr(layers[0], f"{name}_residual")
    if residual.norm_first:
        right = f"{of} + {part.format(f'LN({of})')}"
    else:
        right = f"LN({of} + {part.format(of)})"
    parts = [getattr(layer, which) for layer in layers for which in (name, f"{name}_residual")]
    return Equation(left, right, residual.norm.normalized_shape[0], count(*parts))


def feed_forward(size: int, inner_size: int | None) -> nn.Sequential:
    """Return the same two affine maps for every position, with a ReLU between them.

    Paper: Vaswani et al. 2017, section 3.3, eq. 2.

    Args:
        size: width of inputs and outputs.
        inner_size: width between the maps, at least 1; None for four times `size`, the paper's
            ratio.
    """
    inner_size = 4 * size if inner_size is None else inner_size
    require.at_least("feedforward_size", inner_size, 1)
    return nn.Sequential(nn.Linear(size, inner_size), nn.ReLU(), nn.Linear(inner_size, size))
