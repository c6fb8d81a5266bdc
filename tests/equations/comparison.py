"""Runs a module, and its equations, and compares: outputs, states, widths and parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decoderlab.contract import TokenSpace
from decoderlab.layers.equations import Equation
from tests.equations.calculator import Wrong
from tests.equations.cases import (
    ALIGNMENT,
    LENGTHS,
    SOURCE,
    Case,
    built,
    encoded,
    source,
    target,
    weights,
)
from tests.equations.decoder_interpreter import NEVER_GENERATED, DecoderInterpreter
from tests.equations.encoder_interpreter import EncoderInterpreter

TOLERANCE = 1e-10
NUM_STEPS = 3


def check(case: Case, equations: Sequence[Equation] | None = None) -> None:
    """Compare a model with its equations, or with others in their place.

    Raises:
        Wrong: where they differ.
        Unreadable: for an equation that is not in the notation.
    """
    equations = printed(case) if equations is None else equations
    one = _check_decoder(case, equations) if case.group == "decoder" else None
    one = one or _check_encoder(case, equations)
    if missing := one.unused():
        raise Wrong(f"{sorted(missing)} are computed, and never used")
    _check_parameters(case, equations, one.weights.read_in)


@cache
def printed(case: Case) -> list[Equation]:
    """Return the equations of a case."""
    return built(case).equations()


def same(name: str, ours: Any, theirs: Tensor | np.ndarray) -> None:
    """Raise `Wrong` where a value is not the module's."""
    theirs = np.asarray(theirs)
    if np.shape(ours) != theirs.shape or not np.abs(ours - theirs).max() < TOLERANCE:
        raise Wrong(f"{name} is {ours} after the equations, but {theirs}")


def _check_decoder(case: Case, equations: Sequence[Equation]) -> DecoderInterpreter:
    outputs, states = stepped(case)
    begin = _begin(case)
    for row, _ in enumerate(LENGTHS):
        one = interpreter(case, equations, row)
        _check_state(one, 0, states[0], row)
        previous = begin
        for step in range(1, NUM_STEPS + 1):
            same(f"output {step}", one.step(step, previous), outputs[row, step - 1])
            _check_state(one, step, states[step], row)
            previous = _example(target(case.space)[row, step - 1])
        _check_training(case, equations, row)
    return one


def _check_state(one: DecoderInterpreter, step: int, state: Any, row: int) -> None:
    """See that what is handed on stands somewhere in the decoder's state."""
    candidates = [value[row] for value in leaves(state) if len(value) > row]
    for value in leaves(state):  # a stack of layers before the rows
        if value.dim() >= 3:
            candidates += [layer[row] for layer in value if len(layer) > row]
    for name, value in one.state(step).items():
        fits = [each for each in candidates if each.shape == value.shape]
        if not any(np.abs(each.numpy() - value).max() < TOLERANCE for each in fits):
            raise Wrong(f"{name} after step {step} is {value}, which the state does not hold")


