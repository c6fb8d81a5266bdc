"""An optimizer of one's own: each weight moves by the sign of a moving average."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


class Lion(torch.optim.Optimizer):
    """w <- w - lr (sign(b1 m + (1 - b1) g) + decay w); m <- b2 m + (1 - b2) g.

    Paper: Chen et al. 2023, algorithm 2 (https://arxiv.org/abs/2302.06675).
    Differs: none.

    Args:
        params: the parameters.
        lr: learning rate, above 0; the paper takes 3 to 10 times less than for Adam.
        betas: b1 and b2, each 0 to 1.
        weight_decay: at least 0.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        *,
        lr: float = 0.0001,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas is {tuple(betas)}; each must be at least 0 and below 1")
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update all weights that have a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            first, second = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["average"] = torch.zeros_like(weight)
                average = state["average"]
                update = torch.sign(average.lerp(weight.grad, 1 - first))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"])
                average.lerp_(weight.grad, 1 - second)
        return loss
