"""What the annotation of a constructor's parameter admits."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def takes_nothing(target: Callable) -> bool:
    """Whether a class has torch's own constructor, whose signature says any keyword: it has none.

    Example:
        >>> import torch
        >>> takes_nothing(torch.nn.Flatten), takes_nothing(torch.nn.Module)
        (False, True)
    """
    function = target.__init__ if isinstance(target, type) else target
    return getattr(function, "__module__", "") == "torch.nn.modules.module"


def part_kind(hint: Any) -> type | None:
    """Return `Kind` where an annotation is `Callable[..., Kind]`, or that or None; else None."""
    for member in typing.get_args(hint) if is_union(hint) else (hint,):
        if typing.get_origin(member) is Callable:
            kinds = typing.get_args(member)  # () of a bare `Callable`
            if kinds and hasattr(kinds[-1], "INJECTED"):
                return kinds[-1]
    return None


def is_callable(hint: Any) -> bool:
    """Whether an annotation admits `Callable[..., Class]`, of whatever class.

    Example:
        >>> is_callable(Callable[..., dict] | None), is_callable(dict)
        (True, False)
    """
    members = typing.get_args(hint) if is_union(hint) else (hint,)
    return any(typing.get_origin(member) is Callable for member in members)


def hint_of_entries(value: Any, hint: Any) -> Any:
    """Return the annotation of the entries of a list or mapping; None where there is none."""
    for member in typing.get_args(hint) if is_union(hint) else (hint,):
        entries, origin = typing.get_args(member), typing.get_origin(member)
        if origin in (list, Sequence) and isinstance(value, list | tuple) and entries:
            return entries[0]
        if origin in (dict, Mapping) and isinstance(value, Mapping) and len(entries) == 2:
            return entries[1]
    return None


def kinds_of(hint: Any) -> list[Any]:
    """Return the plain types an annotation admits, or [Any] for what is not checked here."""
    origin = typing.get_origin(hint)
    if is_union(hint):
        return [kind for part in typing.get_args(hint) for kind in kinds_of(part)]
    if hint is None or hint is type(None):
        return [type(None)]
    if hint in (int, float, bool, str):
        return [hint]
    if origin in (list, Sequence) or hint is list:
        return [list, tuple]
    if origin in (dict, Mapping) or hint is dict:
        return [dict]
    if dataclasses.is_dataclass(hint):
        return [hint, dict]
    return [Any]


def is_union(hint: Any) -> bool:
    """Whether an annotation admits several types."""
    return typing.get_origin(hint) in (typing.Union, types.UnionType)
