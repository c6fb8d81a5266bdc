"""Runs that begin with the state of a finished run, or with its encoder."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from decoderlab.common.bounded_reading import read_json
from decoderlab.common.digests import MAX_FILE_BYTES
from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.common.progress import say
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import (
    PARENT_ADVICE,
    differences_of_encoders,
    differences_of_models,
    encoder_weights,
)
from decoderlab.data.task import Task
from decoderlab.records.checkpoints import (
    AtomicCheckpointIO,
    verify,
    weight_differences,
)
from decoderlab.records.opened_run import OpenedRun, open_run
from decoderlab.records.run_folder import RunFolder

# Of the differences of two runs a message has so many.
SHOWN = 5


def open_parent(setting: str, path: str) -> OpenedRun:
    """Open a finished run that another run begins with.

    Args:
        setting: that names it, for messages.
        path: of its folder.

    Raises:
        ConfigError: if it is not the folder of a finished run whose records are whole.
    """
    folder = RunFolder(Path(path).expanduser())
    try:
        status = folder.recorded_status()["status"] if folder.path.is_dir() else "not there"
        if status != "FINISHED":
            raise ConfigError(
                f"{setting} is {path!r}, which is not the folder of a finished run (it is "
                f"{status}); {PARENT_ADVICE}"
            )
        return open_run(folder)
    except Invalid as error:
        raise ConfigError(f"{setting}: {error}") from error


def checked_parent(config: RunConfig, task: Task, identity: Mapping[str, Any]) -> OpenedRun | None:
    """Return the run that a run begins with; None for a run of its own.

    Args:
        config: of the run.
        task: with its data.
        identity: of the run.

    Raises:
        ConfigError: for one that the run cannot begin with.
    """
    encoder_from = config.encoder_start.from_run
    if (path := config.training.from_run) is not None:
        parent = open_parent("training.from_run", path)
        if encoder_from is not None and not encoder_weights(parent.manifest.identity):
            raise ConfigError(
                "training.from_run and encoder.from_run are both given, but a run begins once, and "
                f"{path} did not begin with the encoder of another run; leave one of them out"
            )
        _check_whole(config, task, identity, parent)
        return parent
    if encoder_from is None:
        return None
    parent = open_parent("encoder.from_run", encoder_from)
    _check_encoder(task, identity, parent)
    return parent


def _check_whole(
    config: RunConfig, task: Task, identity: Mapping[str, Any], parent: OpenedRun
) -> None:
    known = parent.manifest.identity
    _check_same("training", differences_of_models(known, identity))
    if known["data"] != identity["data"]:
        raise ConfigError(
            "training.from_run names a run on other data; to begin with its encoder alone, give "
            "encoder.from_run"
        )
    done, spent = parent.result.steps, parent.result.train_seconds
    batches = task.train_dataloader().batches_per_epoch
    steps, seconds = config.total_steps(batches), config.training.max_seconds
    if (steps is not None and steps <= done) or (seconds is not None and seconds <= spent):
        budget, more = f"{seconds or 0:g} s", f"training.max_seconds={math.ceil(spent) + 60}"
        if steps is not None:
            budget, more = f"{steps:,} updates", f"training.max_steps={done + 1000}"
        raise ConfigError(
            f"training.from_run names a run of {done:,} updates and {spent:.0f} s, and the budget "
            f"is {budget}; it counts what the parent has done, so give more: {more}"
        )


def _check_encoder(task: Task, identity: Mapping[str, Any], parent: OpenedRun) -> None:
    _check_same("encoder", differences_of_encoders(parent.manifest.identity, identity))
    read = read_json(parent.folder.vocabularies).get("source")
    if read != json.loads(json.dumps(task.data.record()["source"])):
        raise ConfigError(
            "encoder.from_run names a run whose sources have another vocabulary or scale, so that "
            "its encoder would read other tokens under the same numbers; give a run on the same "
            "sources"
        )


def _check_same(group: str, differences: Iterable[str]) -> None:
    if mismatches := list(differences):
        more = f", and {len(mismatches) - SHOWN} more" if len(mismatches) > SHOWN else ""
        raise ConfigError(
            f"{group}.from_run: {', '.join(mismatches[:SHOWN])}{more}; give the same as the run "
            "that it names"
        )


def begin_with_encoder(model: nn.Module, config: RunConfig, identity: Mapping[str, Any]) -> None:
    """Give a model that has not been trained the encoder of another run, if its config says so.

    Args:
        model: of the run.
        config: of the run.
        identity: of the run; the weights must be those that it names.

    Raises:
        ConfigError: if the weights are others, damaged, or do not fit.
    """
    path = config.encoder_start.from_run
    if path is None or config.training.from_run is not None:
        return
    parent = open_parent("encoder.from_run", path)
    file = parent.folder.path / parent.manifest.best
    try:
        verify(file, encoder_weights(identity), MAX_FILE_BYTES)
        weights = AtomicCheckpointIO().load_checkpoint(file)["state_dict"]
    except Invalid as error:
        raise ConfigError(f"encoder.from_run: {error}") from error
    own = {
        name.removeprefix("encoder."): value
        for name, value in weights.items()
        if name.startswith("encoder.")
    }
    encoder = model.get_submodule("encoder")
    if mismatches := weight_differences(encoder, {"state_dict": own}):
        raise ConfigError(f"encoder.from_run: the weights do not fit: {mismatches}")
    encoder.load_state_dict(own)
    say(f"the encoder is that of {parent.folder.path}")
