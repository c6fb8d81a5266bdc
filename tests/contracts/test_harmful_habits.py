"""Planted defects of modules that keep count, seed generators, or change themselves."""

from __future__ import annotations

import random

import pytest
import torch

from tests.contracts.honest import Honest, assert_reported, outcomes

MODULE = "nothing_stays_in_the_module"
RANDOM = "all_that_is_random_is_declared"


class Always(Honest):
    """Dropout that evaluation does not turn off."""

    def written(self, outputs, t):
        return torch.nn.functional.dropout(outputs, 0.1, training=True)


def seeding(seed):
    class Seeding(Honest):
        def start(self, encoded):
            seed()
            return super().start(encoded)

    return Seeding


class Trains(Honest):
    def start(self, encoded):
        self.inner.train()
        return super().start(encoded)


class FiftiethCall(Honest):
    """Changes once it has been called so often."""

    calls = 0

    def written(self, outputs, t):
        self.calls += 1
        return outputs * (1 + (self.calls > 50))


class KeptById(Honest):
    """What was made of an encoding is kept, by the id of the object."""

    known = None

    def start(self, encoded):
        if self.known is None or self.known[0] != id(encoded.memory):
            self.known = id(encoded.memory), super().start(encoded)
        return self.known[1]


class Buffered(Honest):
    """Every step of an evaluation returns the same tensor, with other contents."""

    buffer = None

    def step(self, previous, state):
        outputs, state = super().step(previous, state)
        if self.buffer is None or self.buffer.shape != outputs.shape:
            self.buffer = outputs.detach().clone()
        return self.buffer.copy_(outputs.detach()), state

    def forward(self, encoded, target):
        state, outputs = self.start(encoded), []
        for previous in self.before(target).unbind(dim=1):
            output, state = super().step(previous, state)
            outputs.append(output)
        return torch.stack(outputs, dim=1)


class Scales(Honest):
    """Weights that are changed beside the optimizer."""

    def start(self, encoded):
        if self.training:
            self.inner.embedding.weight.data.mul_(0.99)
        return super().start(encoded)


DEFECTS = {
    "noise in evaluation": (Always, RANDOM, "in evaluation"),
    "torch seeded": (seeding(lambda: torch.manual_seed(0)), RANDOM, "of torch itself"),
    "Python seeded": (seeding(lambda: random.seed(0)), RANDOM, "of Python itself"),
    "training mode in evaluation": (Trains, MODULE, "inner puts itself into training mode"),
    "the fiftieth call": (FiftiethCall, MODULE, "in between"),
    "encoding kept by its id": (KeptById, MODULE, "before it was overwritten"),
    "outputs in a buffer": (Buffered, MODULE, "in between"),
    "weights scaled in training": (Scales, RANDOM, "again"),
}


@pytest.fixture(autouse=True)
def _generators():
    """Leave the generators of the process as they were."""
    kept = random.getstate()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(kept)


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_reported_by_name(name):
    kind, check, seen = DEFECTS[name]
    assert_reported(outcomes(kind, check), check, seen)
