"""What a user's classes keep beside a checkpoint: a run cannot go on without it.

Lightning saves what a callback's `state_dict` returns, torch an optimizer's `state` and groups, and
a module's parameters and persistent buffers. A counter that is another attribute starts anew when a
run goes on, and the result is another one.

An attribute is compared by what pickling it gives; what cannot be pickled counts as changed. What
stands in the checkpoint anyway, the model and its weights, counts as unchanged, and so does what is
code or a way out of the process: functions, modules, files, locks, loggers, the trainer.
"""

from __future__ import annotations

import dis
import hashlib
import io
import logging
import pickle
import sys
import threading
from collections.abc import Iterator
from copy import deepcopy
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn

from decoderlab.common import process
from decoderlab.config.code_identity import VERSIONED
from decoderlab.config.lightning_settings import WATCHES

LIBRARIES = {
    "decoderlab",
    *VERSIONED,
    *("lightning", "lightning_fabric", "torchmetrics", "tensorboard"),
}
SHARED = " (shared)"  # by the objects of a class, or by a module: also by a next run
CODE = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType, property)
DESCRIPTORS = (staticmethod, classmethod, type(type.__dict__["__dict__"]))
OUTSIDE = (
    *(io.IOBase, logging.Logger, pl.Trainer, pl.LightningDataModule, Logger),
    *(type(threading.Lock()), type(threading.RLock()), threading.Thread),
)
# Attributes of a torch optimizer that are saved, or notes of torch's to itself.
OF_OPTIMIZERS = {
    *("state", "param_groups", "defaults", "_opt_called", "_need_device_dtype_check_for_fused"),
    *("_step_supports_amp_scaling", "_warned_capturable_if_run_uncaptured"),
}
OF_MODULES = set(vars(nn.Module()))


class UnsavedState:
    """What a user's callbacks, optimizers and modules hold when training begins, or goes on.

    Args:
        trainer: whose they are.
        model: that is trained.
    """

    def __init__(self, trainer: pl.Trainer, model: nn.Module) -> None:
        # Lightning sets them from outside of the class, where no checker sees it.
        callbacks = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        parts = (*model.modules(), *model.parameters(), *model.buffers())
        self.known = {id(each) for each in (*parts, *callbacks, *trainer.optimizers)}
        objective = getattr(model, "objective", None)
        candidates = (*callbacks, *trainer.optimizers, *model.modules(), objective)
        self.holders = [each for each in candidates if _is_silent(each)]
        self.before = [dict(self._digests(each)) for each in self.holders]

    def changed(self) -> list[str]:
        """Return what no checkpoint has and has changed, as `module.Class.attribute`.

        A user's class that has a `state_dict` says by it what is worth keeping.
        """
        names: dict[str, None] = {}
        for each, before in zip(self.holders, self.before, strict=True):
            now = dict(self._digests(each))
            names |= dict.fromkeys(
                name
                for name in sorted({*before, *now})
                if not before.get(name) == now.get(name) != ""
            )
        if any(name.endswith(SHARED) for name in names):
            process.stale = True
        return list(names)

    def _digests(self, holder: Any) -> Iterator[tuple[str, str]]:
        """Yield each attribute of an object, its classes and their modules, with a digest."""
        kinds = type(holder).__mro__
        ours = {name for kind in kinds if not _is_foreign(kind) for name in _names_in(kind)}
        if isinstance(holder, torch.optim.Optimizer):
            ours |= OF_OPTIMIZERS
        if isinstance(holder, nn.Module):
            ours |= OF_MODULES
            # What the update says, which it says again after an interruption.
            ours |= set(_set_by(getattr(type(holder), "at_step", None)))
        kind = f"{type(holder).__module__}.{type(holder).__qualname__}"
        passing = getattr(holder, "_non_persistent_buffers_set", ())
        own = getattr(holder, "__dict__", {}) | _of_slots(holder)
        # A copy, since the buffers of a model are known as such.
        own |= {name: deepcopy(getattr(holder, name)) for name in passing}
        for name, value in own.items():
            if name not in ours and not name.startswith(("_optimizer_", "_zero_grad_")):
                yield f"{kind}.{name}", self._digest(value)
        for base in filter(_is_foreign, kinds):
            module = sys.modules.get(base.__module__)
            owners = {
                f"{base.__module__}.{base.__qualname__}": dict(vars(base)),
                base.__module__: {} if module is None else dict(vars(module)),
            }
            for owner, values in owners.items():
                for name, value in values.items():
                    if name.startswith("__") or isinstance(value, (*CODE, *DESCRIPTORS)):
                        continue
                    if digest := self._digest(value):  # of the rest little is kept there
                        yield f"{owner}.{name}{SHARED}", digest

    def _digest(self, value: Any) -> str:
        """Return the digest of a value; empty where nobody can tell what it is."""
        for fast in (True, False):  # without notes of what was seen, unless it goes in a circle
            file = io.BytesIO()
            pickler = _Pickler(file, self.known)
            pickler.fast = fast
            try:
                pickler.dump(value)
            except RecursionError:
                continue
            except Exception:  # whatever somebody's object raises
                return ""
            return hashlib.sha256(file.getvalue()).hexdigest()
        return ""


