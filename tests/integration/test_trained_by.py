"""Optimizers, schedules and objectives: chosen by YAMLs, checked, and what they compute."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from decoderlab.common.errors import ConfigError
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import run_id
from decoderlab.contract import Batch, TokenSpace, ValueSpace
from decoderlab.training.assembly import build_networks, build_objective
from decoderlab.training.objective import negative_log_likelihood
from decoderlab.training.optimizers import (
    KerasAdam,
    check_optimizer,
    make_optimizer,
    make_schedule,
    rate_factors,
)
from tests.conftest import composed, variants

TOKENS = TokenSpace(9)


def config_of(*overrides: str) -> RunConfig:
    return RunConfig.from_composed(composed(*overrides))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1, 1, 0.8535534, 0.5, 0.1464466]),
        ("exponential", [0.5, 1, 1, 0.1**0.25, 0.1**0.5, 0.1**0.75]),
        ("halving", [0.5, 1, 1, 1, 0.5, 0.25]),
        ("inverse_sqrt", [0.5, 1, (2 / 3) ** 0.5, 0.5**0.5, (2 / 5) ** 0.5, (1 / 3) ** 0.5]),
    ],
)
def test_schedules(schedule, expected):
    given = [f"training/schedule={schedule}", "training.warmup_steps=2"]
    if schedule == "halving":
        given.append("training.schedule.num_decays=2")
    training = config_of(*given).training
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer, scheduler = make_optimizer(training, [weight], 6)
    rates = []
    for _ in expected:
        rates.append(optimizer.param_groups[0]["lr"] / training.learning_rate)
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx(expected, rel=1e-5)


def test_every_schedule_is_tested():
    assert set(variants("training/schedule")) == {
        "constant", "linear", "cosine", "exponential", "halving", "inverse_sqrt"
    }  # fmt: skip


def test_the_rate_is_halved_as_in_the_papers():
    def halved(ratio, number, epochs):
        training = config_of(
            "training/schedule=halving",
            f"training.schedule.decay_start_ratio={ratio}",
            f"training.schedule.num_decays={number}",
        ).training
        factor = rate_factors(training, make_schedule(training), 100 * epochs)
        return [factor(step) for step in range(99, 100 * epochs, 100)]

    # Luong et al. 2015: ten epochs, halved every epoch after five.
    assert halved(0.5, 5, 10) == [1] * 5 + [0.5, 0.25, 0.125, 0.0625, 0.03125]
    # Sutskever et al. 2014, here in half epochs: fifteen of them, halved every one after ten.
    assert halved(0.6667, 5, 15) == [1] * 10 + [0.5, 0.25, 0.125, 0.0625, 0.03125]


@pytest.mark.parametrize("name", variants("training/optimizer"))
def test_every_optimizer_takes_a_step_with_the_rate_that_is_given(name):
    weight = torch.nn.Parameter(torch.ones(2))
    training = config_of(f"training/optimizer={name}", "training.learning_rate=0.1").training
    check_optimizer(training)
    optimizer, schedule = make_optimizer(training, [weight], 6)
    assert schedule is None, "a constant rate needs none"
    assert optimizer.param_groups[0]["lr"] == 0.1
    weight.sum().backward()
    optimizer.step()
    assert (weight < 1).all()


@pytest.mark.parametrize("name", sorted({*variants("training/optimizer")} - {"keras_adam"}))
def test_a_yaml_of_ours_changes_nothing_of_torch_but_speed_and_zeilers_numbers(name):
    """What a YAML writes out is torch's default: it is there to be changed."""

    def plain(value):
        return list(value) if isinstance(value, tuple) else value

    training = config_of(f"training/optimizer={name}").training
    weight = torch.nn.Parameter(torch.ones(2))
    ours, _ = make_optimizer(training, [weight], 6)
    theirs = type(ours)([weight], lr=training.learning_rate, weight_decay=0.0)
    (mine,), (other,) = ours.param_groups, theirs.param_groups
    changed = {key for key in other if key != "params" and plain(mine[key]) != plain(other[key])}
    assert changed - {"fused"} == ({"rho"} if name == "adadelta" else set())


def test_settings_of_an_optimizer_reach_it_and_are_checked():
    given = ["training/optimizer=adamw", "training.optimizer.eps=1e-7", "training.weight_decay=0.1"]
    optimizer, _ = make_optimizer(
        config_of(*given).training, [torch.nn.Parameter(torch.ones(1))], 1
    )
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["eps"] == 1e-7
    assert optimizer.param_groups[0]["weight_decay"] == 0.1
    with pytest.raises(ConfigError, match=r"training.optimizer: Invalid epsilon value: -1.0"):
        check_optimizer(config_of("training.optimizer.eps=-1").training)
    with pytest.raises(ConfigError, match=r"training.optimizer.epsilon is not a setting of Adam"):
        config_of("+training.optimizer.epsilon=1e-7")
    with pytest.raises(ConfigError, match=r"training.optimizer.eps is 'small'"):
        config_of("training.optimizer.eps=small")
    with pytest.raises(
        ConfigError, match=r"training.weight_decay is 0.1, but .*KerasAdam has none"
    ):
        check_optimizer(config_of("training/optimizer=keras_adam", given[-1]).training)


def test_any_optimizer_of_torch_is_a_target_away():
    training = config_of(
        "training.optimizer={_target_: torch.optim.Adamax, betas: [0.9, 0.99], eps: 1e-8}",
        "~training.optimizer.amsgrad",
        "~training.optimizer.fused",
    ).training
    optimizer, _ = make_optimizer(training, [torch.nn.Parameter(torch.ones(1))], 1)
    assert isinstance(optimizer, torch.optim.Adamax)
    assert set(training.optimizer) == {"_target_", "betas", "eps"}


