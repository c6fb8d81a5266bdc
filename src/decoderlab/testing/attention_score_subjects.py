"""Attention scores as subjects of checks: queries and memories for them, and how they are asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from decoderlab.contract import TokenSpace
from decoderlab.decoders.attention import AttentionScore
from decoderlab.testing.part_subjects import PartSubject, normal
from decoderlab.testing.subjects import aligned

LENGTHS = (5, 3, 1, 4)
LONG_LENGTHS = (20, 3, 13, 1, 20)  # beyond what a threshold may hide behind
NUM_ROWS, NUM_QUERIES, NUM_POSITIONS = len(LENGTHS), 3, max(LENGTHS)
SOURCE, TARGET = TokenSpace(11), TokenSpace(9)


@dataclass(frozen=True)
class ScoreSubject(PartSubject[AttentionScore]):
    """A score class with queries and memories for it."""

    query_size: int = 6
    memory_size: int = 6

    @classmethod
    def made(cls, make: Callable[..., AttentionScore], settings: Mapping[str, Any]) -> ScoreSubject:
        """Return the subject, with different widths of query and memory where it takes them."""
        different, equal = (cls._of_width(make, settings, size) for size in (5, 6))
        try:
            different.build()
        except ValueError:
            with suppress(ValueError):  # the checks show what it refuses
                equal.build()
            return equal
        return different

    @classmethod
    def _of_width(
        cls, make: Callable[..., AttentionScore], settings: Mapping[str, Any], memory_size: int
    ) -> ScoreSubject:
        known = {"query_size": 6, "memory_size": memory_size, "size": 4}
        known |= {"source_space": SOURCE, "alignment": aligned(SOURCE, TARGET)}
        return replace(cls.of(make, settings, known), memory_size=memory_size)

    def given(
        self, lengths: Sequence[int], num_queries: int, seed: int = 1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, memory and mask for sources of some lengths."""
        mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
        query = normal(len(lengths), num_queries, self.query_size, seed=seed)
        memory = normal(*mask.shape, self.memory_size, seed=seed + 1) * mask.unsqueeze(-1)
        return query, memory, mask

    def query(self, seed: int = 1) -> Tensor:
        """Return queries (B, T, query_size)."""
        return normal(NUM_ROWS, NUM_QUERIES, self.query_size, seed=seed)

    def memory(self, seed: int = 2) -> Tensor:
        """Return memories (B, S, M), zeros at padding."""
        values = normal(NUM_ROWS, NUM_POSITIONS, self.memory_size, seed=seed)
        return values * self.mask.unsqueeze(-1)

    @property
    def mask(self) -> Tensor:
        """Return (B, S) bool, True for real positions."""
        return torch.arange(NUM_POSITIONS) < torch.tensor(LENGTHS).unsqueeze(1)


def keys_of(score: AttentionScore, memory: Tensor, mask: Tensor) -> Tensor:
    """Return the keys of a memory; its source has the same symbols in every row, as far as it goes.

    Args:
        score: to be asked.
        memory: (B, S, M).
        mask: (B, S) bool.
    """
    symbols = torch.arange(mask.shape[1]) % 5 + 4
    return score.source_keys(memory, torch.where(mask, symbols, SOURCE.pad_id))


def weights_of(
    score: AttentionScore, query: Tensor, memory: Tensor, mask: Tensor, single: bool = False
) -> Tensor:
    """Return attention_weights (B, T, S) of all queries, as a decoder asks for them.

    Args:
        score: it is asked for all queries at once.
        query: (B, T, query_size).
        memory: (B, S, M).
        mask: (B, S) bool.
        single: whether it is asked for one at a time instead.
    """
    keys = keys_of(score, memory, mask)
    carried = score.begin(mask, keys)
    if not single:
        return score.all_weights(query, keys, mask, carried)[0]
    steps = []
    for step_query in query.split(1, dim=1):
        weights, carried = score.weights(step_query, keys, mask, carried)
        steps.append(weights)
    return torch.cat(steps, dim=1)


def own_weights(
    subject: ScoreSubject, score: AttentionScore, query: int = 1, memory: int = 2
) -> Tensor:
    """Return the weights for the subject's queries and memory, which seeds choose."""
    return weights_of(score, subject.query(query), subject.memory(memory), subject.mask)
