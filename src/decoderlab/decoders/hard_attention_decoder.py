"""Hard attention: each target token is read off one source position, summed over exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from decoderlab.common import require
from decoderlab.common.part_choice import Choice
from decoderlab.contract import Encoded, EncoderShape, State, TokenSpace, ValueSpace
from decoderlab.decoders.attention import AttentionScore, GeneralScore
from decoderlab.decoders.attention.attention_score import refuse_own_weights, softmax_equation
from decoderlab.decoders.bridges import Bridge, CopyBridge
from decoderlab.decoders.feedback import TeacherForcing, before_each
from decoderlab.decoders.recurrent_equations import first_state_equations
from decoderlab.layers import LSTM
from decoderlab.layers.cells import Cell
from decoderlab.layers.embedding import build_embedding
from decoderlab.layers.equations import Equation, Letters, count, embedding_equation
from decoderlab.layers.recurrent_stack import RecurrentLayers

# In place of log 0: finite, so that no gradient is NaN; its exponential is exactly 0.
LOG_ZERO = -1e30


class HardState(NamedTuple):
    """What a step needs besides the token.

    Shapes:
        recurrent: (L, B, ...) each; memory: (B, S, M); memory_mask: (B, S); keys: (B, S, K).
        position: (B, S), log p(a_{t-1} = j | y before t-1) of the step before, the first position
            for sure before the first step.
        emissions: (B, S, V), log p(y_{t-1} | a_{t-1} = j) of the step before; 0 before the first,
            where the position is known whatever was written.
    """

    recurrent: State
    memory: Tensor
    memory_mask: Tensor
    keys: Tensor
    position: Tensor
    emissions: Tensor

    @property
    def attention_weights(self) -> Tensor:
        """p(a_t = j | y before t), (B, S)."""
        return self.position.exp()


class HardAttentionDecoder(nn.Module):
    """A recurrent decoder that reads one source position a step, whose choice is summed over.

        s_t = cell(s_{t-1}, e(y_{t-1}))
        p(y_t | a_t = j) = softmax(W_o tanh(W_h m_j + V_h s_t) + b_o)
        p(y_t | y before t) = sum over j of p(a_t = j | y before t) p(y_t | a_t = j)

    Free, p(a_t = j) is the softmax of the score of m_j: the position does not depend on the last.
    Monotonic, p(a_t = j | a_{t-1} = i) is that softmax over the positions from i on, with a_0 the
    first, and p(a_t | y before t) is the forward algorithm of a hidden Markov model:

        p(a_t = j | y before t) = sum over i <= j of p(a_t = j | a_{t-1} = i) p(a_{t-1} = i | y
        before t),      p(a_{t-1} = i | y before t) in proportion to
        p(a_{t-1} = i | y before t-1) p(y_{t-1} | a_{t-1} = i)

    What it puts out are log-probabilities, so that training maximises the marginal likelihood and
    a beam searches by it.

    Paper: free, Wu et al. 2018, section 3 (https://arxiv.org/abs/1808.10024); monotonic, Wu and
        Cotterell 2019, section 3, first order (https://arxiv.org/abs/1905.06319).
    Differs: the score of a first-order step does not see the position of the step before, which
        restricts it alone; no tag of the word is read.

    Args:
        target_space: token ids.
        encoder_shape: what the encoder offers.
        hidden_size: width H of each layer, at least 1.
        monotonic: whether a position is at or after that of the step before.
        score: of the positions, see `refuse_own_weights`.
        cell: a class of `decoderlab.layers` or of your own.
        bridge: from the encoder to the initial state.
        num_layers: at least 1.
        embedding_size: width of the previous token's embedding, None for one-hot vectors.
        dropout: on embeddings, between layers and before W_o, 0 to 1.

    Shapes:
        target: (B, T) int64. Returns log-probabilities (B, T, V); those at t depend on
        target[:, :t]. step takes a token (B,) and returns (B, V).

    Raises:
        ValueError: if the targets are values, for a size out of range, or for a score that has
            weights of its own.

    Example:
        >>> decoder = HardAttentionDecoder(
        ...     target_space=TokenSpace(7), encoder_shape=EncoderShape(5, 5, 4, has_cell=True),
        ...     hidden_size=4)
        >>> state = State(torch.zeros(1, 2, 4), torch.zeros(1, 2, 4))
        >>> encoded = Encoded(torch.ones(2, 3, 5), torch.ones(2, 3).bool(), torch.ones(2, 5), state)
        >>> decoder(encoded, torch.ones(2, 6).long()).exp().sum(dim=-1).allclose(torch.ones(2, 6))
        True
    """

    def __init__(
        self,
        *,
        target_space: TokenSpace | ValueSpace,
        encoder_shape: EncoderShape,
        hidden_size: int,
        monotonic: bool = False,
        score: Callable[..., AttentionScore] = GeneralScore,
        cell: Callable[..., Cell] = LSTM,
        bridge: Callable[..., Bridge] = CopyBridge,
        num_layers: int = 1,
        embedding_size: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(target_space, TokenSpace):
            raise ValueError(
                f"hard attention writes tokens, but the targets are {target_space.kind}; take a "
                "task with tokens as targets, or decoder=luong"
            )
        require.ratio("dropout", dropout)
        self.target_space, self.monotonic = target_space, monotonic
        self.feedback = TeacherForcing()
        self.embedding, embedded_size = build_embedding(target_space, embedding_size)
        self.rnn = RecurrentLayers(
            cell=cell,
            input_size=embedded_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            dropout=dropout,
        )
        self.bridge = Choice.of(bridge).build(
            encoder_shape=encoder_shape,
            hidden_size=hidden_size,
            num_layers=num_layers,
            has_cell=self.rnn.has_cell,
            further_shapes=self.rnn.further_shapes,
        )
        memory_size = encoder_shape.memory_size
        self.score: AttentionScore = Choice.of(score).build(
            query_size=hidden_size, memory_size=memory_size, size=hidden_size
        )
        refuse_own_weights("score", self.score)
        self.of_memory = nn.Linear(memory_size, hidden_size, bias=False)
        self.of_state = nn.Linear(hidden_size, hidden_size, bias=False)
        self.head = nn.Linear(hidden_size, target_space.size)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, encoded: Encoded, target: Tensor) -> Tensor:
        """Return the log-probabilities of all positions, given the target before each."""
        previous, state = before_each(target, self.target_space), self.start(encoded)
        _, emissions, scores = self._read(previous, state)
        if not self.monotonic:
            return _marginal(torch.log_softmax(scores, dim=-1), emissions)
        position, rows = state.position, []
        for step in range(target.shape[1]):
            if step:
                position = _after(position, emissions[:, step - 1], target[:, step - 1])
            position = moved_on(position, scores[:, step], state.memory_mask)
            rows.append(position)
        return _marginal(torch.stack(rows, dim=1), emissions)

    def start(self, encoded: Encoded) -> HardState:
        """Return the state before the first target position."""
        mask = encoded.memory_mask
        position = encoded.memory.new_full(mask.shape, LOG_ZERO)
        position = position.scatter(1, mask.int().argmax(dim=1, keepdim=True), 0.0)
        keys = self.score.source_keys(encoded.memory, encoded.source)
        recurrent = self.rnn.begin(self.bridge(encoded))
        emissions = position.new_zeros(*position.shape, self.target_space.size)
        return HardState(recurrent, encoded.memory, mask, keys, position, emissions)

    def step(self, previous: Tensor, state: HardState) -> tuple[Tensor, HardState]:
        """Take the previous token (B,), return the log-probabilities (B, V) and the state."""
        recurrent, emissions, scores = self._read(previous.unsqueeze(1), state)
        if not self.monotonic:
            position = torch.log_softmax(scores[:, 0], dim=-1)
        else:
            position = _after(state.position, state.emissions, previous)
            position = moved_on(position, scores[:, 0], state.memory_mask)
        outputs = _marginal(position.unsqueeze(1), emissions).squeeze(1)
        state = state._replace(
            recurrent=recurrent, position=position, emissions=emissions.squeeze(1)
        )
        return outputs, state

    def reorder(self, state: HardState, index: Tensor) -> HardState:
        """Return the state of the batch rows `index` (N,)."""
        recurrent = state.recurrent.map(lambda part: part.index_select(1, index))
        others = {
            name: value.index_select(0, index)
            for name, value in state._asdict().items()
            if name != "recurrent"
        }
        return state._replace(recurrent=recurrent, **others)

    def _read(self, previous: Tensor, state: HardState) -> tuple[State, Tensor, Tensor]:
        """Run T steps of the cell; return its state, log p(y | a = j) and scores.

        Shapes:
            previous: (B, T). Returns (L, B, ...) each, (B, T, S, V) and (B, T, S).
        """
        embedded = self.dropout(self.embedding(previous))
        states, recurrent = self.rnn(embedded, state.recurrent)
        memory = self.of_memory(state.memory).unsqueeze(1)
        hidden = torch.tanh(memory + self.of_state(states).unsqueeze(2))
        emissions = torch.log_softmax(self.head(self.dropout(hidden)), dim=-1)
        scores = self.score(states, state.keys)
        return recurrent, emissions, scores.masked_fill(~state.memory_mask.unsqueeze(1), LOG_ZERO)

    def equations(self) -> list[Equation]:
        """Return what is computed at step t; see `decoderlab.layers.equations`."""
        size, vocabulary = self.head.in_features, self.head.out_features
        hidden = count(self.of_memory) + count(self.of_state)
        moved = "sum over i <= j of b_{t-1,i} exp(score_tj) / sum over k >= i of exp(score_tk)"
        after = "w_{t-1,j} times the share of y_{t-1} in p_{t-1,j}, divided by the sum over j"
        weights = [softmax_equation("w_t")]
        if self.monotonic:
            first = Equation("b_{t-1}", f"{after}; b_0 is 1 at the first position", "S")
            weights = [first, Equation("w_t", moved, "S")]
        return [
            *first_state_equations(self.bridge, self.rnn),
            Equation("y_{t-1}", self.feedback.meaning()),
            embedding_equation("e(y_{t-1})", "y_{t-1}", self.embedding, self.rnn.input_size),
            Equation("x_t", "e(y_{t-1})", self.rnn.input_size),
            *self.rnn.equations("s", "x_t"),
            Equation("score_tj", self.score.right_side("s_t"), 1, count(self.score)),
            *weights,
            Equation("h_tj", "tanh(W_h m_j + V_h s_t)", size, hidden),
            Equation("p_tj", "softmax(W_o h_tj + b_o)", vocabulary, count(self.head)),
            Equation("logits_t", "log(sum over j of w_tj p_tj)", vocabulary),
        ]

    @staticmethod
    def equation_letters() -> Letters:
        """Return which parameter a letter of `equations` is; see `layers.equations`."""
        return {
            "s_0": {"W_0": "bridge.hidden.{l}.weight", "b_0": "bridge.hidden.{l}.bias"},
            "k_0": {"W_k": "bridge.cell.{l}.weight", "b_k": "bridge.cell.{l}.bias"},
            "e(y_{t-1})": {"table": "embedding.weight"},
            "score_tj": {
                "W_a": "score.project_query.weight",
                "U_a": "score.project_memory.weight",
                "v": "score.score_vector.weight",
            },
            "h_tj": {"W_h": "of_memory.weight", "V_h": "of_state.weight"},
            "p_tj": {"W_o": "head.weight", "b_o": "head.bias"},
        }


def _marginal(position: Tensor, emissions: Tensor) -> Tensor:
    """Return log sum over j of p(a = j) p(y | a = j): (B, T, S), (B, T, S, V) to (B, T, V)."""
    return torch.logsumexp(position.unsqueeze(-1) + emissions, dim=2)


def _after(position: Tensor, emissions: Tensor, token: Tensor) -> Tensor:
    """Return log p(a = j | y up to this step) (B, S), given the token (B,) that was written."""
    index = token.view(-1, 1, 1).expand(-1, emissions.shape[1], 1)
    return torch.log_softmax(position + emissions.gather(2, index).squeeze(2), dim=1)


def moved_on(position: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
    """Return log p(a_t = j) (B, S) from that of a_{t-1}: the softmax from there on."""
    # log of the sum over k >= i of exp(score_k), the normaliser of a step from i
    rest = scores.flip(1).logcumsumexp(dim=1).flip(1)
    weighted = (position - rest).masked_fill(~mask, LOG_ZERO)
    return (weighted.logcumsumexp(dim=1) + scores).clamp(min=LOG_ZERO)
