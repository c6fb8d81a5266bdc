"""Drawing targets: tokens from their distribution, and values rolled forward."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from decoderlab.common import require
from decoderlab.common.randomness import numpy_generator
from decoderlab.contract import Decoder, Encoded, TokenSpace, ValueSpace
from decoderlab.generation.greedy_search import INFINITY, one_hypothesis
from decoderlab.generation.limits_of_search import check_sampling


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
    min_p: float | None = None,
    number: int = 0,
) -> Tensor:
    """Draw each token from the decoder's distribution, or from the head of it.

    In this order: ids that are never generated are excluded; logits are divided by the temperature;
    the `top_k` most probable tokens are kept; of the distribution over those, the nucleus is kept;
    of these, tokens that are far less probable than the first are left out. Each row has a random
    stream of its own: batch size and batch mates have no influence on it.

    Paper: top_p is section 3.1 of Holtzman et al. 2020 (https://arxiv.org/abs/1904.09751), min_p
        section 3 of Nguyen et al. 2025 (https://arxiv.org/abs/2407.01082).
    Differs: none; the papers do not combine them with top_k, so that order is ours.

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
        min_p: share of the first token's probability, above 0 and at most 1, below which a token is
            left out; none is if None.
        number: of this sample among several of the same seed, each with streams of its own.

    Returns:
        (B, T) int64, as `greedy` does.

    Raises:
        ValueError: if a setting is out of range, or `rows` does not name each row.
    """
    require.at_least("max_length", max_length, 1)
    check_sampling(temperature, top_k, top_p, min_p)
    uniforms = _draws(encoded, seed, rows, lambda stream: stream.random(max_length), number)

    def choose(logits: Tensor, t: int) -> Tensor:
        cumulative = _distribution(logits, temperature, top_k, top_p, min_p).cumsum(dim=-1)
        # Times the last one, which rounding may leave below 1. The draw is below 1, so that it
        # never lands beyond the last token, and `right` passes over tokens of probability 0.
        drawn = uniforms[:, t, None] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, drawn, right=True).squeeze(-1)

    return one_hypothesis(decoder, encoded, tokens, max_length, choose)


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
    require.at_least("num_steps", num_steps, 1)
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


def _distribution(
    logits: Tensor,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
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
    if min_p is not None:  # the first logit is 0
        ordered.masked_fill_(ordered < math.log(min_p), -INFINITY)
    # Back in the order of the ids, in which rounding cannot swap tokens under the same draw.
    return torch.empty_like(logits).scatter_(-1, ids, ordered).softmax(dim=-1)


def _draws(
    encoded: Encoded,
    seed: int,
    rows: Tensor | None,
    draw: Callable[[Any], Any],
    number: int = 0,
) -> Tensor:
    """Return what `draw` gets from each row's stream, (B, ...) float64.

    NumPy draws one number after the other, so that a longer target starts as a shorter one does;
    torch's normal numbers depend on how many are drawn.
    """
    batch = encoded.summary.shape[0]
    rows = torch.arange(batch) if rows is None else rows
    if rows.shape != (batch,):
        raise ValueError(f"rows has shape {tuple(rows.shape)}; give one number a row: ({batch},)")
    more = (number,) if number else ()
    drawn = [draw(numpy_generator(seed, "decoding", row, *more)) for row in rows.tolist()]
    return torch.stack([torch.from_numpy(row) for row in drawn]).to(encoded.summary.device)
