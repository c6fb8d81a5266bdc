"""A forced prefix, in every search: against all outputs that begin with it."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from decoderlab.generation import (
    ForcedPrefix,
    beam,
    diverse_beam,
    exact,
    greedy,
    least_risk,
    sample,
)
from tests.unit.test_search import EOS, PAD, SIX, TOKENS, Table, all_sequences, encoded, unpadded

PREFIXES = torch.tensor([[4, 5, 4], [5, PAD, PAD], [PAD, PAD, PAD], [4, 4, PAD]])
SEARCHES = {
    "greedy": greedy,
    "beam": lambda *given, **settings: beam(*given, beam_width=3, **settings).tokens[:, 0],
    "diverse": lambda *given, **settings: diverse_beam(
        *given, beam_width=4, beam_groups=2, diversity_penalty=1.0, **settings
    ).tokens[:, 0],
    "exact": lambda *given, **settings: exact(*given, **settings).tokens,
    "sample": partial(sample, seed=3),
    "least_risk": partial(least_risk, seed=3, num_samples=5),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_outputs_begin_with_it(name):
    decoder = Table(2, scale=1.0)
    forced = ForcedPrefix(decoder, PREFIXES, TOKENS)
    found = unpadded(SEARCHES[name](forced, encoded(*range(4)), **SIX))
    for output, prefix in zip(found, PREFIXES.tolist(), strict=True):
        given = [token for token in prefix if token != PAD]
        assert output[: len(given)] == given
    (free,) = unpadded(SEARCHES[name](decoder, encoded(2), **({**SIX})))
    if name not in ("sample", "least_risk"):  # whose streams have the row's number
        assert found[2] == free


def test_the_best_is_that_of_all_outputs_with_this_beginning():
    decoder = Table(4, scale=1.0, end=-0.5)
    found = exact(ForcedPrefix(decoder, PREFIXES, TOKENS), encoded(*range(4)), **SIX)
    for row, prefix in enumerate(PREFIXES.tolist()):
        given = tuple(token for token in prefix if token != PAD)
        every = [one for one in all_sequences(decoder, row, 6) if one[0][: len(given)] == given]
        best, log_p = max(every, key=lambda one: one[1])
        assert unpadded(found.tokens)[row] == list(best)
        total = torch.tensor([one[1] for one in every]).double().logsumexp(dim=0)
        # Given the prefix: less the probability that an output begins so.
        expected = log_p - float(total)
        assert float(found.log_probabilities[row]) == pytest.approx(expected, abs=1e-5)


def test_an_end_may_be_forced():
    forced = ForcedPrefix(Table(1), torch.tensor([[4, EOS]]), TOKENS)
    assert unpadded(greedy(forced, encoded(0, 1), **SIX)) == [[4, EOS], [4, EOS]]
