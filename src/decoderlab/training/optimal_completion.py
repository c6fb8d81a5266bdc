"""Optimal completion distillation: from whatever was written, the tokens that still end best."""

from __future__ import annotations

import torch
from torch import Tensor

from decoderlab.common import require
from decoderlab.contract import Batch, Decoder, Encoded, TokenSpace, ValueSpace
from decoderlab.generation.greedy_search import allowed
from decoderlab.training.drawn_outputs import DrawingObjective, loss_of
from decoderlab.training.objective import num_positions


class OptimalCompletion(DrawingObjective):
    """Divergence from the policy that completes a drawn output with the fewest edits.

    The decoder draws an output y. At each of its positions, with d_j the edit distance of what is
    written to the target's first j tokens and m the least of all d_j:

        Q(r_{j+1}) = -m where d_j = m; Q(EOS) = -d_S; Q of any other token = -(m + 1)
        policy = softmax(Q / temperature),   loss = KL(policy || p(. | y before t))

    With a temperature of 0 the policy is uniform over the tokens of the highest Q. No baseline is
    needed, nor likelihood before.

    Paper: Sabour et al. 2019, section 3, eq. 6 to 11, algorithm 1
        (https://arxiv.org/abs/1810.01398).
    Differs: none; the distribution is over the tokens that can be generated. A position has no loss
        where a target without EOS is used up or goes on with an unknown token.

    Args:
        target_space: of the targets, tokens.
        temperature: of the policy, at least 0; the paper's is 0.
        length_ratio: tokens of an output at most, as a multiple of its target's, at least 1.

    Raises:
        ValueError: for real values, or a setting out of range.
    """

    def __init__(
        self,
        *,
        target_space: TokenSpace | ValueSpace,
        temperature: float = 0.0,
        length_ratio: float = 1.5,
    ) -> None:
        super().__init__("optimal completion", target_space, length_ratio)
        require.at_least("temperature", temperature, 0)
        self.temperature = temperature

    def sequence_loss(
        self, decoder: Decoder, encoded: Encoded, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Return the sum over all drawn positions, and the number of the target's."""
        drawn = self.drawn(decoder, encoded, batch)
        policy = self._policy(drawn, batch.target)
        outputs = decoder(encoded, drawn)
        log_p = allowed(outputs, self.space).log_softmax(dim=-1)
        # 0 log 0 is 0, and so is its gradient.
        nats = torch.where(policy > 0, policy * (policy.clamp(min=1e-300).log() - log_p), 0.0)
        return loss_of(nats.sum(), outputs), num_positions(batch.target, self.space)

    def _policy(self, drawn: Tensor, target: Tensor) -> Tensor:
        """Return what an optimal writer would do at each position, (B, T, V) float64.

        All zero where nothing is drawn, or no token is optimal.
        """
        distance = prefix_distances(drawn, target, self.space)
        least = distance.amin(dim=-1, keepdim=True)
        best = (distance == least)[..., : target.shape[1]]
        token = target.unsqueeze(1).expand(-1, drawn.shape[1], -1)
        sizes = (*drawn.shape, self.space.size)
        optimal = torch.zeros(sizes, dtype=torch.int64, device=drawn.device)
        optimal = optimal.scatter_reduce(2, token, best.long(), "amax").bool()
        never = torch.tensor(self.space.never_generated, device=drawn.device)
        optimal = optimal.index_fill(2, never, False)
        value = torch.where(optimal, 0.0, -1.0).double()  # above -m
        ends = (target == self.space.eos_id).any(dim=1)
        plain = ((target != self.space.pad_id) & (target != self.space.eos_id)).sum(dim=1)
        whole = distance.gather(2, plain.view(-1, 1, 1).expand(-1, drawn.shape[1], 1)) - least
        end = torch.where(ends[:, None], -whole.squeeze(2).double(), -torch.inf)
        value[..., self.space.eos_id] = end
        value = value.index_fill(2, never, -torch.inf)
        real = (drawn != self.space.pad_id) & optimal.any(dim=2)
        if self.temperature:
            policy = (value / self.temperature).softmax(dim=2)
        else:
            policy = optimal.double() / optimal.sum(dim=2, keepdim=True).clamp(min=1)
        return policy.masked_fill(~real.unsqueeze(2), 0.0)


def prefix_distances(drawn: Tensor, target: Tensor, space: TokenSpace) -> Tensor:
    """Return edit distances of what was written before each position to the target's beginnings.

    Shapes:
        drawn: (B, T); target: (B, S), EOS and padding behind their tokens. Returns (B, T, S + 1)
        int64: of drawn[:, :t] to target[:, :j], and a distance that is never the least for j beyond
        the target's tokens.
    """
    rows, width = target.shape
    far = width + drawn.shape[1] + 1
    plain = ((target != space.pad_id) & (target != space.eos_id)).sum(dim=1)
    steps = torch.arange(width + 1, device=target.device)
    row = steps.expand(rows, -1)
    distances = []
    for t in range(drawn.shape[1]):
        distances.append(row.masked_fill(steps > plain.unsqueeze(1), far))
        replaced = row[:, :-1] + (drawn[:, t, None] != target)
        further = torch.cat([row[:, :1] + 1, torch.minimum(row[:, 1:] + 1, replaced)], dim=1)
        # Each may be reached from an earlier one, an edit a token: the least of them, at once.
        row = (further - steps).cummin(dim=1).values + steps
    return torch.stack(distances, dim=1)
