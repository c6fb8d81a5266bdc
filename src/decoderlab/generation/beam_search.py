"""Beam search: the best of many beginnings.

Ties go to the lower index: to the lower token id, to the hypothesis that ranked higher so far, to
the hypothesis that ended earlier.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from decoderlab.common import require
from decoderlab.contract import Decoder, Encoded, TokenSpace
from decoderlab.generation.coverage_penalty import Coverage
from decoderlab.generation.greedy_search import INFINITY, allowed
from decoderlab.generation.limits_of_search import _check_beam


class Hypotheses(NamedTuple):
    """The result of a beam search, the best hypothesis first.

    Shapes:
        tokens: (B, N, T) int64: EOS where a hypothesis ended, `pad_id` after it; T is the length of
            the longest.
        scores: (B, N) float64, the log-probability over the length penalty. Where a row has fewer
            than N hypotheses, the others are padding throughout, and -inf here and below.
        log_probabilities: (B, N) float64, in nats, of all its tokens, EOS included.
    """

    tokens: Tensor
    scores: Tensor
    log_probabilities: Tensor


@torch.no_grad()
def beam(
    decoder: Decoder,
    encoded: Encoded,
    *,
    tokens: TokenSpace,
    max_length: int,
    beam_width: int,
    length_penalty: float = 0.0,
    coverage_penalty: float = 0.0,
    num_best: int = 1,
    early_stop: bool = True,
) -> Hypotheses:
    """Keep the K most probable beginnings of each row; of those that end, return the best.

    A hypothesis that takes EOS leaves the beam; at `max_length` all that live end without it.

    Paper: Sutskever et al. 2014, section 3.2 (https://arxiv.org/abs/1409.3215). The score is that
        of Wu et al. 2016, eq. 14 (https://arxiv.org/abs/1609.08144):
        log p / ((5 + length) / 6)^length_penalty + coverage_penalty * sum over j of
        log(min(sum over t of w_tj, 1)), where the length counts EOS and t its step.
    Differs: what was read of a position counts as 1e-10 at least; probabilities are those left
        after excluding padding, BOS and the unknown token, so that a beam of width 1 is greedy;
        nothing is pruned by its score, as Wu et al. do.

    Args:
        decoder: anything with `start`, `step` and `reorder`.
        encoded: what the encoder read, B rows.
        tokens: the target's token ids.
        max_length: as for `greedy`.
        beam_width: beginnings K, at least 1.
        length_penalty: -10 to 10; 0 ranks by probability, above it longer hypotheses gain, below it
            shorter ones.
        coverage_penalty: 0 to 10; above 0 hypotheses gain whose attention reads each position of
            the source, and it takes a decoder whose state has `attention_weights`.
        num_best: hypotheses N to return of each row, 1 to `beam_width`.
        early_stop: stop when nothing that lives can still enter the N best. This changes the time
            that the search takes, never its result.

    Raises:
        ValueError: if a setting is out of range, or for a coverage penalty without attention.
    """
    require.at_least("max_length", max_length, 1)
    _check_beam(beam_width, length_penalty, coverage_penalty)
    if not 1 <= num_best <= beam_width:
        raise ValueError(f"num_best is {num_best}; take 1 to {beam_width}, or a wider beam")
    batch, device = encoded.summary.shape[0], encoded.summary.device
    row = torch.arange(batch, device=device)[:, None].expand(batch, beam_width)
    state = decoder.reorder(decoder.start(encoded), row.flatten())
    token = torch.full((batch, beam_width), tokens.bos_id, device=device)
    prefixes = torch.full((batch, beam_width, max_length), tokens.pad_id, device=device)
    # Log-probabilities of what lives; -inf is an empty index, as all but the first are now.
    live = torch.full((batch, beam_width), -INFINITY, dtype=torch.float64, device=device)
    best = Hypotheses(prefixes[:, :num_best], live[:, :num_best], live[:, :num_best])
    live = live.index_fill(1, torch.tensor([0], device=device), 0.0)
    read = Coverage(encoded.memory_mask, beam_width, coverage_penalty)
    penalty = [((5 + length) / 6) ** length_penalty for length in range(max_length + 2)]  # eq. 14

    for length in range(1, max_length + 1):
        logits, state = decoder.step(token.flatten(), state)
        log_probabilities = allowed(logits, tokens).log_softmax(dim=-1)
        size = log_probabilities.shape[-1]
        continued = live[..., None] + log_probabilities.unflatten(0, (batch, beam_width))
        live, index = _highest(continued.flatten(1), beam_width)
        parent, token = index // size, index % size
        prefixes = _pick(prefixes, parent)
        prefixes[..., length - 1] = token
        read.add(state, parent)

        ends = (token == tokens.eos_id) | (length == max_length)
        ended = live.masked_fill(~ends, -INFINITY)
        scores = torch.cat([best.scores, ended / penalty[length] + read.score()], dim=1)
        scores, index = _highest(scores, num_best)
        best = Hypotheses(
            _pick(torch.cat([best.tokens, prefixes], dim=1), index),
            scores,
            torch.cat([best.log_probabilities, ended], dim=1).gather(1, index),
        )
        live = live.masked_fill(ends, -INFINITY)
        # Log p can only fall, and the penalty is monotonic: its larger end bounds what can come.
        # What coverage adds is 0 at most.
        bound = live.amax(dim=1) / max(penalty[length + 1], penalty[max_length])
        if (bound <= (scores[:, -1] if early_stop else -INFINITY)).all():
            break
        state = decoder.reorder(state, (row * beam_width + parent).flatten())

    return _without_rest(best, tokens.pad_id)


def _without_rest(best: Hypotheses, pad_id: int) -> Hypotheses:
    """Return hypotheses as long as the longest; those that there are not are padding."""
    nothing = best.scores == -INFINITY
    tokens = best.tokens.masked_fill(nothing[..., None], pad_id)
    longest = int((tokens != pad_id).sum(dim=-1).max())
    log_probabilities = best.log_probabilities.masked_fill(nothing, -INFINITY)
    return Hypotheses(tokens[..., :longest], best.scores, log_probabilities)


def _highest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` highest of scores (B, N) and their indices, the first of equals first.

    `topk` is fast but promises no order of equals; where there are any, `max` is asked, which does.
    """
    if count < scores.shape[-1]:
        values, indices = scores.topk(count + 1, dim=-1)
        equal = (values[:, 1:] == values[:, :-1]) & values[:, 1:].isfinite()
        if not equal.any():
            return values[:, :count], indices[:, :count]
    scores, values, indices = scores.clone(), [], []
    for _ in range(count):
        value, index = scores.max(dim=-1, keepdim=True)
        scores.scatter_(-1, index, -INFINITY)
        values.append(value)
        indices.append(index)
    return torch.cat(values, dim=-1), torch.cat(indices, dim=-1)


def _pick(prefixes: Tensor, index: Tensor) -> Tensor:
    """Return the prefixes (B, N, T) of `index` (B, M): (B, M, T)."""
    return prefixes.gather(1, index[..., None].expand(-1, -1, prefixes.shape[-1]))
