"""What a user's callbacks and optimizers keep beside a checkpoint: a run cannot go on without it.

Lightning saves what a callback's `state_dict` returns, and torch an optimizer's `state` and groups.
A counter that is another attribute starts anew when a run goes on, and the result is another one.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from decoderlab.config.code_identity import VERSIONED

DEPTH = 5  # of values in values that are looked at
LIBRARIES = {"decoderlab", *VERSIONED, "lightning_fabric", "torchmetrics"}
# Attributes of the bases: saved by them, or notes to themselves.
OF_OPTIMIZERS = (
    *("state", "param_groups", "defaults", "_opt_called", "_need_device_dtype_check_for_fused"),
    *("_step_supports_amp_scaling", "_warned_capturable_if_run_uncaptured"),
)
OF_EVERY: dict[type, tuple[str, ...]] = {pl.Callback: (), torch.optim.Optimizer: OF_OPTIMIZERS}


class UnsavedState:
    """The attributes of a user's objects when training begins, or goes on.

    Args:
        trainer: whose callbacks and optimizers they are.
    """

    def __init__(self, trainer: pl.Trainer) -> None:
        # Lightning sets them from outside of the class, where no checker sees it.
        callbacks = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        self.objects = [each for each in (*callbacks, *trainer.optimizers) if _keeps_own(each)]
        self.before = [_attributes(each) for each in self.objects]

    def changed(self) -> list[str]:
        """Return the attributes that no checkpoint has and that have changed, as `module.Class.n`.

        A class that has a `state_dict` of its own says by it what is worth keeping.
        """
        names = []
        for each, before in zip(self.objects, self.before, strict=True):
            kind, now = type(each), _attributes(each)
            names += [
                f"{kind.__module__}.{kind.__qualname__}.{name}"
                for name in sorted({*before, *now})
                if before.get(name) != now.get(name)
            ]
        return names


def _keeps_own(thing: Any) -> bool:
    """Whether an object is of a user's class that leaves the checkpoint to its base."""
    base = next(base for base in OF_EVERY if isinstance(thing, base))
    return _is_foreign(type(thing)) and type(thing).state_dict is base.state_dict


def _is_foreign(kind: type) -> bool:
    return kind.__module__.split(".")[0] not in LIBRARIES


def _attributes(thing: Any) -> dict[str, str]:
    """Return a digest of each attribute of an object, of those that are data."""
    base = next(base for base in OF_EVERY if isinstance(thing, base))
    return {
        name: _digest(value)
        for name, value in vars(thing).items()
        if name not in OF_EVERY[base] and not name.startswith(("_optimizer_", "_zero_grad_"))
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(_plain(value, DEPTH)).encode()).hexdigest()


def _plain(value: Any, depth: int) -> Any:
    """Return a value as plain data; of what is no data, such as a trainer, its class alone."""
    match value:
        case None | bool() | int() | float() | str() | bytes() | np.generic():
            return value
        case Tensor():
            return [*value.shape, _digest_of(value)]
        case np.ndarray():
            return [*value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
        case random.Random():
            return value.getstate()
        case np.random.Generator():
            return repr(value.bit_generator.state)
        case torch.Generator():
            return value.get_state().tolist()
    kind = type(value)
    if depth == 0:
        return kind.__qualname__
    if isinstance(value, Mapping):
        return [[_plain(each, depth - 1) for each in pair] for pair in value.items()]
    if isinstance(value, list | tuple | set | frozenset | deque):
        items = [_plain(each, depth - 1) for each in value]
        return sorted(items, key=repr) if isinstance(value, set | frozenset) else items
    if _is_foreign(kind) and kind.__module__ not in sys.builtin_module_names:
        return [kind.__qualname__, _plain(getattr(value, "__dict__", {}), depth - 1)]
    return kind.__qualname__


def _digest_of(tensor: Tensor) -> str:
    if tensor.is_meta:
        return ""
    values = tensor.detach().cpu().contiguous().view(-1)
    return hashlib.sha256(values.to(torch.float64).numpy().tobytes()).hexdigest()
