"""Connectionist temporal classification: all outputs at once, summed over their alignments."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from decoderlab.common import require
from decoderlab.contract import Batch, Encoded, EncoderShape, TokenSpace, ValueSpace
from decoderlab.layers.equations import Equation, Letters, count

# In place of log 0: finite, so that no gradient is NaN; its exponential is exactly 0.
LOG_ZERO = -1e30
# What a token gets that no alignment writes: a loss that is finite, and 0 as a probability.
IMPOSSIBLE = -50.0


class CTCState(NamedTuple):
    """What a step needs besides the token.

    Shapes:
        emissions: (B, N, V), log-probabilities of each frame, the blank's at the padding's id.
        mask: (B, N), True for real frames.
        blanks: (B, N + 1), log-probability that the frames up to each are blanks.
        ending_in_token, ending_in_blank: (B, N + 1), log-probability that the frames up to each
            write exactly what was written, the last of them a token or a blank.
        token: (B,), the last that was written, BOS at first.
    """

    emissions: Tensor
    mask: Tensor
    blanks: Tensor
    ending_in_token: Tensor
    ending_in_blank: Tensor
    token: Tensor

    @property
    def before_each(self) -> Tensor:
        """Log-probability that the frames before each write what was written, (B, N)."""
        return torch.logaddexp(self.ending_in_token, self.ending_in_blank)[:, :-1]


class CTCDecoder(nn.Module):
    """Writes a token or a blank at each frame, whatever the others write; what is left is y.

        h^l_j = tanh(W_l m_j + b_l),  l = 1..R frames for each memory position
        p^l_j = softmax(W_o h^l_j + b_o), over tokens and a blank
        p(y) = sum over all ways to write y with blanks and repetitions of the product of p^l_j

    Nothing is fed back, and no frame knows what another one writes. The probability of an output is
    also a product over its tokens: with P(g) that of an output and F(g) that of all which begin
    with g, p(y_t | y before t) = F(y up to t) / F(y before t) and p(EOS | y) = P(y) / F(y). These
    are what a step puts out, so that a beam search of this package is prefix search, with the exact
    probabilities of prefixes, and validation measures the likelihood of every other decoder.

    An output takes a frame for each token, and one more between each two equal ones. Training data
    with a target that takes more than there are are refused, see `check_room`. In validation and
    test its token without a frame costs 50 nats, and the frames are read again from that token on.

    Paper: Graves et al. 2006, sections 3.1, 3.2 and 4.1, eq. 3 to 8
        (https://www.cs.toronto.edu/~graves/icml_2006.pdf).
    Differs: the memory is upsampled, as in Libovicky and Helcl 2018, section 3
        (https://arxiv.org/abs/1811.04719); prefix search is over the contract's steps.

    Args:
        target_space: token ids, of which targets end in EOS.
        encoder_shape: what the encoder offers.
        hidden_size: width H of a frame, at least 1.
        upsampling: frames R for each memory position, at least 1.
        dropout: before W_o, 0 to 1.

    Shapes:
        target: (B, T) int64. Returns log-probabilities (B, T, V); those at t depend on
        target[:, :t]. step takes a token (B,) and returns (B, V).

    Raises:
        ValueError: if the targets are values, or for a size out of range.

    Example:
        >>> decoder = CTCDecoder(
        ...     target_space=TokenSpace(7), encoder_shape=EncoderShape(5, 5), hidden_size=4)
        >>> memory = torch.ones(2, 3, 5)
        >>> encoded = Encoded(memory, torch.ones(2, 3).bool(), torch.ones(2, 5), None)
        >>> outputs = decoder(encoded, torch.full((2, 3), 4))
        >>> outputs.exp().sum(dim=-1).allclose(torch.ones(2, 3))
        True
    """

    def __init__(
        self,
        *,
        target_space: TokenSpace | ValueSpace,
        encoder_shape: EncoderShape,
        hidden_size: int,
        upsampling: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(target_space, TokenSpace):
            raise ValueError(
                f"CTC writes tokens, but the targets are {target_space.kind}; take a task with "
                "tokens as targets, or decoder=luong"
            )
        require.at_least("hidden_size", hidden_size, 1)
        require.at_least("upsampling", upsampling, 1)
        require.ratio("dropout", dropout)
        self.target_space, self.upsampling = target_space, upsampling
        self.frames = nn.Linear(encoder_shape.memory_size, upsampling * hidden_size)
        self.head = nn.Linear(hidden_size, target_space.size)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, encoded: Encoded, target: Tensor) -> Tensor:
        """Return the log-probabilities of all positions, given the target before each."""
        state, outputs = self.start(encoded), []
        previous = torch.full_like(target[:, 0], self.target_space.bos_id)
        for step in range(target.shape[1]):
            output, state = self.step(previous, state)
            outputs.append(output)
            previous = target[:, step]
        return torch.stack(outputs, dim=1)

    def training_loss(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the negative logarithm of p(y) of all targets, and the number of positions.

        By torch's recursion, which is faster than that over prefixes; the sum is the same.
        """
        target, (emissions, mask) = batch.target, self._emissions(encoded)
        nats = functional.ctc_loss(
            emissions.transpose(0, 1),
            target,
            mask.sum(dim=1),
            self._is_token(target).sum(dim=1),
            blank=self.target_space.pad_id,
            reduction="sum",
        )
        return nats, (target != self.target_space.pad_id).sum()

    def room_needed(self, target: Tensor) -> Tensor:
        """Return the frames that each target (B, T) takes: its tokens, and a blank in each pair."""
        tokens = self._is_token(target)
        pairs = (target[:, 1:] == target[:, :-1]) & tokens[:, 1:]
        return tokens.sum(dim=1) + pairs.sum(dim=1)

    def check_room(self, needed: Tensor, memory_lengths: Tensor) -> None:
        """Refuse targets that take more frames than their sources have.

        Args:
            needed: (B,), from `room_needed`.
            memory_lengths: (B,), real positions of the memory.

        Raises:
            ValueError: saying how many frames for each position would be enough for all.
        """
        enough = (needed + memory_lengths - 1) // memory_lengths
        worst = int(enough.argmax())
        if enough[worst] > self.upsampling:
            takes, positions = int(needed[worst]), int(memory_lengths[worst])
            raise ValueError(
                f"upsampling is {self.upsampling}, which makes {self.upsampling * positions} "
                f"frames of a memory of {positions}, but a training target with such a source "
                f"takes {takes}: one for each token, and one more between two equal ones; give "
                f"decoder.upsampling={int(enough[worst])}, which is enough for all, or leave such "
                "examples out of the data"
            )

    def start(self, encoded: Encoded) -> CTCState:
        """Return the state before the first target position."""
        emissions, mask = self._emissions(encoded)
        blank = emissions[..., self.target_space.pad_id].masked_fill(~mask, 0.0)
        blanks = functional.pad(blank.cumsum(dim=1), (1, 0))
        token = torch.full_like(mask[:, 0], self.target_space.bos_id, dtype=torch.int64)
        return CTCState(emissions, mask, blanks, torch.full_like(blanks, LOG_ZERO), blanks, token)

    def step(self, previous: Tensor, state: CTCState) -> tuple[Tensor, CTCState]:
        """Take the previous token (B,), return the log-probabilities (B, V) and the state."""
        state, space = self._written(previous, state), self.target_space
        ids = torch.arange(space.size, device=previous.device)
        # A token that is written again needs a blank between.
        again = ids == state.token.view(-1, 1, 1)
        before = state.before_each.unsqueeze(2)
        before = torch.where(again, state.ending_in_blank[:, :-1].unsqueeze(2), before)
        further = (before + state.emissions).masked_fill(~state.mask.unsqueeze(2), LOG_ZERO)
        outputs = further.logsumexp(dim=1)  # F(y up to t), over the frame of y_t
        whole = torch.logaddexp(state.ending_in_token[:, -1], state.ending_in_blank[:, -1])
        outputs = torch.where(ids == space.eos_id, whole.unsqueeze(1), outputs)
        outputs = outputs.index_fill(1, ids[[space.pad_id, space.bos_id]], LOG_ZERO)
        outputs = outputs.log_softmax(dim=1)
        return outputs.masked_fill(outputs < LOG_ZERO / 2, IMPOSSIBLE), state

    def reorder(self, state: CTCState, index: Tensor) -> CTCState:
        """Return the state of the batch rows `index` (N,)."""
        return CTCState(*(part.index_select(0, index) for part in state))

    def _is_token(self, target: Tensor) -> Tensor:
        return (target != self.target_space.pad_id) & (target != self.target_space.eos_id)

    def _emissions(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """Return log-probabilities (B, N, V) of frames, and which of them are real (B, N)."""
        rows, positions, _ = encoded.memory.shape
        hidden = torch.tanh(self.frames(encoded.memory))
        hidden = hidden.view(rows, positions * self.upsampling, -1)
        logits, space = self.head(self.dropout(hidden)), self.target_space
        ids = torch.arange(space.size, device=logits.device)
        emissions = logits.index_fill(2, ids[[space.bos_id, space.eos_id]], LOG_ZERO)
        mask = encoded.memory_mask.repeat_interleave(self.upsampling, dim=1)
        return emissions.log_softmax(dim=2), mask

    def _written(self, token: Tensor, state: CTCState) -> CTCState:
        """Return the state after a token (B,), which is no token at the first step."""
        space, mask = self.target_space, state.mask
        ended = (token == space.eos_id).unsqueeze(1)
        nothing = ((token == space.bos_id) | (token == space.pad_id)).unsqueeze(1)
        own = state.emissions.gather(2, token.view(-1, 1, 1).expand(-1, mask.shape[1], 1))
        own = own.squeeze(2).masked_fill(~mask | ended | nothing, 0.0)
        again = (token == state.token).unsqueeze(1)
        before = torch.where(again, state.ending_in_blank[:, :-1], state.before_each)
        before = before.masked_fill(~mask, LOG_ZERO)
        # Where no frame is left, or the output has ended, they are read again.
        anew = before.amax(dim=1, keepdim=True) < LOG_ZERO / 2
        before = torch.where(anew, state.blanks[:, :-1].masked_fill(~mask, LOG_ZERO), before)
        in_token = _recursion(before, own)  # eq. 6, of a token
        blank = state.emissions[..., space.pad_id].masked_fill(~mask, 0.0)
        in_blank = _recursion(in_token[:, :-1].masked_fill(~mask, LOG_ZERO), blank)
        in_token = in_token.masked_fill(ended, LOG_ZERO)
        in_blank = torch.where(ended, state.blanks, in_blank)
        return state._replace(
            ending_in_token=torch.where(nothing, state.ending_in_token, in_token),
            ending_in_blank=torch.where(nothing, state.ending_in_blank, in_blank),
            token=torch.where(nothing.squeeze(1), state.token, token),
        )

    def equations(self) -> list[Equation]:
        """Return what is computed; see `decoderlab.layers.equations`."""
        size, vocabulary, each = self.head.in_features, self.head.out_features, self.upsampling
        hidden = f"part l of {each} of tanh(W_h m_j + b_h)"
        share = (
            f"log of the share of y_t in what begins with y before t, {IMPOSSIBLE:g} for none: "
            "products of p^l_j over frames, summed over alignments"
        )
        return [
            Equation(f"h^l_j, l = 1..{each}", hidden, size, count(self.frames)),
            Equation(
                f"p^l_j, l = 1..{each}",
                "softmax over tokens and the blank of W_o h^l_j + b_o",
                vocabulary,
                count(self.head),
            ),
            Equation("logits_t", share, vocabulary),
        ]

    @staticmethod
    def equation_letters() -> Letters:
        """Return which parameter a letter of `equations` is; see `layers.equations`."""
        return {
            "h_j": {"W_h": "frames.weight", "b_h": "frames.bias"},
            "p_j": {"W_o": "head.weight", "b_o": "head.bias"},
        }


def _recursion(entered: Tensor, own: Tensor) -> Tensor:
    """Return log r_n, n = 0..N, with r_0 = 0 and r_n = (entered_n + r_{n-1}) own_n.

    By r_n / (own_1 ... own_n), which is a sum; logarithms and shapes (B, N) all through.
    """
    product = own.cumsum(dim=1)
    sums = (entered + own - product).logcumsumexp(dim=1) + product
    return functional.pad(sums.clamp(min=LOG_ZERO), (1, 0), value=LOG_ZERO)
