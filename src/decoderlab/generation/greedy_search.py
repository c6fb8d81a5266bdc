"""One hypothesis at a time, through start and step alone: the loop, and the greedy choice."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from decoderlab.common import require
from decoderlab.contract import Decoder, Encoded, TokenSpace

INFINITY = float("inf")


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
    return one_hypothesis(
        decoder, encoded, tokens, max_length, lambda logits, t: logits.argmax(dim=-1)
    )


def one_hypothesis(
    decoder: Decoder, encoded: Encoded, tokens: TokenSpace, max_length: int, choose: Callable
) -> Tensor:
    """Return tokens (B, T); `choose` takes those of step t (B,) from their logits (B, V) and t."""
    require.at_least("max_length", max_length, 1)
    state = decoder.start(encoded)
    batch, device = encoded.summary.shape[0], encoded.summary.device
    token = torch.full((batch,), tokens.bos_id, device=device)
    ended = torch.zeros_like(token, dtype=torch.bool)
    generated = []
    for t in range(max_length):
        logits, state = decoder.step(token, state)
        token = choose(allowed(logits, tokens), t).masked_fill(ended, tokens.pad_id)
        generated.append(token)
        ended = ended | (token == tokens.eos_id)
        if ended.all():
            break
    return torch.stack(generated, dim=1)


def allowed(logits: Tensor, tokens: TokenSpace) -> Tensor:
    """Return a float64 copy with -inf at the ids that are never generated.

    In float64, so that float32 logits that differ still do so in a sum of log-probabilities: else a
    beam of width 1 would see ties where greedy sees none.
    """
    never = torch.tensor(tokens.never_generated, device=logits.device)
    return logits.double().index_fill(-1, never, -INFINITY)


def strip(generated: list[int], tokens: TokenSpace) -> list[int]:
    """Return generated ids up to the first EOS, without it.

    Example:
        >>> strip([7, 8, 2, 0], TokenSpace(9))
        [7, 8]
    """
    end = generated.index(tokens.eos_id) if tokens.eos_id in generated else len(generated)
    return generated[:end]
