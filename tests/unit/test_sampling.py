"""Drawing tokens: from the distribution of the decoder, and from the head of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from decoderlab.contract import TokenSpace
from decoderlab.generation import greedy, sample, sampling
from tests.unit.test_search import (
    ALLOWED,
    NEVER,
    SIX,
    TOKENS,
    Constant,
    Table,
    all_sequences,
    encoded,
    unpadded,
)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_have_the_distribution_of_the_decoder(temperature):
    settings = {"tokens": TOKENS, "max_length": 2, "seed": 1, "temperature": temperature}
    drawn = unpadded(sample(Table(seed=2), encoded(*[0] * 4000), **settings))
    sequences, log_p = zip(*all_sequences(Table(2, scale=1 / temperature), 0, 2), strict=True)
    counts = [drawn.count(list(one)) for one in sequences]
    assert sum(counts) == 4000
    assert chisquare(counts, 4000 * np.exp(log_p)).pvalue > 0.001
    _, other = zip(*all_sequences(Table(2, scale=0.8 / temperature), 0, 2), strict=True)
    assert chisquare(counts, 4000 * np.exp(other)).pvalue < 0.001


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.5, 0.2, 0.3]),
        ({"top_k": 2}, [5 / 8, 0, 3 / 8]),
        ({"top_k": 9}, [0.5, 0.2, 0.3]),
        ({"top_p": 0.49}, [1, 0, 0]),
        ({"top_p": 0.51}, [5 / 8, 0, 3 / 8]),
        ({"top_p": 0.79}, [5 / 8, 0, 3 / 8]),
        ({"top_p": 0.81}, [0.5, 0.2, 0.3]),
        ({"top_p": 1.0}, [0.5, 0.2, 0.3]),
        # Of the two that top_k leaves, the first has 5/8; at temperature 2 it has 0.415 of all.
        ({"top_k": 2, "top_p": 0.6}, [1, 0, 0]),
        ({"temperature": 2.0, "top_p": 0.49}, [0.563508, 0, 0.436492]),
        ({"min_p": 0.39}, [0.5, 0.2, 0.3]),
        ({"min_p": 0.41}, [5 / 8, 0, 3 / 8]),
        ({"min_p": 1.0}, [1, 0, 0]),
        # At temperature 2 the last has 0.632 of the first one's probability.
        ({"temperature": 2.0, "min_p": 0.64}, [0.563508, 0, 0.436492]),
        ({"top_p": 0.81, "min_p": 0.61}, [1, 0, 0]),
    ],
)
def test_what_is_left_to_draw_from(settings, expected):
    decoder = Constant(*np.log([0.9, 0.9, 0.5, 0.9, 0.2, 0.3]).tolist())
    drawn = sample(decoder, encoded(*[0] * 4000), tokens=TOKENS, max_length=1, seed=4, **settings)
    shares = np.bincount(drawn.flatten(), minlength=6)[ALLOWED] / 4000
    assert ((shares > 0) == (np.array(expected) > 0)).all()
    assert shares.tolist() == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 4000))


@pytest.mark.parametrize("settings", [{"top_p": 0.5}, {"top_k": 2}])
def test_what_is_kept_just_reaches_p_and_is_the_lower_of_equals(settings):
    decoder, source = Constant(0.0, 0.0, NEVER, 0.0, 1.0, 1.0, 1.0, 1.0), encoded(*range(200))
    drawn = sample(decoder, source, tokens=TokenSpace(8), max_length=1, seed=0, **settings)
    assert set(drawn.flatten().tolist()) == {4, 5}


@pytest.mark.parametrize(("draw", "expected"), [(0.0, 4), (np.nextafter(1.0, 0.0), 5)])
def test_the_extreme_draws_do_not_take_what_has_no_probability(monkeypatch, draw, expected):
    class Stream:
        def random(self, size):
            return np.full(size, draw)

    monkeypatch.setattr(sampling, "numpy_generator", lambda *keys: Stream())
    decoder = Constant(0.0, 0.0, NEVER, 0.0, 1.0, 1.0, NEVER)
    drawn = sample(decoder, encoded(0), tokens=TokenSpace(7), max_length=1, seed=0)
    assert drawn.tolist() == [[expected]]


@pytest.mark.parametrize("settings", [{"temperature": 1e-6}, {"temperature": 1e-310}, {"top_k": 1}])
def test_sampling_without_a_choice_is_greedy(settings):
    for decoder in map(Table, range(10)):
        drawn = sample(decoder, encoded(0, 1, 2), seed=0, **SIX, **settings)
        assert torch.equal(drawn, greedy(decoder, encoded(0, 1, 2), **SIX))


def test_a_row_has_a_stream_of_its_own_and_a_longer_target_starts_as_a_shorter_one():
    def draw(rows, seed=0, max_length=20):
        settings = {"tokens": TOKENS, "max_length": max_length, "seed": seed}
        source = encoded(*[0] * 4)
        return sample(Table(scale=0.3, end=-9.0), source, rows=rows, **settings).tolist()

    first, other = draw(None), draw(torch.tensor([2, 1, 9, 0]))
    assert len({tuple(row) for row in first + other}) == 5
    assert [other[0], other[1], other[3]] == [first[2], first[1], first[0]]
    assert draw(None, seed=1) != first
    assert draw(None, max_length=3) == [row[:3] for row in first]
