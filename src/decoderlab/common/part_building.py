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

Where the annotation allows a text too, `str | Callable[..., Kind]`, the classes that ship have
short names besides, their attribute `SHORT`: `decoder.combine=mul` is `decoder/combine=mul`.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from hydra.utils import get_object

from decoderlab.common import require
from decoderlab.common.annotations import (
    hint_of_entries,
    is_callable,
    is_union,
    kinds_of,
    part_kind,
    takes_nothing,
)
from decoderlab.common.errors import ConfigError
from decoderlab.common.part_choice import Choice


def targets_in(config: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every `_target_` in a config, also in lists, with its dotted name.

    Example:
        >>> list(targets_in({"decoder": {"layers": [{"_target_": "mine.Layer"}]}}))
        [('decoder.layers[0]._target_', 'mine.Layer')]
    """
    if isinstance(config, Mapping):
        for key, value in config.items():
            inner = f"{name}.{key}" if name else str(key)
            if key == "_target_":
                yield inner, str(value)
            else:
                yield from targets_in(value, inner)
    elif isinstance(config, list | tuple):
        for index, value in enumerate(config):
            yield from targets_in(value, f"{name}[{index}]")


def find_target(group: str, name: str) -> Callable:
    """Return the class or function a `_target_` names.

    Raises:
        ConfigError: if the name is not that of a class or function, or cannot be imported.
    """
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(
            f"{group}._target_ is {name!r}, which is not the name of a class; give "
            "package.module.Class"
        )
    try:
        target = get_object(name)
    except Exception as error:  # whatever importing somebody's module raises
        raise ConfigError(
            f"{group}._target_ is {name!r}, which cannot be imported "
            f"({error.__cause__ or error}); check its spelling, or give its folder as --config-dir"
        ) from error
    if not callable(target) or isinstance(target, functools.partial):  # which says not whose it is
        raise ConfigError(
            f"{group}._target_ is {name!r}, which is not a class; give package.module.Class"
        )
    return target


def call(group: str, target: Callable, /, **settings: Any) -> Any:
    """Call a constructor; its ValueError becomes a ConfigError that names the group."""
    try:
        return target(**settings)
    except ValueError as error:
        raise ConfigError(f"{group}: {error}") from error


def build(group: str, settings: Mapping[str, Any], **injected: Any) -> Any:
    """Build the class that completed settings name; its parts are functions that still need sizes.

    Args:
        group: the config group, for messages.
        settings: with `_target_`.
        injected: further keywords.

    Raises:
        ConfigError: for a ValueError of the constructor.
    """
    return call(group, maker(group, settings), **injected)


def maker(group: str, settings: Mapping[str, Any]) -> functools.partial:
    """Return a partial of the class that settings name, with all of them; see `build`.

    A mapping with `_target_` is a part where the constructor wants one, see `part_kind`; where it
    takes neither that nor a mapping, it is refused.
    """
    target = find_target(group, settings["_target_"])
    hints = _hints(target)
    own = {key: value for key, value in settings.items() if key != "_target_"}
    _refuse_unknown(group, target, own, _parameters(group, target))
    made = {key: _made(f"{group}.{key}", value, hints.get(key)) for key, value in own.items()}
    return functools.partial(target, **made)


def _made(name: str, value: Any, hint: Any) -> Any:
    """Return a setting in which parts, also in lists and mappings, are what builds them."""
    if not isinstance(value, Mapping | list | tuple):
        return value
    if part_kind(hint) is not None:
        return maker(name, value) if is_part(value) else value
    if is_part(value) and is_callable(hint):
        return maker(name, value)
    if is_part(value) and dict not in kinds_of(hint):
        raise ConfigError(
            f"{name} names the class {value['_target_']}, but the constructor does not say that it "
            f"takes one; annotate {name.rpartition('.')[2]} there with Callable[..., Class], which "
            "is called to build it, or with dict for the settings themselves"
        )
    if (entry := hint_of_entries(value, hint)) is None:
        return value
    if isinstance(value, Mapping):
        return {key: _made(f"{name}.{key}", item, entry) for key, item in value.items()}
    return [_made(f"{name}[{index}]", item, entry) for index, item in enumerate(value)]


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


def _completed_part(name: str, given: Any, kind: type, hint: Any) -> dict[str, Any] | str | None:
    """Return the settings of a part in full; a short name, where one is allowed, stays as it is.

    Args:
        name: of the setting, for messages.
        given: what the config gives, or the default of the parameter: a class or a partial of it.
        kind: from `part_kind`.
        hint: the annotation of the parameter.
    """
    allowed = typing.get_args(hint) if is_union(hint) else ()
    if (given is None and type(None) in allowed) or (isinstance(given, str) and str in allowed):
        return given
    completed = complete_part(
        name,
        given,
        injected=kind.INJECTED,
        optional=getattr(kind, "OPTIONAL", ()),
        group=getattr(kind, "GROUP", None),
    )
    return short_name(completed) if str in allowed else completed


def short_name(part: dict[str, Any]) -> dict[str, Any] | str:
    """Return the short name of a completed part, or the part where it has none, or settings."""
    short = vars(find_target("config", part["_target_"])).get("SHORT")
    return short if short and len(part) == 1 else part


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
    taken = _parameters(name, target)
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
    return Choice(target, normalised_settings(name, target, completed)).as_mapping()


def normalised_settings(group: str, target: Callable, settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings as the class's static method `normalised` has them, if there is such."""
    normalised = getattr(target, "normalised", None)
    return settings if normalised is None else call(group, normalised, settings=settings)


def taken_by(target: Callable, offered: Mapping[str, Any]) -> dict[str, Any]:
    """Return those keywords that a constructor has.

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
    parameters = {name: p for name, p in _parameters(group, target).items() if name not in injected}
    named = _refuse_unknown(group, target, settings, parameters, hint)
    hints = _hints(target)
    completed = {}
    for name, parameter in named.items():
        hint = hints.get(name, Any)
        if name in settings or part_kind(hint) is not None:
            given = settings.get(name, parameter.default)
            completed[name] = _typed(f"{group}.{name}", given, hint)
        elif parameter.default is inspect.Parameter.empty:
            raise ConfigError(
                f"{group}.{name} is missing; give it as {group}.{name}=VALUE"
                # In a YAML of one's own that has none of the defaults.
                + (", or begin the YAML with defaults: [adhoc@study, _self_]" * (group == "study"))
            )
        elif defaults:
            completed[name] = _default(f"{group}.{name}", parameter.default, hint)
    return completed | {key: value for key, value in settings.items() if key not in named}


def _refuse_unknown(
    group: str,
    target: Callable,
    settings: Mapping[str, Any],
    parameters: Mapping[str, inspect.Parameter],
    hint: str = "",
) -> dict[str, inspect.Parameter]:
    """Return the parameters that have a name; raise ConfigError for a setting that none has."""
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {
        name: p
        for name, p in parameters.items()
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
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
    return named


def _parameters(group: str, target: Callable) -> Mapping[str, inspect.Parameter]:
    """Return what a constructor takes."""
    if takes_nothing(target):
        return {}
    try:
        return inspect.signature(target).parameters
    except (ValueError, TypeError) as error:  # some of those that are written in C
        raise ConfigError(
            f"{group}._target_ is {target!r}, which does not say what it takes; give a class of "
            "Python with named settings"
        ) from error


@functools.lru_cache(1024)  # of dataclasses and parts: each run of a study has the same
def _hints(target: Callable) -> Mapping[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        return {}


def _expanded(name: str, value: Any, hint: Any) -> Any:
    """Return the fields of a dataclass in full, anything else as it is."""
    for kind in kinds_of(hint):
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
    if (part := part_kind(hint)) is not None:
        return _completed_part(name, value, part, hint)
    value = _expanded(name, value, hint)
    for kind in kinds_of(hint):
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if kind is Any or (
            isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
        ):
            return _typed_entries(name, value, hint)
    names = ("null" if kind is type(None) else kind.__name__ for kind in kinds_of(hint))
    allowed = " or ".join(dict.fromkeys(names))
    shown = "null" if value is None else f"{value!r} ({type(value).__name__})"
    raise ConfigError(f"{name} is {shown}; it must be {allowed}")


def _typed_entries(name: str, value: Any, hint: Any) -> Any:
    """Return a list or mapping with its entries as an annotation wants them."""
    if (entry := hint_of_entries(value, hint)) is None:
        return value
    if isinstance(value, Mapping):
        return {key: _typed(f"{name}.{key}", item, entry) for key, item in value.items()}
    typed = [_typed(f"{name}[{at}]", item, entry) for at, item in enumerate(value)]
    return typed if isinstance(value, list) else tuple(typed)


def _default(name: str, value: Any, hint: Any) -> Any:
    """Return the default of a parameter as a config has it."""
    entry = hint_of_entries(value, hint)
    holds_parts = entry is not None and part_kind(entry) is not None
    return _typed(name, value, hint) if holds_parts else _expanded(name, value, hint)
