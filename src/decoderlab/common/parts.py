"""Parts of a model in a config: a name, or a mapping where more than the name is to be said."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hydra.utils import get_object

from decoderlab.common import require

T = TypeVar("T")


def class_of(chosen: Callable | Mapping[str, Any]) -> Callable:
    """Return the class of a part: of a config's mapping, a class with settings, or the class.

    Example:
        >>> class_of({"_target_": "collections.Counter"}), class_of(functools.partial(dict, one=1))
        (<class 'collections.Counter'>, <class 'dict'>)
    """
    if isinstance(chosen, Mapping):
        return get_object(chosen["_target_"])
    return chosen.func if isinstance(chosen, functools.partial) else chosen


def part(name: str, kind: type[T], value: str | Mapping[str, Any] | T) -> T:
    """Return the settings of a part; a bare name is the first of them, the rest have defaults.

    Args:
        name: of the setting, for messages.
        kind: the frozen dataclass of the part's settings.
        value: a name, a mapping, or the settings themselves.

    Raises:
        ValueError: for a key that is unknown or missing, or whatever the settings refuse.

    Example:
        >>> from decoderlab.decoders.bridges import BridgeSettings
        >>> part("bridge", BridgeSettings, "dense") == BridgeSettings(kind="dense")
        True
    """
    if isinstance(value, kind):
        return value
    fields = [field.name for field in dataclasses.fields(kind)]
    settings = value if isinstance(value, Mapping) else {fields[0]: value}
    for key in settings:
        if key not in fields:
            raise ValueError(
                f"{name}.{key} is not a setting; {name} has {', '.join(fields)}."
                + require.did_you_mean(key, fields)
            )
    lacking = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is field.default_factory is dataclasses.MISSING
        and field.name not in settings
    ]
    if lacking:
        raise ValueError(f"{name} is {value!r}, which lacks {', '.join(lacking)}; add it")
    return kind(**settings)


def keep(settings: T, *used: str) -> T:
    """Return the settings with every field but the used ones at its default.

    Args:
        settings: a dataclass with a default for each field that may be unused.
        used: the fields that have an effect.

    Example:
        >>> from decoderlab.decoders.bridges import BridgeSettings
        >>> keep(BridgeSettings(kind="zero", cell="hidden"), "kind").cell
        'encoder'
    """
    unused = [field for field in dataclasses.fields(settings) if field.name not in used]
    return dataclasses.replace(settings, **{field.name: field.default for field in unused})
