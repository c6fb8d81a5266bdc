"""Encodings taken apart and put together again, whatever fields they have besides the promised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from decoderlab.contract import Encoded, State


def transformed(encoded: Encoded, change: Callable[..., Any], *others: Encoded) -> Encoded:
    """Return an encoding of the same type, with `change(tensor, axis of the rows)` of each tensor.

    Args:
        encoded: with any fields, and attributes, besides those of the contract.
        change: gets the tensors of all encodings that are in the same field, then the axis.
        others: more encodings of the same type.
    """

    def walk(axis: int, value: Any, *rest: Any) -> Any:
        if isinstance(value, Tensor):
            return change(value, *rest, axis)
        axis = 1 if isinstance(value, State) else axis
        if isinstance(value, tuple | list):
            parts = [walk(axis, *items) for items in zip(value, *rest, strict=True)]
            return _made(type(value), parts)
        if isinstance(value, dict):
            return {key: walk(axis, value[key], *(item[key] for item in rest)) for key in value}
        return value

    changed = walk(0, encoded, *others)
    for name, value in getattr(encoded, "__dict__", {}).items():
        setattr(changed, name, walk(0, value, *(getattr(encoded, name) for encoded in others)))
    return changed


def _made(kind: Callable[..., Any], parts: list[Any]) -> Any:
    return kind(*parts) if hasattr(kind, "_fields") else kind(parts)


def named_states(state: State | None) -> dict[str, Tensor]:
    """Return all tensors of a state by name, hidden first."""
    if state is None:
        return {}
    named = {"hidden": state.hidden, "cell": state.cell}
    named |= {f"further[{number}]": part for number, part in enumerate(state.further)}
    return {name: part for name, part in named.items() if part is not None}


def parts_of(state: State | None) -> list[Tensor]:
    """Return all tensors of a state, hidden first."""
    return list(named_states(state).values())


def floats(encoded: Encoded) -> tuple[Tensor, ...]:
    """Return the tensors of an encoding that can carry gradients; memory, summary, state first."""
    tensors: list[Tensor] = []

    def note(tensor: Tensor, axis: int) -> Tensor:
        if tensor.is_floating_point():
            tensors.append(tensor)
        return tensor

    transformed(encoded, note)
    return tuple(tensors)


def as_leaves(encoded: Encoded) -> Encoded:
    """Return a copy whose tensors are their own, and want a gradient where they can."""

    def leaf(tensor: Tensor, axis: int) -> Tensor:
        copied = tensor.detach().clone()
        return copied.requires_grad_() if tensor.is_floating_point() else copied

    return transformed(encoded, leaf)


def without_gradients(encoded: Encoded) -> Encoded:
    """Return a copy that wants no gradients."""
    return transformed(encoded, lambda tensor, axis: tensor.detach().clone())


def rows_of(encoded: Encoded, rows: list[int]) -> Encoded:
    """Return some rows of an encoding, each as often as it is named."""
    index = torch.tensor(rows)
    return transformed(encoded, lambda tensor, axis: tensor.index_select(axis, index))


def mixed(mine: Tensor, encoded: Encoded, other: Encoded) -> Encoded:
    """Return the rows of `encoded` where `mine` (B,) is True, those of `other` elsewhere."""

    def choose(value: Tensor, other_value: Tensor, axis: int) -> Tensor:
        rows = mine.view(*[1] * axis, -1, *[1] * (value.dim() - axis - 1))
        return torch.where(rows, value, other_value)

    return transformed(encoded, choose, other)


def padded(encoded: Encoded, extra: int) -> Encoded:
    """Return the encoding with more masked positions."""
    return _resized(encoded, encoded.memory_mask.shape[1] + extra)


def trimmed(encoded: Encoded, num_positions: int) -> Encoded:
    """Return the encoding with its first positions alone."""
    return _resized(encoded, num_positions)


def _resized(encoded: Encoded, num_positions: int) -> Encoded:
    positions = encoded.memory_mask.shape

    def resize(tensor: Tensor, axis: int) -> Tensor:
        if axis == 1 or tensor.shape[:2] != positions or tensor is encoded.summary:
            return tensor
        more = num_positions - positions[1]
        return nn.functional.pad(tensor, (0, 0) * (tensor.dim() - 2) + (0, more))

    return transformed(encoded, resize)
