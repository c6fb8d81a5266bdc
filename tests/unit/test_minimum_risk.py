"""Minimum risk: against all outputs of a tiny vocabulary, and the formula over a drawn subset."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from decoderlab.contract import ValueSpace
from decoderlab.training.drawn_outputs import draw
from decoderlab.training.minimum_risk import MinimumRisk
from tests.unit.whole_outputs import (
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
    slopes_agree,
)

TARGETS = [(4, 5, EOS), (5, EOS), (EOS,)]


def risk_of(candidates, decoder, target, sharpness, cost=error_rate):
    """Return equations 10 and 11 over a set of outputs, in NumPy."""
    weights = np.exp([sharpness * decoder.log_p(output) for output in candidates])
    values = [cost(output, target) for output in candidates]
    return float((weights / weights.sum() * values).sum())


@pytest.mark.thinned(4)
@pytest.mark.parametrize("sharpness", [0.005, 1.0, 3.0])
@pytest.mark.parametrize("target", TARGETS)
def test_over_all_outputs_it_is_the_formula(target, sharpness):
    decoder = Prefixes()
    objective = MinimumRisk(
        target_space=TOKENS, num_samples=600, sharpness=sharpness, length_ratio=1.0
    )
    total, count, _ = gradient(objective, decoder, [target])
    everything = list(all_outputs(len(target)))
    assert count == len(target)
    expected = len(target) * risk_of(everything, decoder, target, sharpness)
    assert total == pytest.approx(expected, abs=1e-10)


def test_of_all_outputs_the_gradient_is_that_of_the_expected_cost():
    decoder = Prefixes()
    objective = MinimumRisk(target_space=TOKENS, num_samples=600, sharpness=1, length_ratio=1)
    _, _, found = gradient(objective, decoder, [(4, 5, EOS)])
    decoder.zero_grad()
    (3 * expected_cost(decoder, (4, 5, EOS))).backward()
    assert torch.allclose(found, decoder.logits.grad, atol=1e-10)
    assert found.abs().max() > 1e-3


@pytest.mark.parametrize("with_target", [True, False])
def test_over_a_subset_it_is_the_formula_each_output_once(with_target):
    decoder, settings = Prefixes(), {"seed": 3, "length_ratio": 1.5}
    objective = MinimumRisk(
        target_space=TOKENS, num_samples=6, sharpness=0.7, with_target=with_target
    )
    objective.at_step(0, 3)
    total, count, _ = gradient(objective, decoder, TARGETS)
    encoded, batch = batch_of(*TARGETS)
    drawn = [draw(decoder, encoded, batch, TOKENS, number=n, **settings) for n in range(6)]
    expected, repeated = 0.0, 0
    for row, target in enumerate(TARGETS):
        outputs = [tuple(t for t in ids[row].tolist() if t != PAD) for ids in drawn]
        candidates = {*outputs, target} if with_target else {*outputs}
        repeated += len(outputs) - len({*outputs})
        expected += len(target) * risk_of(sorted(candidates), decoder, target, 0.7)
        assert max(map(len, outputs)) <= math.ceil(1.5 * len(target))
    assert repeated
    assert count == 6
    assert total == pytest.approx(expected, abs=1e-10)


def test_its_gradient_is_the_derivative():
    objective = MinimumRisk(target_space=TOKENS, num_samples=4, sharpness=0.5)
    assert slopes_agree(objective, Prefixes(), TARGETS)


def test_likelihood_comes_before_and_has_a_share_afterwards():
    decoder = Prefixes()
    parts = [
        MinimumRisk(target_space=TOKENS, start_step=5, likelihood_ratio=ratio)
        for ratio in (0.0, 0.25)
    ]
    before = [gradient(part, decoder, TARGETS)[0] for part in parts]
    outputs = decoder(None, batch_of(*TARGETS)[1].target).log_softmax(dim=-1).detach()
    plain = -sum(
        float(outputs[row, step, token])
        for row, target in enumerate(TARGETS)
        for step, token in enumerate(target)
    )
    assert before == pytest.approx([plain, plain])
    for objective in parts:
        objective.at_step(5, 8)
    risk, mixed = (gradient(part, decoder, TARGETS)[0] for part in parts)
    assert mixed == pytest.approx(0.75 * risk + 0.25 * plain)


def test_draws_are_those_of_the_step_and_made_without_dropout():
    decoder = Prefixes().train()
    objective = MinimumRisk(target_space=TOKENS, num_samples=3)
    losses = []
    for seed in (1, 2, 1):
        objective.at_step(10, seed)
        losses.append(gradient(objective, decoder, TARGETS)[0])
    assert losses[0] == losses[2] != losses[1]
    assert decoder.training
    assert all(training for _, training in decoder.shown)


def test_a_target_that_cannot_be_written_is_not_among_the_outputs():
    decoder = Prefixes()
    objective = MinimumRisk(target_space=TOKENS, num_samples=600, sharpness=1, length_ratio=1)
    total, _, slopes = gradient(objective, decoder, [(4, UNK, EOS)])
    everything = list(all_outputs(3))

    def cost(output, _):
        return error_rate(output, (4, 9, EOS))

    assert total == pytest.approx(3 * risk_of(everything, decoder, None, 1.0, cost))
    assert slopes.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_samples": 0}, "num_samples is 0"),
        ({"sharpness": 0.0}, "sharpness is 0"),
        ({"cost": "bleu"}, "cost is 'bleu'"),
        ({"length_ratio": 0.5}, "length_ratio is 0.5"),
        ({"likelihood_ratio": 1.0}, "likelihood_ratio is 1.0"),
        ({"start_step": -1}, "start_step is -1"),
        ({"target_space": ValueSpace(2)}, "training/objective=likelihood"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MinimumRisk(**{"target_space": TOKENS, **settings})
