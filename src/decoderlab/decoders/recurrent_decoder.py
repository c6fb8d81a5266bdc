"""The recurrent decoder: every way for the encoding to reach it is a switch of one class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.contract import Encoded, EncoderShape, State, TokenSpace, ValueSpace
from decoderlab.decoders.attention import Attention, AttentionSettings
from decoderlab.decoders.bridges import Bridge, BridgeSettings
from decoderlab.decoders.feedback import Feedback, FeedbackSettings, before_each
from decoderlab.decoders.heads import Head, HeadSettings
from decoderlab.decoders.normalisation import Settled, settle
from decoderlab.decoders.recurrent_equations import recurrent_equations
from decoderlab.decoders.routes import ROUTES, Combination
from decoderlab.layers.cells import Cell
from decoderlab.layers.embedding import build_embedding
from decoderlab.layers.equations import Equation
from decoderlab.layers.recurrent_stack import RecurrentLayers


class DecoderState(NamedTuple):
    """Everything that a step needs besides the token; nothing is kept in the module.

    Shapes:
        recurrent: (L, B, ...) each; summary: (B, D); memory: (B, S, M); memory_mask: (B, S).
        keys: (B, S, K), what attention compares a query with, None without attention.
        fed: (B, F), the vector that input feeding hands to the next step, else None.
        attention_weights: (B, S) of the step before, None before the first and without attention.
        distribution: (B, V) over tokens at the step before, what `softmax` feedback sees, else
            None.
    """

    recurrent: State
    summary: Tensor
    memory: Tensor
    memory_mask: Tensor
    keys: Tensor | None = None
    fed: Tensor | None = None
    attention_weights: Tensor | None = None
    distribution: Tensor | None = None


class RecurrentDecoder(nn.Module):
    """An LSTM, GRU or plain RNN that writes the target, one position a step.

    With c the summary, m the memory, y the target and [;] concatenation:

        s_0 = bridge(encoder)        with the route initial_state; zero or learned without
        s_0 = cell(s_0, W c)         with first_input; what it puts out is dropped
        x_t = [e(y_{t-1}); fed; c]   e with feedback, fed with input feeding, c with every_input;
                                     zeros where that is nothing
        s_t = cell(s_{t-1}, x_t)
        a_t = attention(q_t, m)      q_t is s_t or s_{t-1}
        h_t = tanh(W_c [a_t; s_t])   as `attention.mixing` says; s_t without attention
        o_t = head([h_t; c; e(y_{t-1})])   c with output, e with `head.sees_previous`

    Paper: initial_state, Sutskever et al. 2014 (https://arxiv.org/abs/1409.3215); first_input,
        Vinyals et al. 2015 (https://arxiv.org/abs/1411.4555), eq. 10 to 12; every_input and output,
        Cho et al. 2014 (https://arxiv.org/abs/1406.1078), section 2.2; every_input without
        feedback is Keras's RepeatVector; attention, see `Attention` and `AttentionSettings`.
    Differs: routes that the papers do not combine can be combined. The LSTM of Vinyals et al.
        puts out o * k, without the tanh that ours has.

    Each of bridge, feedback, attention and head is a name, or a mapping for more than the name:
    see `BridgeSettings`, `FeedbackSettings`, `AttentionSettings` and `HeadSettings`.

    Args:
        target_space: tokens or values.
        encoder_shape: what the encoder offers.
        cell: a class of `decoderlab.layers` or of your own, see `decoderlab.layers.cells.Cell`.
        hidden_size: width H of each layer, at least 1.
        routes: where the summary enters: any of initial_state, first_input, every_input, output.
        combine: how it is combined with the rest at every_input and output: concat, add or mul.
        bridge: from the encoder to the initial state, in force with that route; without it `zero`
            or `learned`.
        feedback: whether the decoder sees its previous output.
        attention: a score and more, or None.
        head: the output layer.
        embedding_size: width of the previous token's embedding, None for one-hot vectors.
        num_layers: at least 1.
        dropout: on embeddings, between layers and on what enters the head, 0 to 1.

    Shapes:
        target: (B, T) int64 or (B, T, F). Returns outputs (B, T, V), see `Head`; those at t depend
        on target[:, :t]. step takes what came before, (B,) or (B, F), and returns (B, V).

    Raises:
        ValueError: for unknown names, sizes out of range, or settings that contradict each other.

    Example:
        >>> from decoderlab.layers import LSTM
        >>> decoder = RecurrentDecoder(
        ...     target_space=TokenSpace(7), encoder_shape=EncoderShape(5, 5),
        ...     cell=LSTM, hidden_size=4, routes=["every_input"], feedback="none")
        >>> encoded = Encoded(torch.ones(2, 3, 5), torch.ones(2, 3).bool(), torch.ones(2, 5), None)
        >>> decoder(encoded, torch.ones(2, 6).long()).shape
        torch.Size([2, 6, 7])
    """

    def __init__(
        self,
        *,
        target_space: TokenSpace | ValueSpace,
        encoder_shape: EncoderShape,
        cell: Callable[..., Cell],
        hidden_size: int,
        routes: Sequence[str],
        combine: str = "concat",
        bridge: str | Mapping[str, Any] | BridgeSettings = "zero",
        feedback: str | Mapping[str, Any] | FeedbackSettings = "teacher_forcing",
        attention: str | Mapping[str, Any] | AttentionSettings | None = None,
        head: str | Mapping[str, Any] | HeadSettings = "linear",
        embedding_size: int | None = None,
        num_layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require.ratio("dropout", dropout)
        settled = settle(
            routes=routes,
            cell=cell,
            combine=combine,
            bridge=bridge,
            feedback=feedback,
            attention=attention,
            head=head,
            embedding_size=embedding_size,
        )
        self.routes, combine = settled.routes, settled.combine
        self.feedback = Feedback(settled.feedback)
        self.attends = None if settled.attention.score is None else settled.attention
        self.head_settings, embedding_size = settled.head, settled.embedding_size
        self.target_space = target_space
        self.sees_output = settled.feedback.kind != "none"
        self.sees_softmax = settled.feedback.kind == "softmax"
        if self.sees_softmax and not isinstance(target_space, TokenSpace):
            raise ValueError(
                "feedback is 'softmax', but the targets are real values, which have none; take "
                "decoder.feedback.kind=free_running"
            )

        self.embedded_size = embedded_size = 0
        if self.sees_output:
            self.embedding, embedded_size = build_embedding(target_space, embedding_size)
            self.embedded_size = embedded_size
        self.fed_size = self._fed_size(hidden_size, encoder_shape.memory_size)
        input_size = embedded_size + self.fed_size
        self.combine_input = self.combine_output = None
        if "every_input" in self.routes:
            if input_size:
                sizes = {"size": input_size, "summary_size": encoder_shape.summary_size}
                self.combine_input = Combination(kind=combine, **sizes)
                input_size = self.combine_input.size
            else:
                input_size = encoder_shape.summary_size
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
            summary_size=encoder_shape.summary_size,
        )
        self.bridge = Bridge(
            settings=settled.bridge,
            encoder_shape=encoder_shape,
            hidden_size=hidden_size,
            num_layers=num_layers,
            has_cell=self.rnn.has_cell,
        )
        if "first_input" in self.routes:
            self.first_input = nn.Linear(encoder_shape.summary_size, input_size)
        features_size = hidden_size
        self.attention = self.mix = None
        if self.attends is not None:
            self.attention = Attention(
                score=self.attends.score,
                query_size=hidden_size,
                memory_size=encoder_shape.memory_size,
                size=self.attends.size,
            )
            features_size += encoder_shape.memory_size
            if self.attends.mixing != "none":
                features_size += embedded_size if self.attends.mixing == "deep" else 0
                self.mix = nn.Linear(features_size, hidden_size, bias=False)
                features_size = hidden_size
        if "output" in self.routes:
            sizes = {"size": features_size, "summary_size": encoder_shape.summary_size}
            self.combine_output = Combination(kind=combine, **sizes)
            features_size = self.combine_output.size
        if self.head_settings.sees_previous:
            features_size += embedded_size
        self.head = Head(
            settings=self.head_settings,
            features_size=features_size,
            hidden_size=hidden_size,
            space=target_space,
            embedding_size=embedding_size,
        )
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        if isinstance(target_space, TokenSpace):  # -inf for what is never generated
            excluded = torch.zeros(target_space.size)
            excluded[target_space.never_generated] = float("-inf")
            self.register_buffer("excluded", excluded, persistent=False)

    @staticmethod
    def canonical(settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings with what has no effect at its default: equal models are one run."""
        names = [field.name for field in fields(Settled)]
        if not settings.keys() >= set(names):  # somebody's subclass, with a constructor of its own
            return dict(settings)
        settled = asdict(settle(**{name: settings[name] for name in names}))
        # A set has no order; that of ROUTES is as good as any.
        settled["routes"] = [route for route in ROUTES if route in settled["routes"]]
        return {**settings, **settled}

    def forward(self, encoded: Encoded, target: Tensor) -> Tensor:
        """Return the outputs of all steps, given the target before each."""
        previous = self._before(target)
        state = self.start(encoded)
        samples = self.training and self.feedback.settings.samples
        if not (samples or self.fed_size or self.sees_softmax):
            return self._advance(previous, state)[0]
        # A step needs what the step before it produced: no way around a loop.
        if samples:
            from_target = self.feedback.coins(*target.shape[:2]).to(target.device)
        outputs: list[Tensor] = []
        for step, before in enumerate(previous.split(1, dim=1)):
            if samples and step:
                coin = from_target[:, step : step + 1]
                coin = coin if target.dim() == 2 else coin.unsqueeze(-1)
                before = torch.where(coin, before, self._own(outputs[-1]))
            output, state = self._advance(before, state)
            outputs.append(output)
        return torch.cat(outputs, dim=1)

    def at_step(self, step: int, seed: int) -> None:
        """Say how many updates are done; `seed` is that of this update's coins."""
        self.feedback.at_step(step, seed)

    def start(self, encoded: Encoded) -> DecoderState:
        """Return the state before the first target position."""
        recurrent = self.rnn.begin(self.bridge(encoded))
        if "first_input" in self.routes:
            # Show and Tell's x_{-1}: one step before BOS, which no loss ever sees.
            _, recurrent = self.rnn(self.first_input(encoded.summary).unsqueeze(1), recurrent)
        fed = encoded.summary.new_zeros(encoded.summary.shape[0], self.fed_size)
        return DecoderState(
            recurrent,
            encoded.summary,
            encoded.memory,
            encoded.memory_mask,
            None if self.attention is None else self.attention.keys(encoded.memory),
            fed if self.fed_size else None,
            distribution=self._nothing_yet(encoded) if self.sees_softmax else None,
        )

    def step(self, previous: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Take what came before, (B,) or (B, F); return the outputs (B, V) and the state."""
        outputs, state = self._advance(previous.unsqueeze(1), state)
        return outputs.squeeze(1), state

    def reorder(self, state: DecoderState, index: Tensor) -> DecoderState:
        """Return the state of the batch rows `index` (N,)."""

        def rows(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.index_select(0, index)

        recurrent = state.recurrent.map(lambda part: part.index_select(1, index))
        return DecoderState(recurrent, *(rows(value) for value in state[1:]))

    def equations(self) -> list[Equation]:
        """Return what is computed at step t, y the target; see `decoderlab.layers.equations`."""
        return recurrent_equations(self)

    def _advance(self, previous: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Run T steps at once, or one where a step needs the one before.

        Shapes:
            previous: (B, T) or (B, T, F), what came before each step. Returns outputs (B, T, V).
        """
        num_rows, num_steps = previous.shape[:2]
        attends, context, weights = self.attends, None, None
        summary = state.summary.unsqueeze(1).expand(-1, num_steps, -1)
        hidden = state.recurrent.hidden[-1].unsqueeze(1)  # the top layer's s_{t-1}
        embedded = self._embed(previous, state) if self.sees_output else None
        fed = state.fed
        if fed is not None and attends.query == "previous":
            context, weights = self._attend(hidden, state)  # Bahdanau: the cell sees this context
            fed = context.squeeze(1)
        inputs = [
            part
            for part in (embedded, None if fed is None else fed.unsqueeze(1))
            if part is not None
        ]
        if self.combine_input is not None:
            inputs = [self.combine_input(_concatenate(inputs), summary)]
        elif "every_input" in self.routes:
            inputs = [summary]
        if not inputs:
            inputs = [state.summary.new_zeros(num_rows, num_steps, self.blank_size)]
        outputs, recurrent = self.rnn(_concatenate(inputs), state.recurrent)

        features = outputs
        asks_before = attends is not None and attends.query == "previous" and context is None
        if asks_before or self.head_settings.state == "previous":
            before = torch.cat([hidden, outputs[:, :-1]], dim=1)  # s_{t-1} of each step
        if self.head_settings.state == "previous":
            features = before
        if attends is not None:
            if context is None:
                context, weights = self._attend(before if asks_before else outputs, state)
            if self.mix is None:
                features, fed = torch.cat([features, context], dim=-1), context
            else:  # Luong et al. 2015, eq. 5: h~ = tanh(W_c [c; h])
                mixed = [context, features] + ([embedded] if attends.mixing == "deep" else [])
                features = fed = torch.tanh(self.mix(torch.cat(mixed, dim=-1)))
            weights = weights[:, -1]
        features = self.dropout(features)
        if self.combine_output is not None:
            features = self.combine_output(features, summary)
        if self.head_settings.sees_previous:
            features = torch.cat([features, embedded], dim=-1)
        table = self.embedding.weight if self.head_settings.tied else None
        outputs = self.head(features, table)
        if self.sees_softmax:
            distribution = torch.softmax(outputs[:, -1] + self.excluded, dim=-1)
            state = state._replace(distribution=distribution)
        return outputs, state._replace(
            recurrent=recurrent,
            fed=fed[:, -1] if self.fed_size and attends.query == "current" else state.fed,
            attention_weights=weights,
        )

    def _embed(self, previous: Tensor, state: DecoderState) -> Tensor:
        if state.distribution is None:
            return self.dropout(self.embedding(previous))
        table = self.embedding.weight if hasattr(self.embedding, "weight") else None
        expected = state.distribution if table is None else state.distribution @ table
        return self.dropout(expected.unsqueeze(1))

    def _nothing_yet(self, encoded: Encoded) -> Tensor:
        return encoded.summary.new_zeros(encoded.summary.shape[0], self.target_space.size)

    def _attend(self, query: Tensor, state: DecoderState) -> tuple[Tensor, Tensor]:
        return self.attention(query, state.memory, state.keys, state.memory_mask)

    def _fed_size(self, hidden_size: int, memory_size: int) -> int:
        if self.attends is None or not self.attends.input_feeding:
            return 0
        mixed = self.attends.query == "current" and self.attends.mixing != "none"
        return hidden_size if mixed else memory_size

    def _before(self, target: Tensor) -> Tensor:
        return before_each(target, self.target_space)

    def _own(self, outputs: Tensor) -> Tensor:
        """Return the decoder's own prediction (B, 1) or (B, 1, F) from its outputs."""
        if isinstance(self.target_space, ValueSpace):
            return outputs[..., : self.target_space.size]
        return (outputs.detach() + self.excluded).argmax(dim=-1)


def _concatenate(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
