"""Parts of a model in a config: a name, or a mapping where more than the name is to be said."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from decoderlab.common import require

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def part(name: str, kind: type[T], value: str | Mapping[str, Any] | T) -> T:
    """Return the settings of a part; a bare name is the first of them, the rest have defaults.

    Args:
        name: of the setting, for messages.
        kind: the frozen dataclass of the part's settings.
        value: a name, a mapping, or the settings themselves.

    Raises:
        ValueError: for a key that is unknown or missing, or whatever the settings refuse.

    Example:
        >>> Own = dataclasses.make_dataclass("Own", [("name", str), ("size", int, 3)])
        >>> part("own", Own, "plain") == part("own", Own, {"name": "plain", "size": 3})
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
