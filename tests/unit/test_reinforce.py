"""REINFORCE: its gradient is expected to be that of the expected cost, over all outputs."""

from __future__ import annotations

import pytest
import torch

from decoderlab.contract import ValueSpace
from decoderlab.training.drawn_outputs import draw
from decoderlab.training.reinforce import Reinforce
from tests.unit.whole_outputs import (
    ALLOWED,
    EOS,
    PAD,
    TOKENS,
    UNK,
    Prefixes,
    all_outputs,
    batch_of,
    error_rate,
    expected_cost,
    gradient,
    longest_of,
)

TARGETS = [(4, 5, EOS), (5, EOS), (EOS,)]
MANY = 8000


def slopes_of_log_p(decoder, output, begin=0):
    """Return the gradient of log p of an output's tokens from `begin` on."""
    decoder.zero_grad()
    outputs = decoder(None, torch.tensor([output]))[0][:, ALLOWED].log_softmax(dim=-1)
    own = [outputs[step, ALLOWED.index(token)] for step, token in enumerate(output)]
    torch.stack(own)[begin:].sum().backward()
    return decoder.logits.grad.clone()


@pytest.mark.thinned(5)
@pytest.mark.parametrize("cost", ["symbol_error_rate", "inexact"])
@pytest.mark.parametrize("baseline", ["others", "greedy", "none"])
@pytest.mark.parametrize(("target", "ratio"), [((4, 5, EOS), 1.0), ((5, EOS), 1.5)])
def test_its_mean_is_the_gradient_of_the_expected_cost(target, ratio, baseline, cost):
    decoder = Prefixes()
    objective = Reinforce(
        target_space=TOKENS, baseline=baseline, cost=cost, num_samples=2, length_ratio=ratio
    )
    total, count, found = gradient(objective, decoder, [target] * MANY)
    decoder.zero_grad()
    costs = {"symbol_error_rate": error_rate, "inexact": lambda one, other: float(one != other)}
    exact = expected_cost(decoder, target, ratio, costs[cost])
    exact.backward()
    expected = decoder.logits.grad
    assert count == MANY * len(target)
    assert total / count == pytest.approx(float(exact.detach()), abs=0.02)
    assert float(expected.abs().max()) > 0.02
    assert torch.allclose(found / count, expected, atol=0.01)


@pytest.mark.parametrize("baseline", ["others", "none"])
def test_it_is_the_formula_over_what_was_drawn(baseline):
    decoder = Prefixes()
    objective = Reinforce(target_space=TOKENS, baseline=baseline, num_samples=3)
    objective.at_step(0, 9)
    total, _, found = gradient(objective, decoder, TARGETS)
    encoded, batch = batch_of(*TARGETS)
    drawn = [
        draw(decoder, encoded, batch, TOKENS, seed=9, number=n, length_ratio=1.5) for n in range(3)
    ]
    expected, value = torch.zeros_like(found), 0.0
    for row, target in enumerate(TARGETS):
        outputs = [tuple(t for t in ids[row].tolist() if t != PAD) for ids in drawn]
        costs = [error_rate(output, target) for output in outputs]
        value += len(target) * sum(costs) / 3
        for number, output in enumerate(outputs):
            others = [cost for other, cost in enumerate(costs) if other != number]
            less = sum(others) / 2 if baseline == "others" else 0.0
            slopes = slopes_of_log_p(decoder, output)
            expected += len(target) * (costs[number] - less) * slopes / 3
    assert total == pytest.approx(value)
    assert torch.allclose(found, expected, atol=1e-10)
    assert float(expected.abs().max()) > 0.1


def test_a_tail_is_drawn_behind_the_targets_beginning():
    """MIXER: likelihood of the beginning, expected cost of the tail given that."""
    decoder, target = Prefixes(), (4, 5, EOS)
    objective = Reinforce(target_space=TOKENS, num_samples=2, start_step=10, tail_steps=5)
    for step, tail in ((10, 1), (14, 1), (15, 2), (24, 3), (90, 3)):
        objective.at_step(step, step)
        total, count, found = gradient(objective, decoder, [target] * MANY)
        forced = target[: 3 - tail]
        outputs = [one for one in all_outputs(longest_of(target, 1.5)) if one[: 3 - tail] == forced]
        log_p = [decoder.log_p(one) - decoder.log_p(forced) for one in outputs]
        expected = sum(
            torch.tensor(p).exp() * error_rate(one, target)
            for p, one in zip(log_p, outputs, strict=True)
        )
        nats = plain_nats(decoder, target, len(forced))
        assert count == 3 * MANY
        assert total / MANY == pytest.approx(3 * float(expected) + nats, abs=0.05)
        slopes = sum(
            3
            * torch.tensor(p).exp()
            * error_rate(one, target)
            * slopes_of_log_p(decoder, one, len(forced))
            for p, one in zip(log_p, outputs, strict=True)
        )
        slopes = slopes + nats_slopes(decoder, target, len(forced))
        assert torch.allclose(found / MANY, slopes, atol=0.03)


def _nats(decoder, target, number):
    outputs = decoder(None, torch.tensor([target]))[0].log_softmax(dim=-1)
    return -sum((outputs[step, target[step]] for step in range(number)), torch.zeros(()))


def plain_nats(decoder, target, number):
    """Return the negative log-likelihood of the first tokens."""
    return float(_nats(decoder, target, number).detach())


def nats_slopes(decoder, target, number):
    """Return its gradient."""
    decoder.zero_grad()
    if number:
        _nats(decoder, target, number).backward()
        return decoder.logits.grad.clone()
    return torch.zeros_like(decoder.logits)


def test_likelihood_comes_before_and_has_a_share_afterwards():
    decoder = Prefixes()
    parts = [
        Reinforce(target_space=TOKENS, start_step=5, likelihood_ratio=ratio) for ratio in (0, 0.25)
    ]
    plain = sum(plain_nats(decoder, target, len(target)) for target in TARGETS)
    for part in parts:
        assert gradient(part, decoder, TARGETS)[0] == pytest.approx(plain)
        part.at_step(5, 3)
    (risk, _, slopes), (mixed, _, both) = (gradient(part, decoder, TARGETS) for part in parts)
    likelihood = sum(nats_slopes(decoder, target, len(target)) for target in TARGETS)
    assert mixed == pytest.approx(0.75 * risk + 0.25 * plain)
    assert torch.allclose(both, 0.75 * slopes + 0.25 * likelihood)


def test_draws_are_those_of_the_step():
    decoder, objective = Prefixes(), Reinforce(target_space=TOKENS)
    losses = []
    for seed in (1, 2, 1):
        objective.at_step(10, seed)
        losses.append(gradient(objective, decoder, TARGETS)[0])
    assert losses[0] == losses[2] != losses[1]


def test_a_target_is_forced_up_to_an_unknown_token():
    decoder = Prefixes()
    objective = Reinforce(target_space=TOKENS, tail_steps=1)
    gradient(objective, decoder, [(4, UNK, 5, EOS)])
    drawn = [target for target, _ in decoder.shown[1:]]
    assert len(drawn) == 4
    assert all(int(output[0, 0]) == 4 and UNK not in output for output in drawn)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_samples": 1}, "baseline=others"),
        ({"baseline": "learned"}, "baseline is 'learned'"),
        ({"cost": "bleu"}, "cost is 'bleu'"),
        ({"tail_steps": 0}, "tail_steps is 0"),
        ({"start_step": -1}, "start_step is -1"),
        ({"target_space": ValueSpace(2)}, "training/objective=likelihood"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Reinforce(**{"target_space": TOKENS, **settings})
