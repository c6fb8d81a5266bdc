"""The settings of a class that a config chooses, read-only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class PartSettings(Mapping[str, Any]):
    """The settings of a class, read-only: a mapping of its arguments, and `_target_`, its name.

    Mappings inside are `PartSettings` too, and lists are tuples.

    Args:
        settings: as they stand in a config.

    Example:
        >>> settings = PartSettings({"_target_": "package.Class", "sizes": [1, 2]})
        >>> settings.target, settings["sizes"], settings.to_dict()["sizes"]
        ('package.Class', (1, 2), [1, 2])
    """

    __slots__ = ("_settings",)

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = {key: _frozen(value) for key, value in settings.items()}

    @property
    def target(self) -> str:
        """The dotted name of the class."""
        return self._settings["_target_"]

    def arguments(self) -> dict[str, Any]:
        """Return the settings without the name of the class, as a dictionary of their own."""
        return {key: value for key, value in self.to_dict().items() if key != "_target_"}

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as dictionaries and lists of their own."""
        return {key: _thawed(value) for key, value in self._settings.items()}

    def __getitem__(self, name: str) -> Any:
        return self._settings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._settings)

    def __len__(self) -> int:
        return len(self._settings)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.to_dict()!r})"


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return PartSettings(value)
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _thawed(value: Any) -> Any:
    if isinstance(value, PartSettings):
        return value.to_dict()
    return list(map(_thawed, value)) if isinstance(value, tuple) else value
