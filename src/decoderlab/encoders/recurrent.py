"""LSTM and GRU encoders, in one or both directions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from decoderlab import checks
from decoderlab.cells import RecurrentLayers, side_by_side
from decoderlab.contract import Encoded, EncoderShape, State, TokenSpace
from decoderlab.embedding import build_embedding


class RecurrentEncoder(nn.Module):
    """Reads the source with a stack of recurrent layers; the summary is the last hidden state.

    Paper: Sutskever et al. 2014, section 2 (https://arxiv.org/abs/1409.3215), with
        `reverse_source` its section 3.3; both directions as in Bahdanau et al. 2015, section 3.2
        (https://arxiv.org/abs/1409.0473).
    Differs: dropout (on the embedded tokens and between layers) is ours, off unless asked for.

    Args:
        tokens: the source's token ids.
        cell: `lstm` or `gru`.
        hidden_size: width of each layer *and direction*, at least 1.
        num_layers: at least 1.
        bidirectional: both directions, side by side: memory, summary and state are twice as wide.
        embedding_size: width of the learned embedding, None for one-hot vectors.
        dropout: on the embedded tokens and between layers, 0 to 1.
        reverse_source: read from the last token to the first. `memory` is returned in the
            source's own order all the same. With both directions this only swaps their names.

    Shapes:
        source: (B, S) int64; source_lengths: (B,) int64 on the CPU, each at least 1.
        Returns Encoded: memory (B, S, M), zeros at padding; memory_mask (B, S) bool;
        summary (B, M); state (L, B, M), where M is hidden_size, twice that for both directions.

    Example:
        >>> encoder = RecurrentEncoder(tokens=TokenSpace(10), cell="lstm", hidden_size=5)
        >>> encoded = encoder(torch.tensor([[4, 5], [6, 0]]), torch.tensor([2, 1]))
        >>> encoded.memory.shape, encoded.summary.shape, encoded.memory_mask.tolist()
        (torch.Size([2, 2, 5]), torch.Size([2, 5]), [[True, True], [True, False]])
    """

    def __init__(
        self,
        *,
        tokens: TokenSpace,
        cell: str,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        embedding_size: int | None = None,
        dropout: float = 0.0,
        reverse_source: bool = False,
    ) -> None:
        super().__init__()
        checks.ratio("dropout", dropout)
        self.reverse_source = reverse_source
        self.embedding, input_size = build_embedding(tokens, embedding_size)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.rnn = RecurrentLayers(
            cell=cell,
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            dropout=dropout,
            bidirectional=bidirectional,
        )
        width = hidden_size * self.rnn.num_directions
        self.shape = EncoderShape(
            memory_size=width,
            summary_size=width,
            state_size=width,
            state_num_layers=num_layers,
            has_cell=self.rnn.has_cell,
        )

    def forward(self, source: Tensor, source_lengths: Tensor) -> Encoded:
        """Encode a batch; sources of one length take the fast path, others are packed."""
        num_positions = source.shape[1]
        same_length = bool((source_lengths == num_positions).all())
        order = None
        if self.reverse_source:
            order = _reversed_positions(source_lengths, num_positions).to(source.device)
            source = source.gather(1, order)
        inputs = self.dropout(self.embedding(source))
        if same_length:
            memory, state = self.rnn(inputs)
            memory_mask = torch.ones_like(source, dtype=torch.bool)
        else:
            # Packing is exact for any mixture of lengths but slow on a CPU, which is why
            # batches are made of sources of one length wherever the data allow it.
            packed = pack_padded_sequence(
                inputs, source_lengths, batch_first=True, enforce_sorted=False
            )
            outputs, state = self.rnn(packed)
            memory, _ = pad_packed_sequence(outputs, batch_first=True, total_length=num_positions)
            positions = torch.arange(num_positions, device=source.device)
            memory_mask = positions < source_lengths.to(source.device).unsqueeze(1)
        if order is not None:
            memory = memory.gather(1, order.unsqueeze(-1).expand_as(memory))
        directions = self.rnn.num_directions
        state = State(
            side_by_side(state.hidden, directions),
            None if state.cell is None else side_by_side(state.cell, directions),
        )
        return Encoded(memory, memory_mask, state.hidden[-1], state)


def _reversed_positions(lengths: Tensor, num_positions: int) -> Tensor:
    """Return (B, S) indices that reverse the first `lengths[b]` places and keep the padding."""
    positions = torch.arange(num_positions)
    flipped = lengths.unsqueeze(1) - 1 - positions
    return torch.where(flipped >= 0, flipped, positions)
