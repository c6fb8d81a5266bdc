"""An objective of one's own: tokens that are right already count less."""

import torch
from torch.nn import functional


class Focal:
    """Sum of -(1 - p)^focus log p, p being the probability of the target's token.

    Paper: Lin et al. 2017, section 3.2 (https://arxiv.org/abs/1708.02002), there for classes.

    Args:
        target_space: of the targets, which must be tokens.
        focus: at least 0; 0 is the negative log-likelihood.
    """

    def __init__(self, *, target_space, focus: float = 2.0) -> None:
        if target_space.kind != "tokens":
            raise ValueError(f"targets are {target_space.kind}; take a task that writes tokens")
        if not focus >= 0:
            raise ValueError(f"focus is {focus}; it must be at least 0")
        self.pad_id, self.focus = target_space.pad_id, focus

    def __call__(self, outputs, batch):
        """Return the sum over all positions but padding, and their number."""
        log_p = -functional.cross_entropy(outputs.transpose(1, 2), batch.target, reduction="none")
        real = batch.target != self.pad_id
        missing = -torch.expm1(log_p)  # 1 - p, also where p is nearly 1
        return (-(missing.clamp(min=1e-9) ** self.focus) * log_p)[real].sum(), real.sum()
