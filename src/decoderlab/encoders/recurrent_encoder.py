"""Recurrent encoders, in one or both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.common.part_choice import Choice
from decoderlab.contract import Encoded, EncoderShape, Space
from decoderlab.layers.cells import Cell
from decoderlab.layers.embedding import build_embedding
from decoderlab.layers.equations import Equation, Letters, count, embedding_equation
from decoderlab.layers.pooling import Pooling, build_pooling, length_mask
from decoderlab.layers.recurrent_stack import (
    RecurrentLayers,
    in_order,
    reversed_positions,
    side_by_side,
)


class RecurrentEncoder(nn.Module):
    """Reads the source with a stack of recurrent layers.

    Paper: Sutskever et al. 2014, section 2 (https://arxiv.org/abs/1409.3215), with
        `reverse_source` its section 3.3; both directions as in Bahdanau et al. 2015, section 3.2
        (https://arxiv.org/abs/1409.0473); a summary of its own width, tanh(V h_N), Cho et al. 2014,
        section 2.2 (https://arxiv.org/abs/1406.1078).
    Differs: dropout (on the embedded tokens and between layers) is ours, off unless asked for; V
        has a bias.

    Args:
        source_space: token ids or values.
        cell: a class of `decoderlab.layers` or of your own, see `decoderlab.layers.cells.Cell`; not
            one that reads a summary.
        hidden_size: width of each layer *and direction*, at least 1.
        num_layers: at least 1.
        bidirectional: both directions, side by side: memory, summary and state are twice as wide.
        embedding_size: width of the learned embedding, None for one-hot vectors.
        dropout: on the embedded tokens and between layers, 0 to 1.
        reverse_source: read from the last token to the first. `memory` is returned in the
            source's own order all the same. With both directions this only swaps their names.
        zoneout, variational_dropout: see `RecurrentLayers`.
        residual: whether a layer's input is added to its output, from the second layer on.
        summary: the top layer's `last` hidden state (of both directions, if there are two), that
            of the `backward` direction alone, or the `mean` or `max` of the memory over the real
            positions; or a class, see `Pooling`.
        summary_size: if given, the summary is tanh(V .) of that, and so wide; None leaves it as is.

    Shapes:
        source: (B, S) int64; source_lengths: (B,) int64 on the CPU, each at least 1.
        Returns Encoded: memory (B, S, M), zeros at padding; memory_mask (B, S) bool;
        summary (B, D); state (L, B, M), where M is hidden_size, twice that for both directions,
        and D is summary_size, M without it, or hidden_size for the summary `backward`.

    Raises:
        ValueError: for sizes out of range, or settings that contradict each other.

    Example:
        >>> from decoderlab.contract import TokenSpace
        >>> from decoderlab.layers import LSTM
        >>> encoder = RecurrentEncoder(source_space=TokenSpace(10), cell=LSTM, hidden_size=5)
        >>> encoded = encoder(torch.tensor([[4, 5], [6, 0]]), torch.tensor([2, 1]))
        >>> encoded.memory.shape, encoded.summary.shape, encoded.memory_mask.tolist()
        (torch.Size([2, 2, 5]), torch.Size([2, 5]), [[True, True], [True, False]])
    """

    # Of its own last states: what else a summary can be is read from the memory, see `Pooling`.
    OWN_NAMES: ClassVar[dict[str, Sequence[str]]] = {"summary": ("last", "backward")}

    def __init__(
        self,
        *,
        source_space: Space,
        cell: Callable[..., Cell],
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        embedding_size: int | None = None,
        dropout: float = 0.0,
        reverse_source: bool = False,
        residual: bool = False,
        summary: str | Callable[..., Pooling] = "last",
        summary_size: int | None = None,
        zoneout: float = 0.0,
        variational_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require.ratio("dropout", dropout)
        if summary == "backward" and not bidirectional:
            raise ValueError(
                "summary is 'backward', but the encoder reads in one direction; take "
                "bidirectional=true, or summary=last"
            )
        _refuse_summary(cell)
        self.summary = summary
        self.reverse_source = reverse_source
        self.embedding, input_size = build_embedding(source_space, embedding_size)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.rnn = RecurrentLayers(
            cell=cell,
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            dropout=dropout,
            bidirectional=bidirectional,
            residual=residual,
            zoneout=zoneout,
            variational_dropout=variational_dropout,
        )
        width = hidden_size * self.rnn.num_directions
        self.pool = build_pooling(summary, width, own=self.OWN_NAMES["summary"])
        pooled = hidden_size if summary == "backward" else width
        if self.pool is not None:
            pooled = self.pool.size
        self.summarise = None
        if summary_size is not None:
            require.at_least("summary_size", summary_size, 1)
            self.summarise = nn.Linear(pooled, summary_size)
        self.shape = EncoderShape(
            memory_size=width,
            summary_size=summary_size or pooled,
            state_size=width,
            state_num_layers=num_layers,
            has_cell=self.rnn.has_cell,
            further_shapes=tuple(
                (self.rnn.num_directions * first, *rest) for first, *rest in self.rnn.further_shapes
            ),
        )

    def forward(self, source: Tensor, source_lengths: Tensor) -> Encoded:
        """Encode a batch; sources of one length take the fast path."""
        num_positions = source.shape[1]
        same_length = bool((source_lengths == num_positions).all())
        order = None
        if self.reverse_source:
            order = reversed_positions(source_lengths, num_positions).to(source.device)
            source = in_order(source, order)
        inputs = self.dropout(self.embedding(source))
        memory, last = self.rnn(inputs, lengths=None if same_length else source_lengths)
        memory_mask = length_mask(source_lengths, num_positions, source.device)
        if order is not None:
            memory = in_order(memory, order)
        directions = self.rnn.num_directions
        state = last.map(lambda part: side_by_side(part, directions))
        if self.pool is not None:
            summary = self.pool(memory, memory_mask)
        else:
            summary = (last if self.summary == "backward" else state).hidden[-1]
        if self.summarise is not None:
            summary = torch.tanh(self.summarise(summary))
        return Encoded(memory, memory_mask, summary, state)

    def equations(self) -> list[Equation]:
        """Return what is computed, S being the source's length; see `layers.equations`."""
        # What is read at step j; the memory is in the source's own order all the same.
        of, index = ("source_{S+1-j}", "{S+1-j}") if self.reverse_source else ("source_j", "j")
        both = self.rnn.num_directions == 2
        further, zeros = self.rnn.further_equations(), ["h_0", "k_0"][: 1 + self.rnn.has_cell]
        zeros += [line.left for line in further if line.right == "0"]
        top = f"[forward h_{index}; backward h_{index}]" if both else f"h_{index}"
        memory = f"o_{index}" if self.rnn.residual else top
        end = "[forward h_S; backward h_1]" if both else "h_S"
        read = "backward h_1" if self.summary == "backward" else end
        if self.pool is not None:
            read = self.pool.right_side()
        shape = self.shape
        if self.summarise is not None:
            read = f"tanh(V {read} + v)"
        return [
            embedding_equation("x_j", of, self.embedding, self.rnn.input_size),
            Equation(", ".join(zeros), "0", self.rnn.hidden_size),
            *(line for line in further if line.right != "0"),
            *self.rnn.equations("h", "x_j", "j"),
            Equation("m_j", memory, shape.memory_size),
            Equation("c", read, shape.summary_size, count(self.pool, self.summarise)),
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
            "c": {"V": "summarise.weight", "v": "summarise.bias"},
        }


def _refuse_summary(cell: Callable[..., Cell]) -> None:
    if callable(cell) and Choice.of(cell).takes("summary_size"):
        raise ValueError(
            "the cell reads a summary, which decoders alone are given; take another, such as "
            "encoder/cell=gru_reset_before"
        )
