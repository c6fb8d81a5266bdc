"""A constructor's settings, checked against its signature and completed by its defaults.

A model has parts, such as the bridge of a decoder. In a config a part is a mapping with `_target_`,
chosen from a config group (`decoder/bridge=dense`). The model's constructor has a parameter for it
that is annotated `Callable[..., Kind]`: the model calls it with what the model alone knows, such as
sizes. The class `Kind` lists these keywords in its attribute `INJECTED`; everything else that the
part's own constructor takes is a setting. `Kind.OPTIONAL`, if given, lists settings that
a YAML may give to any part of the kind: a part whose constructor has no such keyword does without,
so that one part can be exchanged for another under settings that only some of them have.
`Kind.GROUP` is the config group that its parts are chosen from, where the setting is none itself
(`task@task.of=echo`).
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from hydra.utils import get_object

from decoderlab.common import require
from decoderlab.common.choices import Choice
from decoderlab.common.errors import ConfigError


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


def build(group: str, settings: Mapping[str, Any], **injected: Any) -> Any:
    """Build what completed settings name, its parts as functions that still want their sizes.

    Args:
        group: the config group, for messages.
        settings: with `_target_`.
        injected: further keywords.

    Raises:
        ConfigError: for a ValueError of the constructor.
    """
    return call(group, maker(group, settings), **injected)


def maker(group: str, settings: Mapping[str, Any]) -> functools.partial:
    """Return the class that settings name with all of them filled in; see `build`.

    A mapping with `_target_` is a part only where the constructor wants one, see `part_kind`.
    """
    target = find_target(group, settings["_target_"])
    hints = _hints(target)
    own = {
        key: maker(f"{group}.{key}", value) if value is not None and part_kind(hint) else value
        for key, value in settings.items()
        if key != "_target_"
        for hint in [hints.get(key)]
    }
    return functools.partial(target, **own)


def part_maker(name: str, given: Any, kind: type) -> functools.partial:
    """Return the class of a part that a config chooses, with its settings in full.

    Args:
        name: of the setting, for messages.
        given: the part's mapping, with `_target_`; `OPTIONAL` settings that it has no use for are
            left out.
        kind: its base class; `INJECTED` there are keywords that no config gives.

    Raises:
        ConfigError: for an unknown, missing or wrong setting.
    """
    return maker(
        name,
        complete_part(
            name,
            given,
            injected=getattr(kind, "INJECTED", ()),
            optional=getattr(kind, "OPTIONAL", ()),
        ),
    )


def is_part(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value of a config names a class."""
    return isinstance(value, Mapping) and "_target_" in value


def part_kind(hint: Any) -> type | None:
    """Return `Kind` where an annotation is `Callable[..., Kind]`, or that or None; else None."""
    for member in typing.get_args(hint) if _is_union(hint) else (hint,):
        if typing.get_origin(member) is Callable:
            kind = typing.get_args(member)[-1]
            if hasattr(kind, "INJECTED"):
                return kind
    return None


def _completed_part(name: str, given: Any, kind: type, hint: Any) -> dict[str, Any] | None:
    """Return the settings of a part in full.

    Args:
        name: of the setting, for messages.
        given: what the config gives, or the default of the parameter: a class or a partial of it.
        kind: from `part_kind`.
        hint: the annotation of the parameter.
    """
    if given is None and _is_union(hint):
        return None
    return complete_part(
        name,
        given,
        injected=kind.INJECTED,
        optional=getattr(kind, "OPTIONAL", ()),
        group=getattr(kind, "GROUP", None),
    )


