"""A decoder of one's own, in plain torch: it sees the last few tokens that were written."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from decoderlab.contract import Encoded, EncoderShape, TokenSpace, ValueSpace
from decoderlab.decoders.feedback import before_each


class WindowState(NamedTuple):
    """The summary (B, D) and the last tokens that were written (B, C - 1), BOS before the first."""

    summary: Tensor
    window: Tensor


class WindowDecoder(nn.Module):
    """Writes each token from the summary and the C tokens before it.

        h_t = tanh(U [e(y_{t-C}); ...; e(y_{t-1})] + u)
        logits_t = V h_t + W c + b

    Paper: Rush et al. 2015, section 3.1 (https://arxiv.org/abs/1509.00685).
    Differs: none with their bag of words as the encoder; any summary does.

    Args:
        target_space: tokens.
        encoder_shape: what the encoder offers.
        window_length: C, tokens, BOS included, at least 1.
        embedding_size: width of an embedding, at least 1.
        hidden_size: width of h_t, at least 1.

    Raises:
        ValueError: for real-valued targets, or a window out of range.
    """

    def __init__(
        self,
        *,
        target_space: TokenSpace | ValueSpace,
        encoder_shape: EncoderShape,
        window_length: int = 5,
        embedding_size: int = 32,
        hidden_size: int = 128,
    ) -> None:
        super().__init__()
        if not isinstance(target_space, TokenSpace):
            raise ValueError("the targets are real values; take decoder=luong")
        if window_length < 1:
            raise ValueError(f"window_length is {window_length}; it must be at least 1")
        self.target_space, self.window_length = target_space, window_length
        self.embedding = nn.Embedding(target_space.size, embedding_size)
        self.hidden = nn.Linear(window_length * embedding_size, hidden_size)
        self.output = nn.Linear(hidden_size, target_space.size)
        self.from_summary = nn.Linear(encoder_shape.summary_size, target_space.size, bias=False)

    def forward(self, encoded: Encoded, target: Tensor) -> Tensor:
        """Return the logits of all positions (B, T, V)."""
        summary, window = self.start(encoded)
        tokens = torch.cat([window, before_each(target, self.target_space)], dim=1)
        return self._logits(tokens.unfold(1, self.window_length, 1), summary.unsqueeze(1))

    def start(self, encoded: Encoded) -> WindowState:
        """Return the state before the first target position."""
        shape = len(encoded.summary), self.window_length - 1
        begin = torch.full(shape, self.target_space.bos_id, device=encoded.summary.device)
        return WindowState(encoded.summary, begin)

    def step(self, previous: Tensor, state: WindowState) -> tuple[Tensor, WindowState]:
        """Take the previous token (B,), return the logits (B, V) and the next state."""
        tokens = torch.cat([state.window, previous.unsqueeze(1)], dim=1)
        return self._logits(tokens, state.summary), WindowState(state.summary, tokens[:, 1:])

    def reorder(self, state: WindowState, index: Tensor) -> WindowState:
        """Return the state of the batch rows `index` (N,)."""
        return WindowState(*(part.index_select(0, index) for part in state))

    def _logits(self, tokens: Tensor, summary: Tensor) -> Tensor:
        hidden = torch.tanh(self.hidden(self.embedding(tokens).flatten(-2)))
        return self.output(hidden) + self.from_summary(summary)
