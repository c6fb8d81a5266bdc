"""Diverse beam search, against a search written again with lists, and against a plain beam."""

from __future__ import annotations

import math

import pytest
import torch

from decoderlab.generation import Search, beam, diverse_beam
from tests.unit.test_search import (
    ALLOWED,
    EOS,
    PAD,
    SIX,
    TOKENS,
    Recurrent,
    Table,
    encoded,
    unpadded,
)


def log_p_after(decoder, row, prefix):
    """Return log p of each allowed token after a prefix."""
    logits = decoder.logits(row, prefix)[ALLOWED].double()
    return dict(zip(ALLOWED, logits.log_softmax(dim=0).tolist(), strict=True))


def by_lists(decoder, row, width, groups, penalty, length_penalty, max_length=6):
    """Return hypotheses and scores, best first: the algorithm with lists, group by group."""
    live = [[((), 0.0)] for _ in range(groups)]
    ended = [[] for _ in range(groups)]
    for length in range(1, max_length + 1):
        taken = dict.fromkeys(ALLOWED, 0)
        for group in range(groups):
            ways = [
                ((*prefix, token), total + more, total + more - penalty * taken[token])
                for prefix, total in live[group]
                for token, more in log_p_after(decoder, row, prefix).items()
            ]
            ways = sorted(ways, key=lambda way: -way[2])[: width // groups]
            live[group] = []
            for prefix, total, _ in ways:
                taken[prefix[-1]] += 1
                if prefix[-1] == EOS or length == max_length:
                    score = total / ((5 + length) / 6) ** length_penalty
                    ended[group].append((prefix, score))
                else:
                    live[group].append((prefix, total))
            ended[group] = sorted(ended[group], key=lambda one: -one[1])[: width // groups]
    best = {one[0]: one for group in ended for one in group}
    return sorted(best.values(), key=lambda one: -one[1])


@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 1.5])
@pytest.mark.parametrize("penalty", [0.0, 0.4, 3.0])
@pytest.mark.parametrize(("width", "groups"), [(2, 2), (4, 2), (6, 2), (6, 3)])
def test_it_is_the_algorithm(width, groups, penalty, length_penalty):
    decoder, rows = Table(3, scale=1.0, end=-0.5), range(5)
    found = diverse_beam(
        decoder,
        encoded(*rows),
        beam_width=width,
        beam_groups=groups,
        diversity_penalty=penalty,
        length_penalty=length_penalty,
        num_best=width,
        **SIX,
    )
    for row in rows:
        expected = by_lists(decoder, row, width, groups, penalty, length_penalty)
        real = int((found.scores[row] > -math.inf).sum())
        assert real == len(expected)
        for number, (hypothesis, score) in enumerate(expected):
            ids = [token for token in found.tokens[row, number].tolist() if token != PAD]
            assert ids == list(hypothesis)
            assert float(found.scores[row, number]) == pytest.approx(score, abs=1e-6)
        assert (found.tokens[row, real:] == PAD).all()


def test_one_group_is_a_beam():
    decoder, settings = Table(1, 1.0, -1.0), {"beam_width": 4, "num_best": 4, **SIX}
    one = diverse_beam(
        decoder, encoded(*range(6)), beam_groups=1, diversity_penalty=9.0, **settings
    )
    plain = beam(decoder, encoded(*range(6)), **settings)
    assert torch.equal(one.tokens, plain.tokens)
    assert torch.equal(one.scores, plain.scores)
    assert torch.equal(one.log_probabilities, plain.log_probabilities)


def test_a_penalty_makes_groups_differ_and_states_move_with_them():
    decoder = Recurrent()
    settings = {"beam_width": 4, "beam_groups": 4, "num_best": 4, **SIX}
    alike = diverse_beam(decoder, encoded(0, 3), diversity_penalty=0.0, **settings)
    apart = diverse_beam(decoder, encoded(0, 3), diversity_penalty=50.0, **settings)
    assert (alike.scores > -math.inf).sum(dim=1).tolist() == [1, 1]  # the same in each group
    assert (apart.scores > -math.inf).sum(dim=1).min() > 2
    # What it says of a hypothesis is its log-probability, which a beam of all of them knows.
    wide = beam(decoder, encoded(0, 3), beam_width=900, num_best=900, **SIX)
    for row in range(2):
        known = dict(
            zip(
                map(tuple, unpadded(wide.tokens[row])),
                wide.log_probabilities[row].tolist(),
                strict=True,
            )
        )
        for ids, value in zip(
            unpadded(apart.tokens[row]), apart.log_probabilities[row].tolist(), strict=True
        ):
            if ids:
                assert known[tuple(ids)] == pytest.approx(value)


def test_rows_do_not_influence_each_other():
    decoder = Table(5, 0.7, -1.0)
    settings = {"beam_width": 6, "beam_groups": 3, "diversity_penalty": 0.7, "num_best": 6}
    together = diverse_beam(decoder, encoded(*range(6)), **settings, **SIX)
    for row in range(6):
        alone = diverse_beam(decoder, encoded(row), **settings, **SIX)
        assert unpadded(alone.tokens[0]) == unpadded(together.tokens[row])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam_groups": 0}, "beam_groups is 0"),
        ({"beam_groups": 3}, "take a width of 3"),
        ({"diversity_penalty": -1.0}, "diversity_penalty is -1"),
        ({"num_best": 5}, "num_best is 5; take 1 to 4"),
        ({"max_length": 0}, "max_length is 0"),
    ],
)
def test_what_is_refused(settings, message):
    given = {"beam_width": 4, "beam_groups": 2, "diversity_penalty": 1.0, "max_length": 3}
    with pytest.raises(ValueError, match=message):
        diverse_beam(Table(), encoded(0), tokens=TOKENS, **{**given, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam_width": 4, "beam_groups": 1}, "beam_groups is 1; it must be at least 2"),
        ({"beam_width": 4, "beam_groups": 3}, "beam_width is 4 .*; take a width of 3"),
        ({"beam_groups": 2}, "beam_width is 1 .*; take a width of 2"),
        ({"beam_width": 4, "diversity_penalty": 1.0}, "only with beam_groups"),
        ({"beam_width": 4, "beam_groups": 2, "diversity_penalty": 0.0}, "must be a positive"),
        ({"beam_width": 4, "beam_groups": 2, "exact_steps": 9}, "and exact_steps 9"),
        ({"beam_width": 4, "beam_groups": 2, "coverage_penalty": 0.1}, "coverage_penalty 0.1"),
        ({"temperature": 1.0, "beam_width": 4, "beam_groups": 2}, "with beam_width 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Search(**settings)


def test_the_penalty_has_a_default():
    search = Search(beam_width=4, beam_groups=2)
    assert search.signature == "beam:4|length_penalty:0.0|groups:2|diversity:0.5"
    settings = {"beam_width": 4, "beam_groups": 2, "diversity_penalty": 0.5}
    expected = diverse_beam(Table(2), encoded(0, 1), **settings, **SIX).tokens[:, 0]
    assert torch.equal(search.generate(Table(2), encoded(0, 1), **SIX), expected)
