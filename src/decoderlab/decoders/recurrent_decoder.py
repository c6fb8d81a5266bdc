"""The recurrent decoder: every way for the encoding to reach it is a switch of one class."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.contract import Encoded, EncoderShape, Space, TokenSpace, ValueSpace
from decoderlab.decoders.attention import Attention, NoAttention
from decoderlab.decoders.attention.coverage import with_loss
from decoderlab.decoders.attention.queries import Read, done, states_before
from decoderlab.decoders.bridges import Bridge, ZeroBridge
from decoderlab.decoders.combinations import Combination, combination, concatenated
from decoderlab.decoders.decoder_state import DecoderState
from decoderlab.decoders.feedback import Feedback, TeacherForcing, before_each
from decoderlab.decoders.heads import Head, LinearHead, SourceRead
from decoderlab.decoders.normalisation import asks, normalise, normalised_decoder
from decoderlab.decoders.recurrent_equations import recurrent_equations, recurrent_letters
from decoderlab.decoders.route_settings import Normalised
from decoderlab.decoders.step_values import never_generated, nothing_yet, own_prediction
from decoderlab.layers.cells import Cell
from decoderlab.layers.embedding import build_embedding
from decoderlab.layers.equations import Equation, Letters
from decoderlab.layers.recurrent_stack import RecurrentLayers


class RecurrentDecoder(nn.Module):
    """An LSTM, GRU or plain RNN that writes the target, one position a step.

    With c the summary, m the memory, y the target and [;] concatenation:

        s_0 = bridge(encoder)        with the route initial_state; zero or learned without
        s_0 = cell(s_0, W c)         with first_input; what it puts out is dropped
        x_t = [e(y_{t-1}); fed; c]   e with feedback, fed with input feeding, c with every_input;
                                     zeros where that is nothing
        s_t = cell(s_{t-1}, x_t)
        a_t = attention(q_t, m)      q_t is s_t or s_{t-1}; with `attention.query` between it is
                                     s'_t = cell(s_{t-1}, x_t), and s_t = cell'(s'_t, a_t)
        h_t = tanh(W_c [a_t; s_t])   as `attention.mixing` says; s_t without attention
        o_t = head([h_t; c; e(y_{t-1})])   c with output, e with `head.sees_previous`

    Paper: initial_state, Sutskever et al. 2014 (https://arxiv.org/abs/1409.3215); first_input,
        Vinyals et al. 2015 (https://arxiv.org/abs/1411.4555), eq. 10 to 12; every_input and output,
        Cho et al. 2014 (https://arxiv.org/abs/1406.1078), section 2.2; every_input without
        feedback is Keras's RepeatVector; attention, see `Attention` and the scores; a second cell,
        Sennrich et al. 2017 (https://arxiv.org/abs/1703.04357), section 2, eq. 1 to 3.
    Differs: routes that the papers do not combine can be combined. The LSTM of Vinyals et al.
        puts out o * k, without the tanh that ours has.

    Bridge, feedback, attention and head are parts: a class, or a partial, called with its sizes.
    See `Bridge`, `Feedback`, `Attention`, `AttentionScore` and `Head` for how to write your own.

    Args:
        target_space: tokens or values.
        encoder_shape: what the encoder offers.
        cell: a class of `decoderlab.layers` or of your own, see `decoderlab.layers.cells.Cell`.
        hidden_size, num_layers: width H of each layer, and how many; each at least 1.
        routes: where the summary enters: any of initial_state, first_input, every_input, output.
        combine: how it is combined with the rest at every_input and output: concat, add, mul, or
            a class, see `Combination`.
        bridge: from the encoder to the initial state, in force with that route; without it `zero`
            or `learned`.
        feedback: whether the decoder sees its previous output.
        attention: a partial of `Attention` with a score, or None.
        head: the output layer.
        embedding_size: width of the previous token's embedding, None for one-hot vectors.
        dropout: on embeddings, between layers and on what enters the head, 0 to 1.
        zoneout, variational_dropout: see `RecurrentLayers`.
        source_space, alignment: for a head or a score that takes them, see the contract.

    Shapes:
        target: (B, T) int64 or (B, T, F). Returns outputs (B, T, V), see `Head`; those at t depend
        on target[:, :t]. step takes what came before, (B,) or (B, F), and returns (B, V).

    Raises:
        ValueError: for unknown names, sizes out of range, or settings that contradict each other.

    Example:
        >>> from decoderlab.decoders.feedback import NoFeedback
        >>> from decoderlab.layers import LSTM
        >>> decoder = RecurrentDecoder(
        ...     target_space=TokenSpace(7), encoder_shape=EncoderShape(5, 5),
        ...     cell=LSTM, hidden_size=4, routes=["every_input"], feedback=NoFeedback)
        >>> encoded = Encoded(torch.ones(2, 3, 5), torch.ones(2, 3).bool(), torch.ones(2, 5), None)
        >>> decoder(encoded, torch.ones(2, 6).long()).shape
        torch.Size([2, 6, 7])
    """

    excluded: Tensor

    def __init__(
        self,
        *,
        target_space: TokenSpace | ValueSpace,
        encoder_shape: EncoderShape,
        cell: Callable[..., Cell],
        hidden_size: int,
        routes: Sequence[str],
        combine: str | Callable[..., Combination] = "concat",
        bridge: Callable[..., Bridge] = ZeroBridge,
        feedback: Callable[..., Feedback] = TeacherForcing,
        attention: Callable[..., Attention] | None = None,
        head: Callable[..., Head] = LinearHead,
        embedding_size: int | None = None,
        num_layers: int = 1,
        dropout: float = 0.0,
        zoneout: float = 0.0,
        variational_dropout: float = 0.0,
        source_space: Space | None = None,
        alignment: Tensor | None = None,
    ) -> None:
        super().__init__()
        require.ratio("dropout", dropout)
        require.at_least("hidden_size", hidden_size, 1)
        require.at_least("num_layers", num_layers, 1)
        chosen = normalise(
            routes=routes,
            cell=cell,
            combine=combine,
            bridge=bridge,
            feedback=feedback,
            attention=attention,
            head=head,
            embedding_size=embedding_size,
        )
        self.routes, self.target_space = chosen.routes, target_space
        of_source = {"source_space": source_space, "alignment": alignment}
        self._build_input(chosen, encoder_shape, hidden_size, of_source)
        depth: dict[str, Any] = {"num_layers": num_layers, "dropout": dropout, "zoneout": zoneout}
        layers = functools.partial(RecurrentLayers, cell=cell, hidden_size=hidden_size, **depth)
        self.rnn = layers(
            input_size=self.input_size,
            summary_size=encoder_shape.summary_size,
            variational_dropout=variational_dropout,
        )
        between, width = self.attends.between, encoder_shape.memory_size
        self.second_rnn = layers(input_size=width) if between else None
        self.bridge = chosen.bridge.build(
            encoder_shape=encoder_shape,
            hidden_size=hidden_size,
            num_layers=num_layers,
            has_cell=self.rnn.has_cell,
            further_shapes=self.rnn.further_shapes,
        )
        if "first_input" in self.routes:
            self.first_input = nn.Linear(encoder_shape.summary_size, self.input_size)
        # `attends` is all of attention (its timing, score and mixing), these are two of its parts.
        self.attention, self.mix = self.attends.score, self.attends.mix
        self._build_output(chosen, encoder_shape, hidden_size, of_source)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def _build_input(
        self,
        chosen: Normalised,
        encoder_shape: EncoderShape,
        hidden_size: int,
        of_source: dict[str, Any],
    ) -> None:
        """Make what x_t is of: e(y_{t-1}), what attention feeds, and the summary."""
        self.feedback = chosen.feedback.build(target_space=self.target_space)
        self.embedding, self.embedded_size = None, 0
        if self.feedback.sees_output:
            embedding = build_embedding(self.target_space, chosen.embedding_size)
            self.embedding, self.embedded_size = embedding
        self.attends = NoAttention(query_size=hidden_size)
        if chosen.attention is not None:
            self.attends = chosen.attention.build(
                query_size=hidden_size,
                memory_size=encoder_shape.memory_size,
                embedded_size=self.embedded_size,
                **of_source,
            )
        self.combine_input, self.input_size = combination(
            on="every_input" in self.routes,
            kind=chosen.combine,
            size=self.embedded_size + self.attends.fed_size,
            summary_size=encoder_shape.summary_size,
        )
        # Without any other input, the first one still needs a width; zeros follow it.
        if "first_input" in self.routes and not self.input_size:
            self.input_size = encoder_shape.summary_size

    def _build_output(
        self,
        chosen: Normalised,
        encoder_shape: EncoderShape,
        hidden_size: int,
        of_source: dict[str, Any],
    ) -> None:
        """Make what the head sees besides the state, and the head."""
        self.combine_output, features_size = combination(
            on="output" in self.routes,
            kind=chosen.combine,
            size=self.attends.features_size,
            summary_size=encoder_shape.summary_size,
        )
        if asks(chosen.head, "sees_previous"):
            features_size += self.embedded_size
        self.features_size = features_size
        self.head = chosen.head.build(
            features_size=features_size,
            hidden_size=hidden_size,
            target_space=self.target_space,
            embedding_size=chosen.embedding_size,
            **of_source,
        )
        if isinstance(self.target_space, TokenSpace):
            self.register_buffer("excluded", never_generated(self.target_space), persistent=False)

    @staticmethod
    def normalised(settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings with what has no effect at its default: equal models are one run."""
        return normalised_decoder(settings)

    def forward(self, encoded: Encoded, target: Tensor) -> Tensor:
        """Return the outputs of all steps, given the target before each."""
        return self._unrolled(encoded, target)[0]

    @property
    def with_further_loss(self) -> Callable[[Encoded, Tensor], tuple[Tensor, Tensor]] | None:
        """What gives outputs and the coverage loss; None where the factor of that is 0."""
        factor, space = self.attends.coverage_loss, self.target_space
        return functools.partial(with_loss, self._unrolled, factor, space) if factor else None

    def _unrolled(self, encoded: Encoded, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the outputs (B, T, V) and the weights (B, T, S) of all steps."""
        previous, state = before_each(target, self.target_space), self.start(encoded)
        if self.training:
            previous = self.feedback.inputs(previous)
        samples = self.training and self.feedback.samples
        if not (samples or self.needs_steps):
            return self._advance(previous, state)[:2]
        coins = self.feedback.coins(*target.shape[:2]).to(target.device) if samples else None
        outputs, weights = list[Tensor](), list[Tensor]()
        excluded = getattr(self, "excluded", None)  # of tokens alone
        for step, before in enumerate(previous.split(1, dim=1)):
            if coins is not None and step:
                own = own_prediction(outputs[-1], self.target_space, excluded)
                before = self.feedback.choose(coins[:, step : step + 1], before, own)
            output, read, state = self._advance(before, state)
            outputs.append(output)
            weights += [] if read is None else [read]
        return torch.cat(outputs, dim=1), torch.cat(weights, dim=1) if weights else None

    @property
    def needs_steps(self) -> bool:
        """Whether a cell's step needs what the step before it read or wrote, besides the state."""
        fed = bool(self.attends.fed_size) or self.second_rnn is not None
        return fed or self.feedback.sees_distribution

    @property
    def negative_log_density(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """The head's own, of real values; None where it has none."""
        return None if self.head.distribution is None else self.head.distribution.nats

    @property
    def table(self) -> Tensor | None:
        """The weights of the embedding, None where it has none."""
        weight = getattr(self.embedding, "weight", None)
        return weight if isinstance(weight, Tensor) else None

    def at_step(self, step: int, seed: int) -> None:
        """Say how many updates are done; `seed` is that of this update's coins."""
        self.feedback.at_step(step, seed)

    def start(self, encoded: Encoded) -> DecoderState:
        """Return the state before the first target position."""
        recurrent = self.rnn.begin(self.bridge(encoded))
        masks = self.rnn.input_masks(encoded.summary)
        if "first_input" in self.routes:
            # Show and Tell's x_{-1}: one step before BOS, which no loss ever sees.
            first = self.first_input(encoded.summary).unsqueeze(1)
            _, recurrent = self.rnn(first, recurrent, masks=masks)
        carried, source, keys = None, None, self.attends.keys(encoded)
        if self.attention is not None and keys is not None:
            carried = self.attention.begin(encoded.memory_mask, keys)
        if self.head.sees_source:
            source = require.given("the source's ids, which the head copies", encoded.source)
        return DecoderState(
            recurrent,
            encoded.summary,
            encoded.memory,
            encoded.memory_mask,
            keys,
            fed=nothing_yet(encoded, self.attends.fed_size * self.attends.fed_later),
            carried=carried,
            distribution=nothing_yet(
                encoded, self.target_space.size * self.feedback.sees_distribution
            ),
            source=source,
            masks=masks,
        )

    def step(self, previous: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Take what came before, (B,) or (B, F); return the outputs (B, V) and the state."""
        outputs, _, state = self._advance(previous.unsqueeze(1), state)
        return outputs.squeeze(1), state

    def reorder(self, state: DecoderState, index: Tensor) -> DecoderState:
        """Return the state of the batch rows `index` (N,)."""
        return state.rows(index)

    def equations(self) -> list[Equation]:
        """Return what is computed at step t, y the target; see `decoderlab.layers.equations`."""
        return recurrent_equations(self)

    @staticmethod
    def equation_letters() -> Letters:
        """Return which parameter a letter of `equations` is; see `layers.equations`."""
        return recurrent_letters()

    def _advance(
        self, previous: Tensor, state: DecoderState
    ) -> tuple[Tensor, Tensor | None, DecoderState]:
        """Run T steps at once, or one where a step needs the one before.

        Shapes:
            previous: (B, T) or (B, T, F), what came before each step. Returns outputs (B, T, V),
            attention_weights (B, T, S) or None, and the state.
        """
        attend = functools.partial(self._attend, state=state)
        summary = state.summary.unsqueeze(1).expand(-1, previous.shape[1], -1)
        latest = state.recurrent.hidden[-1].unsqueeze(1)  # s_{t-1}, of the top layer
        embedded = self._embed(previous, state)
        read = self.attends.before_cell(attend, latest)
        inputs = self._compose(embedded, read, state, summary)  # x_t
        states, recurrent = self.rnn(inputs, state.recurrent, masks=state.masks)  # s_t
        read = self.attends.after_cell(attend, latest, states, read)  # a_t
        if self.second_rnn is not None:
            states, recurrent = self.second_rnn(done(read).context, recurrent)
        if self.head.state == "previous":
            states = states_before(latest, states)
        features = self.attends.features(states, read, embedded)  # h_t
        outputs = self._head(features, summary, embedded, read, state.source)
        state = state._replace(recurrent=recurrent, fed=self.attends.fed(features, read))
        if read is not None:
            state = state._replace(attention_weights=read.weights[:, -1], carried=read.carried)
        if self.feedback.sees_distribution:
            distribution = self.feedback.distribution(outputs[:, -1] + self.excluded)
            state = state._replace(distribution=distribution)
        return outputs, None if read is None else read.weights, state

    def _embed(self, previous: Tensor, state: DecoderState) -> Tensor | None:
        """Return e(y_{t-1}), None without feedback."""
        if self.embedding is None:
            return None
        if state.distribution is None:
            return self.dropout(self.embedding(previous))
        table = self.table
        expected = state.distribution if table is None else state.distribution @ table
        return self.dropout(expected.unsqueeze(1))

    def _attend(self, query: Tensor, state: DecoderState) -> Read:
        if isinstance(self.attends, NoAttention) or state.keys is None:
            raise ValueError("there is no attention that could read the memory")
        memory, mask = state.memory, state.memory_mask
        return self.attends.read(query, memory, state.keys, mask, state.carried)

    def _compose(
        self, embedded: Tensor | None, read: Read | None, state: DecoderState, summary: Tensor
    ) -> Tensor:
        """Return x_t = [e(y_{t-1}); fed; c], of which there may be none, any or all."""
        fed = state.fed.unsqueeze(1) if state.fed is not None else None
        if read is not None:
            fed = read.context
        there = [part for part in (embedded, fed) if part is not None]
        if self.combine_input is not None:
            return self.combine_input(concatenated(there), summary)
        if "every_input" in self.routes:
            return summary
        if not there:
            return summary.new_zeros(*summary.shape[:2], self.input_size)
        return concatenated(there)

    def _head(
        self,
        features: Tensor,
        summary: Tensor,
        embedded: Tensor | None,
        read: Read | None,
        source: Tensor | None,
    ) -> Tensor:
        """Return o_t = head([h_t; c; e(y_{t-1})]), of which the last two may be missing."""
        features = self.dropout(features)
        if self.combine_output is not None:
            features = self.combine_output(features, summary)
        if self.head.sees_previous:
            previous = require.given("the previous output's embedding", embedded)
            features = torch.cat([features, previous], dim=-1)
        table = self.table if self.head.tied else None
        if source is not None:
            return self.head(features, table, read=SourceRead(source, done(read).weights))
        return self.head(features, table)
