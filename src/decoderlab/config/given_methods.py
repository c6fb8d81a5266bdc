"""Methods that a class was given, and whether the code of them is covered by a run's id.

An id covers the files of the classes that a run names. A method that was set from elsewhere, or
that wraps, holds or closes over a function from elsewhere, computes what no id tells.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import CellType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

from decoderlab.common.edited_sources import is_installed
from decoderlab.common.errors import ConfigError
from decoderlab.config.foreign_modules import VERSIONED

# Whose functions may stand in a class of anybody.
MAY_GIVE_METHODS = {__name__.split(".")[0], *VERSIONED}
# What is no function, and holds some by these names; other things have what they hold in `vars`.
HOLDERS = (staticmethod, classmethod, MethodType, property, partial)
HELD = ("__func__", "__self__", "fget", "fset", "fdel", "func", "args", "keywords", "__dict__")
LEAVES = (str, bytes, int, float)  # hold nothing


def refuse_given(target: Callable, files: Sequence[Path]) -> None:
    """Raise ConfigError where a method of a class, or of a base, is of code that no id covers.

    Args:
        target: the class; functions have no methods.
        files: whose code an id covers.
    """
    covered = {os.path.realpath(file) for file in files}
    kinds = inspect.getmro(target) if isinstance(target, type) else ()
    for kind in kinds:
        seen: dict[int, Any] = {id(each): each for each in kinds}  # an id is that of a thing kept
        for name, value in list(vars(kind).items()):
            for function in _functions_in(value, seen):
                # Where its code stands: what wraps another takes over the name that it says.
                scope = str(function.__globals__.get("__name__"))
                if scope == kind.__module__ or _is_of_a_library(scope):
                    continue
                file = getattr(sys.modules[scope], "__file__", None)
                if not file or os.path.realpath(file) not in covered:
                    raise ConfigError(
                        f"{kind.__module__}.{kind.__qualname__}.{name} was set to a function of "
                        f"{scope}, which no id of a run covers; write it into the "
                        "class's file, or into a subclass in a file of its own"
                    )


def _functions_in(value: Any, seen: dict[int, Any]) -> Iterator[FunctionType]:
    """Yield the functions of a method: its own, and those that it wraps, holds or closes over.

    Args:
        value: what a class has by the method's name.
        seen: what has been looked through, by id; what is looked through here is added.
    """
    waiting = [value]
    while waiting:
        value = waiting.pop()
        kind = type(value)  # what a thing says of itself (`__class__`) may be anything
        if kind in LEAVES or issubclass(kind, ModuleType) or id(value) in seen:
            continue
        seen[id(value)] = value
        if kind is FunctionType:
            yield value
            waiting += [cell.cell_contents for cell in value.__closure__ or () if _is_set(cell)]
            waiting += [value.__defaults__, value.__kwdefaults__, value.__dict__]
        elif issubclass(kind, type):
            waiting += () if _is_of_a_library(value.__module__) else vars(value).values()
        elif issubclass(kind, HOLDERS):
            waiting += [getattr(value, name, None) for name in HELD]
        else:
            waiting += _contents(value, kind)


def _contents(value: Any, kind: type) -> list[Any]:
    """Return what a container or an instance holds, and its class."""
    held: list[Any] = [kind]
    if issubclass(kind, dict | MappingProxyType):
        held += kind.values(value)
    elif issubclass(kind, list | tuple | set | frozenset):
        held += kind.__iter__(value)
    try:
        held.append(object.__getattribute__(value, "__dict__"))
    except AttributeError:
        pass  # it has none
    return held


def _is_of_a_library(scope: str) -> bool:
    """Whether a module is Python's, ours or an installed one; so is what Python makes by itself.

    Args:
        scope: its name, as code of it says; of a named tuple's methods that of no module.
    """
    module = sys.modules.get(scope)
    if module is None or module.__name__.split(".")[0] in MAY_GIVE_METHODS:
        return True
    file = getattr(module, "__file__", None)
    return bool(file) and is_installed(Path(file))


def _is_set(cell: CellType) -> bool:
    """Whether a variable of a closure has a value yet."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
