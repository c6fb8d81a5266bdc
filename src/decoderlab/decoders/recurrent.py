"""The recurrent decoder: every way for the encoding to reach it is a switch of one class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from decoderlab import checks
from decoderlab.cells import RecurrentLayers
from decoderlab.contract import Encoded, EncoderShape, State, TokenSpace
from decoderlab.decoders.attention import Attention
from decoderlab.decoders.bridges import BRIDGES, Bridge
from decoderlab.embedding import build_embedding

ROUTES = ("initial_state", "first_input", "every_input", "output")
FEEDBACKS = ("none", "teacher_forcing")
MIXINGS = ("none", "tanh")


class DecoderState(NamedTuple):
    """Everything that a step needs besides the token; nothing is kept in the module.

    Shapes:
        recurrent: (L, B, H) each; summary: (B, D); memory: (B, S, M); memory_mask: (B, S).
        fed: (B, F), the vector that input feeding hands to the next step, else None.
        attention_weights: (B, S) of the step before, None before the first and without attention.
    """

    recurrent: State
    summary: Tensor
    memory: Tensor
    memory_mask: Tensor
    fed: Tensor | None = None
    attention_weights: Tensor | None = None


class RecurrentDecoder(nn.Module):
    """An LSTM or GRU that writes the target, one token a step.

    With c the summary, m the memory and y the target:

        s_0    = bridge(encoder state)  if initial_state in routes, else 0
        s_0    = cell(s_0, W c)         if first_input in routes; the output is dropped
        x_t    = [e(y_{t-1}) with feedback; c if every_input in routes; fed_{t-1} if input feeding],
                 zeros where that is nothing
        s_t    = cell(s_{t-1}, x_t)
        a_t    = attention(s_t, m)      the context, with attention only
        h_t    = tanh(W_c [a_t; s_t]) with mixing tanh; [s_t; a_t] with mixing none; else s_t
        logits = W_o [h_t; c if output in routes]

    Paper: initial_state, Sutskever et al. 2014 (https://arxiv.org/abs/1409.3215); first_input,
        Vinyals et al. 2015 (https://arxiv.org/abs/1411.4555), eq. 10 to 12; every_input and output,
        Cho et al. 2014 (https://arxiv.org/abs/1406.1078), section 2.2; every_input without
        feedback is Keras's RepeatVector; attention, Luong et al. 2015
        (https://arxiv.org/abs/1508.04025), eq. 3 to 8, input feeding its section 3.3.
    Differs: the output layer has a bias; routes that the papers do not combine can be combined.

    Args:
        tokens: the target's token ids.
        encoder_shape: what the encoder offers.
        cell: `lstm` or `gru`.
        hidden_size: width H of each layer, at least 1.
        routes: where the summary enters: any of initial_state, first_input, every_input, output.
        feedback: `none`, or `teacher_forcing`: each step sees the previous target token when
            training, and the previous prediction when generating.
        bridge: the initial state's map, with the route initial_state only: `copy`, `dense` or
            `dense_nonlinear`; `zero` without that route.
        attention_score: `dot`, `general`, or None for a decoder without attention.
        attention_mixing: `tanh` (Luong's attentional vector) or `none` (concatenation).
        input_feeding: whether the next step sees the attentional vector (with mixing `none`, the
            context). This makes training a loop over the steps.
        embedding_size: width of the previous token's embedding, None for one-hot vectors.
        num_layers: at least 1.
        dropout: on embeddings, between layers and on the top layer's output, 0 to 1.

    Shapes:
        target: (B, T) int64. Returns logits (B, T, V); those at t depend on target[:, :t].
        step takes a token (B,) and returns logits (B, V).

    Raises:
        ValueError: for unknown names, sizes out of range, or settings that contradict each other.

    Example:
        >>> decoder = RecurrentDecoder(
        ...     tokens=TokenSpace(7), encoder_shape=EncoderShape(memory_size=5, summary_size=5),
        ...     cell="lstm", hidden_size=4, routes=["every_input"], feedback="none")
        >>> encoded = Encoded(torch.ones(2, 3, 5), torch.ones(2, 3).bool(), torch.ones(2, 5), None)
        >>> decoder(encoded, torch.ones(2, 6).long()).shape
        torch.Size([2, 6, 7])
    """

    def __init__(
        self,
        *,
        tokens: TokenSpace,
        encoder_shape: EncoderShape,
        cell: str,
        hidden_size: int,
        routes: Sequence[str],
        feedback: str,
        bridge: str = "zero",
        attention_score: str | None = None,
        attention_mixing: str = "tanh",
        input_feeding: bool = False,
        embedding_size: int | None = None,
        num_layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        checks.ratio("dropout", dropout)
        self.routes = checks.subset("routes", routes, ROUTES)
        checks.choice("feedback", feedback, FEEDBACKS)
        checks.choice("attention_mixing", attention_mixing, MIXINGS)
        checks.choice("bridge", bridge, BRIDGES)
        _check_settings(self.routes, feedback, bridge, attention_score, input_feeding)
        self.bos_id = tokens.bos_id
        self.sees_output = feedback != "none"
        self.input_feeding = input_feeding
        self.fed_size = 0
        if input_feeding:
            self.fed_size = hidden_size if attention_mixing == "tanh" else encoder_shape.memory_size

        input_size = self.fed_size
        if self.sees_output:
            self.embedding, embedded_size = build_embedding(tokens, embedding_size)
            input_size += embedded_size
        if "every_input" in self.routes:
            input_size += encoder_shape.summary_size
        # Without any other input, the first one still needs a width; zeros follow it.
        self.blank_size = 0
        if "first_input" in self.routes and input_size == 0:
            input_size = self.blank_size = encoder_shape.summary_size
        self.rnn = RecurrentLayers(
            cell=cell,
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            dropout=dropout,
        )
        self.bridge = Bridge(
            kind=bridge,
            encoder_shape=encoder_shape,
            hidden_size=hidden_size,
            num_layers=num_layers,
            has_cell=self.rnn.has_cell,
        )
        if "first_input" in self.routes:
            self.first_input = nn.Linear(encoder_shape.summary_size, input_size)
        features_size = hidden_size
        self.attention = self.mix = None
        if attention_score is not None:
            self.attention = Attention(
                score=attention_score,
                query_size=hidden_size,
                memory_size=encoder_shape.memory_size,
            )
            features_size += encoder_shape.memory_size
            if attention_mixing == "tanh":
                self.mix = nn.Linear(features_size, hidden_size, bias=False)
                features_size = hidden_size
        if "output" in self.routes:
            features_size += encoder_shape.summary_size
        self.head = nn.Linear(features_size, tokens.size)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, encoded: Encoded, target: Tensor) -> Tensor:
        """Return the logits of all steps, given the target before each."""
        begin = target.new_full((target.shape[0], 1), self.bos_id)
        previous = torch.cat([begin, target[:, :-1]], dim=1)
        state = self.start(encoded)
        if not self.input_feeding:
            return self._advance(previous, state)[0]
        # A step needs what the step before it produced: no way around a loop.
        logits = []
        for token in previous.split(1, dim=1):
            step_logits, state = self._advance(token, state)
            logits.append(step_logits)
        return torch.cat(logits, dim=1)

    def start(self, encoded: Encoded) -> DecoderState:
        """Return the state before the first target token."""
        recurrent = self.bridge(encoded)
        if "first_input" in self.routes:
            # Show and Tell's x_{-1}: one step before BOS, which no loss ever sees.
            _, recurrent = self.rnn(self.first_input(encoded.summary).unsqueeze(1), recurrent)
        fed = encoded.summary.new_zeros(encoded.summary.shape[0], self.fed_size)
        return DecoderState(
            recurrent,
            encoded.summary,
            encoded.memory,
            encoded.memory_mask,
            fed if self.input_feeding else None,
        )

    def step(self, token: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Take the previous token (B,), return the logits (B, V) of the next and the state."""
        logits, state = self._advance(token.unsqueeze(1), state)
        return logits.squeeze(1), state

    def reorder(self, state: DecoderState, index: Tensor) -> DecoderState:
        """Return the state of the batch rows `index` (N,)."""

        def rows(value: Tensor | None, dim: int = 0) -> Tensor | None:
            return None if value is None else value.index_select(dim, index)

        recurrent = State(rows(state.recurrent.hidden, 1), rows(state.recurrent.cell, 1))
        return DecoderState(recurrent, *(rows(value) for value in state[1:]))

    def _advance(self, previous: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Run T steps at once, or one where input feeding needs the step before.

        Shapes:
            previous: (B, T) the token before each step. Returns logits (B, T, V).
        """
        num_rows, num_steps = previous.shape
        summary = state.summary.unsqueeze(1).expand(-1, num_steps, -1)
        inputs = []
        if self.sees_output:
            inputs.append(self.dropout(self.embedding(previous)))
        if "every_input" in self.routes:
            inputs.append(summary)
        if self.input_feeding:
            inputs.append(state.fed.unsqueeze(1))
        if not inputs:
            inputs.append(state.summary.new_zeros(num_rows, num_steps, self.blank_size))
        outputs, recurrent = self.rnn(_concatenate(inputs), state.recurrent)

        features, fed, attention_weights = outputs, None, None
        if self.attention is not None:
            context, attention_weights = self.attention(outputs, state.memory, state.memory_mask)
            attention_weights = attention_weights[:, -1]
            if self.mix is not None:  # eq. 5: h~ = tanh(W_c [c; h])
                features = fed = torch.tanh(self.mix(torch.cat([context, outputs], dim=-1)))
            else:
                features, fed = torch.cat([outputs, context], dim=-1), context
        features = [self.dropout(features)]
        if "output" in self.routes:
            features.append(summary)
        logits = self.head(_concatenate(features))
        fed = fed[:, -1] if self.input_feeding else None
        return logits, state._replace(
            recurrent=recurrent, fed=fed, attention_weights=attention_weights
        )


def _concatenate(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def _check_settings(
    routes: frozenset[str],
    feedback: str,
    bridge: str,
    attention_score: str | None,
    input_feeding: bool,
) -> None:
    """Raise ValueError where two settings contradict each other, naming both."""
    if not routes and attention_score is None:
        raise ValueError(
            "routes is empty and attention_score is null, so nothing of the source reaches the "
            f"decoder; name at least one of {', '.join(ROUTES)}, or an attention_score"
        )
    if "initial_state" in routes and bridge == "zero":
        raise ValueError(
            "routes has initial_state but bridge is 'zero', which carries nothing; "
            "take bridge=copy, dense or dense_nonlinear, or leave initial_state out"
        )
    if "initial_state" not in routes and bridge != "zero":
        raise ValueError(
            f"bridge is {bridge!r} but routes has no initial_state, so it would go unused; "
            "take bridge=zero, or add initial_state to routes"
        )
    if input_feeding and attention_score is None:
        raise ValueError(
            "input_feeding is true but attention_score is null; take attention_score=general "
            "or input_feeding=false"
        )
    if feedback == "none" and routes <= {"output"} and attention_score is None:
        raise ValueError(
            "feedback is none and the summary enters at the output only, so every step would "
            "give the same logits; add another route, or take feedback=teacher_forcing"
        )
