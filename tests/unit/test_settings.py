from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch

from decoderlab.common.errors import ConfigError
from decoderlab.config.run_config import RunConfig
from decoderlab.config.settings import OPTIMIZERS
from decoderlab.training.prepared_run import check_gpus
from tests.conftest import composed


@pytest.fixture(scope="module")
def config():
    return RunConfig.from_composed(composed())


@pytest.mark.parametrize(
    ("group", "change", "message"),
    [
        ("training", {"max_epochs": 2}, "exactly one of"),
        ("training", {"max_steps": None}, "not given"),
        ("training", {"max_steps": 0}, "max_steps is 0"),
        ("training", {"learning_rate": float("nan")}, "positive"),
        ("training", {"learning_rate": float("inf")}, "positive"),
        ("training", {"optimizer": "adma"}, "Did you mean adam"),
        ("training", {"schedule": "cosin"}, "Did you mean cosine"),
        ("training", {"gradient_clip_norm": 0.0}, "gradient_clip_norm is 0"),
        ("training", {"batch_size": 0}, "batch_size is 0"),
        (
            "training",
            {"max_steps": None, "max_seconds": 3.0, "schedule": "linear"},
            "which update is the last",
        ),
        ("evaluation", {"select": "exact"}, "Did you mean exact_match"),
        ("training", {"weight_decay": float("inf")}, "weight_decay is inf"),
        ("evaluation", {"every_steps": 0}, "at least 1"),
        ("evaluation", {"beam_width": 0}, "beam_width is 0"),
        ("evaluation", {"top_k": 3}, "only with a temperature"),
        ("training", {"label_smoothing": 1.0}, "label_smoothing is 1"),
        ("training", {"num_decays": 0}, "num_decays is 0"),
        ("run", {"threads": 0}, "at least 1"),
        ("study", {"name": "../x"}, "use letters"),
        ("study", {"name": "a" * 81}, "between 1 and 80"),
        ("study", {"metric": "blue"}, "must be one of"),
    ],
)
def test_bad_values_are_refused(config, group, change, message):
    with pytest.raises(ValueError, match=message):
        replace(getattr(config, group), **change)


def test_gpus_that_are_not_there_are_refused(config, monkeypatch):
    wanted = replace(config.trainer, accelerator="gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="torch sees none"):
        check_gpus(wanted)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_gpus(replace(wanted, devices=2))
    with pytest.raises(ConfigError, match="trainer.devices is 3, but torch sees 2 GPUs"):
        check_gpus(replace(wanted, devices=3))


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
def test_schedules(config, schedule, expected):
    chosen = {"schedule": schedule, "warmup_steps": 2, "decay_start_ratio": 0.5, "num_decays": 2}
    training = replace(config.training, **chosen)
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer, scheduler = training.make_optimizer([weight], 6)
    rates = []
    for _ in expected:
        rates.append(optimizer.param_groups[0]["lr"] / training.learning_rate)
        optimizer.step()
        if scheduler:
            scheduler.step()
    assert rates == pytest.approx(expected, rel=1e-5)


def test_the_rate_is_halved_as_in_the_papers(config):
    def factors(ratio, number, epochs):
        chosen = {"schedule": "halving", "decay_start_ratio": ratio, "num_decays": number}
        training = replace(config.training, **chosen)
        return [training.factor(step, 100 * epochs) for step in range(99, 100 * epochs, 100)]

    # Luong et al. 2015: ten epochs, halved every epoch after five.
    assert factors(0.5, 5, 10) == [1] * 5 + [0.5, 0.25, 0.125, 0.0625, 0.03125]
    # Sutskever et al. 2014, here in half epochs: fifteen of them, halved every one after ten.
    assert factors(0.6667, 5, 15) == [1] * 10 + [0.5, 0.25, 0.125, 0.0625, 0.03125]


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_takes_a_step(config, name):
    weight = torch.nn.Parameter(torch.ones(2))
    training = replace(config.training, optimizer=name, learning_rate=0.1)
    optimizer, _ = training.make_optimizer([weight], 6)
    weight.sum().backward()
    optimizer.step()
    assert (weight < 1).all()


def test_a_constant_rate_needs_no_schedule(config):
    weight = torch.nn.Parameter(torch.zeros(1))
    assert config.training.make_optimizer([weight], 6)[1] is None


def test_budgets_in_epochs_become_updates(config):
    training = replace(config.training, max_steps=None, max_epochs=3)
    assert training.total_steps(7) == 21
    assert asdict(training)["max_epochs"] == 3
    part = replace(config.training, max_steps=None, max_epochs=7.5)
    assert part.total_steps(7) == 53


def test_the_earlier_step_wins_among_equals(config):
    evaluation = config.evaluation
    assert evaluation.better(0.5, None)
    assert evaluation.better(0.6, 0.5)
    assert not evaluation.better(0.5, 0.5)
    lower = replace(config.evaluation, select="loss")
    assert lower.better(0.4, 0.5)
    assert not lower.better(0.5, 0.5)
