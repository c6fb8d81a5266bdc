"""Settings that a dataclass holds, in full or in short."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from decoderlab.common import require

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def from_short_form(name: str, kind: type[T], value: str | Mapping[str, Any] | T) -> T:
    """Return the dataclass; a value alone is its first field, the others have defaults.

    Args:
        name: of the setting, for messages.
        kind: the frozen dataclass.
        value: of the first field, a mapping of all fields, or the dataclass itself.

    Raises:
        ValueError: for a key that is unknown or missing, or what the dataclass refuses.

    Example:
        >>> Own = dataclasses.make_dataclass("Own", [("name", str), ("size", int, 3)])
        >>> from_short_form("own", Own, "plain")
        Own(name='plain', size=3)
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
