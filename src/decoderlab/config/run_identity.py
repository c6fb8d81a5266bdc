"""The id of a run: a digest of what its result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from decoderlab.common.completion import find_target, targets_in
from decoderlab.config.code_identity import foreign_code, own_name
from decoderlab.config.run_config import RunConfig

# Raised when what a run id covers or means changes, so that old runs are not taken for new ones.
FORMAT = 5


def run_id(config: RunConfig, fingerprint: str) -> str:
    """Return the sha256 that names a run: its scientific config, its data, and foreign classes.

    Paths are left out of the task: the same data in another folder is the same run. Files that an
    encoder, decoder or training names, such as weights, count by their contents. A class of
    decoderlab is named without its module, so that it may move. Of a class from outside, module and
    source count: when it is edited, the runs are others; see `code_identity`.

    Args:
        config: of the run.
        fingerprint: of the data, see `TaskData`.
    """
    scientific = config.scientific()
    scientific["task"] = _without_paths(scientific["task"])
    for group in ("encoder", "decoder", "training"):
        scientific[group] = _with_contents(scientific[group])
    record = {"format": FORMAT, "data": fingerprint, **_with_own_names(scientific)}
    foreign = [code for kind in classes_in(config) if (code := foreign_code(kind)) is not None]
    if foreign:
        record["code"] = foreign
    return hashlib.sha256(canonical(record).encode()).hexdigest()


def classes_in(config: RunConfig) -> list[Callable]:
    """Return the classes and functions that a config names in whatever its result depends on."""
    named = targets_in(config.scientific())
    return [find_target(name.split(".")[0], target) for name, target in named]


def _with_contents(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which the files that they name, such as weights, are their contents."""
    contents = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            contents[key] = _with_contents(value)
        elif _is_path(key) and isinstance(value, str) and Path(value).is_file():
            with Path(value).open("rb") as file:
                contents[key] = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            contents[key] = value
    return contents


def _is_path(key: str) -> bool:
    return key == "path" or key.endswith("_path")


def _with_own_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which classes of decoderlab are named without their modules."""
    named = {}
    for key, value in settings.items():
        if key == "_target_":
            value = own_name(find_target("config", value)) or value
        named[key] = _with_own_names(value) if isinstance(value, Mapping) else value
    return named


def _without_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_paths(value) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if not _is_path(key)
    }


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
