"""Zoneout: some numbers of a recurrent state stay as they were."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from decoderlab.contract import State
from decoderlab.layers.cells import Cell


class ZonedOut:
    """A cell some of whose numbers stay as they were before a step.

    Paper: Krueger et al. 2017, section 3.1 (https://arxiv.org/abs/1606.01305).
    Differs: hidden and cell have one probability; what else a cell keeps changes always.

    Args:
        cell: whose steps are taken.
        zoneout: the probability, at least 0 and below 1.
        training: whether coins are thrown; else what they do on average.
    """

    def __init__(self, cell: Cell, zoneout: float, training: bool) -> None:
        self.zoneout, self.training = zoneout, training
        self.project, self._advance = cell.project, cell.advance

    def advance(self, projected: Tensor, state: State) -> State:
        """Take one step; hidden and cell have coins of their own."""
        new = self._advance(projected, state)
        hidden = self._mixed(new.hidden, state.hidden)
        if new.cell is None or state.cell is None:
            return new._replace(hidden=hidden)
        return new._replace(hidden=hidden, cell=self._mixed(new.cell, state.cell))

    def _mixed(self, after: Tensor, before: Tensor) -> Tensor:
        # Dropout divides by 1 - zoneout what it leaves, and leaves all in evaluation.
        changed = functional.dropout(after - before, self.zoneout, self.training)
        return before + (1 - self.zoneout) * changed
