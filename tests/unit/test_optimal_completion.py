"""Optimal completion: against all completions of a tiny vocabulary, and the policy's formula."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from decoderlab.contract import ValueSpace
from decoderlab.training.drawn_outputs import draw
from decoderlab.training.optimal_completion import OptimalCompletion, prefix_distances
from tests.unit.whole_outputs import (
    ALLOWED,
    EOS,
    PAD,
    TOKENS,
    UNK,
    Prefixes,
    batch_of,
    edits,
    gradient,
    slopes_agree,
)

TARGETS = [(4, 5, EOS), (5, EOS), (EOS,), (4, 4, 5, EOS)]


def values(written, target):
    """Return minus the fewest edits after each token, by trying every completion."""
    symbols = tuple(token for token in target if token > UNK)
    best = []
    for token in ALLOWED:
        tails = [()] if token == EOS else completions(len(symbols) + 1)
        begun = written if token == EOS else (*written, token)
        best.append(-min(edits((*begun, *tail), symbols) for tail in tails))
    return best


def completions(longest):
    """Yield all tails of at most so many tokens."""
    for length in range(longest + 1):
        yield from itertools.product((4, 5), repeat=length)


def policy_of(written, target, temperature):
    """Return the optimal policy over `ALLOWED`, in NumPy."""
    value = np.array(values(written, target), dtype=float)
    if temperature:
        weights = np.exp((value - value.max()) / temperature)
    else:
        weights = (value == value.max()).astype(float)
    return weights / weights.sum()


@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0])
def test_it_is_the_divergence_from_the_best_of_all_completions(temperature):
    decoder = Prefixes()
    objective = OptimalCompletion(target_space=TOKENS, temperature=temperature)
    expected, found, count = 0.0, 0.0, 0
    for seed in range(3):
        objective.at_step(0, seed)
        total, count, _ = gradient(objective, decoder, TARGETS)
        found += total
        drawn = draw(
            decoder, *batch_of(*TARGETS), TOKENS, seed=seed, number=0, length_ratio=1.5
        ).tolist()
        for ids, target in zip(drawn, TARGETS, strict=True):
            output = [token for token in ids if token != PAD]
            logits = decoder(None, torch.tensor([output]))[0].detach().numpy()[:, ALLOWED]
            for step in range(len(output)):
                policy = policy_of(tuple(output[:step]), target, temperature)
                log_p = logits[step] - np.log(np.exp(logits[step]).sum())
                real = policy > 0
                expected += float((policy[real] * (np.log(policy[real]) - log_p[real])).sum())
    assert count == sum(map(len, TARGETS))
    assert found == pytest.approx(expected, abs=1e-10)


def test_several_tokens_may_be_optimal_and_the_divergence_can_be_zero():
    assert policy_of((4,), (5, 4, 5, EOS), 0.0).tolist() != [0, 0, 1]
    decoder = Prefixes()
    objective = OptimalCompletion(target_space=TOKENS)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.1)
    for step in range(200):
        objective.at_step(step, step)
        gradient(objective, decoder, TARGETS[:1])
        optimizer.step()
    assert gradient(objective, decoder, TARGETS[:1])[0] < 0.05
    assert decoder.log_p(TARGETS[0]) > -0.05


def test_distances_are_those_of_the_recursion():
    generator = np.random.default_rng(0)
    drawn = torch.from_numpy(generator.integers(4, 6, size=(20, 5)))
    targets = [(*generator.integers(4, 6, size=length).tolist(), EOS) for length in range(5)] * 4
    target = batch_of(*targets)[1].target
    found = prefix_distances(drawn, target, TOKENS)
    for row, output in enumerate(drawn.tolist()):
        plain = targets[row][:-1]
        for t, j in itertools.product(range(5), range(6)):
            if j <= len(plain):
                assert found[row, t, j] == edits(tuple(output[:t]), plain[:j])
            else:
                assert found[row, t, j] > 10


def test_its_gradient_is_the_derivative():
    objective = OptimalCompletion(target_space=TOKENS, temperature=0.7)
    assert slopes_agree(objective, Prefixes(), TARGETS)


def test_targets_without_an_end_and_unknown_tokens_have_finite_losses():
    objective, decoder = OptimalCompletion(target_space=TOKENS), Prefixes()
    for targets in ([(4, 5, 5)], [(4, UNK, EOS)], [(UNK,), (4, EOS)]):
        total, _, slopes = gradient(objective, decoder, targets)
        assert np.isfinite(total)
        assert slopes.isfinite().all()
        assert slopes.any()


def test_draws_are_those_of_the_step():
    decoder, objective = Prefixes(), OptimalCompletion(target_space=TOKENS)
    losses = []
    for seed in (1, 2, 1):
        objective.at_step(10, seed)
        losses.append(gradient(objective, decoder, TARGETS)[0])
    assert losses[0] == losses[2] != losses[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1"),
        ({"length_ratio": 0.5}, "length_ratio is 0.5"),
        ({"target_space": ValueSpace(2)}, "training/objective=likelihood"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        OptimalCompletion(**{"target_space": TOKENS, **settings})
