"""When a step reads the memory, and with which state: the timings of attention.

Each is asked twice in a step: before the cell, where the query can only be s_{t-1}, and after it.
`attend` reads the memory with queries (B, T, H), `latest` is s_{t-1} before the first of T steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from decoderlab.common import require


class Read(NamedTuple):
    """What attention gave: context (B, T, M), weights (B, T, S), and what its score carries on."""

    context: Tensor
    weights: Tensor
    carried: Tensor | None


Attend = Callable[[Tensor], Read]


class CurrentQuery:
    """q_t = s_t, after the cell (Luong et al. 2015, section 3)."""

    query = "s_t"

    def before_cell(self, attend: Attend, latest: Tensor) -> Read | None:
        """Return nothing yet."""
        return None

    def after_cell(self, attend: Attend, latest: Tensor, states: Tensor, read: Read | None) -> Read:
        """Read with the new states."""
        return attend(states)


class BetweenQuery(CurrentQuery):
    """q_t = s'_t, of a first cell; a second one goes on from it with the context.

    Paper: Sennrich et al. 2017, section 2, eq. 1 to 3 (https://arxiv.org/abs/1703.04357).
    """

    query = "s'_t"


class PreviousQuery:
    """q_t = s_{t-1}, and the cell does not see what was read."""

    query = "s_{t-1}"

    def before_cell(self, attend: Attend, latest: Tensor) -> Read | None:
        """Return nothing yet: all steps are read at once after the cell."""
        return None

    def after_cell(self, attend: Attend, latest: Tensor, states: Tensor, read: Read | None) -> Read:
        """Read with the state before each step."""
        return attend(states_before(latest, states))


class PreviousQueryFed:
    """q_t = s_{t-1}, before the cell, which sees the context (Bahdanau et al. 2015, A.2.2)."""

    query = "s_{t-1}"

    def before_cell(self, attend: Attend, latest: Tensor) -> Read | None:
        """Read with the state before this step."""
        return attend(latest)

    def after_cell(self, attend: Attend, latest: Tensor, states: Tensor, read: Read | None) -> Read:
        """Return what was read."""
        return done(read)


def done(read: Read | None) -> Read:
    """Return what was read; raise ValueError if nothing was yet."""
    return require.given("what attention read", read)


def states_before(latest: Tensor, states: Tensor) -> Tensor:
    """Return s_{t-1} of each step (B, T, H), from the one before them and the states of all."""
    return torch.cat([latest, states[:, :-1]], dim=1)
