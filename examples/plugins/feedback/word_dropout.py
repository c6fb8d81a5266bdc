"""A feedback of one's own: training does not see some of the target's tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from decoderlab.contract import TokenSpace, ValueSpace
from decoderlab.decoders.feedback import Feedback


class WordDropout(Feedback):
    """Training sees the unknown token in place of some previous tokens of the target.

    A decoder that cannot lean on what was written has to look at the source.

    Paper: Bowman et al. 2016, section 3.1 (https://arxiv.org/abs/1511.06349).
    Differs: none; BOS and padding are never replaced.

    Args:
        target_space: tokens.
        ratio: of the tokens that are replaced, above 0, at most 1; the paper's 1 - k.

    Raises:
        ValueError: for real-valued targets, or a ratio out of range.
    """

    def __init__(self, *, target_space: TokenSpace | ValueSpace, ratio: float = 0.25) -> None:
        super().__init__()
        if not isinstance(target_space, TokenSpace):
            raise ValueError("the targets are real values; take decoder/feedback=teacher_forcing")
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio is {ratio}; it must be above 0 and at most 1")
        self.space, self.ratio = target_space, ratio
        self.at_step(0, 0)

    def at_step(self, step: int, seed: int) -> None:
        """Seed the coins of the next update: a run that goes on throws those it would have."""
        self._generator = torch.Generator().manual_seed(seed)

    def inputs(self, before: Tensor) -> Tensor:
        """Return the tokens before each position (B, T), some of them unknown."""
        coins = torch.rand(before.shape, generator=self._generator).to(before.device)
        kept = (before == self.space.bos_id) | (before == self.space.pad_id)
        return before.masked_fill((coins < self.ratio) & ~kept, self.space.unk_id)

    def meaning(self) -> str:
        """Return in words what stands for y_{t-1}."""
        return f"in training the target's, UNK with probability {self.ratio:g}"
