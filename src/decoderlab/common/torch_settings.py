"""Settings of torch that hold for the whole process, and that the numbers of a run depend on.

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


def check_torch(when: str = "in this process") -> None:
    """Raise ConfigError where torch does not compute as every run does; costs some microseconds.

    Args:
        when: it is so, for the message.
    """
    if "torch" not in sys.modules:
        return  # nobody can have changed it
    for setting, value in _changed():
        raise ConfigError(
            f"{setting.name} is {value} {when}, where every run has {setting.usual[0]}: a class of "
            "yours, or the program that calls, has changed it for the whole process, so that "
            "other runs would change too; take that out, or set it back first"
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
