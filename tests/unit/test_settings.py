from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch

from decoderlab.common.errors import ConfigError
from decoderlab.config.run_config import RunConfig
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
        ("training", {"optimizer": "adam"}, "choose it: training/optimizer=NAME"),
        ("training", {"schedule": {"decay_ratio": 0.1}}, "choose it: training/schedule=NAME"),
        ("training", {"gradient_clip_norm": 0.0}, "gradient_clip_norm is 0"),
        ("training", {"batch_size": 0}, "batch_size is 0"),
        ("training", {"weight_decay": float("inf")}, "weight_decay is inf"),
        ("evaluation", {"every_steps": 0}, "at least 1"),
        ("evaluation", {"beam_width": 0}, "beam_width is 0"),
        ("evaluation", {"top_k": 3}, "only with a temperature"),
        ("run", {"threads": 0}, "at least 1"),
        pytest.param("study", {"name": "../x"}, "use letters", marks=pytest.mark.fault(17)),
        pytest.param("study", {"name": "a" * 81}, "between 1 and 80", marks=pytest.mark.fault(17)),
    ],
)
@pytest.mark.fault(4)
def test_bad_values_are_refused(config, group, change, message):
    with pytest.raises(ValueError, match=message):
        replace(getattr(config, group), **change)


@pytest.mark.fault(39)
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


def test_budgets_in_epochs_become_updates(config):
    training = replace(config.training, max_steps=None, max_epochs=3)
    assert training.total_steps(7) == 21
    assert asdict(training)["max_epochs"] == 3
    part = replace(config.training, max_steps=None, max_epochs=7.5)
    assert part.total_steps(7) == 53
