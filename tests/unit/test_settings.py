from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from decoderlab.config.resolution import resolve
from decoderlab.config.settings import OPTIMIZERS, Evaluation, Run, Study, Training
from tests.conftest import composed


@pytest.fixture(scope="module")
def config():
    return resolve(composed())


@pytest.mark.parametrize(
    ("group", "kind", "change", "message"),
    [
        ("training", Training, {"max_epochs": 2}, "exactly one of"),
        ("training", Training, {"max_steps": None}, "not given"),
        ("training", Training, {"max_steps": 0}, "max_steps is 0"),
        ("training", Training, {"learning_rate": float("nan")}, "positive"),
        ("training", Training, {"learning_rate": float("inf")}, "positive"),
        ("training", Training, {"optimizer": "adma"}, "Did you mean adam"),
        ("training", Training, {"schedule": "cosin"}, "Did you mean cosine"),
        ("training", Training, {"gradient_clip_norm": 0.0}, "gradient_clip_norm is 0"),
        ("training", Training, {"batch_size": 0}, "batch_size is 0"),
        (
            "training",
            Training,
            {"max_steps": None, "max_seconds": 3.0, "schedule": "linear"},
            "which update is the last",
        ),
        ("training", Training, {"weight_decay": float("inf")}, "weight_decay is inf"),
        ("evaluation", Evaluation, {"every_steps": 0}, "at least 1"),
        ("evaluation", Evaluation, {"beam_width": 0}, "beam_width is 0"),
        ("evaluation", Evaluation, {"top_k": 3}, "only with a temperature"),
        ("training", Training, {"label_smoothing": 1.0}, "label_smoothing is 1"),
        ("training", Training, {"num_decays": 0}, "num_decays is 0"),
        ("run", Run, {"threads": 0}, "at least 1"),
        ("study", Study, {"name": "../x"}, "use letters"),
        ("study", Study, {"name": "a" * 81}, "between 1 and 80"),
    ],
)
def test_bad_values_are_refused(config, group, kind, change, message):
    with pytest.raises(ValueError, match=message):
        kind(**{**config[group], **change})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused(config):
    with pytest.raises(ValueError, match="torch sees none"):
        Run(**{**config["run"], "accelerator": "gpu"})


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
    training = Training(**{**config["training"], **chosen})
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
        training = Training(**{**config["training"], **chosen})
        return [training.factor(step, 100 * epochs) for step in range(99, 100 * epochs, 100)]

    # Luong et al. 2015: ten epochs, halved every epoch after five.
    assert factors(0.5, 5, 10) == [1] * 5 + [0.5, 0.25, 0.125, 0.0625, 0.03125]
    # Sutskever et al. 2014, here in half epochs: fifteen of them, halved every one after ten.
    assert factors(0.6667, 5, 15) == [1] * 10 + [0.5, 0.25, 0.125, 0.0625, 0.03125]


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_takes_a_step(config, name):
    weight = torch.nn.Parameter(torch.ones(2))
    training = Training(**{**config["training"], "optimizer": name, "learning_rate": 0.1})
    optimizer, _ = training.make_optimizer([weight], 6)
    weight.sum().backward()
    optimizer.step()
    assert (weight < 1).all()


def test_a_constant_rate_needs_no_schedule(config):
    weight = torch.nn.Parameter(torch.zeros(1))
    assert Training(**config["training"]).make_optimizer([weight], 6)[1] is None


def test_budgets_in_epochs_become_updates(config):
    training = Training(**{**config["training"], "max_steps": None, "max_epochs": 3})
    assert training.total_steps(7) == 21
    assert asdict(training)["max_epochs"] == 3
    part = Training(**{**config["training"], "max_steps": None, "max_epochs": 7.5})
    assert part.total_steps(7) == 53
