"""Generation: from an encoding to target tokens, through start and step alone."""

from __future__ import annotations

import torch
from torch import Tensor

from decoderlab import checks
from decoderlab.contract import Decoder, Encoded, TokenSpace


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
    checks.at_least("max_length", max_length, 1)
    state = decoder.start(encoded)
    token = torch.full(
        (encoded.summary.shape[0],), tokens.bos_id, dtype=torch.long, device=encoded.summary.device
    )
    never = [tokens.pad_id, tokens.bos_id, tokens.unk_id]
    ended = torch.zeros_like(token, dtype=torch.bool)
    generated = []
    for _ in range(max_length):
        logits, state = decoder.step(token, state)
        logits[:, never] = float("-inf")
        token = logits.argmax(dim=-1).masked_fill(ended, tokens.pad_id)
        generated.append(token)
        ended = ended | (token == tokens.eos_id)
        if ended.all():
            break
    return torch.stack(generated, dim=1)
