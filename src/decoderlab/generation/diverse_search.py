"""Diverse beam search: groups of beams, each kept from the tokens of those before it."""

from __future__ import annotations

import torch
from torch import Tensor

from decoderlab.common import require
from decoderlab.contract import Decoder, Encoded, TokenSpace
from decoderlab.generation.beam_search import Hypotheses, _highest, _pick
from decoderlab.generation.greedy_search import INFINITY, allowed
from decoderlab.generation.limits_of_search import _check_beam, check_groups


@torch.no_grad()
def diverse_beam(
    decoder: Decoder,
    encoded: Encoded,
    *,
    tokens: TokenSpace,
    max_length: int,
    beam_width: int,
    beam_groups: int,
    diversity_penalty: float,
    length_penalty: float = 0.0,
    num_best: int = 1,
) -> Hypotheses:
    """Search with G groups of K / G beams, of which the later ones avoid what the earlier took.

    At each step group after group chooses its continuations by their log-probability less
    `diversity_penalty` times the number of beams of earlier groups that took the same token at this
    step (Hamming diversity). Within a group all is as in `beam`. What ended is ordered by its score
    without that penalty, each hypothesis once.

    Paper: Vijayakumar et al. 2018, section 4, eq. 4 to 6, algorithm 1
        (https://arxiv.org/abs/1610.02424).
    Differs: as `beam` does; the best hypothesis is that of the highest score over all groups.

    Args:
        decoder: anything with `start`, `step` and `reorder`.
        encoded: what the encoder read, B rows.
        tokens: the target's token ids.
        max_length: as for `greedy`.
        beam_width: beginnings K of all groups together.
        beam_groups: G, at least 1, of which the width is a multiple; 1 is `beam`.
        diversity_penalty: in nats a beam, at least 0.
        length_penalty: as for `beam`.
        num_best: hypotheses N to return of each row, 1 to `beam_width`.

    Raises:
        ValueError: if a setting is out of range.
    """
    require.at_least("max_length", max_length, 1)
    _check_beam(beam_width, length_penalty, 0.0)
    check_groups(beam_width, beam_groups, diversity_penalty)
    if not 1 <= num_best <= beam_width:
        raise ValueError(f"num_best is {num_best}; take 1 to {beam_width}, or a wider beam")
    batch, device = encoded.summary.shape[0], encoded.summary.device
    size = beam_width // beam_groups
    row = torch.arange(batch, device=device)[:, None].expand(batch, beam_width)
    state = decoder.reorder(decoder.start(encoded), row.flatten())
    token = torch.full((batch, beam_width), tokens.bos_id, device=device)
    groups = [_Group(batch, size, max_length, tokens, device) for _ in range(beam_groups)]
    penalty = [((5 + length) / 6) ** length_penalty for length in range(max_length + 2)]
    for length in range(1, max_length + 1):
        logits, state = decoder.step(token.flatten(), state)
        log_p = allowed(logits, tokens).log_softmax(dim=-1)
        log_p = log_p.unflatten(0, (batch, beam_groups, size))
        taken = log_p.new_zeros(batch, log_p.shape[-1])
        parents = []
        for number, group in enumerate(groups):
            parent, chosen, lives = group.grow(log_p[:, number], taken * diversity_penalty)
            taken.scatter_add_(1, chosen, lives.to(taken))  # eq. 6
            group.end(length, penalty, length == max_length)
            parents.append(parent + number * size)
        token = torch.cat([group.prefixes[..., length - 1] for group in groups], dim=1)
        most = max(penalty[min(length + 1, max_length)], penalty[max_length])
        if all(group.is_done(most) for group in groups):
            break
        parent = torch.cat(parents, dim=1)
        state = decoder.reorder(state, (row * beam_width + parent).flatten())
    return _merged(groups, tokens, num_best)


class _Group:
    """The beams of a group, B rows: what lives, and the best that ended."""

    def __init__(
        self, batch: int, size: int, max_length: int, tokens: TokenSpace, device: torch.device
    ) -> None:
        self.size, self.eos_id = size, tokens.eos_id
        self.prefixes = torch.full((batch, size, max_length), tokens.pad_id, device=device)
        nothing = torch.full((batch, size), -INFINITY, dtype=torch.float64, device=device)
        self.best = Hypotheses(self.prefixes, nothing, nothing)
        self.live = nothing.index_fill(1, torch.tensor([0], device=device), 0.0)
        self.length = 0

    def grow(self, log_p: Tensor, less: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Continue by a token; return which beam each goes on from, its token, and if it lives.

        Args:
            log_p: (B, K / G, V).
            less: (B, V), the penalty of each token.
        """
        continued = self.live[..., None] + log_p
        _, index = _highest((continued - less[:, None]).flatten(1), self.size)
        self.live = continued.flatten(1).gather(1, index)
        parent, token = index // log_p.shape[-1], index % log_p.shape[-1]
        self.prefixes = _pick(self.prefixes, parent)
        self.prefixes[..., self.length] = token
        self.length += 1
        return parent, token, self.live > -INFINITY

    def end(self, length: int, penalty: list[float], last: bool) -> None:
        """Take what ended out of the beams, and keep the best of it."""
        ends = (self.prefixes[..., length - 1] == self.eos_id) | last
        ended = self.live.masked_fill(~ends, -INFINITY)
        scores = torch.cat([self.best.scores, ended / penalty[length]], dim=1)
        scores, index = _highest(scores, self.size)
        self.best = Hypotheses(
            _pick(torch.cat([self.best.tokens, self.prefixes], dim=1), index),
            scores,
            torch.cat([self.best.log_probabilities, ended], dim=1).gather(1, index),
        )
        self.live = self.live.masked_fill(ends, -INFINITY)

    def is_done(self, penalty: float) -> bool:
        """Whether nothing that lives can still enter the best; the penalty is the largest ahead."""
        bound = self.live.amax(dim=1) / penalty
        return bool((bound <= self.best.scores[:, -1]).all())


def _merged(groups: list[_Group], tokens: TokenSpace, num_best: int) -> Hypotheses:
    """Return the best of all groups, each hypothesis once; the first group's of equals."""
    together = [
        torch.cat(parts, dim=1) for parts in zip(*(group.best for group in groups), strict=True)
    ]
    hypotheses, scores, log_probabilities = together
    for outputs, own in zip(hypotheses.tolist(), scores, strict=True):
        seen: set[tuple[int, ...]] = set()
        for number, ids in enumerate(map(tuple, outputs)):
            if ids in seen:
                own[number] = -INFINITY
            elif own[number] > -INFINITY:
                seen.add(ids)
    scores, index = _highest(scores, num_best)
    nothing = scores == -INFINITY
    best = _pick(hypotheses, index).masked_fill(nothing[..., None], tokens.pad_id)
    longest = int((best != tokens.pad_id).sum(dim=-1).max())
    log_probabilities = log_probabilities.gather(1, index).masked_fill(nothing, -INFINITY)
    return Hypotheses(best[..., :longest], scores, log_probabilities)
