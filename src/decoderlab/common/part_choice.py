"""A part that is chosen but not yet built: its class and its settings.

A model takes its parts as callables, a class or a partial of it, and calls them with what the model
alone knows, such as sizes. In a config a part is a mapping with `_target_`. Both are a `Choice`, so
that what depends on several parts is decided once, for both.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hydra.utils import get_object

from decoderlab.common import require


@dataclass(frozen=True)
class Choice:
    """A class with its settings.

    Args:
        target: the class.
        settings: keywords for its constructor.

    Example:
        >>> import torch
        >>> choice = Choice.of(functools.partial(torch.nn.Linear, bias=False))
        >>> choice.settings, choice.build(in_features=2, out_features=3, depth=9)
        ({'bias': False}, Linear(in_features=2, out_features=3, bias=False))
    """

    target: Callable[..., Any]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The class's short name, or else its own."""
        return vars(self.target).get("SHORT", self.target.__name__)

    @classmethod
    def named(
        cls,
        name: str,
        given: str | Callable[..., Any] | Mapping[str, Any],
        known: Mapping[str, Any],
    ) -> Choice:
        """Return the choice that a short name of ours stands for, or else see `of`.

        Args:
            name: of the setting, for messages.
            given: a name of `known`, or a part of a user's own.
            known: the classes that ship, by their short names.

        Raises:
            ValueError: for an unknown name.
        """
        if not isinstance(given, str):
            return cls.of(given)
        if given not in known:
            raise ValueError(
                f"{name} is {given!r}; it must be one of {', '.join(known)}, or a class of your "
                f"own, chosen with {name.replace('.', '/')}={given}."
                + require.did_you_mean(given, known)
            )
        return cls(known[given])

    @classmethod
    def of(cls, part: Callable[..., Any] | Mapping[str, Any]) -> Choice:
        """Return the choice for a class, a partial of it, or a mapping with `_target_`.

        Raises:
            ValueError: for anything else.
        """
        if isinstance(part, Mapping):
            settings = {key: value for key, value in part.items() if key != "_target_"}
            return cls(get_object(part["_target_"]), settings)
        if isinstance(part, functools.partial):
            return cls(part.func, dict(part.keywords))
        if not callable(part):
            raise ValueError(
                f"{part!r} is not a part; give a class, or functools.partial(CLASS, setting=...)"
            )
        return cls(part)

    def get(self, name: str) -> Any:
        """Return a setting, or else the constructor's default; None where there is neither."""
        if name in self.settings:
            return self.settings[name]
        parameter = inspect.signature(self.target).parameters.get(name)
        if parameter is None or parameter.default is parameter.empty:
            return None
        return parameter.default

    def stated(self, name: str) -> Any:
        """Return an attribute of the class, such as `Feedback.sees_output`."""
        return getattr(self.target, name)

    def takes(self, name: str) -> bool:
        """Whether the constructor has a keyword."""
        return name in _parameters(self.target)

    def with_default(self, name: str) -> Choice:
        """Return the choice with a setting at its default, where it was given at all."""
        if name not in self.settings:
            return self
        default = _parameters(self.target)[name].default
        return replace(self, settings={**self.settings, name: default})

    def as_mapping(self) -> dict[str, Any]:
        """Return the part as a config has it."""
        return {"_target_": public_name(self.target), **self.settings}

    def build(self, **known: Any) -> Any:
        """Call the constructor with the settings, and with those of `known` that it takes."""
        taken = {name: value for name, value in known.items() if self.takes(name)}
        return self.target(**self.settings, **taken)


@functools.lru_cache(1024)
def _parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(target).parameters


def public_name(target: Callable[..., Any]) -> str:
    """Return where a class is imported from: the shortest package that exports it.

    Its name then stays when its file is moved within the package.

    Example:
        >>> public_name(Choice)
        'decoderlab.common.part_choice.Choice'
    """
    module, name = target.__module__, target.__qualname__
    packages = module.split(".")
    for length in range(1, len(packages)):
        package = ".".join(packages[:length])
        if getattr(importlib.import_module(package), name, None) is target:
            return f"{package}.{name}"
    return f"{module}.{name}"
