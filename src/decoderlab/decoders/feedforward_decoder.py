"""The baseline without recurrence: every position is written on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.common.part_choice import Choice
from decoderlab.contract import Encoded, EncoderShape, TokenSpace, ValueSpace
from decoderlab.decoders.feedback import Feedback, TeacherForcing, before_each
from decoderlab.layers.embedding import build_embedding
from decoderlab.layers.equations import Equation, Letters, concatenation, count, embedding_equation
from decoderlab.layers.positions import sinusoidal_positions


class FeedforwardState(NamedTuple):
    """The summary (B, D), and the number of positions written so far, the same in all rows."""

    summary: Tensor
    num_written: int


class FeedforwardDecoder(nn.Module):
    """Writes each target position from the summary, its number and at most one token before it.

    With c the summary, p the sinusoidal positions and y the target (y_0 is BOS):

        logits_t = MLP([c; p_t; e(y_{t-1}) with feedback])

    It never knows more of what was written than the one token before: with feedback it is a
    bigram model, told what to write and where it is; without, its positions are independent of
    each other. What a recurrent decoder gains over it is the worth of its state.

    Paper: the positions are Vaswani et al. 2017, section 3.5 (https://arxiv.org/abs/1706.03762);
        a network that writes all positions independently is where Gu et al. 2018 begin
        (https://arxiv.org/abs/1711.02281).
    Differs: it is a baseline of ours and follows no paper as a whole.

    Args:
        target_space: token ids.
        encoder_shape: what the encoder offers.
        hidden_size: width of each hidden layer, at least 1.
        num_layers: hidden layers with a ReLU, at least 1; the output layer comes on top.
        feedback: with `TeacherForcing` each position sees the previous target token when training,
            and the previous prediction when generating; or `NoFeedback`.
        embedding_size: width of the previous token's embedding, None for one-hot vectors; without
            feedback it is not used.
        position_size: width of the position's vector, at least 1.
        dropout: on the embedding and on each hidden layer, 0 to 1.

    Shapes:
        target: (B, T) int64. Returns logits (B, T, V); those at t depend on target[:, t - 1] alone.
        step takes a token (B,) and returns logits (B, V).

    Raises:
        ValueError: if the targets are values, for a size out of range, or for a feedback that takes
            steps one by one.

    Example:
        >>> from decoderlab.decoders.feedback import NoFeedback
        >>> decoder = FeedforwardDecoder(
        ...     target_space=TokenSpace(7),
        ...     encoder_shape=EncoderShape(memory_size=5, summary_size=5),
        ...     hidden_size=8, feedback=NoFeedback)
        >>> encoded = Encoded(torch.ones(2, 3, 5), torch.ones(2, 3).bool(), torch.ones(2, 5), None)
        >>> decoder(encoded, torch.ones(2, 6).long()).shape
        torch.Size([2, 6, 7])
    """

    def __init__(
        self,
        *,
        target_space: TokenSpace | ValueSpace,
        encoder_shape: EncoderShape,
        hidden_size: int,
        feedback: Callable[..., Feedback] = TeacherForcing,
        num_layers: int = 1,
        embedding_size: int | None = None,
        position_size: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(target_space, TokenSpace):
            raise ValueError(
                f"the feedforward decoder writes tokens, but the targets are {target_space.kind}; "
                "take a task with tokens as targets, or decoder=luong"
            )
        require.at_least("hidden_size", hidden_size, 1)
        require.at_least("num_layers", num_layers, 1)
        require.at_least("position_size", position_size, 1)
        require.ratio("dropout", dropout)
        self.target_space = target_space
        self.feedback = Choice.of(feedback).build(target_space=target_space)
        if self.feedback.samples or self.feedback.sees_distribution:
            raise ValueError(
                f"feedback is {type(self.feedback).__name__}, which needs what a step put out, but "
                "the feedforward decoder writes all positions at once; take "
                "decoder/feedback=teacher_forcing or none"
            )
        self.position_size = position_size
        input_size = encoder_shape.summary_size + position_size
        self.embedding, self.embedded_size = None, 0
        if self.feedback.sees_output:
            embedding = build_embedding(target_space, embedding_size)
            self.embedding, self.embedded_size = embedding
            input_size += self.embedded_size
        self.input_size = input_size
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        widths = [input_size] + [hidden_size] * num_layers
        self.layers = nn.ModuleList(map(nn.Linear, widths, widths[1:]))
        self.head = nn.Linear(hidden_size, target_space.size)

    @staticmethod
    def normalised(settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings with what has no effect at its default: equal models are one run."""
        sees_output = Choice.of(settings["feedback"]).stated("sees_output")
        return {**settings, **({} if sees_output else {"embedding_size": None})}

    def forward(self, encoded: Encoded, target: Tensor) -> Tensor:
        """Return the logits of all positions, given the token before each."""
        previous = before_each(target, self.target_space)
        if self.training:
            previous = self.feedback.inputs(previous)
        return self._advance(previous, self.start(encoded))[0]

    def at_step(self, step: int, seed: int) -> None:
        """Say how many updates are done; `seed` is that of what the feedback draws."""
        self.feedback.at_step(step, seed)

    def start(self, encoded: Encoded) -> FeedforwardState:
        """Return the state before the first target position."""
        return FeedforwardState(encoded.summary, 0)

    def step(self, previous: Tensor, state: FeedforwardState) -> tuple[Tensor, FeedforwardState]:
        """Take the previous token (B,), return the logits (B, V) of the next and the state."""
        logits, state = self._advance(previous.unsqueeze(1), state)
        return logits.squeeze(1), state

    def reorder(self, state: FeedforwardState, index: Tensor) -> FeedforwardState:
        """Return the state of the batch rows `index` (N,)."""
        return state._replace(summary=state.summary.index_select(0, index))

    def _advance(
        self, previous: Tensor, state: FeedforwardState
    ) -> tuple[Tensor, FeedforwardState]:
        """Write T positions at once, given the token (B, T) before each."""
        summary, num_written = state
        num_rows, num_new = previous.shape
        positions = sinusoidal_positions(
            num_new, self.position_size, first=num_written, like=summary
        )
        inputs = [
            summary.unsqueeze(1).expand(-1, num_new, -1),
            positions.expand(num_rows, -1, -1),
        ]
        if self.embedding is not None:
            inputs.append(self.dropout(self.embedding(previous)))
        hidden = torch.cat(inputs, dim=-1)
        for layer in self.layers:
            hidden = self.dropout(layer(hidden).relu())
        return self.head(hidden), FeedforwardState(summary, num_written + num_new)

    def equations(self) -> list[Equation]:
        """Return what is computed at step t; see `decoderlab.layers.equations`."""
        lines, number = [], len(self.layers)
        seen = None
        if self.embedding is not None:
            seen, size = "e(y_{t-1})", self.embedded_size
            lines.append(embedding_equation(seen, "y_{t-1}", self.embedding, size))
        inputs = concatenation(["c", "p_t", seen])
        return [
            *lines,
            Equation("p_t", "the sinusoidal position t-1", self.position_size),
            Equation("h^0_t", inputs, self.input_size),
            Equation(
                f"h^l_t, l = 1..{number}",
                "max(0, W_l h^{l-1}_t + b_l)",
                self.head.in_features,
                count(self.layers),
            ),
            Equation(
                "logits_t", f"W_o h^{number}_t + b_o", self.head.out_features, count(self.head)
            ),
        ]

    @staticmethod
    def equation_letters() -> Letters:
        """Return which parameter a letter of `equations` is; see `layers.equations`."""
        return {
            "e(y_{t-1})": {
                "table": "embedding.weight",
                "W_e": "embedding.weight",
                "b_e": "embedding.bias",
            },
            "h^l_t": {"W_l": "layers.{l}.weight", "b_l": "layers.{l}.bias"},
            "logits_t": {"W_o": "head.weight", "b_o": "head.bias"},
        }
