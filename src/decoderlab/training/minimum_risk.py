"""Minimum risk: what an output is expected to cost, over some that the decoder draws."""

from __future__ import annotations

import torch
from torch import Tensor

from decoderlab.common import require
from decoderlab.contract import Batch, Decoder, Encoded, TokenSpace, ValueSpace
from decoderlab.training.drawn_outputs import (
    CostObjective,
    costs,
    loss_of,
    token_log_probabilities,
    weighted_sum,
)
from decoderlab.training.objective import negative_log_likelihood, num_positions


class MinimumRisk(CostObjective):
    """The expected cost over a subset of outputs, whose probabilities are sharpened or flattened.

        risk = sum over y in S of Q(y) cost(y),
        Q(y) = p(y)^sharpness / sum over y' in S of p(y')^sharpness

    S holds the target and N outputs that the decoder draws, each once. The mean over targets is
    weighted by their lengths, so that with the symbol error rate it is that of all.

    Paper: Shen et al. 2016, section 3, eq. 9 to 13, algorithm 1 (https://arxiv.org/abs/1512.02433).
    Differs: costs are symbol errors or inexact outputs, not smoothed BLEU; outputs are drawn
        without dropout and scored with it; a target with an unknown token, which is never
        generated, is not in S.

    Args:
        target_space: of the targets, tokens.
        num_samples: outputs N to draw of each row, at least 1; the paper's 100 is its best.
        sharpness: the paper's alpha, above 0; 0.005 is its best.
        with_target: whether the target is in S.
        cost: `symbol_error_rate`, edit distance over the target's length, or `inexact`, 0 or 1.
        start_step: updates of plain likelihood before, at least 0.
        likelihood_ratio: share of the negative log-likelihood afterwards, at least 0 and below 1.
        length_ratio: tokens of an output at most, as a multiple of its target's, at least 1.

    Raises:
        ValueError: for real values, an unknown cost, or a setting out of range.
    """

    def __init__(
        self,
        *,
        target_space: TokenSpace | ValueSpace,
        num_samples: int = 10,
        sharpness: float = 0.005,
        with_target: bool = True,
        cost: str = "symbol_error_rate",
        start_step: int = 0,
        likelihood_ratio: float = 0.0,
        length_ratio: float = 1.5,
    ) -> None:
        super().__init__(
            "minimum risk",
            target_space,
            length_ratio,
            num_samples=num_samples,
            cost=cost,
            start_step=start_step,
            likelihood_ratio=likelihood_ratio,
        )
        require.positive("sharpness", sharpness)
        self.sharpness, self.with_target = sharpness, with_target

    def sequence_loss(
        self, decoder: Decoder, encoded: Encoded, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Return the sum over all target positions, and their number."""
        outputs, count = decoder(encoded, batch.target), num_positions(batch.target, self.space)
        likelihood, _ = negative_log_likelihood(outputs, batch.target, self.space)
        if self.step < self.start_step:
            return likelihood, count
        scored = [(outputs, batch.target)] if self.with_target else []
        for number in range(self.num_samples):
            drawn = self.drawn(decoder, encoded, batch, number)
            scored.append((decoder(encoded, drawn), drawn))
        log_p = [token_log_probabilities(*pair, self.space).sum(dim=1) for pair in scored]
        candidates = [drawn for _, drawn in scored]
        cost = [costs(drawn, batch.target, self.space, self.cost) for drawn in candidates]
        sharpened = self.sharpness * torch.stack(log_p)
        weights = sharpened.masked_fill(~_first(candidates, self.space.pad_id), -torch.inf).softmax(
            dim=0
        )  # eq. 11
        risk = (weights * torch.stack(cost)).sum(dim=0)  # eq. 10
        total = weighted_sum(risk, likelihood, self.likelihood_ratio, batch, self.space)
        return loss_of(total, outputs), count


def _first(candidates: list[Tensor], pad_id: int) -> Tensor:
    """Return which of some outputs (B, T) of each row is none of those before it, (N, B) bool."""
    first = []
    for row in zip(*(drawn.tolist() for drawn in candidates), strict=True):
        whole = [tuple(token for token in ids if token != pad_id) for ids in row]
        first.append([output not in whole[:number] for number, output in enumerate(whole)])
    return torch.tensor(first, device=candidates[0].device).T
