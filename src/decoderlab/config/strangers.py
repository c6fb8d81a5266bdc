"""What the config of a run folder may name, where nobody vouches for that folder.

A config names classes, and to build a class is to run code. A folder that comes from somewhere may
therefore name only the classes that ship in `conf`, each for its own setting: a class that a YAML
of `conf/task` names is allowed as a task, a class of `conf/decoder/bridge` as the bridge of a
decoder. Names are compared as they are written; nothing is imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from decoderlab.common.errors import ConfigError
from decoderlab.common.folders import conf_dir
from decoderlab.config.secret_settings import KEEPING

# The groups of conf whose classes a run is opened with. Callbacks and loggers are built only by
# whoever trains, see `decoderlab.training.assembly`; what a study varies, by its sweep.
GROUPS = ("task", "metric", "encoder", "decoder", "training")
NEVER_BUILT = ("callbacks", "logger", "study")
MAX_DEPTH = 20
# Of a study, where settings are given to its rows.
BUNDLES = (("factors",), ("variants",), ("references",))
REFERENCE = re.compile(r"\$\{[A-Za-z_][\w.]*\}")  # to another setting; no resolver
OF_ENVIRONMENT = re.compile(r"\$\{oc\.env:\w+(?:,[^}$]*)?\}")
Keys = tuple[str, ...]


def refuse_foreign(record: Mapping[str, Any], file: Path) -> None:
    """Raise ConfigError unless a config names our own classes alone, each where it belongs.

    Args:
        record: the config as it stands in its file; it is plain data.
        file: it came from, for the message.

    Raises:
        ConfigError: naming the setting, its value and the file.
    """
    for path, value in _leaves(record, ()):
        if complaint := _complaint(path, value):
            raise ConfigError(
                f"{file} names {'.'.join(path)} {str(value)[:200]!r}, which {complaint}; pass "
                "--trust (in Python: trust=True) if that code is yours"
            )


def _complaint(path: Keys, value: Any) -> str | None:
    """Return what is wrong with a value, or with the last key before it; None for nothing."""
    *where, key = path or ("the config",)
    if len(path) > MAX_DEPTH:
        return f"is nested more than {MAX_DEPTH} times, as no config of a run is"
    if isinstance(value, str) and "${" in value and not _left_as_text(path, value):
        return "is an interpolation: the config of a run is plain data"
    if "hydra" in path or any(name.startswith("_") for name in path if name != "_target_"):
        return "is a word of Hydra's and no setting of a run"
    if "_target_" in where:
        return "is not the name of a class"
    if key == "_target_" and (not where or path[0] not in NEVER_BUILT):
        group = group_of(tuple(where))
        allowed = shipped().get(group)
        if allowed is None:
            return f"is not a class of decoderlab: {'.'.join(where) or 'the config'} is not a part"
        if not isinstance(value, str) or value not in allowed:
            return f"is not a class of decoderlab for {'.'.join(where)}"
    return None


def _left_as_text(path: Keys, value: str) -> bool:
    """Whether a text has a place where nobody who opens a run resolves it, and a plain reference.

    That is what a study gives its rows, such as `${seed}`, which its sweep has resolved in each
    run's own settings; and the names of what loggers and callbacks are given by the environment.
    """
    if path[0] in KEEPING and path[-1] != value:  # which is a key
        return "${" not in OF_ENVIRONMENT.sub("", value)
    return path[0] == "study" and path[1:2] in BUNDLES and "${" not in REFERENCE.sub("", value)


def _leaves(value: Any, path: Keys) -> Iterator[tuple[Keys, Any]]:
    """Yield every key and value in nested mappings and lists, with its names."""
    if isinstance(value, Mapping | list | tuple) and (not value or len(path) > MAX_DEPTH):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(key, str) and "${" in key:
                yield (*path, key), key
            yield from _leaves(inner, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, f"[{index}]"))
    else:
        yield path, value


def group_of(where: Keys) -> str:
    """Return the group of conf that the class of a setting is chosen from.

    Example:
        >>> group_of(("task", "of")), group_of(("task", "metrics", "mine"))
        ('task', 'metric')
        >>> group_of(("decoder", "attention", "score"))
        'decoder.attention.score'
    """
    match where:
        case ("task", *inner) if set(inner) <= {"of"}:
            return "task"
        case ("task", "metrics", _):
            return "metric"
    return ".".join(where)


@cache
def shipped() -> dict[str, frozenset[str]]:
    """Return the names of the classes that ship in conf, by their location there.

    Example:
        >>> sorted(shipped()["decoder.attention"])
        ['decoderlab.decoders.attention.Attention']
    """
    named: dict[str, set[str]] = {}
    for group in GROUPS:
        for file in sorted((conf_dir() / group).rglob("*.yaml")):
            # A folder `base` holds what the YAMLs beside it are built on.
            folders = file.relative_to(conf_dir()).parent.parts
            prefix = tuple(name for name in folders if name != "base")
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
            for path, value in _leaves(content or {}, prefix):
                if path[-1] == "_target_":
                    named.setdefault(".".join(path[:-1]), set()).add(value)
    return {location: frozenset(names) for location, names in named.items()}
