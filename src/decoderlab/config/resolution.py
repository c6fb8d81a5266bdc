"""From a composed Hydra config to checked, complete, plain settings, and from those to a run id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from decoderlab.common import require
from decoderlab.config.completion import call, complete, find_target, targets_in
from decoderlab.config.environment import foreign_code
from decoderlab.config.errors import ConfigError
from decoderlab.config.settings import Budget, Evaluation, Run, Study, Training

# What a run's result depends on; everything else in the config is how, where and why.
SCIENTIFIC = ("task", "encoder", "decoder", "training", "evaluation", "seed")
BUILT = ("task", "encoder", "decoder")
SETTINGS = {
    "training": Training,
    "evaluation": Evaluation,
    "run": Run,
    "budget": Budget,
    "study": Study,
}
INJECTED = {"task": (), "encoder": ("source_space",), "decoder": ("target_space", "encoder_shape")}
# Raised when what a run id covers or means changes, so that old runs are not taken for new ones.
FORMAT = 4


def resolve(config: DictConfig) -> dict[str, Any]:
    """Return a composed config as plain, complete, checked values.

    Interpolations are resolved, settings that a YAML leaves out get their constructor's default,
    and integers given for floats become floats, so that equal settings give equal configs. A class
    with a static method `canonical(settings)` sets back there what has no effect beside the rest.

    Raises:
        ConfigError: for anything missing, unknown, of the wrong type or out of range.
    """
    if "hydra" in config:
        config = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        where = error.full_key or "the config"
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{where}: {reason}; give it as {where}=VALUE") from error
    known = [*SCIENTIFIC, *SETTINGS, "paper"]
    for key in plain:
        if key not in known:
            raise ConfigError(
                f"{key} is not a setting; the config has {', '.join(dict.fromkeys(known))}."
                + require.did_you_mean(key, known)
            )
    for group in BUILT:
        if "_target_" not in (plain.get(group) or {}):
            raise ConfigError(
                f"{group} has no _target_; name the class to build, or a YAML: {group}=NAME"
            )
        target = find_target(group, plain[group]["_target_"])
        settings = {key: value for key, value in plain[group].items() if key != "_target_"}
        settings = complete(group, target, settings, injected=INJECTED[group])
        if hasattr(target, "canonical"):
            settings = call(group, target.canonical, settings=settings)
        plain[group] = {"_target_": plain[group]["_target_"], **settings}
        _fill(plain)  # once the task is there, and again what a name alone has become
    for group, kind in SETTINGS.items():
        if not isinstance(plain.get(group), dict):
            raise ConfigError(f"{group} is missing; leave it in the config")
        plain[group] = complete(group, kind, plain[group])
        call(group, kind, **plain[group])
    seed = plain.get("seed")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ConfigError(f"seed is {seed!r}; it must be an integer from 0 to {2**32 - 1}")
    return plain


def _fill(plain: dict[str, Any]) -> None:
    """Put in what null stands for with the config's task, which is resolved already."""
    task = find_target("task", plain["task"]["_target_"])
    for name, value in getattr(task, "fills", lambda settings: {})(plain["task"]).items():
        *groups, key = name.split(".")
        place: Any = plain
        for group in groups:
            place = place.get(group) if isinstance(place, dict) else None
        if isinstance(place, dict) and key in place and place[key] is None:
            place[key] = value


def run_id(config: Mapping[str, Any], fingerprint: str) -> str:
    """Return the sha256 that names a run: its scientific config, its data, and foreign classes.

    Paths are left out of the task: the same data at another place is the same run. Files that an
    encoder or decoder names, such as trained weights, count by their contents. Of a class from
    outside decoderlab, the source counts: when it is edited, the runs are others.

    Args:
        config: from `resolve`.
        fingerprint: of the data, see `TaskData`.
    """
    scientific = {key: config[key] for key in SCIENTIFIC}
    scientific["task"] = _without_paths(config["task"])
    for group in ("encoder", "decoder"):
        scientific[group] = _with_contents(config[group])
    record = {"format": FORMAT, "data": fingerprint, **scientific}
    targets = [find_target(group, name) for group in BUILT for _, name in targets_in(config[group])]
    foreign = [code for target in targets if (code := foreign_code(target)) is not None]
    if foreign:
        record["code"] = foreign
    return hashlib.sha256(canonical(record).encode()).hexdigest()


def _with_contents(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which the files that they name, such as weights, are their contents."""
    found = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found[key] = _with_contents(value)
        elif _is_path(key) and isinstance(value, str) and Path(value).is_file():
            with Path(value).open("rb") as file:
                found[key] = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            found[key] = value
    return found


def _is_path(key: str) -> bool:
    return key == "path" or key.endswith("_path")


def _without_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_paths(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if not _is_path(key)
    }


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
