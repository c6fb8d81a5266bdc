"""REINFORCE with a baseline, and MIXER: the cost of drawn outputs, by the gradient of log p."""

from __future__ import annotations

import torch
from torch import Tensor

from decoderlab.common import require
from decoderlab.contract import Batch, Decoder, Encoded, TokenSpace, ValueSpace
from decoderlab.generation.forced_prefix import ForcedPrefix
from decoderlab.generation.greedy_search import greedy
from decoderlab.training.drawn_outputs import (
    CostObjective,
    costs,
    generating,
    longest,
    loss_of,
    shortened,
    token_log_probabilities,
    weighted_sum,
)
from decoderlab.training.objective import negative_log_likelihood, num_positions

BASELINES = ("others", "greedy", "none")


class Reinforce(CostObjective):
    """The expected cost of what the decoder draws, with the gradient of the likelihood ratio.

        gradient = mean over N drawn y of (cost(y) - b) * gradient of log p(y)

    With `tail_steps` it is MIXER: the beginning of an output is the target's and trained by its
    likelihood, the tail is drawn; the tail grows by a token every `tail_steps` updates. The value
    is the mean cost, weighted by the targets' lengths, and the nats of what is not drawn.

    Paper: Williams 1992; Ranzato et al. 2016, sections 3.2.1 and 3.2.2, eq. 9 to 11, algorithm 1
        (https://arxiv.org/abs/1511.06732). The baseline `others` is that of Kool et al. 2019,
        section 3 (https://openreview.net/forum?id=r1lgTGL5DE); `greedy` that of Rennie et al. 2017,
        section 3.1 (https://arxiv.org/abs/1612.00563).
    Differs: the papers' baseline of MIXER is regressed from the decoder's state, which is the
        decoder's own business here; costs are symbol errors or inexact outputs, not BLEU or ROUGE;
        a target with an unknown token, which is never generated, is forced up to that; outputs are
        drawn without dropout and scored with it.

    Args:
        target_space: of the targets, tokens.
        num_samples: outputs N to draw of each row, at least 1, and 2 with `others`.
        baseline: b of an output: the mean cost of the `others` of its row, the cost of the
            `greedy` output, or 0 with `none`. None changes what the gradient is expected to be.
        cost: `symbol_error_rate`, edit distance over the target's length, or `inexact`, 0 or 1.
        start_step: updates of plain likelihood before, at least 0.
        tail_steps: updates until the drawn tail is a token longer, at least 1; it begins with one.
            None to draw all of it from the start.
        likelihood_ratio: share of the negative log-likelihood afterwards, at least 0 and below 1.
        length_ratio: tokens of an output at most, as a multiple of its target's, at least 1.

    Raises:
        ValueError: for real values, an unknown cost or baseline, or a setting out of range.
    """

    def __init__(
        self,
        *,
        target_space: TokenSpace | ValueSpace,
        num_samples: int = 4,
        baseline: str = "others",
        cost: str = "symbol_error_rate",
        start_step: int = 0,
        tail_steps: int | None = None,
        likelihood_ratio: float = 0.0,
        length_ratio: float = 1.5,
    ) -> None:
        super().__init__(
            "REINFORCE",
            target_space,
            length_ratio,
            num_samples=num_samples,
            cost=cost,
            start_step=start_step,
            likelihood_ratio=likelihood_ratio,
        )
        require.choice("baseline", baseline, BASELINES)
        if tail_steps is not None:
            require.at_least("tail_steps", tail_steps, 1)
        if baseline == "others" and num_samples < 2:
            raise ValueError(
                f"num_samples is {num_samples}, but baseline=others is the mean of the other "
                "outputs of a row; draw at least 2, or take baseline=greedy"
            )
        self.baseline, self.tail_steps = baseline, tail_steps

    def sequence_loss(
        self, decoder: Decoder, encoded: Encoded, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Return the sum over all target positions, and their number."""
        target, count = batch.target, num_positions(batch.target, self.space)
        outputs, lengths = decoder(encoded, target), self._forced(target)
        likelihood, _ = negative_log_likelihood(outputs, target, self.space)
        if self.step < self.start_step:
            return likelihood, count
        cost, log_p = self._tried(decoder, encoded, batch, lengths)
        less = self._baseline(decoder, encoded, batch, lengths, cost)
        slope = ((cost - less) * (log_p - log_p.detach())).mean(dim=0)  # 0, with a gradient
        risk = cost.mean(dim=0) + slope
        total = weighted_sum(risk, likelihood, self.likelihood_ratio, batch, self.space)
        beginning = _beginning(target, lengths, self.space.pad_id)
        forced_nats, _ = negative_log_likelihood(outputs, beginning, self.space)
        return loss_of(total + (1 - self.likelihood_ratio) * forced_nats, outputs), count

    def _forced(self, target: Tensor) -> Tensor:
        """Return how many tokens of each target (B,) an output begins with."""
        lengths = (target != self.space.pad_id).sum(dim=1)
        if self.tail_steps is None:
            return torch.zeros_like(lengths)
        tail = 1 + max(self.step - self.start_step, 0) // self.tail_steps
        # Up to the first unknown token: where there is none, all are before it.
        known = (target != self.space.unk_id).long().cumprod(dim=1).sum(dim=1)
        return (lengths - tail).clamp(min=0).minimum(known)

    def _tried(
        self, decoder: Decoder, encoded: Encoded, batch: Batch, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what N outputs of each row cost, and log p of what of them is drawn: (N, B)."""
        beginning = _beginning(batch.target, lengths, self.space.pad_id)
        drawing = ForcedPrefix(decoder, beginning, self.space)
        cost, log_p = [], []
        for number in range(self.num_samples):
            drawn = self.drawn(drawing, encoded, batch, number)
            own = token_log_probabilities(decoder(encoded, drawn), drawn, self.space)
            steps = torch.arange(drawn.shape[1], device=drawn.device)
            log_p.append(own.masked_fill(steps < lengths.unsqueeze(1), 0.0).sum(dim=1))
            cost.append(costs(drawn, batch.target, self.space, self.cost))
        return torch.stack(cost), torch.stack(log_p)

    def _baseline(
        self,
        decoder: Decoder,
        encoded: Encoded,
        batch: Batch,
        lengths: Tensor,
        cost: Tensor,
    ) -> Tensor:
        """Return what to take off what each output costs, (N, B) or what has its shape."""
        if self.baseline == "none":
            return torch.zeros_like(cost)
        if self.baseline == "others":
            return (cost.sum(dim=0) - cost) / (len(cost) - 1)
        limits = longest(batch.target, self.space, self.length_ratio)
        beginning = _beginning(batch.target, lengths, self.space.pad_id)
        most = max(int(limits.max()), 1)
        with generating(decoder):
            likeliest = greedy(
                ForcedPrefix(decoder, beginning, self.space),
                encoded,
                tokens=self.space,
                max_length=most,
            )
        return costs(shortened(likeliest, limits, self.space), batch.target, self.space, self.cost)


def _beginning(target: Tensor, lengths: Tensor, pad_id: int) -> Tensor:
    """Return the first tokens of each target, so many (B,), and padding: (B, T)."""
    steps = torch.arange(target.shape[1], device=target.device)
    return target.masked_fill(steps >= lengths.unsqueeze(1), pad_id)
