"""What the pool is told: how many workers, which GPUs, which limit."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from decoderlab.common.errors import ConfigError
from decoderlab.config.run_config import trainer_of
from decoderlab.studies.execution.launchers import starter, visible_gpus
from tests.conftest import composed


def pool(jobs=None, time_limit_seconds=None, accelerator="cpu", threads=1):
    config = composed(f"trainer.accelerator={accelerator}", f"run.threads={threads}")
    return SimpleNamespace(jobs=jobs, time_limit_seconds=time_limit_seconds, config=config)


def test_there_are_as_many_workers_as_cores_or_gpus(monkeypatch):
    monkeypatch.setattr("loky.cpu_count", lambda: 8)
    assert starter(pool(), None)[1] == 8
    assert starter(pool(threads=3), None)[1] == 2
    assert starter(pool(jobs=5), None)[1] == 5
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert starter(pool(), None)[1] == 8
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for accelerator in ("gpu", "auto"):
        assert visible_gpus(trainer_of(pool(accelerator=accelerator).config)) == ["0", "1", "2"]
        assert starter(pool(accelerator=accelerator), None)[1] == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-ab")
    assert visible_gpus(trainer_of(pool(accelerator="gpu").config)) == ["5", "GPU-ab"]


@pytest.mark.parametrize(
    ("launcher", "batch", "message"),
    [
        (pool(jobs=0), None, "hydra.launcher.jobs is 0; it must be a number above 0"),
        (pool(jobs="two"), None, "hydra.launcher.jobs is 'two'"),
        (pool(time_limit_seconds=-1), None, "time_limit_seconds is -1"),
        (pool(), 3, "max_batch_size is 3; leave it out"),
    ],
)
def test_wrong_settings_of_the_pool_are_named(launcher, batch, message):
    with pytest.raises(ConfigError, match=message):
        starter(launcher, batch)
