"""Outputs that a decoder draws in training: how, what each costs, and how probable it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.contract import Batch, Decoder, Encoded, TokenSpace, ValueSpace
from decoderlab.generation.greedy_search import allowed, strip
from decoderlab.generation.sampling import sample


def symbol_error_rate(output: list[int], target: list[int]) -> float:
    """Return the edit distance over the target's length, both without EOS; may be above 1.

    Example:
        >>> symbol_error_rate([5, 6], [5, 7, 8, 9])
        0.75
    """
    return Levenshtein.distance(output, target) / max(len(target), 1)


def inexact(output: list[int], target: list[int]) -> float:
    """Return 0 for the target itself, 1 for anything else."""
    return float(output != target)


COSTS = {"symbol_error_rate": symbol_error_rate, "inexact": inexact}


def token_space(objective: str, space: TokenSpace | ValueSpace) -> TokenSpace:
    """Return the space of an objective that draws outputs.

    Raises:
        ValueError: for real values.
    """
    if not isinstance(space, TokenSpace):
        raise ValueError(
            f"{objective} draws outputs of tokens, but the targets are {space.kind}; take a task "
            "with tokens as targets, or training/objective=likelihood"
        )
    return space


class DrawingObjective:
    """What the objectives share that look at outputs which the decoder draws.

    Args:
        name: of the objective, for messages.
        target_space: of the targets, tokens.
        length_ratio: tokens of an output at most, as a multiple of its target's, at least 1.

    Raises:
        ValueError: for real values, or a ratio below 1.
    """

    def __init__(
        self, name: str, target_space: TokenSpace | ValueSpace, length_ratio: float
    ) -> None:
        self.space = token_space(name, target_space)
        require.at_least("length_ratio", length_ratio, 1)
        self.length_ratio = length_ratio
        self.at_step(0, 0)

    def at_step(self, step: int, seed: int) -> None:
        """Say how many updates are done; `seed` is that of this update's draws."""
        self.step, self.seed = step, seed

    def drawn(self, decoder: Decoder, encoded: Encoded, batch: Batch, number: int = 0) -> Tensor:
        """Return the output that comes as `number` of each row, (B, T); see `draw`."""
        return draw(
            decoder,
            encoded,
            batch,
            self.space,
            seed=self.seed,
            number=number,
            length_ratio=self.length_ratio,
        )


class CostObjective(DrawingObjective):
    """What those share that weigh what drawn outputs cost.

    Args:
        name, target_space, length_ratio: as above.
        num_samples: outputs to draw of each row, at least 1.
        cost: a name of `COSTS`.
        start_step: updates of plain likelihood before, at least 0.
        likelihood_ratio: share of the negative log-likelihood afterwards, at least 0 and below 1.

    Raises:
        ValueError: for real values, an unknown cost, or a setting out of range.
    """

    def __init__(
        self,
        name: str,
        target_space: TokenSpace | ValueSpace,
        length_ratio: float,
        *,
        num_samples: int,
        cost: str,
        start_step: int,
        likelihood_ratio: float,
    ) -> None:
        super().__init__(name, target_space, length_ratio)
        require.at_least("num_samples", num_samples, 1)
        require.ratio("likelihood_ratio", likelihood_ratio)
        require.choice("cost", cost, list(COSTS))
        require.at_least("start_step", start_step, 0)
        self.num_samples, self.cost = num_samples, COSTS[cost]
        self.start_step, self.likelihood_ratio = start_step, likelihood_ratio


@contextmanager
def generating(decoder: Decoder) -> Iterator[None]:
    """Put a decoder into evaluation mode, in which outputs are drawn, and its modules back."""
    modules = list(decoder.modules()) if isinstance(decoder, nn.Module) else []
    training = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, was in zip(modules, training, strict=True):
            module.training = was


def longest(target: Tensor, space: TokenSpace, length_ratio: float) -> Tensor:
    """Return the tokens that an output may have at most, (B,), EOS included.

    As a multiple of the target's, rounded up; where a target has no end, its own length.

    Example:
        >>> longest(torch.tensor([[5, 6, 2], [5, 6, 7], [2, 0, 0]]), TokenSpace(9), 1.5).tolist()
        [5, 3, 2]
    """
    lengths = (target != space.pad_id).sum(dim=1)
    ends = (target == space.eos_id).any(dim=1)
    return torch.where(ends, (lengths * length_ratio).ceil().long(), lengths)


def draw(
    decoder: Decoder,
    encoded: Encoded,
    batch: Batch,
    space: TokenSpace,
    *,
    seed: int,
    number: int,
    length_ratio: float,
) -> Tensor:
    """Draw an output of each row, (B, T), at most as long as its own target allows.

    What a row draws depends on `seed`, its number in the split and `number` alone.

    Args:
        decoder: draws without dropout.
        encoded: what the encoder read.
        batch: whose targets and row numbers count.
        space: of the targets.
        seed: of the draws.
        number: of this output among several.
        length_ratio: see `longest`.
    """
    limits = longest(batch.target, space, length_ratio)
    with generating(decoder):
        drawn = sample(
            decoder,
            encoded,
            tokens=space,
            max_length=max(int(limits.max()), 1),
            seed=seed,
            rows=batch.index,
            number=number,
        )
    return shortened(drawn, limits, space)


def shortened(outputs: Tensor, limits: Tensor, space: TokenSpace) -> Tensor:
    """Return outputs (B, T) of at most so many tokens each (B,)."""
    steps = torch.arange(outputs.shape[1], device=outputs.device)
    return outputs.masked_fill(steps >= limits.unsqueeze(1), space.pad_id)


def token_log_probabilities(outputs: Tensor, drawn: Tensor, space: TokenSpace) -> Tensor:
    """Return log p of each token among those that can be generated, 0 at padding: (B, T) float64.

    Args:
        outputs: (B, T, V), of the decoder.
        drawn: (B, T), what it was shown.
        space: of the tokens.
    """
    logits = allowed(outputs, space).log_softmax(dim=-1)
    own = logits.gather(-1, drawn.unsqueeze(-1)).squeeze(-1)
    return own.masked_fill(drawn == space.pad_id, 0.0)


def costs(
    drawn: Tensor,
    target: Tensor,
    space: TokenSpace,
    cost: Callable[[list[int], list[int]], float],
) -> Tensor:
    """Return what each of some outputs (B, T) costs, (B,) float64."""
    values = [
        cost(_plain(output, space), _plain(right, space))
        for output, right in zip(drawn.tolist(), target.tolist(), strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64, device=drawn.device)


def _plain(ids: list[int], space: TokenSpace) -> list[int]:
    """Return ids without EOS, what follows it, and padding."""
    return [token for token in strip(ids, space) if token != space.pad_id]


def weighted_sum(
    per_row: Tensor, likelihood: Tensor, likelihood_ratio: float, batch: Batch, space: TokenSpace
) -> Tensor:
    """Return what is summed over positions: of each row its value times its target's length.

    Args:
        per_row: (B,), what an output is expected to cost.
        likelihood: the negative log-likelihood of all targets.
        likelihood_ratio: its share.
        batch: whose targets have lengths.
        space: of them.
    """
    lengths = (batch.target != space.pad_id).sum(dim=1)
    total = (per_row * lengths).sum()
    if not likelihood_ratio:
        return total
    return (1 - likelihood_ratio) * total + likelihood_ratio * likelihood


def loss_of(total: Tensor, outputs: Tensor) -> Tensor:
    """Return a sum of doubles as a loss: a float, or a double beside outputs that are doubles."""
    return total if outputs.dtype == torch.float64 else total.float()
