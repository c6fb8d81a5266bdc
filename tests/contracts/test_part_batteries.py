"""Batteries of parts, metrics and objectives: ours pass, each planted defect is caught by name."""

from __future__ import annotations

import re

import pytest
from torchmetrics import Metric

from decoderlab import metrics, testing
from decoderlab.cli.check import main
from decoderlab.common.part_building import maker
from decoderlab.config.run_config import RunConfig
from decoderlab.decoders.bridges import Bridge, DenseBridge
from decoderlab.decoders.feedback import Feedback, ScheduledSampling
from decoderlab.metrics import ValueErrors
from decoderlab.testing.part_checks import BATTERIES, part_failures, subject_of
from decoderlab.training.minimum_risk import MinimumRisk
from decoderlab.training.objective import Likelihood
from tests import parts
from tests.conftest import composed, variants
from tests.contracts.wrong_objectives import OBJECTIVE_DEFECTS, UNUSUAL, Huber, Margin, WrongSign
from tests.contracts.wrong_parts import PART_DEFECTS, SAMPLING, LastWeights
from tests.contracts.wrong_tensor_parts import TENSOR_PART_DEFECTS

DEFECTS = PART_DEFECTS + OBJECTIVE_DEFECTS + TENSOR_PART_DEFECTS

CHECKS = {
    "attention_score": testing.check_attention_score,
    "bridge": testing.check_bridge,
    "head": testing.check_head,
    "feedback": testing.check_feedback,
    "metric": testing.check_metric,
    "objective": testing.check_objective,
    "combination": testing.check_combination,
    "mixing": testing.check_mixing,
    "pooling": testing.check_pooling,
    "decay": testing.check_decay,
}


@pytest.mark.parametrize("name", [one for one in variants("decoder/attention") if one != "none"])
def test_our_scores_pass(name):
    testing.check_attention_score(parts.attention(name).keywords["score"])


@pytest.mark.parametrize("name", variants("decoder/bridge"))
def test_our_bridges_pass(name):
    testing.check_bridge(parts.bridge(name))


@pytest.mark.parametrize("source", ["summary", "first"])
def test_bridges_pass_that_read_something_else(source):
    testing.check_bridge(DenseBridge, source=source, cell="hidden")


HEAD_SETTINGS = ({}, {"tied": True}, {"rank": 2}, {"distribution": "gaussian"})
HEADS = [
    (name, chosen)
    for name in variants("decoder/head")
    for chosen in HEAD_SETTINGS
    if name != "pointer" or "distribution" not in chosen  # it writes tokens alone
]


@pytest.mark.parametrize(("name", "chosen"), HEADS)
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


@pytest.mark.parametrize(
    ("name", "chosen"),
    [(name, {}) for name in variants("training/objective")]
    + [("likelihood", {"label_smoothing": share}) for share in (0.1, 0.9)]
    + [("reinforce", {"baseline": "greedy", "tail_steps": 1, "likelihood_ratio": 0.5})]
    + [("minimum_risk", {"with_target": False, "cost": "inexact"})],
)
def test_our_objectives_pass(name, chosen):
    given = {f"training.objective.{key}": value for key, value in chosen.items()}
    config = RunConfig.from_composed(
        composed(f"training/objective={name}", *(f"{key}={value}" for key, value in given.items()))
    )
    made = maker("training.objective", config.training.objective.to_dict())
    testing.check_objective(made.func, **made.keywords)


@pytest.mark.parametrize("make", UNUSUAL)
def test_a_right_objective_of_an_unusual_kind_passes(make):
    testing.check_objective(make)


@pytest.mark.parametrize(
    ("make", "settings", "names"),
    [
        (Likelihood, {}, ["tokens", "means", "means and deviations"]),
        (Likelihood, {"label_smoothing": 0.1}, ["tokens"]),
        (Likelihood, {"without_eos": True}, ["tokens"]),
        (Margin, {}, ["tokens"]),
        (Huber, {}, ["means"]),
        (MinimumRisk, {}, ["tokens"]),
    ],
)
def test_an_objective_is_checked_over_every_kind_of_target_that_it_takes(make, settings, names):
    subject = subject_of("objective", make, settings)
    assert [case.name for case in subject.cases] == names


def test_an_objective_that_can_never_be_built_is_reported():
    (failure,) = part_failures("objective", Likelihood, label_smoothing=7)
    assert failure.seen.count("label_smoothing is 7") == 2
    (failure,) = part_failures("objective", lambda target_space: None)
    assert "takes tokens, but a call raises TypeError" in failure.seen


@pytest.mark.parametrize(
    ("settings", "code", "seen"),
    [
        (["training.objective.label_smoothing=0.2"], 0, "13 checks, 0 failed, 2 do not apply"),
        (["training.objective.without_eos=true"], 0, "13 checks, 0 failed, 2 do not apply"),
        (
            [f"training.objective._target_={WrongSign.__module__}.WrongSign"],
            1,
            "FAILED it falls when what is right becomes likelier: over tokens",
        ),
        (["training/objective=reinforce"], 0, "13 checks, 0 failed, 3 do not apply"),
        (["training.objective.label_smoothing=7"], 2, "tokens: label_smoothing is 7"),
        (["+training.objective.smooth=7"], 2, "training.objective.smooth is not a setting"),
    ],
)
def test_an_objective_is_checked_by_name(settings, code, seen, monkeypatch, capsys):
    arguments = ["decoderlab-check", "training/objective=likelihood", *settings]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr()
    assert stop.value.code == code
    assert seen in " ".join((printed.out + printed.err).split())


def test_every_check_of_objectives_has_a_planted_defect():
    assert {check for *_, check in OBJECTIVE_DEFECTS} == {
        check.__name__ for check in BATTERIES["objective"][1]
    }


class AsLongAsTheSource(Metric):
    """Right: an outcome of each example by its output and its source, whatever the target."""

    scores = (
        metrics.MetricScore(name="as_long", better="max", low=0, high=1, worst=0, per_example=True),
    )
    reads_source = True

    def __init__(self):
        super().__init__()
        self.add_state("outcomes", [], dist_reduce_fx="cat")

    def update(self, predictions, references, sources):
        pairs = zip(predictions, sources, strict=True)
        self.outcomes += [len(made) == len(source.split()) for made, source in pairs]

    def compute(self):
        return sum(self.outcomes) / len(self.outcomes)


def test_a_metric_that_reads_sources_passes():
    testing.check_metric(AsLongAsTheSource)


def test_a_score_that_carries_something_passes():
    testing.check_attention_score(LastWeights)


@pytest.mark.thinned
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