def leaves(state: Any) -> Iterator[Tensor]:
    """Yield all tensors of a state, whatever it is made of."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        yield from leaves(list(state.values()))
    elif isinstance(state, list | tuple):
        for one in state:
            yield from leaves(one)
    elif dataclasses.is_dataclass(state):
        yield from leaves([getattr(state, field.name) for field in dataclasses.fields(state)])


def interpreter(case: Case, equations: Sequence[Equation], row: int) -> DecoderInterpreter:
    """Return an interpreter at the start of one row."""
    read, module = encoded(case.shape), built(case)
    hidden, cell = (None, None) if read.state is None else read.state[:2]
    further = [] if read.state is None else read.state.further
    return DecoderInterpreter(
        type(module).__name__,
        equations,
        weights(module),
        memory=read.memory[row, : LENGTHS[row]].numpy(),
        summary=read.summary[row].numpy(),
        hidden=None if hidden is None else hidden[:, row].numpy(),
        cell=None if cell is None else cell[:, row].numpy(),
        stack=further[0][:, row].numpy() if further else None,
        space_size=case.space.size,
        copied=[ALIGNMENT[one] for one in SOURCE[row, : LENGTHS[row]].tolist()],
    )


@cache
@torch.no_grad()
def stepped(case: Case) -> tuple[np.ndarray, list[Any]]:
    """Return the outputs of three steps, and the states before and after each."""
    module, wanted = built(case), target(case.space)
    state = module.start(encoded(case.shape))
    states, outputs = [_copy(state)], []
    begin = _begin(case)
    previous = torch.full_like(wanted[:, 0], 0) + torch.as_tensor(begin)
    for step in range(NUM_STEPS):
        output, state = module.step(previous, state)
        outputs.append(output.numpy())
        states.append(_copy(state))
        previous = wanted[:, step]
    return np.stack(outputs, axis=1), states


def _copy(state: Any) -> list[Tensor]:
    return [value.clone() for value in leaves(state)]


def _begin(case: Case) -> Any:
    if isinstance(case.space, TokenSpace):
        return case.space.bos_id
    return np.zeros(case.space.size)


def _example(value: Tensor) -> Any:
    return value.numpy() if value.dim() else int(value)


@cache
@torch.no_grad()
def trained(case: Case, update: int) -> np.ndarray:
    """Return the outputs that training sees after `update` updates."""
    module = built(case).train()
    if hasattr(module, "at_step"):
        module.at_step(update, 5)
    outputs = module(encoded(case.shape), target(case.space)).numpy()
    module.eval()
    return outputs


def _check_training(case: Case, equations: Sequence[Equation], row: int) -> None:
    """Compare with what training sees, as the line of y_{t-1} says it."""
    one = interpreter(case, equations, row)
    words = one.feedback()
    ways = [(0, words is not None and words[0] == "own")]
    if words is not None and words[0] == "coins":
        numbers = words[1]["ratio"].split()
        if float(numbers[0]) != 1 or float(numbers[3]) != 0:
            raise Wrong(f"the probability {numbers} cannot be checked")
        ways = [(0, False), (int(numbers[4 + 1]), True)]
    for update, own in ways:
        one, previous = interpreter(case, equations, row), _begin(case)
        for step in range(1, NUM_STEPS + 1):
            output = one.step(step, previous)
            same(f"output {step} in training", output, trained(case, update)[row, step - 1])
            previous = _example(target(case.space)[row, step - 1])
            if own:
                previous = _own(case, output)


def _own(case: Case, output: np.ndarray) -> Any:
    if not isinstance(case.space, TokenSpace):
        return output[: case.space.size]
    output = output.copy()
    output[NEVER_GENERATED] = -np.inf
    return int(output.argmax())


@cache
@torch.no_grad()
def read(case: Case) -> Any:
    """Return what an encoder reads."""
    return built(case)(*source(case.space))


def _check_encoder(case: Case, equations: Sequence[Equation]) -> EncoderInterpreter:
    theirs, module = read(case), built(case)
    sources, _ = source(case.space)
    for row, real in enumerate(theirs.memory_mask.sum(dim=1).tolist()):
        one = EncoderInterpreter(type(module).__name__, equations, weights(module))
        own = sources[row].tolist() if isinstance(case.space, TokenSpace) else sources[row].numpy()
        ours = one.read(own, real)
        same("memory", ours.memory, theirs.memory[row, :real])
        same("c", ours.summary, theirs.summary[row])
        if theirs.state is not None:
            same("h", ours.hidden, theirs.state.hidden[:, row])
            if theirs.state.cell is not None:
                same("k", ours.cell, theirs.state.cell[:, row])
    return one


def _check_parameters(case: Case, equations: Sequence[Equation], read_in: dict[str, int]) -> None:
    """See that each line counts the parameters that are read in it first."""
    counted = [0] * len(equations)
    for name, parameter in built(case).named_parameters():
        if parameter.requires_grad:
            if name not in read_in:
                raise Wrong(f"no equation reads {name}")
            counted[read_in[name]] += parameter.numel()
    for line, number in zip(equations, counted, strict=True):
        if line.parameters != number:
            raise Wrong(f"{line.left}: {line.parameters} parameters printed, {number} read")
