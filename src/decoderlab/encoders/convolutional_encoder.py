"""A convolutional encoder: every layer lets neighbouring positions see each other."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.contract import Encoded, EncoderShape, Space
from decoderlab.layers.embedding import build_embedding
from decoderlab.layers.equations import Equation, Letters, count, embedding_equation
from decoderlab.layers.pooling import Pooling, build_pooling, length_mask


class ConvolutionalEncoder(nn.Module):
    """Reads the source with a stack of convolutions; the summary is pooled over positions.

    With e the embedding of the source, and zeros wherever a kernel reaches beyond it:

        h_0     = P e               (P only where the widths differ)
        h_l     = h_{l-1} + ReLU(convolution_l(h_{l-1}))
        memory  = h_L;  summary = maximum or mean of memory over the real positions

    Order enters through the kernels alone: a position of the memory knows
    num_layers * (kernel_size - 1) / 2 neighbours on each side, and pooling forgets where it was.

    Paper: a convolutional encoder with residual connections, Gehring et al. 2017, section 3.2
        (https://arxiv.org/abs/1611.02344); pooling by the maximum over time, Kim 2014, section 2
        (https://arxiv.org/abs/1408.5882).
    Differs: from Gehring, no position embeddings; one stack gives keys and values of an attention,
        where the paper has two; ReLU before the residual sum in place of tanh after it. From Kim,
        layers are stacked, and all kernels have one size. Dropout is ours, off unless asked for.

    Args:
        source_space: token ids or values.
        hidden_size: width of each layer, of the memory and of the summary, at least 1.
        num_layers: convolutions, at least 1.
        kernel_size: positions that a kernel covers; odd, so that it has a middle.
        embedding_size: width of the learned embedding, None for one-hot vectors.
        dropout: on the embedded tokens and on what each layer adds, 0 to 1.
        summary: how the memory is pooled: `max` or `mean`.

    Shapes:
        source: (B, S) int64, or (B, S, F) floats; source_lengths: (B,) int64, each at least 1.
        Returns Encoded: memory (B, S, H), zeros at padding; memory_mask (B, S) bool;
        summary (B, H); no state.

    Raises:
        ValueError: for a size out of range, an even `kernel_size`, an unknown `summary`, or images.

    Example:
        >>> import torch
        >>> from decoderlab.contract import TokenSpace
        >>> encoder = ConvolutionalEncoder(source_space=TokenSpace(10), hidden_size=5)
        >>> encoded = encoder(torch.tensor([[4, 5], [6, 0]]), torch.tensor([2, 1]))
        >>> encoded.memory.shape, encoded.summary.shape, encoded.state
        (torch.Size([2, 2, 5]), torch.Size([2, 5]), None)
    """

    def __init__(
        self,
        *,
        source_space: Space,
        hidden_size: int,
        num_layers: int = 1,
        kernel_size: int = 3,
        embedding_size: int | None = None,
        dropout: float = 0.0,
        summary: str | Callable[..., Pooling] = "max",
    ) -> None:
        super().__init__()
        require.at_least("hidden_size", hidden_size, 1)
        require.at_least("num_layers", num_layers, 1)
        require.at_least("kernel_size", kernel_size, 1)
        if kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size is {kernel_size}; it must be odd, so that a kernel has a middle: "
                f"take {kernel_size - 1} or {kernel_size + 1}"
            )
        require.ratio("dropout", dropout)
        self.embedding, input_size = build_embedding(source_space, embedding_size)
        self.input_size, self.kernel_size = input_size, kernel_size
        self.project = (
            nn.Identity() if input_size == hidden_size else nn.Linear(input_size, hidden_size)
        )
        self.layers = nn.ModuleList(
            nn.Conv1d(hidden_size, hidden_size, kernel_size, padding=kernel_size // 2)
            for _ in range(num_layers)
        )
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.pool = require.given("summary", build_pooling(summary, hidden_size))
        self.shape = EncoderShape(memory_size=hidden_size, summary_size=self.pool.size)

    def forward(self, source: Tensor, source_lengths: Tensor) -> Encoded:
        """Encode a batch."""
        memory_mask = length_mask(source_lengths, source.shape[1], source.device)
        padding_mask = ~memory_mask.unsqueeze(1)
        # torch convolves over the last axis: (B, H, S).
        hidden = self.project(self.dropout(self.embedding(source))).transpose(1, 2)
        for convolution in self.layers:
            # Biases have filled the padding; a kernel must find there what it finds at the edge.
            hidden = hidden.masked_fill(padding_mask, 0.0)
            hidden = hidden + self.dropout(convolution(hidden).relu())
        memory = hidden.masked_fill(padding_mask, 0.0).transpose(1, 2)
        return Encoded(memory, memory_mask, self.pool(memory, memory_mask), None)

    def equations(self) -> list[Equation]:
        """Return what is computed at position j; see `decoderlab.layers.equations`."""
        size, around = self.shape.memory_size, self.kernel_size // 2
        lines = [embedding_equation("x_j", "source_j", self.embedding, self.input_size)]
        first = "x_j"
        if count(self.project):
            lines.append(Equation("h^0_j", "P x_j + p", size, count(self.project)))
            first = "h^0_j"
        window = f"h^{{l-1}}_{{j-{around}}} .. h^{{l-1}}_{{j+{around}}}"
        layers = f"h^l_j, l = 1..{len(self.layers)}"
        right = f"h^{{l-1}}_j + max(0, W_l [{window}] + b_l), 0 beyond the ends; {first} below"
        lines.append(Equation(layers, right, size, count(self.layers)))
        lines.append(Equation("m_j", f"h^{len(self.layers)}_j", size))
        return [
            *lines,
            Equation("c", self.pool.right_side(), self.shape.summary_size, count(self.pool)),
        ]

    @staticmethod
    def equation_letters() -> Letters:
        """Return which parameter a letter of `equations` is; see `layers.equations`."""
        return {
            "x_j": {
                "table": "embedding.weight",
                "W_e": "embedding.weight",
                "b_e": "embedding.bias",
            },
            "h^0_j": {"P": "project.weight", "p": "project.bias"},
            "h^l_j": {"W_l": "layers.{l}.weight", "b_l": "layers.{l}.bias"},
        }
