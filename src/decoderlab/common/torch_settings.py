"""What holds for torch in the whole process: its settings, its functions, its hooks.

A run is named by its config. Where a class of the user's, a notebook, or an earlier run of the same
process has changed one of these, the same config would give other numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

from decoderlab.common.errors import ConfigError

# Whose functions torch's classes and modules may have.
LIBRARIES = {
    *("torch", "functorch", "torchgen", "triton", "numpy", "typing_extensions"),
    *("pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics", "decoderlab"),
    *sys.stdlib_module_names,
}
FULL = ("none", "ieee")  # names of torch's for products of float32 in float32
SDP = ("flash", "mem_efficient", "math", "cudnn")


class _Setting(NamedTuple):
    name: str
    read: Callable[[], Any]
    usual: tuple[Any, ...]
    restore: Callable[[Any], object]


@cache
def _settings() -> tuple[_Setting, ...]:
    import torch

    def attribute(name: str, *usual: Any) -> _Setting:
        owner, _, last = name.rpartition(".")
        module = attrgetter(owner)(torch)
        return _Setting(
            f"torch.{name}",
            lambda: getattr(module, last),
            usual,
            lambda value: setattr(module, last, value),
        )

    def call(read: str, write: str, *usual: Any) -> _Setting:
        reader, writer = attrgetter(read)(torch), attrgetter(write)(torch)
        return _Setting(f"torch.{read}()", reader, usual, writer)

    def flushes() -> bool:
        # torch has no call that says so.
        return torch.tensor(1e-310, dtype=torch.float64, device="cpu").mul(1).item() == 0

    def autocast(device: str) -> _Setting:
        return _Setting(
            f"torch.is_autocast_enabled({device!r})",
            lambda: torch.is_autocast_enabled(device),
            (False,),
            lambda value: torch.set_autocast_enabled(device, value),
        )

    cuda = "backends.cuda"
    products = f"{cuda}.matmul.allow"
    return (
        call("get_default_dtype", "set_default_dtype", torch.float32),
        call("get_default_device", "set_default_device", torch.device("cpu")),
        call("get_float32_matmul_precision", "set_float32_matmul_precision", "highest"),
        attribute("backends.fp32_precision", *FULL),
        *(attribute(f"backends.mkldnn.{of}.fp32_precision", *FULL) for of in ("matmul", "rnn")),
        attribute("backends.mkldnn.conv.fp32_precision", *FULL),
        attribute("backends.mkldnn.enabled", True),
        attribute("backends.mkldnn.deterministic", False),
        attribute(f"{cuda}.matmul.fp32_precision", *FULL),
        attribute("backends.cudnn.conv.fp32_precision", "tf32", "none"),
        attribute("backends.cudnn.rnn.fp32_precision", "tf32", "none"),
        attribute("backends.cudnn.enabled", True),
        attribute(f"{products}_fp16_reduced_precision_reduction", True),
        attribute(f"{products}_bf16_reduced_precision_reduction", True),
        attribute(f"{products}_fp16_accumulation", False),
        *(call(f"{cuda}.{name}_sdp_enabled", f"{cuda}.enable_{name}_sdp", True) for name in SDP),
        call("backends.mha.get_fastpath_enabled", "backends.mha.set_fastpath_enabled", True),
        *map(autocast, ("cpu", "cuda")),
        _Setting("torch.set_flush_denormal", flushes, (False,), torch.set_flush_denormal),
    )


def _changed() -> Iterator[tuple[_Setting, Any]]:
    for setting in _settings():
        try:
            value = setting.read()
        except RuntimeError as error:  # torch has been told two things at once
            value = str(error).split("\n")[0]
        if value not in setting.usual:
            yield setting, value


class _Patch(NamedTuple):
    """A function of torch's that is another's now."""

    name: str
    owner: Any
    attribute: str
    scope: str  # the module that it is of


# Functions that are torch's own, by owner and name, as they were found first.
_own: dict[tuple[int, str], Any] = {}


@cache
def _owners() -> tuple[tuple[str, Any], ...]:
    """Return the modules and classes of torch that models, losses and optimizers are made of."""
    import torch
    from torch import nn

    modules = {
        "torch": torch,
        "torch.nn.functional": nn.functional,
        "torch.nn.init": nn.init,
        "torch.nn.utils": nn.utils,
        "torch.Tensor": torch.Tensor,
        "torch.nn.Parameter": nn.Parameter,
    }
    classes = {
        f"{module.__name__}.{name}": kind
        for module in (nn, torch.optim, torch.optim.lr_scheduler)
        for name, kind in vars(module).items()
        if isinstance(kind, type)
    }
    return tuple((modules | classes).items())


def _patched() -> Iterator[_Patch]:
    """Yield the functions that are none of torch's; note those that are."""
    for title, owner in _owners():
        for name, value in list(vars(owner).items()):
            key = (id(owner), name)
            if _own.get(key) is value or not callable(value) or isinstance(value, type):
                continue
            scope = getattr(value, "__globals__", {}).get("__name__", type(value).__module__)
            if str(scope).partition(".")[0] in LIBRARIES:
                _own[key] = value
            else:
                yield _Patch(f"{title}.{name}", owner, name, str(scope))


def _hooks() -> Iterator[tuple[str, dict]]:
    """Yield the hooks of all modules that somebody has registered."""
    from torch.nn.modules import module

    for name, hooks in vars(module).items():
        if name.startswith("_global_") and isinstance(hooks, dict) and hooks:
            yield name, hooks


def check_torch(when: str = "in this process") -> None:
    """Raise ConfigError where torch does not compute as every run does; costs a millisecond.

    Args:
        when: it is so, for the message.
    """
    if "torch" not in sys.modules:
        return  # nobody can have changed it
    for setting, value in _changed():
        _refuse(f"{setting.name} is {value} {when}, where every run has {setting.usual[0]}")
    for patch in _patched():
        _refuse(
            f"{patch.name} is a function of {patch.scope} {when}, where every run has torch's own"
        )
    for name, _ in _hooks():
        _refuse(f"torch.nn.modules.module.{name} has hooks {when}, where no run has any")


def _refuse(text: str) -> None:
    raise ConfigError(
        f"{text}: a class of yours, or the program that calls, has changed it for the whole "
        "process, so that other runs would change too; take that out, or set it back first"
    )


@contextmanager
def torch_as_before() -> Iterator[None]:
    """Let torch compute as every run does again after a run, whatever that has changed."""
    try:
        yield
    finally:
        for setting, _ in list(_changed()):
            with suppress(RuntimeError, ValueError, TypeError):  # those after it are refused then
                setting.restore(setting.usual[0])
        for patch in list(_patched()):
            if (original := _own.get((id(patch.owner), patch.attribute))) is not None:
                setattr(patch.owner, patch.attribute, original)
        for _, hooks in list(_hooks()):
            hooks.clear()
