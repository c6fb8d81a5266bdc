"""Loggers and callbacks are known by their classes, whatever derived ones are called."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest
import pytorch_lightning as pl
from pytorch_lightning import callbacks
from pytorch_lightning.callbacks import ModelCheckpoint as Original
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

from decoderlab.common.errors import ConfigError
from decoderlab.config.lightning_settings import WATCHING, changing_callbacks
from decoderlab.config.part_settings import PartSettings
from decoderlab.config.run_config import RunConfig
from decoderlab.records import loggers
from decoderlab.records.loggers import _filled, check_loggers
from decoderlab.records.trackio_logger import TrackioLogger
from tests.conftest import composed

ID = "0123456789abcdef" * 4


class Derived(WandbLogger):
    """With other defaults."""


class HandsOn(WandbLogger):
    """Takes what it does not know by name."""

    def __init__(self, *, colour: str = "red", **kwargs) -> None:
        super().__init__(**kwargs)
        self.colour = colour


class HandsOnLines(CSVLogger):
    """Takes what it does not know by name."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)


class Stranger(Logger):
    """Takes anything, and is none of Lightning's."""

    def __init__(self, **kwargs) -> None:
        super().__init__()


class NamedAlike:
    """No logger of W&B's."""

    def __init__(self, *, save_dir: str) -> None:
        self.save_dir = save_dir


NamedAlike.__name__ = NamedAlike.__qualname__ = "WandbLogger"


class DerivedTrackio(TrackioLogger):
    """With other defaults."""


@pytest.mark.parametrize(
    ("kind", "given", "filled"),
    [
        (WandbLogger, {}, {"save_dir", "name", "id", "resume"}),
        (Derived, {}, {"save_dir", "name", "id", "resume"}),
        (Derived, {"offline": True}, {"save_dir", "name", "id"}),
        (HandsOn, {}, {"save_dir", "name", "id", "resume"}),
        (HandsOnLines, {}, {"save_dir"}),
        (Stranger, {}, set()),
        (NamedAlike, {}, {"save_dir"}),
    ],
)
def test_a_derived_logger_takes_what_its_base_takes(tmp_path, kind, given, filled):
    taken = _filled(kind, given, tmp_path / "run", ID, 0)
    assert set(taken) == filled
    if "id" in filled:
        assert (taken["name"], taken["id"]) == ("run", ID[:32])
        assert taken.get("resume", "allow") == "allow"


@pytest.mark.parametrize(
    ("kind", "package"),
    [(Derived, "wandb"), (HandsOn, "wandb"), (DerivedTrackio, "trackio"), (HandsOnLines, None)],
)
def test_a_derived_logger_needs_the_package_of_its_base(monkeypatch, kind, package):
    monkeypatch.setattr(loggers, "_is_installed", lambda name: False)
    config = RunConfig.from_composed(composed("task=echo", "logger=none"))
    part = {"_target_": f"{__name__}.{kind.__name__}"}
    config = replace(config, logger=PartSettings({"mine": part}))
    if package is None:
        check_loggers(config)
        return
    with pytest.raises(ConfigError, match=f"logger.mine needs the package {package},"):
        check_loggers(config)


class ModelCheckpoint(Original):
    """Named as Lightning's, and does more."""

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        for group in trainer.optimizers[0].param_groups:
            group["lr"] /= 2


def test_only_lightnings_own_classes_are_known_to_watch():
    parts = {
        "own": {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint"},
        "deep": {"_target_": f"{Original.__module__}.ModelCheckpoint"},
        "derived": {"_target_": f"{__name__}.ModelCheckpoint"},
        "training": {"_target_": "pytorch_lightning.callbacks.EarlyStopping"},
    }
    assert issubclass(ModelCheckpoint, Original)
    assert set(changing_callbacks(parts)) == {"derived", "training"}


def test_the_classes_that_watch_are_lightnings_and_so_are_those_derived_there():
    known = dict(inspect.getmembers(callbacks, inspect.isclass))
    watching = {known[name] for name in WATCHING}
    assert all(issubclass(kind, pl.Callback) for kind in watching)
    derived = {name for name, kind in known.items() if issubclass(kind, tuple(watching))}
    assert derived == WATCHING