def complete_part(
    name: str,
    given: Any,
    *,
    injected: Sequence[str] = (),
    optional: Sequence[str] = (),
    defaults: bool = True,
    group: str | None = None,
) -> dict[str, Any]:
    """Return the settings of a part in full, with `_target_`.

    Args:
        name: of the setting, for messages.
        given: a mapping with `_target_`, or a class or a partial of it.
        injected: keywords that whoever builds the part will add.
        optional: settings that are left out where the constructor has no such keyword.
        defaults: whether to fill in the constructor's defaults.
        group: that the part is chosen from, where its name does not say so.

    Raises:
        ConfigError: if no class is named, or as `complete`.
    """
    # A part of a part is chosen together with it.
    choose = f"{'/'.join(name.split('.')[:2])}=" if group is None else f"{group}@{name}="
    if given is inspect.Parameter.empty:
        raise ConfigError(f"{name} is missing; choose it: {choose}NAME")
    if callable(given):
        given = Choice.of(given).as_mapping()
    if not is_part(given) or given["_target_"] is None:
        example = given if isinstance(given, str) and given else "NAME"
        raise ConfigError(
            f"{name} is {given!r}, which names no class; choose it: {choose}{example}"
        )
    target = find_target(name, given["_target_"])
    taken = inspect.signature(target).parameters
    without = [key for key in optional if key not in taken]
    settings = {key: value for key, value in given.items() if key not in ("_target_", *without)}
    completed = complete(
        name,
        target,
        settings,
        injected=injected,
        hint=f" Another part is chosen with {choose}NAME.",
        defaults=defaults,
    )
    return Choice(target, canonical_settings(name, target, completed)).as_mapping()


def canonical_settings(group: str, target: Callable, settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings as the class's static method `canonical` has them, if there is such."""
    canonical = getattr(target, "canonical", None)
    return settings if canonical is None else call(group, canonical, settings=settings)


def taken_by(target: Callable, offered: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some keywords that a constructor has.

    Example:
        >>> taken_by(Choice, {"settings": {}, "size": 3})
        {'settings': {}}
    """
    parameters = inspect.signature(target).parameters
    return {name: value for name, value in offered.items() if name in parameters}


def complete(
    group: str,
    target: Callable,
    settings: Mapping[str, Any],
    injected: Sequence[str] = (),
    hint: str = "",
    defaults: bool = True,
) -> dict[str, Any]:
    """Check settings against a constructor's signature and fill its defaults in.

    Args:
        group: the config group, for messages.
        target: the constructor.
        settings: what the config gives it.
        injected: keywords that the assembly will add.
        hint: added to the message about an unknown key.
        defaults: whether to fill in defaults; if not, only what is given is checked.

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
            advice = require.did_you_mean(key, named) or hint
            if key == group:
                advice = " A YAML of several groups begins with the line '# @package _global_'."
            raise ConfigError(
                f"{group}.{key} is not a setting of {target.__name__}; it has "
                f"{', '.join(named) or 'none'}.{advice}"
            )
    hints = _hints(target)
    completed = {}
    for name, parameter in named.items():
        if (kind := part_kind(hints.get(name))) is not None:
            given = settings.get(name, parameter.default)
            completed[name] = _completed_part(f"{group}.{name}", given, kind, hints[name])
        elif name in settings:
            completed[name] = _typed(f"{group}.{name}", settings[name], hints.get(name, Any))
        elif parameter.default is inspect.Parameter.empty:
            raise ConfigError(f"{group}.{name} is missing; give it as {group}.{name}=VALUE")
        elif defaults:
            completed[name] = _expanded(f"{group}.{name}", parameter.default, hints.get(name, Any))
    return completed | {key: value for key, value in settings.items() if key not in named}


def _hints(target: Callable) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        return {}


def _expanded(name: str, value: Any, hint: Any) -> Any:
    """Return the settings of a part (see `common.parts`) in full, anything else as it is."""
    for kind in _kinds(hint):
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
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
    names = ("null" if kind is type(None) else kind.__name__ for kind in _kinds(hint))
    allowed = " or ".join(dict.fromkeys(names))
    raise ConfigError(f"{name} is {value!r} ({type(value).__name__}); it must be {allowed}")


def _kinds(hint: Any) -> list[Any]:
    """Return the plain types an annotation admits, or [Any] for what is not checked here."""
    origin = typing.get_origin(hint)
    if _is_union(hint):
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
        return [hint, dict]
    return [Any]


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)
