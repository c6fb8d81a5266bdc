"""Types of the checked modules: torch modules that also keep the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, cast, runtime_checkable

from torch import nn

from decoderlab.contract import Decoder, Encoder, Objective
from decoderlab.layers.cells import Cell

# What a function gives back as it got it, and what a subject builds.
SomeModule = TypeVar("SomeModule", bound=nn.Module)
Built = TypeVar("Built", bound=nn.Module, covariant=True)


class EncoderModule(nn.Module, Encoder):
    """An encoder as a checker of types sees it: both what its class must extend and must have."""


class DecoderModule(nn.Module, Decoder):
    """A decoder as a checker of types sees it; see `EncoderModule`."""


class CellModule(nn.Module, Cell):
    """A cell as a checker of types sees it; see `EncoderModule`."""


class ObjectiveModule(nn.Module, Objective):
    """An objective as a checker of types sees it, though it need not be a module."""


def of_encoders(make: Callable[..., nn.Module]) -> Callable[..., EncoderModule]:
    """Return a class, typed as an encoder; the checks say what it lacks."""
    return cast("Callable[..., EncoderModule]", make)


def of_decoders(make: Callable[..., nn.Module]) -> Callable[..., DecoderModule]:
    """Return a class, typed as a decoder; the checks say what it lacks."""
    return cast("Callable[..., DecoderModule]", make)


@runtime_checkable
class DropsOut(Protocol):
    """A module with a rate of dropout of its own, such as torch's LSTM."""

    dropout: float
