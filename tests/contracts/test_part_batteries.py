"""The batteries of parts and metrics: ours pass, and each planted defect is caught by name."""

from __future__ import annotations

import re

import pytest
from torchmetrics import Metric

from decoderlab import metrics, testing
from decoderlab.decoders.bridges import Bridge, DenseBridge
from decoderlab.decoders.feedback import Feedback, ScheduledSampling
from decoderlab.metrics import ValueErrors
from decoderlab.testing.part_checks import BATTERIES, part_failures
from tests import parts
from tests.conftest import variants
from tests.contracts.wrong_parts import DEFECTS, SAMPLING, LastWeights

CHECKS = {
    "score": testing.check_score,
    "bridge": testing.check_bridge,
    "head": testing.check_head,
    "feedback": testing.check_feedback,
    "metric": testing.check_metric,
}


@pytest.mark.parametrize("name", [one for one in variants("decoder/attention") if one != "none"])
def test_our_scores_pass(name):
    testing.check_score(parts.attention(name).keywords["score"])


@pytest.mark.parametrize("name", variants("decoder/bridge"))
def test_our_bridges_pass(name):
    testing.check_bridge(parts.bridge(name))


@pytest.mark.parametrize("source", ["summary", "first"])
def test_bridges_pass_that_read_something_else(source):
    testing.check_bridge(DenseBridge, source=source, cell="hidden")


@pytest.mark.parametrize("name", variants("decoder/head"))
@pytest.mark.parametrize("chosen", [{}, {"tied": True}, {"rank": 2}, {"distribution": "gaussian"}])
def test_our_heads_pass(name, chosen):
    testing.check_head(parts.head(name, **chosen))


@pytest.mark.parametrize("name", variants("decoder/feedback"))
def test_our_feedbacks_pass(name):
    testing.check_feedback(parts.feedback(name))


def test_a_coin_per_sequence_passes():
    testing.check_feedback(ScheduledSampling, scope="sequence", **SAMPLING)


@pytest.mark.parametrize("name", metrics.__all__)
def test_our_metrics_pass(name):
    kind = getattr(metrics, name)
    if issubclass(kind, Metric) and kind.scores or kind is ValueErrors:
        testing.check_metric(kind)


def test_a_score_that_carries_something_passes():
    testing.check_score(LastWeights)


@pytest.mark.parametrize(
    ("kind", "make", "settings", "check"),
    DEFECTS,
    ids=[f"{make.__name__} {check}" for _, make, _, check in DEFECTS],
)
def test_a_planted_defect_is_caught_by_name(kind, make, settings, check):
    assert check in {one.check for one in part_failures(kind, make, **settings)}


def test_the_violation_names_the_class_and_the_checks():
    for kind, make, settings, check in DEFECTS[:: len(DEFECTS) // 4]:
        with pytest.raises(testing.ContractViolation, match=f"{make.__name__}(.|\\n)*{check}"):
            CHECKS[kind](make, **settings)


class RefusesAll(Bridge):
    def __init__(self, *, hidden_size):
        raise ValueError(f"hidden_size is {hidden_size}; there is none that fits")


def test_what_can_never_be_built_is_reported():
    (failure,) = part_failures("bridge", RefusesAll)
    assert re.search("refuses every encoder: hidden_size is 6", failure.seen)


class RefusesEveryTarget(Feedback):
    def __init__(self, *, target_space):
        raise ValueError(f"{target_space.kind} cannot be fed back")


def test_a_feedback_that_can_never_be_built_is_reported():
    (failure,) = part_failures("feedback", RefusesEveryTarget)
    assert "tokens, values: real values cannot be fed back" in failure.seen


def test_there_is_a_battery_for_each_kind():
    assert set(BATTERIES) == {"cell", *CHECKS}
    assert all(sum(kind == one for one, *_ in DEFECTS) >= 3 for kind in CHECKS), (
        "three planted defects of each kind"
    )
