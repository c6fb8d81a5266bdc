"""The id of a run: a digest of what its result depends on."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from decoderlab.common.bounded_reading import MIB, read_json
from decoderlab.common.errors import ConfigError, Invalid, Unreadable
from decoderlab.common.part_building import find_target, targets_in
from decoderlab.config.code_identity import foreign_code, own_name
from decoderlab.config.encoder_start import EncoderStart
from decoderlab.config.lightning_settings import PROCESSES
from decoderlab.config.named_files import is_path, may_name_file, with_contents
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_sections import OWN_SEEDS
from decoderlab.config.scientific import training_of

# Raised when what a run id covers or means changes, so that old runs are not taken for new ones. It
# stays where each id that would mean something else changes by itself.
FORMAT = 5
# The groups whose settings are those of classes, which may name files.
NAMING_FILES = ("task", "encoder", "decoder", "training", "callbacks")
# Callbacks that leave weights as they are, and end a run.
STOPPING = tuple(
    f"pytorch_lightning.callbacks.{module}EarlyStopping" for module in ("", "early_stopping.")
)
# What an identity has beside settings.
BESIDE_SETTINGS = ("format", "data", "code")
PACKAGE_NAME = "decoderlab"
# What is said where a run that another begins with is not where it was.
PARENT_ADVICE = (
    "give one: outputs/runs/... If it was moved, give its new place: a run that begins with it "
    "stays the same"
)
SHA256 = re.compile("[0-9a-f]{64}")


def run_id(config: RunConfig, fingerprint: str) -> str:
    """Return the sha256 that names a run: of its `identity`."""
    return digest_of(identity(config, fingerprint))


def identity(config: RunConfig, fingerprint: str) -> dict[str, Any]:
    """Return what names a run: its scientific config, its data, and foreign classes.

    The files of a task's data (`path`, `..._path`) are left out: the same data in another folder is
    the same run. All other files that a class is given, such as weights, or the word list of a
    metric, count by their contents; `named_files` has the rule. A class of decoderlab is named
    without its module, so that it may move. Of a class from outside, module and source count: when
    it is edited, the runs are others; see `code_identity`.

    Args:
        config: of the run.
        fingerprint: of the data, see `TaskData`.

    Raises:
        ConfigError: for a file that cannot be read, a folder that is too large, or a parent that is
            no finished run.
    """
    scientific = config.scientific()
    kinds = classes_in(scientific)
    scientific["task"] = _without_paths(scientific["task"])
    for group in ("encoder", "decoder", "training"):
        scientific[group] = _with_parents(scientific[group])
    for group in NAMING_FILES:
        if group in scientific:
            scientific[group] = with_contents(group, scientific[group])
    record = {"format": FORMAT, "data": fingerprint, **_with_own_names(scientific)}
    foreign = [code for kind in kinds if (code := foreign_code(kind)) is not None]
    if foreign:
        record["code"] = foreign
    return record


def digest_of(record: Any) -> str:
    """Return the sha256 of a value, see `sorted_json`."""
    return hashlib.sha256(sorted_json(record).encode()).hexdigest()


def departure(known: Mapping[str, Any], scientific: Mapping[str, Any]) -> str | None:
    """Return the first setting in which a config differs from that of an identity, or None.

    Nothing is imported and no file is read: a class of decoderlab may lie in another module, a file
    that counts by its contents may have any path, and the source of foreign classes is not asked.

    Args:
        known: from `identity`, perhaps long ago.
        scientific: of the config, see `RunConfig.scientific`.

    Example:
        >>> departure({"format": 5, "data": "d", "task": {}, "seed": 8}, {"task": {}, "seed": 9})
        'seed is 9, where 8 was run'
    """
    if known.get("format") != FORMAT:
        return f"its identity is of format {known.get('format')!r}; this version reads {FORMAT}"
    settings = {key: value for key, value in known.items() if key not in BESIDE_SETTINGS}
    return next(
        _departures("", settings, {**scientific, "task": _without_paths(scientific["task"])}), None
    )


def differences_of_models(known: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings in which the models or the training of two runs differ.

    Args:
        known: identity of a run.
        given: identity of another run, which goes on from its weights and optimizer.
    """
    yield from differences_of_encoders(known, given)
    begun, start = (EncoderStart.split(record["encoder"])[1] for record in (known, given))
    if start.from_run is None:  # it is in the weights that training goes on from
        start = start._replace(from_run=begun.from_run)
    yield from differences("encoder", begun._asdict(), start._asdict())
    for group in ("task", "decoder"):
        yield from differences(group, known[group], given[group])
    for name in ("optimizer", "precision", "initial_weights", "uniform_range"):
        parts = (record["training"].get(name) for record in (known, given))
        yield from differences(f"training.{name}", *parts)
    for name in OWN_SEEDS:
        fixed = [record["training"].get(name) for record in (known, given)]
        if fixed[0] is None and fixed[1] is not None and not _one_draw(name, known, given):
            yield from differences(f"training.{name}", *fixed)  # others are of the encoder's
    own, other = (
        {name: value for name, value in record.get("trainer", {}).items() if name != PROCESSES}
        for record in (known, given)
    )
    yield from differences("trainer", own, other)


