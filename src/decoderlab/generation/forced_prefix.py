"""A forced prefix: whatever the search, the output begins with given tokens."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from decoderlab.contract import Decoder, Encoded, TokenSpace
from decoderlab.generation.greedy_search import INFINITY


class PrefixState(NamedTuple):
    """The state of the decoder, what each row begins with, (B, P), and the step."""

    own: Any
    prefix: Tensor
    step: int

    @property
    def attention_weights(self) -> Tensor | None:
        """What the decoder looked at, (B, S); None without attention."""
        return getattr(self.own, "attention_weights", None)


class ForcedPrefix(nn.Module):
    """A decoder that writes a given beginning, and afterwards what another one writes.

    At the steps of the prefix all other tokens are impossible, so that every search, through
    `start`, `step` and `reorder`, finds outputs that begin with it; scores are log-probabilities
    given the prefix. The decoder sees the prefix as its own output.

    Args:
        decoder: the other one.
        prefix: (B, P) int64, `pad_id` after the end of a row's, or (1, P) of all rows; none of its
            tokens is one that is never generated.
        tokens: of the prefix.

    Example:
        >>> from decoderlab.generation import greedy
        >>> class Fives:  # writes 5 and 5 and so on
        ...     def start(self, encoded):
        ...         return None
        ...     def step(self, previous, state):
        ...         return torch.tensor([0, 0, 0, 0, 0, 9.0]).expand(len(previous), 6), None
        ...     def reorder(self, state, index):
        ...         return None
        >>> nothing = torch.zeros(1, 1)
        >>> encoded = Encoded(nothing[None], nothing == 0, nothing, None)
        >>> forced = ForcedPrefix(Fives(), torch.tensor([[4, 4]]), TokenSpace(6))
        >>> greedy(forced, encoded, tokens=TokenSpace(6), max_length=4).tolist()
        [[4, 4, 5, 5]]
    """

    def __init__(self, decoder: Decoder, prefix: Tensor, tokens: TokenSpace) -> None:
        super().__init__()
        self.decoder, self.prefix, self.tokens = decoder, prefix, tokens

    def start(self, encoded: Encoded) -> PrefixState:
        """Return the state before the first target position."""
        prefix = self.prefix.to(encoded.summary.device).expand(encoded.summary.shape[0], -1)
        return PrefixState(self.decoder.start(encoded), prefix, 0)

    def step(self, previous: Tensor, state: PrefixState) -> tuple[Tensor, PrefixState]:
        """Return outputs (B, V), in which only the prefix's token is possible, and the state."""
        outputs, own = self.decoder.step(previous, state.own)
        if state.step < state.prefix.shape[1]:
            token = state.prefix[:, state.step, None]
            ids = torch.arange(outputs.shape[-1], device=outputs.device)
            other = (ids != token) & (token != self.tokens.pad_id)
            outputs = outputs.masked_fill(other, -INFINITY)
        return outputs, PrefixState(own, state.prefix, state.step + 1)

    def reorder(self, state: PrefixState, index: Tensor) -> PrefixState:
        """Return the state of the batch rows `index` (N,)."""
        own = self.decoder.reorder(state.own, index)
        return PrefixState(own, state.prefix.index_select(0, index), state.step)
