"""Minimum Bayes risk: of what was sampled, that which is most like all of it."""

from __future__ import annotations

from typing import Any

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from decoderlab.common import require
from decoderlab.contract import Decoder, Encoded, TokenSpace
from decoderlab.generation.greedy_search import strip
from decoderlab.generation.sampling import sample


@torch.no_grad()
def least_risk(
    decoder: Decoder,
    encoded: Encoded,
    *,
    tokens: TokenSpace,
    num_samples: int,
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
        num_samples: N, at least 2.
        settings: all others of `sample`, but for `number`.

    Returns:
        (B, T) int64, as `greedy` does.

    Raises:
        ValueError: if a setting is out of range, or `rows` does not name each row.
    """
    require.at_least("num_samples", num_samples, 2)
    drawn = [
        sample(decoder, encoded, tokens=tokens, number=number, **settings)
        for number in range(num_samples)
    ]
    chosen = []
    for row in zip(*drawn, strict=True):  # N samples of a row, each as long as its batch
        samples = [strip(sampled.tolist(), tokens) for sampled in row]
        best = row[_most_alike(samples)]
        chosen.append(best[best != tokens.pad_id])
    return pad_sequence(chosen, batch_first=True, padding_value=tokens.pad_id)


def _most_alike(samples: list[list[int]]) -> int:
    """Return which of some sequences has the highest mean similarity to the others."""
    total = [0.0] * len(samples)
    for index, sampled in enumerate(samples):
        for before in range(index):
            similarity = Levenshtein.normalized_similarity(sampled, samples[before])
            total[index] += similarity
            total[before] += similarity
    return total.index(max(total))
