"""The negative log-likelihood of targets, tokens or values: the loss, and the usual objective."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from decoderlab.common import require
from decoderlab.contract import Batch, TokenSpace, ValueSpace
from decoderlab.decoders.heads import Gaussian, Point


def negative_log_likelihood(
    outputs: Tensor,
    target: Tensor,
    space: TokenSpace | ValueSpace,
    label_smoothing: float = 0.0,
    density: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the sum over all positions, and the number of positions.

    Tokens: nats; padding does not count. Values: nats under a diagonal Gaussian; with outputs of F
    means alone the Gaussian has a standard deviation of 1, which makes this half the squared error
    and a constant.

    Paper: label smoothing, Szegedy et al. 2016, section 7 (https://arxiv.org/abs/1512.00567), with
        the uniform distribution over the vocabulary.

    Args:
        outputs: (B, T, V), as the contract of decoders says.
        target: (B, T) int64 or (B, T, F) floats.
        space: of the targets.
        label_smoothing: share of the target's probability that is spread over all tokens, 0 to 1.
        density: the nats of each value, where the decoder has a distribution of its own.

    Example:
        >>> total, count = negative_log_likelihood(
        ...     torch.zeros(1, 2, 5), torch.tensor([[4, 0]]), TokenSpace(5))
        >>> round(float(total), 4), int(count)
        (1.6094, 1)
    """
    if isinstance(space, TokenSpace):
        total = functional.cross_entropy(
            outputs.flatten(0, 1),
            target.flatten(),
            ignore_index=space.pad_id,
            reduction="sum",
            label_smoothing=label_smoothing,
        )
        return total, num_positions(target, space)
    usual = Point() if outputs.shape[-1] == space.size else Gaussian()
    nats = (density or usual.nats)(outputs, target)
    return nats.sum(), num_positions(target, space)


class Likelihood:
    """The negative log-likelihood of the targets, see `negative_log_likelihood`.

    Paper: training without EOS, Newman et al. 2020 (https://arxiv.org/abs/2010.07174).
    Differs: without EOS, the number of positions is that with it, so that all objectives are means
        over the same; theirs is smaller by one for each target.

    Args:
        target_space: of the targets.
        label_smoothing: share of a target's probability that is spread over all tokens, 0 to 1; 0
            for real values.
        without_eos: whether the position of EOS adds nothing to the sum, so that the decoder does
            not learn where targets end.

    Raises:
        ValueError: for a label smoothing out of range, or of real values, and for an end of these.

    Example:
        >>> target = torch.tensor([[4, 2]])
        >>> batch = Batch(target, torch.tensor([2]), target, torch.tensor([0]))
        >>> objective = Likelihood(target_space=TokenSpace(5), without_eos=True)
        >>> total, count = objective(torch.zeros(1, 2, 5), batch)
        >>> round(float(total), 4), int(count)
        (1.6094, 2)
    """

    def __init__(
        self,
        *,
        target_space: TokenSpace | ValueSpace,
        label_smoothing: float = 0.0,
        without_eos: bool = False,
    ) -> None:
        require.ratio("label_smoothing", label_smoothing)
        if label_smoothing and isinstance(target_space, ValueSpace):
            raise ValueError(
                f"label_smoothing is {label_smoothing}, but the targets are real values, of which "
                "there is no list; leave it at 0"
            )
        if without_eos and isinstance(target_space, ValueSpace):
            raise ValueError(
                "without_eos is true, but the targets are real values, which have no end; leave it "
                "at false"
            )
        self.target_space, self.label_smoothing = target_space, label_smoothing
        self.without_eos = without_eos

    def __call__(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the sum over all positions, and the number of positions."""
        target, space = batch.target, self.target_space
        if self.without_eos and isinstance(space, TokenSpace):
            target = target.masked_fill(target == space.eos_id, space.pad_id)
        total, _ = negative_log_likelihood(outputs, target, space, self.label_smoothing)
        return total, num_positions(batch.target, space)


def num_positions(target: Tensor, space: TokenSpace | ValueSpace) -> Tensor:
    """Return the number of positions of a target that count, padding left out.

    Args:
        target: (B, T) int64 or (B, T, F) floats.
        space: of the targets.
    """
    if isinstance(space, TokenSpace):
        return (target != space.pad_id).sum()
    return torch.tensor(target.shape[0] * target.shape[1], device=target.device)
