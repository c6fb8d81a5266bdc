"""Generation: from an encoding to a target, through start, step and reorder alone.

Of equally good choices the lower index wins: the lower token id, the hypothesis that was the better
one so far, the one that ended earlier.

Example:
    >>> class Coin:  # EOS (id 2) with probability 0.6, else the token 4
    ...     def start(self, encoded):
    ...         return None
    ...     def step(self, previous, state):
    ...         return torch.tensor([0, 0, 0.6, 0, 0.4]).log().expand(len(previous), 5), None
    ...     def reorder(self, state, index):
    ...         return None
    >>> encoded = Encoded(torch.zeros(1, 1, 1), torch.ones(1, 1).bool(), torch.zeros(1, 1), None)
    >>> settings = {"tokens": TokenSpace(5), "max_length": 3}
    >>> greedy(Coin(), encoded, **settings).tolist()
    [[2]]
    >>> found = beam(Coin(), encoded, beam_width=2, num_best=2, **settings)
    >>> found.tokens.tolist(), [round(p, 2) for p in found.log_probabilities.exp()[0].tolist()]
    ([[[2, 0], [4, 2]]], [0.6, 0.24])
    >>> sample(Coin(), encoded, seed=5, **settings).tolist()
    [[4, 2]]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from decoderlab import checks
from decoderlab.contract import Decoder, Encoded, TokenSpace, ValueSpace
from decoderlab.randomness import numpy_generator

INFINITY = float("inf")


class Hypotheses(NamedTuple):
    """What a beam search found, the best first.

    Shapes:
        tokens: (B, N, T) int64: EOS where a hypothesis ended, `pad_id` after it; T is the length of
            the longest.
        scores: (B, N) float64, the log-probability over the length penalty. Where a row has fewer
            than N hypotheses, the others are padding throughout, and -inf here and below.
        log_probabilities: (B, N) float64, in nats, of all its tokens, EOS included.
    """

    tokens: Tensor
    scores: Tensor
    log_probabilities: Tensor


@torch.no_grad()
def greedy(decoder: Decoder, encoded: Encoded, *, tokens: TokenSpace, max_length: int) -> Tensor:
    """Take the most probable token at each step, until every row has ended.

    Padding, BOS and the unknown token are never generated. Rows do not influence each other: after
    its EOS a row is padded, however long its batch mates go on.

    Args:
        decoder: anything with `start` and `step`.
        encoded: what the encoder read, B rows.
        tokens: the target's token ids.
        max_length: tokens at most, EOS included, at least 1.

    Returns:
        (B, T) int64 with T at most `max_length`: EOS where a row ended, `pad_id` after it.

    Raises:
        ValueError: if `max_length` is below 1.
    """
    return _one_hypothesis(
        decoder, encoded, tokens, max_length, lambda logits, t: logits.argmax(dim=-1)
    )


@torch.no_grad()
def beam(
    decoder: Decoder,
    encoded: Encoded,
    *,
    tokens: TokenSpace,
    max_length: int,
    beam_width: int,
    length_penalty: float = 0.0,
    num_best: int = 1,
    early_stop: bool = True,
) -> Hypotheses:
    """Keep the K most probable beginnings of each row; of those that end, return the best.

    A hypothesis that takes EOS leaves the beam; at `max_length` all that live end without it.

    Paper: Sutskever et al. 2014, section 3.2 (https://arxiv.org/abs/1409.3215). The score is that
        of Wu et al. 2016, eq. 14 (https://arxiv.org/abs/1609.08144), without coverage penalty:
        log p / ((5 + length) / 6)^length_penalty, where the length counts EOS.
    Differs: probabilities are those left after excluding padding, BOS and the unknown token, so
        that a beam of width 1 is greedy; nothing is pruned by its score, as Wu et al. do.

    Args:
        decoder: anything with `start`, `step` and `reorder`.
        encoded: what the encoder read, B rows.
        tokens: the target's token ids.
        max_length: as for `greedy`.
        beam_width: beginnings K, at least 1.
        length_penalty: -10 to 10; 0 ranks by probability, above it longer hypotheses gain, below it
            shorter ones.
        num_best: hypotheses N to return of each row, 1 to `beam_width`.
        early_stop: stop when nothing that lives can still enter the N best. This changes the time
            that the search takes, never its result.

    Raises:
        ValueError: if a setting is out of range.
    """
    checks.at_least("max_length", max_length, 1)
    _check_beam(beam_width, length_penalty)
    if not 1 <= num_best <= beam_width:
        raise ValueError(f"num_best is {num_best}; take 1 to {beam_width}, or a wider beam")
    batch, device = encoded.summary.shape[0], encoded.summary.device
    row = torch.arange(batch, device=device)[:, None].expand(batch, beam_width)
    state = decoder.reorder(decoder.start(encoded), row.flatten())
    token = torch.full((batch, beam_width), tokens.bos_id, device=device)
    prefixes = torch.full((batch, beam_width, max_length), tokens.pad_id, device=device)
    # Log-probabilities of what lives; -inf is an empty place, as all but the first are now.
    live = torch.full((batch, beam_width), -INFINITY, dtype=torch.float64, device=device)
    best = Hypotheses(prefixes[:, :num_best], live[:, :num_best], live[:, :num_best])
    live = live.index_fill(1, torch.tensor([0], device=device), 0.0)
    penalty = [((5 + length) / 6) ** length_penalty for length in range(max_length + 2)]  # eq. 14

    for length in range(1, max_length + 1):
        logits, state = decoder.step(token.flatten(), state)
        log_probabilities = _allowed(logits, tokens).log_softmax(dim=-1)
        size = log_probabilities.shape[-1]
        continued = live[..., None] + log_probabilities.unflatten(0, (batch, beam_width))
        live, place = _highest(continued.flatten(1), beam_width)
        parent, token = place // size, place % size
        prefixes = _pick(prefixes, parent)
        prefixes[..., length - 1] = token

        ends = (token == tokens.eos_id) | (length == max_length)
        ended = live.masked_fill(~ends, -INFINITY)
        scores = torch.cat([best.scores, ended / penalty[length]], dim=1)
        scores, place = _highest(scores, num_best)
        best = Hypotheses(
            _pick(torch.cat([best.tokens, prefixes], dim=1), place),
            scores,
            torch.cat([best.log_probabilities, ended], dim=1).gather(1, place),
        )
        live = live.masked_fill(ends, -INFINITY)
        # Log p can only fall, and the penalty is monotonic: its larger end bounds what can come.
        bound = live.amax(dim=1) / max(penalty[length + 1], penalty[max_length])
        if (bound <= (scores[:, -1] if early_stop else -INFINITY)).all():
            break
        state = decoder.reorder(state, (row * beam_width + parent).flatten())

    nothing = best.scores == -INFINITY
    found = best.tokens.masked_fill(nothing[..., None], tokens.pad_id)
    longest = int((found != tokens.pad_id).sum(dim=-1).max())
    log_probabilities = best.log_probabilities.masked_fill(nothing, -INFINITY)
    return Hypotheses(found[..., :longest], best.scores, log_probabilities)


@torch.no_grad()
def sample(
    decoder: Decoder,
    encoded: Encoded,
    *,
    tokens: TokenSpace,
    max_length: int,
    seed: int,
    rows: Tensor | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Tensor:
    """Draw each token from the decoder's distribution, or from the head of it.

    In this order: ids that are never generated are excluded; logits are divided by the temperature;
    the `top_k` most probable tokens are kept; of the distribution over those, the nucleus is kept.
    Each row has a random stream of its own: batch size and batch mates have no influence on it.

    Paper: top_p is section 3.1 of Holtzman et al. 2020 (https://arxiv.org/abs/1904.09751).
    Differs: none; the paper does not combine it with top_k, so that order is ours.

    Args:
        decoder: anything with `start` and `step`.
        encoded: what the encoder read, B rows.
        tokens: the target's token ids.
        max_length: as for `greedy`.
        seed: of the draws.
        rows: (B,) integers that name the rows' streams, such as `Batch.index`; 0 to B - 1 if None.
        temperature: above 0; below 1 sharpens the distribution, above 1 flattens it.
        top_k: tokens to keep, at least 1; all if None.
        top_p: probability, above 0 and at most 1; the fewest most probable tokens that reach it
            together are kept; all if None.

    Returns:
        (B, T) int64, as `greedy` does.

    Raises:
        ValueError: if a setting is out of range, or `rows` does not name each row.
    """
    checks.at_least("max_length", max_length, 1)
    _check_sampling(temperature, top_k, top_p)
    uniforms = _draws(encoded, seed, rows, lambda stream: stream.random(max_length))

    def choose(logits: Tensor, t: int) -> Tensor:
        cumulative = _distribution(logits, temperature, top_k, top_p).cumsum(dim=-1)
        # Times the last one, which rounding may leave below 1. The draw is below 1, so that it
        # never lands beyond the last token, and `right` passes over tokens of probability 0.
        drawn = uniforms[:, t, None] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, drawn, right=True).squeeze(-1)

    return _one_hypothesis(decoder, encoded, tokens, max_length, choose)


@torch.no_grad()
def roll_forward(
    decoder: Decoder,
    encoded: Encoded,
    *,
    values: ValueSpace,
    num_steps: int,
    sample_seed: int | None = None,
    rows: Tensor | None = None,
) -> Tensor:
    """Forecast a series: each step sees the forecast of the step before.

    Args:
        decoder: anything with `start` and `step`.
        encoded: what the encoder read, B rows.
        values: what a position of the series is: F numbers.
        num_steps: positions to forecast, at least 1.
        sample_seed: of one Gaussian sample at each position, which is fed back; means if None.
        rows: (B,) integers that name the rows' streams, as for `sample`.

    Returns:
        (B, num_steps, F): what was fed back, means or samples.

    Raises:
        ValueError: if `num_steps` is below 1, `rows` does not name each row, outputs are neither F
            nor 2F wide, or there is a `sample_seed` but no standard deviation.
    """
    checks.at_least("num_steps", num_steps, 1)
    size, noise = values.size, None
    if sample_seed is not None:
        shape = (num_steps, size)
        noise = _draws(encoded, sample_seed, rows, lambda stream: stream.standard_normal(shape))
    state = decoder.start(encoded)
    value = encoded.summary.new_zeros(encoded.summary.shape[0], size)
    forecast = []
    for t in range(num_steps):
        outputs, state = decoder.step(value, state)
        widths = (size, 2 * size) if noise is None else (2 * size,)
        if outputs.shape[-1] not in widths:
            raise ValueError(
                f"the decoder's outputs have {outputs.shape[-1]} numbers a position; they must be "
                f"{size} means, or {2 * size} with log standard deviations, which sample_seed "
                "needs; leave sample_seed out where there are none"
            )
        value = outputs[:, :size]
        if noise is not None:
            value = value + outputs[:, size:].exp() * noise[:, t].to(value)
        forecast.append(value)
    return torch.stack(forecast, dim=1)


@dataclass(frozen=True, kw_only=True)
class Search:
    """How target tokens are generated: greedily, unless a setting says otherwise.

    Args:
        beam_width: at least 1; above 1, the best hypothesis of a beam search is taken.
        length_penalty: of the beam search, -10 to 10.
        temperature: above 0; if given, tokens are sampled.
        top_k, top_p: of sampling, as for `sample`.
        seed: of sampling; without a temperature nothing is drawn.

    Raises:
        ValueError: for settings out of range, or without effect beside the others.

    Example:
        >>> Search().signature, Search(beam_width=5, length_penalty=0.6).signature
        ('greedy', 'beam:5|length_penalty:0.6')
        >>> Search(temperature=1.0, top_k=10).signature
        'sample:temperature:1.0|top_k:10|seed:0'
    """

    beam_width: int = 1
    length_penalty: float = 0.0
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        sampled = self.temperature is not None
        _check_beam(self.beam_width, self.length_penalty)
        _check_sampling(self.temperature if sampled else 1.0, self.top_k, self.top_p)
        for name, without_effect, companion in (
            ("length_penalty", self.length_penalty != 0 and self.beam_width == 1, "a wider beam"),
            ("top_k", self.top_k is not None and not sampled, "a temperature, such as 1.0"),
            ("top_p", self.top_p is not None and not sampled, "a temperature, such as 1.0"),
            ("temperature", sampled and self.beam_width > 1, "beam_width 1"),
        ):
            if without_effect:
                raise ValueError(
                    f"{name} is {getattr(self, name)}; it is allowed only with {companion}: "
                    f"give that, or leave {name} out"
                )

    def generate(
        self,
        decoder: Decoder,
        encoded: Encoded,
        *,
        tokens: TokenSpace,
        max_length: int,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Return tokens (B, T); `rows` names the rows' random streams, as for `sample`.

        Raises:
            ValueError: as `greedy`, `beam` and `sample` do.
        """
        settings: dict[str, Any] = {"tokens": tokens, "max_length": max_length}
        if self.temperature is not None:
            settings |= {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
            return sample(decoder, encoded, seed=self.seed, rows=rows, **settings)
        if self.beam_width > 1:
            settings |= {"beam_width": self.beam_width, "length_penalty": self.length_penalty}
            return beam(decoder, encoded, **settings).tokens[:, 0]
        return greedy(decoder, encoded, **settings)

    @property
    def signature(self) -> str:
        """The settings on one line, for the record of what was measured."""
        if self.temperature is not None:
            kept = {"top_k": self.top_k, "top_p": self.top_p}
            parts = [f"{name}:{value}" for name, value in kept.items() if value is not None]
            return "|".join(
                [f"sample:temperature:{float(self.temperature)}", *parts, f"seed:{self.seed}"]
            )
        if self.beam_width > 1:
            return f"beam:{self.beam_width}|length_penalty:{float(self.length_penalty)}"
        return "greedy"


def _one_hypothesis(
    decoder: Decoder, encoded: Encoded, tokens: TokenSpace, max_length: int, choose: Callable
) -> Tensor:
    """Return tokens (B, T); `choose` takes those of step t (B,) from their logits (B, V) and t."""
    checks.at_least("max_length", max_length, 1)
    state = decoder.start(encoded)
    batch, device = encoded.summary.shape[0], encoded.summary.device
    token = torch.full((batch,), tokens.bos_id, device=device)
    ended = torch.zeros_like(token, dtype=torch.bool)
    generated = []
    for t in range(max_length):
        logits, state = decoder.step(token, state)
        token = choose(_allowed(logits, tokens), t).masked_fill(ended, tokens.pad_id)
        generated.append(token)
        ended = ended | (token == tokens.eos_id)
        if ended.all():
            break
    return torch.stack(generated, dim=1)


def _allowed(logits: Tensor, tokens: TokenSpace) -> Tensor:
    """Return a float64 copy with -inf at the ids that are never generated.

    In float64, so that float32 logits that differ still do so in a sum of log-probabilities: else a
    beam of width 1 would see ties where greedy sees none.
    """
    never = torch.tensor(tokens.never_generated, device=logits.device)
    return logits.double().index_fill(-1, never, -INFINITY)


def _highest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` highest of scores (B, N) and their places, the first of equals first.

    `topk` promises no order of equals, as `max` does; a stable sort takes longer than a few `max`.
    """
    scores, values, places = scores.clone(), [], []
    for _ in range(count):
        value, place = scores.max(dim=-1, keepdim=True)
        scores.scatter_(-1, place, -INFINITY)
        values.append(value)
        places.append(place)
    return torch.cat(values, dim=-1), torch.cat(places, dim=-1)


def _pick(prefixes: Tensor, index: Tensor) -> Tensor:
    """Return the prefixes (B, N, T) of `index` (B, M): (B, M, T)."""
    return prefixes.gather(1, index[..., None].expand(-1, -1, prefixes.shape[-1]))


def _distribution(
    logits: Tensor, temperature: float, top_k: int | None, top_p: float | None
) -> Tensor:
    """Return the probabilities (B, V) that a token is drawn with."""
    # Less the largest, so that a temperature near 0 does not make inf - inf of it.
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / temperature
    ordered, ids = logits.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        ordered[:, top_k:] = -INFINITY
    if top_p is not None:
        # A token goes if those before it reach p; so the first always stays.
        reached = ordered.softmax(dim=-1).cumsum(dim=-1)[:, :-1] >= top_p
        ordered[:, 1:].masked_fill_(reached, -INFINITY)
    # Back in the order of the ids, in which rounding cannot swap tokens under the same draw.
    return torch.empty_like(logits).scatter_(-1, ids, ordered).softmax(dim=-1)


def _draws(encoded: Encoded, seed: int, rows: Tensor | None, draw: Callable[[Any], Any]) -> Tensor:
    """Return what `draw` gets from each row's stream, (B, ...) float64.

    NumPy draws one number after the other, so that a longer target starts as a shorter one does;
    torch's normal numbers depend on how many are drawn.
    """
    batch = encoded.summary.shape[0]
    rows = torch.arange(batch) if rows is None else rows
    if rows.shape != (batch,):
        raise ValueError(f"rows has shape {tuple(rows.shape)}; give one number a row: ({batch},)")
    drawn = [draw(numpy_generator(seed, "decoding", row)) for row in rows.tolist()]
    return torch.stack([torch.from_numpy(one) for one in drawn]).to(encoded.summary.device)


def _check_beam(beam_width: int, length_penalty: float) -> None:
    checks.at_least("beam_width", beam_width, 1)
    checks.between("length_penalty", length_penalty, -10, 10)


def _check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    checks.positive("temperature", temperature)
    if top_k is not None:
        checks.at_least("top_k", top_k, 1)
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}; it must be above 0 and at most 1")
