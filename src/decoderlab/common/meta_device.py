"""Modules on torch's meta device, where sizes are checked: tensors there have no values."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_OF_META = re.compile(r"\bmeta (tensor|device)|\bdevices?\b.*\bmeta\b|'Meta' backend")


@contextmanager
def without_values() -> Iterator[None]:
    """Make tensors on the meta device."""
    with torch.device("meta"), _NothingDrawn():
        yield


class _NothingDrawn(TorchFunctionMode):
    """Draws nothing from a normal distribution: on the meta device that takes torch a second."""

    def __torch_function__(
        self,
        func: Callable,
        types: Any,
        args: tuple = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func in (torch.nn.init.normal_, torch.Tensor.normal_):
            tensor = args[0] if args else named.get("tensor")
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **named)


def reads_values(error: BaseException) -> str | None:
    """Return a message if an error comes from tensors without values; None for any other error.

    Args:
        error: that was raised while a module was built on the meta device.
    """
    if isinstance(error, ValueError) or not _OF_META.search(str(error)):
        return None
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [frame for frame in frames if not _is_torchs(frame)]
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame in own[-1:]]
    modules = [kind for kind in map(_kind_built, own) if kind is not None]
    kind = modules[-1] if modules else None
    name = "a constructor" if kind is None else f"{kind.__module__}.{kind.__qualname__}"
    where = f"{own[-1].f_code.co_filename}, line {lines[-1]}: " if lines else ""
    return (
        f"{name} reads the values of a tensor while it is built ({where}{error}). Sizes are "
        "checked on torch's meta device, where tensors have no values; compute from settings "
        "alone, or from tensors that are made with device='cpu'"
    )


def _is_torchs(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return module == __name__ or module.split(".")[0] == "torch"


def _kind_built(frame: FrameType) -> type[Any] | None:
    """Return the class whose constructor a frame runs, if it is a torch module."""
    built = frame.f_locals.get("self")
    is_module = frame.f_code.co_name == "__init__" and hasattr(type(built), "named_parameters")
    return type(built) if is_module else None
