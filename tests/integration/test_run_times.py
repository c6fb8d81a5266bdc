"""How long planned runs will take: what is timed, and what is taken from others."""

from __future__ import annotations

import math

import pytest

from decoderlab.config.run_config import RunConfig
from decoderlab.studies.design import timing
from decoderlab.training.prepared_run import prepare
from tests.conftest import composed, run


def two_seconds(config: RunConfig, task: object, flops: float) -> timing.Times:
    return timing.Times(update=2.0, example=0.0, validated=0.0, flops=flops)


def test_the_estimate_is_that_of_pending_runs(planned):
    plan = planned("seed=0,1")
    assert 0 < plan.seconds < 60
    longer = planned("seed=0,1", "training.max_steps=120000")
    assert longer.seconds > 20 * plan.seconds
    by_time = ("training.max_steps=null", "training.max_seconds=7", "evaluation.every_steps=99999")
    timed = planned("seed=0,1", *by_time)
    assert timed.seconds == pytest.approx(14, rel=0.5)
    for one in plan.plan.cells:
        config = composed(*one.overrides)
        run(prepare(config, config.hydra.runtime.choices))
    done = planned("seed=0,1")
    assert (done.pending, done.seconds) == ([], 0.0)


def test_large_models_are_estimated_from_small_ones(planned, monkeypatch):
    monkeypatch.setattr(timing, "_time", two_seconds)
    both = ("decoder.hidden_size=8,64", "decoder=every_input")
    whole = planned(*both)
    small, large = whole.plan.cells
    assert small.steps == large.steps
    assert whole.seconds == 2 * 2.0 * small.steps  # each is timed
    monkeypatch.setattr(timing, "LARGE_MODEL", small.parameters + 1)
    ratio = large.flops / small.flops
    assert ratio > 2
    assert planned(*both).seconds == pytest.approx((1 + ratio) * 2.0 * small.steps)
    monkeypatch.setattr(timing, "LARGE_MODEL", 0)
    assert math.isnan(planned("decoder=every_input").seconds)


def test_models_that_differ_in_what_takes_no_time_are_timed_once(planned, monkeypatch):
    timed = []

    def once(config, task, flops):
        timed.append(config.training.batch_size)
        return two_seconds(config, task, flops)

    monkeypatch.setattr(timing, "_time", once)
    plan = planned(
        *("training.learning_rate=0.1,0.01", "training/schedule=constant,linear", "seed=0,1"),
        *("training.max_steps=10,20", "training.batch_size=8,16", "decoder=every_input"),
        *("training.weights_seed=1,2", "training.warmup_steps=0,5"),
    )
    assert len(plan.plan.cells) == 128
    assert plan.seconds == 2.0 * 64 * (10 + 20)
    assert sorted(timed) == [8, 16]
