"""From a command line's settings to a run's config, and from that to the id of the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from decoderlab.common.folders import conf_dir
from decoderlab.config.completion import find_target, targets_in
from decoderlab.config.environment import foreign_code
from decoderlab.config.errors import ConfigError
from decoderlab.config.messages import explain
from decoderlab.config.run_config import BUILT, RunConfig

# Raised when what a run id covers or means changes, so that old runs are not taken for new ones.
FORMAT = 4


def compose_config(overrides: Sequence[str]) -> RunConfig:
    """Return the config that a command line of these settings would give, without one.

    Args:
        overrides: as for decoderlab-train: `["task=echo", "decoder=luong", "seed=1"]`.

    Raises:
        ConfigError: for a setting that cannot be read, or as `RunConfig.from_composed`.

    Example:
        >>> compose_config(["task=echo", "decoder=luong", "seed=3"]).choices.decoder
        'luong'
    """
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            composed = hydra.compose("train", list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from error
    return RunConfig.from_composed(composed, composed.hydra.runtime.choices)


def run_id(config: RunConfig, fingerprint: str) -> str:
    """Return the sha256 that names a run: its scientific config, its data, and foreign classes.

    Paths are left out: the same data in another folder are the same run. Of a class from outside
    decoderlab, the source counts: when it is edited, the runs are others.

    Args:
        config: of the run.
        fingerprint: of the data, see `TaskData`.
    """
    scientific = config.scientific()
    built = {group: scientific[group] for group in BUILT}
    scientific["task"] = _without_paths(scientific["task"])
    record = {"format": FORMAT, "data": fingerprint, **scientific}
    targets = [find_target(group, name) for group in BUILT for _, name in targets_in(built[group])]
    foreign = [code for target in targets if (code := foreign_code(target)) is not None]
    if foreign:
        record["code"] = foreign
    return hashlib.sha256(canonical(record).encode()).hexdigest()


def _without_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_paths(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if key != "path" and not key.endswith("_path")
    }


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
