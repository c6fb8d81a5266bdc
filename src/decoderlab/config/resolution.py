"""From a composed Hydra config to checked, complete, plain settings, and from those to a run id."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from decoderlab.common import require
from decoderlab.config.environment import foreign_code
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


class ConfigError(ValueError):
    """A config that cannot run. The message names field, value, what is allowed and the fix."""


class LaunchError(Exception):
    """A sweep that cannot go on, with a config that is right; the same command may help."""


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
        metrics = settings.pop("metrics", None) if group == "task" else None
        settings = complete(group, target, settings, injected=INJECTED[group])
        if hasattr(target, "canonical"):
            settings = call(group, target.canonical, settings=settings)
        plain[group] = {"_target_": plain[group]["_target_"], **settings}
        if group == "task":
            plain[group]["metrics"] = _metrics(target, settings, metrics)
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


def _metrics(task: Any, settings: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """Return the metrics of a task in full: its own, and those given; null leaves a metric out."""
    if not isinstance(given, Mapping | None):
        raise ConfigError(
            f"task.metrics is {given!r}; it must be metrics by name: +metric@task.metrics.NAME=NAME"
        )
    own = task.own_metrics(settings) if hasattr(task, "own_metrics") else {}
    metrics = {}
    for name, metric in (own | dict(given or {})).items():
        group = f"task.metrics.{name}"
        if metric is None:
            continue
        if not isinstance(metric, Mapping) or "_target_" not in metric:
            raise ConfigError(
                f"{group} is {metric!r}, which names no class; choose a metric of conf/metric: "
                f"+metric@{group}=NAME"
            )
        target = find_target(group, metric["_target_"])
        rest = {key: value for key, value in metric.items() if key != "_target_"}
        metrics[name] = {"_target_": metric["_target_"], **complete(group, target, rest)}
    return metrics


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


def targets_in(config: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every `_target_` in a config, with its dotted name."""
    for key, value in config.items():
        if key == "_target_":
            yield f"{name}_target_", str(value)
        elif isinstance(value, Mapping):
            yield from targets_in(value, f"{name}{key}.")


def find_target(group: str, name: str) -> Callable:
    """Return the class or function a `_target_` names."""
    try:
        return get_object(name)
    except Exception as error:  # whatever importing somebody's module raises
        raise ConfigError(
            f"{group}._target_ is {name!r}, which cannot be imported "
            f"({error.__cause__ or error}); check its spelling, or give its folder as --config-dir"
        ) from error


def call(group: str, target: Callable, /, **settings: Any) -> Any:
    """Call a constructor; its ValueError becomes a ConfigError that names the group."""
    try:
        return target(**settings)
    except ValueError as error:
        raise ConfigError(f"{group}: {error}") from error


def complete(
    group: str, target: Callable, settings: Mapping[str, Any], injected: Sequence[str] = ()
) -> dict[str, Any]:
    """Check settings against a constructor's signature and fill its defaults in.

    Args:
        group: the config group, for messages.
        target: the constructor.
        settings: what the config gives it.
        injected: keywords that the assembly will add.

    Raises:
        ConfigError: for an unknown or missing key, or a value of the wrong type.
    """
    parameters = inspect.signature(target).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {
        name: p
        for name, p in parameters.items()
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) and name not in injected
    }
    for key in settings:
        if key not in named and not open_ended:
            hint = require.did_you_mean(key, named)
            if key == group:
                hint = " A YAML of several groups begins with the line '# @package _global_'."
            raise ConfigError(
                f"{group}.{key} is not a setting of {target.__name__}; it has "
                f"{', '.join(named) or 'none'}.{hint}"
            )
    hints = _hints(target)
    completed = {}
    for name, parameter in named.items():
        if name in settings:
            completed[name] = _typed(f"{group}.{name}", settings[name], hints.get(name, Any))
        elif parameter.default is inspect.Parameter.empty:
            raise ConfigError(f"{group}.{name} is missing; give it as {group}.{name}=VALUE")
        else:
            completed[name] = _expanded(f"{group}.{name}", parameter.default, hints.get(name, Any))
    return completed | {key: value for key, value in settings.items() if key not in named}


def run_id(config: Mapping[str, Any], fingerprint: str) -> str:
    """Return the sha256 that names a run: its scientific config, its data, and foreign classes.

    Paths are left out: the same data at another place is the same run. Of a class from outside
    decoderlab, the source counts: when it is edited, the runs are others.

    Args:
        config: from `resolve`.
        fingerprint: of the data, see `TaskData`.
    """
    scientific = {key: config[key] for key in SCIENTIFIC}
    scientific["task"] = _without_paths(config["task"])
    record = {"format": FORMAT, "data": fingerprint, **scientific}
    targets = [find_target(group, name) for group in BUILT for _, name in targets_in(config[group])]
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


def _hints(target: Callable) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        return {}


def _expanded(name: str, value: Any, hint: Any) -> Any:
    """Return the settings of a part (see `common.parts`) in full, anything else as it is."""
    for kind in _kinds(hint):
        if dataclasses.is_dataclass(kind):
            first = dataclasses.fields(kind)[0]
            if value is None and first.default is not None:
                return None  # there is no such part at all
            return complete(
                name, kind, value if isinstance(value, Mapping) else {first.name: value}
            )
    return value


def _typed(name: str, value: Any, hint: Any) -> Any:
    """Return the value as its annotation wants it; raise ConfigError where it cannot be."""
    value = _expanded(name, value, hint)
    for kind in _kinds(hint):
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if kind is Any or (
            isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
        ):
            return value
    allowed = " or ".join("null" if kind is type(None) else kind.__name__ for kind in _kinds(hint))
    raise ConfigError(f"{name} is {value!r} ({type(value).__name__}); it must be {allowed}")


def _kinds(hint: Any) -> list[Any]:
    """Return the plain types an annotation admits, or [Any] for what is not checked here."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(hint) for kind in _kinds(part)]
    if hint is None or hint is type(None):
        return [type(None)]
    if hint in (int, float, bool, str):
        return [hint]
    if origin in (list, Sequence):
        return [list, tuple]
    if origin in (dict, Mapping):
        return [dict]
    if dataclasses.is_dataclass(hint):
        return [hint]
    return [Any]
