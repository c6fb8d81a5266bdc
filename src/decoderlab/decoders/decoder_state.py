"""The state of a recurrent decoder between two steps."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from decoderlab.contract import State


class DecoderState(NamedTuple):
    """Everything that a step needs besides the token; nothing is kept in the module.

    Shapes:
        recurrent: (L, B, ...) each; summary: (B, D); memory: (B, S, M); memory_mask: (B, S).
        keys: (B, S, K), what attention compares a query with, None without attention.
        fed: (B, F), the vector that input feeding hands to the next step, else None.
        attention_weights: (B, S) of the step before, None before the first and without attention.
        carried: (B, ...), what an attention score carries from step to step, else None.
        distribution: (B, V) over tokens at the step before, what `softmax` feedback sees, else
            None.
        source: (B, S), the ids that were read, for a head that sees them, else None.
        masks: in training with variational dropout, see `RecurrentLayers.input_masks`, else None.
    """

    recurrent: State
    summary: Tensor
    memory: Tensor
    memory_mask: Tensor
    keys: Tensor | None = None
    fed: Tensor | None = None
    attention_weights: Tensor | None = None
    carried: Tensor | None = None
    distribution: Tensor | None = None
    source: Tensor | None = None
    masks: Tensor | None = None

    def rows(self, index: Tensor) -> DecoderState:
        """Return the state of the batch rows `index` (N,)."""
        others = {
            name: None if value is None else value.index_select(0, index)
            for name, value in self._asdict().items()
            if name != "recurrent"
        }
        recurrent = self.recurrent.map(lambda part: part.index_select(1, index))
        return self._replace(recurrent=recurrent, **others)
