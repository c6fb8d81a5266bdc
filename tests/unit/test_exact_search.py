"""The mode of a decoder: against all hypotheses there are, and what it takes to prove it."""

from __future__ import annotations

import math

import pytest
import torch

from decoderlab.generation import beam, exact
from tests.unit.test_search import (
    EOS,
    SIX,
    TOKENS,
    Constant,
    Recurrent,
    Table,
    all_sequences,
    encoded,
    unpadded,
)


@pytest.mark.parametrize("together", [1, 2, 64])
@pytest.mark.parametrize("beam_width", [1, 4])
@pytest.mark.parametrize(("scale", "end"), [(0.3, -2.0), (1.0, 0.0), (3.0, 1.0)])
def test_it_is_the_most_probable_of_all_hypotheses(scale, end, beam_width, together):
    decoder, missed = Table(1, scale, end), 0
    found = exact(decoder, encoded(*range(8)), beam_width=beam_width, together=together, **SIX)
    assert found.proven.all()
    narrow = beam(decoder, encoded(*range(8)), beam_width=beam_width, **SIX)
    for row, hypothesis in enumerate(unpadded(found.tokens)):
        best, log_probability = max(all_sequences(decoder, row, 6), key=lambda one: one[1])
        assert hypothesis == list(best)
        assert float(found.log_probabilities[row]) == pytest.approx(log_probability, abs=1e-6)
        missed += float(narrow.log_probabilities[row, 0]) < log_probability - 1e-6
    if beam_width == 1 and scale < 3:
        assert missed  # a search error of greedy, which exact search does not make


def test_it_moves_the_state_with_each_beginning():
    decoder = Recurrent()
    found = exact(decoder, encoded(0, 3), beam_width=1, together=3, **SIX)
    wide = beam(decoder, encoded(0, 3), beam_width=500, **SIX)
    assert torch.equal(found.tokens, wide.tokens[:, 0, : found.tokens.shape[1]])
    assert found.log_probabilities.tolist() == pytest.approx(wide.log_probabilities[:, 0].tolist())


def test_a_mode_may_be_empty_where_a_beam_finds_more():
    """No hypothesis with 40 tokens is as probable as the one without any."""
    decoder = Constant(*[-math.inf] * 2, math.log(0.02), -math.inf, math.log(0.5), math.log(0.48))
    settings = {"tokens": TOKENS, "max_length": 40}
    found = exact(decoder, encoded(0), beam_width=1, **settings)
    assert (found.tokens.tolist(), found.proven.tolist()) == ([[EOS]], [True])
    assert float(found.log_probabilities) == pytest.approx(math.log(0.02))
    assert beam(decoder, encoded(0), beam_width=1, **settings).tokens.shape == (1, 1, 40)


def test_what_is_not_proven_is_said():
    decoder = Table(2, scale=0.3, end=-2.0)
    source = encoded(*range(6))
    known = beam(decoder, source, beam_width=1, **SIX)
    ended = exact(decoder, source, beam_width=1, max_steps=1, **SIX)
    assert not ended.proven.any()
    assert (ended.log_probabilities >= known.log_probabilities[:, 0]).all()
    decoder.calls = 0
    whole = exact(decoder, source, beam_width=1, together=1, **SIX)
    assert whole.proven.all()
    more = exact(decoder, source, beam_width=1, together=1, max_steps=decoder.calls, **SIX)
    assert more.proven.all()
    assert torch.equal(whole.tokens, more.tokens)
