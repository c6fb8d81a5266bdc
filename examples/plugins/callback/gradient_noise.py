"""A callback of one's own: noise on the gradients, less and less of it."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch

from decoderlab.common.randomness import torch_generator


class GradientNoise(pl.Callback):
    """Adds N(0, eta / (1 + t)^gamma) to each gradient, t the number of updates done.

    Its draws depend on the run's seed and the update alone: a run that goes on after a break draws
    what it would have.

    Paper: Neelakantan et al. 2015, eq. 1 (https://arxiv.org/abs/1511.06807).
    Differs: none. Where gradients are clipped, that comes after the noise.

    Args:
        eta: variance at the first update, above 0; the paper takes 0.01, 0.3 or 1.
        gamma: how fast it falls, at least 0.

    Raises:
        ValueError: for a number out of range.
    """

    def __init__(self, *, eta: float = 0.01, gamma: float = 0.55) -> None:
        if not (eta > 0 and gamma >= 0):
            raise ValueError(f"eta is {eta} and gamma {gamma}; eta > 0 and gamma >= 0 are allowed")
        self.eta, self.gamma = eta, gamma

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Add the noise of this update (Lightning's hook)."""
        step = trainer.global_step
        deviation = (self.eta / (1 + step) ** self.gamma) ** 0.5
        generator = torch_generator(pl_module.seed, "dropout", "gradient noise", step)
        for parameter in pl_module.parameters():
            if parameter.grad is not None:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.grad.add_(noise.to(parameter.grad), alpha=deviation)
