"""Given lengths: whatever the search, an output ends where it is told to, and not before."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from decoderlab.contract import Decoder, Encoded, TokenSpace
from decoderlab.generation.greedy_search import INFINITY


class LengthState(NamedTuple):
    """The state of the decoder, how long each row is to be, (B,), and the step."""

    own: Any
    lengths: Tensor
    step: int

    @property
    def attention_weights(self) -> Tensor | None:
        """What the decoder looked at, (B, S); None without attention."""
        return getattr(self.own, "attention_weights", None)


class GivenLengths(nn.Module):
    """A decoder that writes what another one does, with so many tokens in each row.

    Before its length a row cannot end, and there it can do nothing else, so that every search,
    through `start`, `step` and `reorder`, finds outputs of this length; scores are
    log-probabilities given the length.

    Paper: the oracle of Lake and Baroni 2018, experiment 2 (https://arxiv.org/abs/1711.00350), and
        of Newman et al. 2020 (https://arxiv.org/abs/2010.07174).

    Args:
        decoder: the other one.
        lengths: (B,) int64, tokens of each row, EOS left out, at least 0.
        tokens: of the target.

    Example:
        >>> from decoderlab.generation import greedy
        >>> class Ends:  # at once, or else it writes 4
        ...     def start(self, encoded):
        ...         return None
        ...     def step(self, previous, state):
        ...         return torch.tensor([0, 0, 9.0, 0, 1.0]).expand(len(previous), 5), None
        ...     def reorder(self, state, index):
        ...         return None
        >>> nothing = torch.zeros(2, 1)
        >>> encoded = Encoded(nothing[None], nothing == 0, nothing, None)
        >>> told = GivenLengths(Ends(), torch.tensor([2, 0]), TokenSpace(5))
        >>> greedy(told, encoded, tokens=TokenSpace(5), max_length=4).tolist()
        [[4, 4, 2], [2, 0, 0]]
    """

    def __init__(self, decoder: Decoder, lengths: Tensor, tokens: TokenSpace) -> None:
        super().__init__()
        self.decoder, self.lengths, self.tokens = decoder, lengths, tokens

    def start(self, encoded: Encoded) -> LengthState:
        """Return the state before the first target position."""
        lengths = self.lengths.to(encoded.summary.device)
        return LengthState(self.decoder.start(encoded), lengths, 0)

    def step(self, previous: Tensor, state: LengthState) -> tuple[Tensor, LengthState]:
        """Return outputs (B, V), in which EOS is impossible or all else is, and the state."""
        outputs, own = self.decoder.step(previous, state.own)
        end = torch.arange(outputs.shape[-1], device=outputs.device) == self.tokens.eos_id
        over = (state.lengths <= state.step).unsqueeze(1)
        outputs = outputs.masked_fill(end != over, -INFINITY)
        return outputs, LengthState(own, state.lengths, state.step + 1)

    def reorder(self, state: LengthState, index: Tensor) -> LengthState:
        """Return the state of the batch rows `index` (N,)."""
        own = self.decoder.reorder(state.own, index)
        return LengthState(own, state.lengths.index_select(0, index), state.step)


def target_lengths(target: Tensor, tokens: TokenSpace) -> Tensor:
    """Return how many tokens each target (B, T) has, padding and EOS left out.

    Example:
        >>> target_lengths(torch.tensor([[7, 8, 2], [2, 0, 0]]), TokenSpace(9)).tolist()
        [2, 0]
    """
    return ((target != tokens.pad_id) & (target != tokens.eos_id)).sum(dim=1)
