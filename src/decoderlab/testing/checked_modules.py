"""The types of what is checked: modules that are, besides, what the contract asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, cast, runtime_checkable

from torch import nn

from decoderlab.contract import Decoder, Encoder
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


def of_encoders(make: Callable[..., nn.Module]) -> Callable[..., EncoderModule]:
    """Return a class, taken for one of encoders; the checks say what it lacks."""
    return cast("Callable[..., EncoderModule]", make)


def of_decoders(make: Callable[..., nn.Module]) -> Callable[..., DecoderModule]:
    """Return a class, taken for one of decoders; the checks say what it lacks."""
    return cast("Callable[..., DecoderModule]", make)


@runtime_checkable
class DropsOut(Protocol):
    """A module with a rate of dropout of its own, such as torch's LSTM."""

    dropout: float
