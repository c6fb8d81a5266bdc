"""Computes an encoder from its printed equations, for one example."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from tests.equations.calculator import Known
from tests.equations.interpreter import Interpreter, Line, zeros
from tests.equations.notation import Unreadable, sentence


class Read(NamedTuple):
    """What an encoder's equations come to: memory (S, M), summary (D,), state (L, H) each."""

    memory: np.ndarray
    summary: np.ndarray
    hidden: np.ndarray | None
    cell: np.ndarray | None


class EncoderInterpreter(Interpreter):
    """An encoder's equations for one example."""

    def read(self, source: Any, num_positions: int) -> Read:
        """Return what the equations come to.

        Args:
            source: token ids, values (S, F) or an image.
            num_positions: S, of the memory.
        """
        self.calculator.bound = {"S": num_positions}
        self.source, self.start, self.empty = source, None, None
        self.values |= {f"source_{j}": one for j, one in enumerate(source, start=1)}
        hidden = cell = None
        layered: list[Line] = []
        lines = self.lines
        if self.cell:
            first = self.cell.lines[0].number
            for line in self.lines[:first]:
                self._at_each_position(line)
            hidden, cell = self._stack()
            lines = self._after_cell()
        for line in lines:
            if "^l" in line.left:
                layered.append(line)
                continue
            if layered:
                self._layers(layered)
                layered = []
            self._at_each_position(line)
        memory = np.stack([self.values[f"m_{j}"] for j in self.calculator.positions])
        self.calculator.used |= {"c", *(f"m_{j}" for j in self.calculator.positions)}
        return Read(memory, self.values["c"], hidden, cell)

    def _layers(self, lines: list[Line]) -> None:
        for layer in range(1, self.number_of_layers(lines[0]) + 1):
            self.calculator.bound["l"] = layer
            for line in lines:
                self._at_each_position(line, layer)
        del self.calculator.bound["l"]

    def _at_each_position(self, line: Line, layer: int = 1) -> None:
        words = sentence(line.right)
        if re.fullmatch(r"h_0(, [kn]_0)*", line.left):
            self.start = line
        elif line.left in ("M_0", "C_0"):
            self.empty = (line.left[0], zeros(words[1]))
            self._expect(self.empty[1].size, line.size)
        elif words and words[0] == "image":
            self.values["g^0"] = self.source
        elif words:
            raise Unreadable(f"{words[0]} is not expected here")
        elif re.search(r"_j(, l = .*)?$", line.left):
            for j in self.calculator.positions:
                self.calculator.bound["j"] = j
                self.line(line, layer=layer)
            del self.calculator.bound["j"]
        else:
            self.line(line, layer=layer)

    def _stack(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Run the recurrent stack; return the last states of all layers."""
        positions, cell, directions = self.calculator.positions, self.cell, [False]
        directions += [True] * (cell.backward is not None)
        inputs = {j: self.values[f"x_{j}"] for j in positions}
        self.calculator.used |= {f"x_{j}" for j in positions}
        last: dict[str, list[np.ndarray]] = {"h": [], "k": []}
        for layer in range(1, cell.num_layers + 1):
            for backward in directions:
                self._run(layer, backward, inputs)
            own = [self.states[layer, backward] for backward in directions]
            ends = [positions[0] if backward else positions[-1] for backward in directions]
            for letter in "hk":
                if f"{letter}_{positions[0]}" in own[0]:
                    parts = [state[f"{letter}_{j}"] for state, j in zip(own, ends, strict=True)]
                    last[letter].append(np.concatenate(parts))
            self.calculator.directions = dict(zip(("forward", "backward"), own, strict=False))
            if len(own) == 1:
                self.values |= {f"h_{j}": own[0][f"h_{j}"] for j in positions}
            inputs = {j: self._output(layer, j, inputs[j], own) for j in positions}
        if len(directions) == 1:
            self.calculator.directions = {}
        return np.stack(last["h"]), np.stack(last["k"]) if last["k"] else None

    def _run(self, layer: int, backward: bool, inputs: dict[int, np.ndarray]) -> None:
        """Run one layer in one direction."""
        scope = self.states.setdefault((layer, backward), Known())
        order = reversed(self.calculator.positions) if backward else self.calculator.positions
        before_first = len(inputs) + 1 if backward else 0
        if self.start is None:
            raise Unreadable("the state before the first step is not given")
        for name in self.start.left.split(", "):
            if self.start.right != "0" or not re.fullmatch(r"[hkn]_0", name):
                raise Unreadable(f"{self.start.left} = {self.start.right}")
            scope[f"{name[0]}_{before_first}"] = np.zeros(self.start.size)
        if self.empty is not None:
            scope[f"{self.empty[0]}_{before_first}"] = self.empty[1]
        for j in order:
            self.cell_step(layer, backward, inputs[j], j)

    def _output(
        self, layer: int, j: int, inputs: np.ndarray, own: list[dict[str, Any]]
    ) -> np.ndarray:
        if self.cell.residual is None:
            return np.concatenate([state[f"h_{j}"] for state in own])
        line, first, others = self.cell.residual
        calculator = self.calculator
        calculator.bound["j"], calculator.local = j, {f"x_{j}": inputs}
        calculator.left, calculator.size = line.left, line.size
        self.values.pop(f"o_{j}", None)  # that of the layer below is called x_j here
        value = calculator.right(first if layer == 1 else others)
        self.keep("o_j", value, line.size, self.values)
        del calculator.bound["j"]
        calculator.local = {}
        return value