class _Pickler(pickle.Pickler):
    """Writes values so that equal ones give equal bytes, and leaves out what is saved or is code.

    Args:
        file: written to.
        known: ids of what a checkpoint has.
    """

    def __init__(self, file: io.BytesIO, known: set[int]) -> None:
        super().__init__(file, protocol=5)
        self.known = known

    def persistent_id(self, obj: Any) -> Any:
        """Return what stands in place of an object; None for what is written as it is."""
        if id(obj) in self.known:
            return "in the checkpoint"
        if isinstance(obj, (*CODE, *OUTSIDE)):
            return f"{type(obj).__qualname__} {getattr(obj, '__qualname__', '')}"
        if isinstance(obj, Tensor):
            return _of_tensor(obj)
        if isinstance(obj, torch.Generator):
            return _of_tensor(obj.get_state())
        if isinstance(obj, nn.Module):
            return [(name, _of_tensor(value)) for name, value in obj.state_dict().items()]
        return None


def _of_tensor(tensor: Any) -> str:
    if not isinstance(tensor, Tensor) or tensor.is_meta:
        return repr(tensor)[:80]
    values = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return f"{tensor.dtype} {[*tensor.shape]} {hashlib.sha256(values.numpy().data).hexdigest()}"


def _is_silent(holder: Any) -> bool:
    """Whether an object is of a user's class that says nothing of what it keeps."""
    foreign = [kind for kind in type(holder).__mro__ if _is_foreign(kind)]
    if vars(type(holder)).get(WATCHES) is True:  # nothing depends on what it keeps
        return False
    saving = ("state_dict", "get_extra_state")
    return bool(foreign) and not any(name in vars(kind) for kind in foreign for name in saving)


def _is_foreign(kind: type) -> bool:
    return kind.__module__.split(".")[0] not in LIBRARIES


def _names_in(kind: type) -> Iterator[str]:
    """Yield the attributes that the methods of a class set."""
    for value in vars(kind).values():
        yield from _set_by(getattr(value, "__func__", getattr(value, "fget", value)))


def _set_by(function: Any) -> Iterator[str]:
    if isinstance(function, FunctionType):
        for instruction in dis.get_instructions(function):
            if instruction.opname == "STORE_ATTR":
                yield instruction.argval


def _of_slots(holder: Any) -> dict[str, Any]:
    slots = [getattr(kind, "__slots__", ()) for kind in type(holder).__mro__]
    names = [name for some in slots for name in ([some] if isinstance(some, str) else some)]
    return {name: getattr(holder, name) for name in names if hasattr(holder, name)}