def difference_of_validations(known: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """Return the first setting by which the validations of two runs cannot be compared, or None.

    How far they are apart is left out, and so is a search that is the test's alone. A callback may
    exchange the weights that are validated, as averages do; one that stops early does not.

    Args:
        known: identity of a run.
        given: identity of another run, which chooses its step among the validations of both.
    """
    validations = ((training_of(record) or record)["evaluation"] for record in (known, given))
    own, other = (
        {name: value for name, value in settings.items() if name != "every_steps"}
        for settings in validations
    )
    if mismatch := difference("evaluation", own, other):
        return mismatch
    weighed, otherwise = (
        {
            name: part
            for name, part in record.get("callbacks", {}).items()
            if part["_target_"] not in STOPPING
        }
        for record in (known, given)
    )
    return difference("callbacks", weighed, otherwise)


def differences_of_encoders(known: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings in which the encoders of two runs differ.

    Whose weights they began with is left out.

    Args:
        known: identity of a run.
        given: identity of another run.
    """
    own, other = (EncoderStart.split(record["encoder"])[0] for record in (known, given))
    yield from differences("encoder", own, other)
    for name in OWN_SEEDS:  # whoever begins with runs that share a draw says so
        seed = known["training"].get(name)
        if seed is not None and not _one_draw(name, known, given):
            yield from differences(f"training.{name}", seed, given["training"].get(name))


def _one_draw(name: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether two runs have one seed of a kind of draw, said or as their own."""
    return seeds_of_draws(known).get(name) == seeds_of_draws(given).get(name)


def parent_id(identity: Mapping[str, Any]) -> str | None:
    """Return the id of the run that a run goes on from; None for a run of its own."""
    return identity["training"].get("from_run")


def seeds_of_draws(identity: Mapping[str, Any]) -> dict[str, int]:
    """Return the seed of each kind of draw of a run, by the setting of `OWN_SEEDS`."""
    seeds = {name: identity["training"].get(name, identity["seed"]) for name in OWN_SEEDS}
    return {name: seed for name, seed in seeds.items() if isinstance(seed, int)}


def encoder_weights(identity: Mapping[str, Any]) -> str:
    """Return the sha256 of the weights that a run's encoder begins with; empty for its own."""
    return EncoderStart.split(identity["encoder"])[1].from_run or ""


def difference(name: str, known: Any, given: Any) -> str | None:
    """Return the first setting in which two parts of identities differ, or None.

    Args:
        name: of the part, for the message.
        known: of a run.
        given: of another run.
    """
    return next(differences(name, known, given), None)


def differences(name: str, known: Any, given: Any) -> Iterator[str]:
    """Yield the settings in which two parts of identities differ.

    Args:
        name: of the part, for the message.
        known: of a run.
        given: of another run.
    """
    return _departures(name, known, given, of_identities=True)


def _departures(
    name: str, known: Any, given: Any, key: str = "", *, of_identities: bool = False
) -> Iterator[str]:
    if isinstance(known, Mapping) and isinstance(given, Mapping):
        for inner in dict.fromkeys([*known, *given]):
            inner_name = f"{name}.{inner}".lstrip(".")
            if inner not in known or inner not in given:
                yield f"{inner_name} {'is new' if inner in given else 'is gone'}"
            else:
                values = (known[inner], given[inner], inner)
                yield from _departures(inner_name, *values, of_identities=of_identities)
        return
    same = type(known) is type(given) and known == given
    if not same and isinstance(known, list) and isinstance(given, list):
        same = len(known) == len(given) and not any(
            any(_departures(name, *items, key, of_identities=of_identities))
            for items in zip(known, given, strict=True)
        )
    if isinstance(known, str) and isinstance(given, str) and not same:
        if key == "_target_":
            same = given.split(".")[0] == PACKAGE_NAME and given.endswith(f".{known}")
        elif not of_identities and (key == "from_run" or may_name_file(key, given)):
            # The identity has the digest of the file that the settings name.
            same = bool(SHA256.fullmatch(known)) and not SHA256.fullmatch(given)
    if not same:
        yield f"{name} is {given!r:.60}, where {known!r:.60} was run"


def changed_metrics(task: Mapping[str, Any]) -> dict[str, str]:
    """Return how those metrics measure that are not as they ship, by the names of their settings.

    What differs from the default of a class counts, files by their contents, and of a class from
    outside its source.

    Args:
        task: its settings, complete.

    Example:
        >>> metric = "decoderlab.metrics.SequenceMetrics"
        >>> changed_metrics({"metrics": {"sequence": {"_target_": metric, "targets_end": True}}})
        {'task.metrics.sequence': 'SequenceMetrics(targets_end=True)'}
        >>> changed_metrics({"metrics": {"sequence": {"_target_": metric, "targets_end": None}}})
        {}
    """
    measured = {}
    for name, metric in task.get("metrics", {}).items():
        group = f"task.metrics.{name}"
        kind = find_target(group, metric["_target_"])
        defaults = inspect.signature(kind).parameters
        settings = with_contents(
            group,
            {
                key: value
                for key, value in metric.items()
                if key != "_target_" and (key not in defaults or value != defaults[key].default)
            },
        )
        code = foreign_code(kind)
        if settings or code:
            given = ", ".join(f"{key}={value!r}" for key, value in settings.items())
            source = f" of the source {code[:12]}" if code else ""
            measured[group] = f"{own_name(kind) or metric['_target_']}({given}){source}"
    return measured


def classes_in(scientific: Mapping[str, Any], *groups: str) -> list[Callable]:
    """Return the classes and functions that a config names in whatever its result depends on.

    Args:
        scientific: of the config of a run, see `RunConfig.scientific`.
        groups: such as `encoder`, whose classes alone are imported; all if none is given.
    """
    named = targets_in({group: scientific[group] for group in groups} if groups else scientific)
    return [find_target(name.split(".")[0], target) for name, target in named]


def _with_parents(settings: Any) -> Any:
    """Return settings in which a run that they begin with is what it is known by."""
    if isinstance(settings, list | tuple):
        return [_with_parents(item) for item in settings]
    if not isinstance(settings, Mapping):
        return settings
    return {
        key: _named_by_parent(settings, value)
        if key == "from_run" and isinstance(value, str)
        else _with_parents(value)
        for key, value in settings.items()
    }


def _named_by_parent(settings: Mapping[str, Any], path: str) -> str:
    """Return what a parent is known by: its id, or for an encoder the sha256 of its weights."""
    of_encoder = "_target_" in settings
    try:
        manifest = read_json(Path(path).expanduser() / "manifest.json", limit=4 * MIB)
        if not of_encoder:
            return str(manifest["run_id"])
        (best,) = (name for name in manifest["files"] if name.startswith("checkpoints/best-"))
        return str(manifest["files"][best]["sha256"])
    except Unreadable:
        raise
    except (Invalid, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{'encoder' if of_encoder else 'training'}.from_run is {path!r}, which is not the "
            f"folder of a finished run; {PARENT_ADVICE}"
        ) from error


def _with_own_names(settings: Any) -> Any:
    """Return settings in which classes of decoderlab are named without their modules."""
    if isinstance(settings, list | tuple):
        return [_with_own_names(item) for item in settings]
    if not isinstance(settings, Mapping):
        return settings
    return {
        key: own_name(find_target("config", value)) or value
        if key == "_target_"
        else _with_own_names(value)
        for key, value in settings.items()
    }


def _without_paths(task: Any) -> Any:
    """Return a task's settings without the files of its data; its metrics keep theirs."""
    if isinstance(task, list | tuple):
        return [_without_paths(item) for item in task]
    if not isinstance(task, Mapping):
        return task
    return {
        key: value if key == "metrics" else _without_paths(value)
        for key, value in task.items()
        if not is_path(key)
    }


def sorted_json(value: Any) -> str:
    """Return the JSON text of a value with sorted keys, no spaces and no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
