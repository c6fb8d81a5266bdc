"""Exact search: the most probable hypothesis of all, and whether that is proven."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from decoderlab.common import require
from decoderlab.contract import Decoder, Encoded, TokenSpace
from decoderlab.generation.beam_search import beam
from decoderlab.generation.greedy_search import allowed


class Mode(NamedTuple):
    """The result of an exact search.

    Shapes:
        tokens: (B, T) int64: EOS where a hypothesis ended, `pad_id` after it.
        log_probabilities: (B,) float64, in nats, of all its tokens, EOS included.
        proven: (B,) bool, whether no hypothesis is more probable; False where the search was ended
            by `max_steps`, and what it had found until then is returned.
    """

    tokens: Tensor
    log_probabilities: Tensor
    proven: Tensor


class _Beginnings(NamedTuple):
    """Beginnings of equal length that are not yet continued, the most probable first.

    Args:
        state: from which they are reached, of all beginnings of the step before.
        parent: (N,) the index of each in it.
        prefix: (N, T) tokens, the last of them not yet shown to the decoder.
        log_probability: (N,).
    """

    state: Any
    parent: Tensor
    prefix: Tensor
    log_probability: Tensor


@torch.no_grad()
def exact(
    decoder: Decoder,
    encoded: Encoded,
    *,
    tokens: TokenSpace,
    max_length: int,
    max_steps: int | None = None,
    beam_width: int = 4,
    together: int = 64,
) -> Mode:
    """Find the mode of the decoder's distribution over whole hypotheses, each row by itself.

    Depth first, the most probable token first. A beginning is given up when it is no more probable
    than the best whole hypothesis so far, which a beam search finds before: no continuation can be
    more probable than its beginning. As in `beam`, all that live at `max_length` end without EOS.

    Paper: Stahlberg and Byrne 2019, section 3, algorithm 1 (https://aclanthology.org/D19-1331).
    Differs: many beginnings are continued in one step of the decoder, those with the same beginning
        but for the last tokens; the first bound is that of a beam search.

    Args:
        decoder: anything with `start`, `step` and `reorder`.
        encoded: what the encoder read, B rows.
        tokens: the target's token ids.
        max_length: as for `greedy`.
        max_steps: steps of the decoder for a row, at least 1, after which its search ends unproven;
            None for as many as it takes, which for a decoder that is unsure is exponential in
            `max_length`.
        beam_width: of the beam search before, at least 1.
        together: beginnings that are continued in one step, at least 1; it changes the time alone.

    Raises:
        ValueError: if a setting is out of range.
    """
    require.at_least("together", together, 1)
    if max_steps is not None:
        require.at_least("max_steps", max_steps, 1)
    best = beam(decoder, encoded, tokens=tokens, max_length=max_length, beam_width=beam_width)
    start = decoder.start(encoded)
    modes = []
    for row in range(encoded.summary.shape[0]):
        known = best.tokens[row, 0]
        index = torch.tensor([row], device=known.device)
        first = _Beginnings(
            start,
            index,
            torch.full_like(index, tokens.bos_id)[:, None],
            torch.zeros(1, dtype=torch.float64, device=known.device),
        )
        search = _Search(decoder, tokens, max_length, together)
        modes.append(search.mode(first, known, float(best.log_probabilities[row, 0]), max_steps))
    hypotheses, scores, proven = zip(*modes, strict=True)
    padded = pad_sequence(list(hypotheses), batch_first=True, padding_value=tokens.pad_id)
    return Mode(padded, best.log_probabilities.new_tensor(scores), padded.new_tensor(proven).bool())


class _Search(NamedTuple):
    """The search for one row; the arguments are those of `exact`."""

    decoder: Decoder
    tokens: TokenSpace
    max_length: int
    together: int

    def mode(
        self, first: _Beginnings, known: Tensor, bound: float, max_steps: int | None
    ) -> tuple[Tensor, float, bool]:
        """Return the most probable hypothesis (T,), its log-probability, and whether it is proven.

        Args:
            first: nothing but BOS.
            known: (T,) a hypothesis.
            bound: its log-probability.
            max_steps: see `exact`.
        """
        stack, steps = [first], 0
        while stack:
            state, parent, prefix, log_probability = stack.pop()
            live = log_probability > bound
            if not live.any():
                continue
            if steps == max_steps:
                return known, bound, False
            steps += 1
            prefix, state = prefix[live], self.decoder.reorder(state, parent[live])
            logits, state = self.decoder.step(prefix[:, -1], state)
            whole = allowed(logits, self.tokens).log_softmax(dim=-1)
            whole = whole + log_probability[live, None]
            ends = torch.ones_like(whole, dtype=torch.bool)
            if prefix.shape[1] < self.max_length:
                ends = torch.arange(whole.shape[1], device=whole.device) == self.tokens.eos_id
                ends = ends.expand_as(whole)
            score, index = whole.masked_fill(~ends, -torch.inf).flatten().max(dim=0)
            if float(score) > bound:
                bound, parent = float(score), index // whole.shape[1]
                known = torch.cat([prefix[parent, 1:], (index % whole.shape[1])[None]])
            stack += self._continued(state, prefix, whole.masked_fill(ends, -torch.inf), bound)
        return known, bound, True

    def _continued(
        self, state: Any, prefix: Tensor, scores: Tensor, bound: float
    ) -> list[_Beginnings]:
        """Return what may still become the mode, the most probable last."""
        flat = scores.flatten()
        order = (flat > bound).nonzero().squeeze(-1)
        order = order[flat[order].argsort(descending=True, stable=True)]
        parent, token = order // scores.shape[1], order % scores.shape[1]
        longer = torch.cat([prefix[parent], token[:, None]], dim=1)
        chunks = zip(
            *(part.split(self.together) for part in (parent, longer, flat[order])), strict=True
        )
        return [_Beginnings(state, *chunk) for chunk in chunks][::-1] if len(order) else []
