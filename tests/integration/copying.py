"""Decoders of somebody's own that need more than the contract's least: a pointer, and a loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from decoderlab.contract import Batch, Encoded, EncoderShape, Space, TokenSpace
from decoderlab.training.objective import negative_log_likelihood


class Seen(NamedTuple):
    """What a step needs: the state, the memory, its mask, and the source as target ids."""

    hidden: Tensor
    memory: Tensor
    mask: Tensor
    copied: Tensor


class Pointer(nn.Module):
    """A GRU that writes a token of the vocabulary, or copies one of the source.

    Paper: See et al. 2017, eq. 8 and 9 (https://arxiv.org/abs/1704.04368).
    """

    def __init__(
        self,
        *,
        target_space: TokenSpace,
        encoder_shape: EncoderShape,
        source_space: Space,
        alignment: Tensor | None,
        hidden_size: int = 8,
    ) -> None:
        super().__init__()
        if alignment is None:
            raise ValueError("nothing can be copied without tokens on both sides")
        if alignment.shape != (source_space.size,):
            raise ValueError(f"alignment has the shape {tuple(alignment.shape)}")
        self.space = target_space
        self.register_buffer("alignment", alignment)
        self.start_map = nn.Linear(encoder_shape.summary_size, hidden_size)
        self.embedding = nn.Embedding(target_space.size, hidden_size)
        self.cell = nn.GRUCell(hidden_size, hidden_size)
        self.query = nn.Linear(hidden_size, encoder_shape.memory_size)
        self.output = nn.Linear(hidden_size, target_space.size)
        self.gate = nn.Linear(hidden_size, 1)

    def start(self, encoded: Encoded) -> Seen:
        copied = self.alignment[encoded.source]
        return Seen(self.start_map(encoded.summary), encoded.memory, encoded.memory_mask, copied)

    def step(self, previous: Tensor, state: Seen) -> tuple[Tensor, Seen]:
        hidden = self.cell(self.embedding(previous), state.hidden)
        can_copy = state.mask & (state.copied >= 0)
        scores = (state.memory @ self.query(hidden).unsqueeze(-1)).squeeze(-1)
        weights = scores.masked_fill(~can_copy, -1e9).softmax(dim=-1) * can_copy
        copies = weights.new_zeros(len(previous), self.space.size)
        copies = copies.scatter_add(1, state.copied.clamp(min=0), weights)
        gate = self.gate(hidden).sigmoid() * can_copy.any(dim=1, keepdim=True)
        mixed = (1 - gate) * self.output(hidden).softmax(dim=-1) + gate * copies
        return mixed.clamp(min=1e-9).log(), state._replace(hidden=hidden)

    def reorder(self, state: Seen, index: Tensor) -> Seen:
        return Seen(*(part[index] for part in state))

    def forward(self, encoded: Encoded, target: Tensor) -> Tensor:
        state, outputs = self.start(encoded), []
        previous = torch.full_like(target[:, 0], self.space.bos_id)
        for t in range(target.shape[1]):
            output, state = self.step(previous, state)
            outputs.append(output)
            previous = target[:, t]
        return torch.stack(outputs, dim=1)


class OwnObjective(Pointer):
    """The same, trained by half its likelihood."""

    def training_loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        outputs = self(encoded, batch.target)
        total, count = negative_log_likelihood(outputs, batch.target, self.space)
        return total / 2, count
