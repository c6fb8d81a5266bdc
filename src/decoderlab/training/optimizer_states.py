"""The states of optimizer and schedule in a checkpoint, compared with what these really keep.

Torch's fused optimizers compute with pointers: a tensor of another shape than its weight's would
have them read and write outside of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from decoderlab.common.errors import Invalid
from decoderlab.training.module import EncoderDecoder

# Of these it is known that what they keep has the same shape after any update.
KNOWN = ("torch.optim.", "decoderlab.")


def check_optimizers(path: Path, saved: Mapping[str, Any], model: EncoderDecoder) -> None:
    """Raise Invalid unless a checkpoint holds what the optimizer of a model and its schedule keep.

    Args:
        path: of the checkpoint, for messages.
        saved: what it holds.
        model: of the run, with its weights or others.
    """
    if model.make_optimizer is None:
        return
    weights = [
        nn.Parameter(torch.zeros_like(parameter))
        for parameter in model.parameters()
        if parameter.requires_grad
    ]
    optimizer, schedule = model.make_optimizer(weights)
    schedules = [] if schedule is None else [schedule.state_dict()]
    _compare(path, "lr_schedulers", saved.get("lr_schedulers"), schedules)
    fresh = optimizer.state_dict()
    saved_states = saved.get("optimizer_states")
    if not (
        isinstance(saved_states, list)
        and len(saved_states) == 1
        and isinstance(saved_states[0], Mapping)
    ):
        raise Invalid(path, "holds no state of its optimizer")
    groups, states = saved_states[0].get("param_groups"), saved_states[0].get("state")
    _compare(path, "param_groups", groups, fresh["param_groups"])
    if not isinstance(states, Mapping):
        raise Invalid(path, "holds no state of its optimizer")
    for tensor in _tensors(states):
        if tensor.layout != torch.strided or not tensor.is_contiguous() or tensor.is_meta:
            raise Invalid(path, "holds a state of its optimizer that is not a plain tensor")
    expected = _after_an_update(optimizer, weights)
    if expected is not None:
        if foreign := sorted(map(str, states.keys() - expected.keys())):
            raise Invalid(path, f"holds a state of parameter {foreign[0]:.20}, which is not there")
        for number, state in states.items():
            _compare(path, f"the state of parameter {number}", state, expected[number])
    elif any(group.get("fused") for group in (*fresh["param_groups"], *(groups or ()))):
        raise Invalid(path, "holds a state of an optimizer of which nothing can be known")


def _after_an_update(
    optimizer: torch.optim.Optimizer, weights: list[nn.Parameter]
) -> Mapping[Any, Any] | None:
    """Return what an optimizer keeps after an update of weights; None where that is not known."""
    fused = any(group.get("fused") for group in optimizer.param_groups)
    if not fused and not type(optimizer).__module__.startswith(KNOWN):
        return None
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    try:
        with torch.random.fork_rng(devices=[]):
            optimizer.step()
    except Exception:  # one that asks for a closure, as LBFGS does
        return None
    return optimizer.state_dict()["state"]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(item)


def _compare(path: Path, name: str, saved: Any, wanted: Any) -> None:
    """Raise Invalid for a value of another kind than is wanted; numbers may be others."""
    if _kind(wanted) != (kind := _kind(saved)):
        raise Invalid(path, f"holds {name}: {kind:.60}; expected {_kind(wanted):.60}")
    if isinstance(wanted, Mapping):
        for key in wanted:
            if key in saved:
                _compare(path, f"{name}.{key}", saved[key], wanted[key])
        _check_keys(path, name, saved, wanted)
    elif isinstance(wanted, list | tuple):
        for number, (saved_item, wanted_item) in enumerate(zip(saved, wanted, strict=True)):
            _compare(path, f"{name}[{number}]", saved_item, wanted_item)


def _check_keys(path: Path, name: str, saved: Mapping[Any, Any], wanted: Mapping[Any, Any]) -> None:
    # Switches that a newer torch has added are set by it.
    off = {key for key, value in wanted.items() if value is None or value is False}
    if different := sorted(map(str, (saved.keys() ^ wanted.keys()) - (off - saved.keys()))):
        raise Invalid(path, f"holds {name} with other fields: {', '.join(different):.60}")


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        shape = "x".join(map(str, value.shape)) or "one number"
        plain = value.layout == torch.strided and value.is_contiguous()
        return f"{shape} {value.dtype}" + ("" if plain else ", not in a row")
    if isinstance(value, bool):
        return "true or false"
    if value is None or isinstance(value, str):
        return repr(value)
    if isinstance(value, int | float):
        return "a number" if math.isfinite(value) else "no finite number"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return "a mapping" if isinstance(value, Mapping) else f"a {type(value).__name__}"
