"""Parts of a model in a config: a name, or a mapping where more than the name is to be said."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from decoderlab import checks

T = TypeVar("T")


def part(name: str, kind: type[T], value: str | Mapping[str, Any] | T) -> T:
    """Return the settings of a part; a bare name is the first of them, the rest have defaults.

    Args:
        name: of the setting, for messages.
        kind: the frozen dataclass of the part's settings.
        value: a name, a mapping, or the settings themselves.

    Raises:
        ValueError: for an unknown key, or whatever the settings refuse.

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
                + checks.did_you_mean(key, fields)
            )
    return kind(**settings)


def refuse_unused(name: str, settings: Any, used: set[str], reason: str) -> None:
    """Raise ValueError if a setting that would have no effect is not at its default.

    Args:
        name: of the part.
        settings: a dataclass with a default for each field.
        used: the fields that have an effect.
        reason: why the others have none.
    """
    for field in dataclasses.fields(settings):
        given = getattr(settings, field.name)
        if field.name not in used and given != field.default:
            raise ValueError(
                f"{name}.{field.name} is {given!r}, which has no effect {reason}; leave it out"
            )
