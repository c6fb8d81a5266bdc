"""Minimum Bayes risk: of what was sampled, that which is most like all of it."""

from __future__ import annotations

from typing import Any

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from decoderlab.contract import Decoder, Encoded, TokenSpace
from decoderlab.generation.greedy_search import strip
from decoderlab.generation.limits_of_search import check_samples
from decoderlab.generation.sampling import sample


@torch.no_grad()
def least_risk(
    decoder: Decoder,
    encoded: Encoded,
    *,
    tokens: TokenSpace,
    max_length: int,
    seed: int,
    num_samples: int,
    rows: Tensor | None = None,
    **settings: Any,
) -> Tensor:
    """Draw N samples of each row; return the one with the highest mean similarity to the others.

    Similarity is 1 - edit distance / the longer length, in tokens without EOS; of equals the one
    that was drawn first is taken. The first sample is that of `sample`.

    Paper: Eikema and Aziz 2020, section 6, eq. 5 (https://aclanthology.org/2020.coling-main.398),
        with samples as candidates.
    Differs: the paper's utility is METEOR or the like, of words.

    Args:
        decoder: anything with `start` and `step`.
        encoded: what the encoder read, B rows.
        tokens: the target's token ids.
        max_length: as for `greedy`.
        seed: of the draws.
        num_samples: N, at least 2.
        rows: (B,) integers that name the rows' streams, as for `sample`.
        settings: of `sample`: temperature, top_k, top_p, min_p.

    Returns:
        (B, T) int64, as `greedy` does.

    Raises:
        ValueError: if a setting is out of range, or `rows` does not name each row.
    """
    check_samples(num_samples)
    settings |= {"tokens": tokens, "max_length": max_length, "seed": seed, "rows": rows}
    drawn = [sample(decoder, encoded, number=number, **settings) for number in range(num_samples)]
    longest = max(sampled.shape[1] for sampled in drawn)
    padded = [
        torch.nn.functional.pad(sampled, (0, longest - sampled.shape[1]), value=tokens.pad_id)
        for sampled in drawn
    ]
    samples = torch.stack(padded, dim=1)  # (B, N, T)
    best = [_most_alike([strip(sampled, tokens) for sampled in row]) for row in samples.tolist()]
    chosen = samples[torch.arange(len(best)), best]
    return chosen[:, : int((chosen != tokens.pad_id).sum(dim=-1).max())]


def _most_alike(samples: list[list[int]]) -> int:
    """Return which of some sequences has the highest mean similarity to the others."""
    total = [0.0] * len(samples)
    for index, sampled in enumerate(samples):
        for before in range(index):
            similarity = Levenshtein.normalized_similarity(sampled, samples[before])
            total[index] += similarity
            total[before] += similarity
    return total.index(max(total))