@pytest.mark.parametrize("name", ["optimizer", "schedule", "objective"])
def test_a_name_alone_says_how_to_choose(name):
    with pytest.raises(ConfigError, match=f"choose it: training/{name}=linear"):
        config_of(f"training.{name}=linear")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.schedule.decay_start_ratio=1.5", "decay_start_ratio is 1.5"),
        ("training.schedule.num_decays=0", "num_decays is 0"),
        ("training.schedule.num_decays=1.5", "must be int"),
    ],
)
def test_a_bad_schedule_is_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        make_schedule(config_of("training/schedule=halving", override).training)


def test_a_budget_in_seconds_does_not_go_with_an_end():
    seconds = ["training.max_steps=null", "training.max_seconds=3"]
    for name in ("constant", "inverse_sqrt"):
        make_schedule(config_of(*seconds, f"training/schedule={name}").training)
    for name in ("linear", "cosine", "exponential", "halving"):
        with pytest.raises(ConfigError, match="the last update is not known"):
            make_schedule(config_of(*seconds, f"training/schedule={name}").training)


def test_a_presets_schedule_can_be_exchanged():
    training = config_of("preset=luong2015", "training/schedule=linear").training
    assert training.schedule.to_dict() == {"_target_": "decoderlab.training.schedules.Linear"}


def test_an_objective_is_bound_to_its_targets():
    smooth = config_of("training.objective.label_smoothing=0.3")
    outputs, target = torch.randn(2, 3, 9), torch.tensor([[4, 5, 2], [6, 2, 0]])
    batch = Batch(target, torch.tensor([3, 2]), target, torch.arange(2))
    total, count = build_objective(smooth, TOKENS)(outputs, batch)
    expected, _ = negative_log_likelihood(outputs, target, TOKENS, 0.3)
    assert (total, count) == (expected, 5)
    with pytest.raises(ConfigError, match="label_smoothing is 0.3, but the targets are real"):
        build_objective(smooth, ValueSpace(2))
    with pytest.raises(ConfigError, match=r"training.objective: label_smoothing is 1"):
        build_objective(config_of("training.objective.label_smoothing=1"), TOKENS)


def test_each_of_them_makes_another_run():
    changes = [
        "training/optimizer=sgd",
        "training.optimizer.eps=1e-6",
        "training/schedule=linear",
        "training.objective.label_smoothing=0.1",
    ]
    ids = {run_id(config_of(*given), "data") for given in [[], *([one] for one in changes)]}
    assert len(ids) == 5
    plain = config_of()
    again = RunConfig.from_dict(plain.to_dict())
    assert again == plain
    assert run_id(again, "data") == run_id(plain, "data")


def test_a_part_keeps_its_settings_when_another_is_changed():
    config = config_of("training/schedule=halving", "training.schedule.num_decays=3")
    changed = config.with_setting("training.schedule.decay_start_ratio", 0.25)
    assert changed.training.schedule.arguments() == {"decay_start_ratio": 0.25, "num_decays": 3}
    assert config.get("training.schedule.num_decays") == 3
    longer = replace(config.training, max_steps=7)
    assert longer.schedule == config.training.schedule


def test_keras_adam_goes_on_from_a_checkpoint():
    def optimizer_of(value):
        weight = torch.nn.Parameter(value.clone())
        return weight, KerasAdam([weight], lr=0.1)

    def steps(weight, optimizer, number):
        for _ in range(number):
            optimizer.zero_grad()
            weight.square().sum().mul(1e-6).backward()  # so small that epsilon matters
            optimizer.step()

    weight, optimizer = optimizer_of(torch.tensor([1.0, -2.0]))
    steps(weight, optimizer, 3)
    other, again = optimizer_of(weight.detach())
    again.load_state_dict(deepcopy(optimizer.state_dict()))
    steps(weight, optimizer, 3)
    steps(other, again, 3)
    assert torch.equal(weight, other)
    third = optimizer.param_groups[0]["epsilon"] / (1 - 0.999**6) ** 0.5
    assert optimizer.param_groups[0]["eps"] == third


@pytest.mark.parametrize("name", ["minimum_risk", "reinforce", "optimal_completion"])
@pytest.mark.parametrize("feedback", ["scheduled_sampling", "free_running"])
def test_only_one_of_objective_and_feedback_draws(name, feedback):
    config = config_of(f"training/objective={name}", f"decoder={feedback}")
    with pytest.raises(ConfigError, match="take decoder/feedback=teacher_forcing"):
        build_networks(config, TOKENS, TOKENS)


@pytest.mark.parametrize("name", ["minimum_risk", "reinforce", "optimal_completion"])
def test_the_coverage_loss_is_not_left_out_without_a_word(name):
    covered = ("decoder=luong", "decoder.attention.coverage_loss=1")
    build_networks(config_of(*covered), TOKENS, TOKENS)
    with pytest.raises(ConfigError, match="coverage_loss is about the target's"):
        build_networks(config_of(f"training/objective={name}", *covered), TOKENS, TOKENS)


@pytest.mark.parametrize("name", ["minimum_risk", "reinforce", "optimal_completion"])
def test_real_values_are_not_drawn(name):
    with pytest.raises(ConfigError, match="training/objective=likelihood"):
        build_objective(config_of(f"training/objective={name}"), ValueSpace(2))
