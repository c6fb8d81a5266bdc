"""Mixings: how the context and the state become what the head sees."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.layers.equations import concatenation


class Mixing(nn.Module):
    """Makes the features h_t of the context a_t and the state s_t; your own is a subclass.

    It needs `forward` and, to be printed, `right_side`. The constructor takes those of these
    keywords that it has a use for, besides its own settings: `query_size`, the width of the state;
    `memory_size`, that of the context; `embedded_size`, that of the previous output's embedding, 0
    without one.

    Attributes:
        size: width of the features.
        sees_embedded: whether `forward` needs the previous output's embedding.
        mixes: False where context and state stay side by side. Then input feeding feeds the
            context alone, not the features.

    Shapes:
        context: (B, T, M); states: (B, T, H); embedded: (B, T, E), None without `sees_embedded`.
        Returns (B, T, size).
    """

    INJECTED: ClassVar[tuple[str, ...]] = ("query_size", "memory_size", "embedded_size")
    sees_embedded: ClassVar[bool] = False
    mixes: ClassVar[bool] = True
    size: int

    def forward(self, context: Tensor, states: Tensor, embedded: Tensor | None) -> Tensor:
        """Return the features."""
        raise NotImplementedError

    def right_side(self, state: str, embedded: str | None) -> str:
        """Return the features as text, a_t being the context; see `layers.equations`."""
        parts = [state, "a_t", embedded if self.sees_embedded else None]
        return f"{type(self).__name__}({', '.join(filter(None, parts))})"


class SideBySide(Mixing):
    """[s_t; a_t].

    Shapes:
        as in `Mixing`.
    """

    SHORT = "none"
    mixes = False

    def __init__(self, *, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.size = query_size + memory_size

    def forward(self, context: Tensor, states: Tensor, embedded: Tensor | None) -> Tensor:
        """Return state and context."""
        return torch.cat([states, context], dim=-1)

    def right_side(self, state: str, embedded: str | None) -> str:
        """Return the features as text."""
        return concatenation([state, "a_t"])


class TanhMixing(Mixing, nn.Linear):
    """Luong's attentional vector tanh(W [a_t; s_t]), as wide as the state.

    Paper: Luong et al. 2015, eq. 5 (https://arxiv.org/abs/1508.04025).
    Differs: none.

    Shapes:
        as in `Mixing`.
    """

    SHORT = "tanh"

    def __init__(self, *, query_size: int, memory_size: int) -> None:
        super().__init__(memory_size + query_size, query_size, bias=False)
        self.size = query_size

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - W is kept as a Linear's
        self, context: Tensor, states: Tensor, embedded: Tensor | None
    ) -> Tensor:
        """Return the attentional vector."""
        return torch.tanh(nn.Linear.forward(self, torch.cat([context, states], dim=-1)))

    def right_side(self, state: str, embedded: str | None) -> str:
        """Return the features as text."""
        return f"tanh(W_h {concatenation(['a_t', state])})"


class DeepMixing(Mixing, nn.Linear):
    """tanh(W [a_t; s_t; e(y_{t-1})]): the previous output counts too.

    Shapes:
        as in `Mixing`.
    """

    SHORT = "deep"
    sees_embedded = True

    def __init__(self, *, query_size: int, memory_size: int, embedded_size: int) -> None:
        super().__init__(memory_size + query_size + embedded_size, query_size, bias=False)
        self.size = query_size

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - W is kept as a Linear's
        self, context: Tensor, states: Tensor, embedded: Tensor | None
    ) -> Tensor:
        """Return the attentional vector."""
        previous = require.given("the previous output's embedding", embedded)
        return torch.tanh(nn.Linear.forward(self, torch.cat([context, states, previous], dim=-1)))

    def right_side(self, state: str, embedded: str | None) -> str:
        """Return the features as text."""
        return f"tanh(W_h {concatenation(['a_t', state, embedded])})"


MIXINGS = {kind.SHORT: kind for kind in (SideBySide, TanhMixing, DeepMixing)}
