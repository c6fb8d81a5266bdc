"""Computes a model from its printed equations: line after line, for one example.

What the lines leave unsaid, and is the same in all of them:

* the letters of a line that is for several layers (a cell's, s_0 and k_0, those with ^l) are each
  layer's own; after the last layer they are the top layer's;
* a layer below is what its output is, of both directions side by side;
* y_{t-1} is what came before: in training the target's, where no line says something else;
* without a line on pairs of layers, the encoder's last state is that of its top layer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from decoderlab.layers.equations import Equation
from tests.equations.calculator import Calculator, Wrong, sinusoidal, softmax
from tests.equations.letters import CellLetters, Weights
from tests.equations.notation import Unreadable, sentence

NEVER_GENERATED = [0, 1, 3]  # pad, BOS, UNK
START = ("s_0 per layer", "s_0", "k_0", "x_0", "h_0", "a_0", "h_0, k_0")
GATES = ("i, f, o", "r, z", "i, f, o, g")
# Left sides that have no width: in words, or of what has no vector.
WITHOUT_SIZE = ("y_{t-1}", "s_0 per layer", "backward", "g^0")


class Line(NamedTuple):
    """One equation and its number."""

    number: int
    left: str
    right: str
    size: int | str


class Cell(NamedTuple):
    """The lines of a recurrent stack, and what the lines after them say of the other layers."""

    lines: list[Line]
    state: str  # the letter of the state, s or h
    step: str  # t or j
    num_layers: int
    no_summary: bool  # above the first layer
    backward: tuple[str, str] | None
    residual: tuple[Line, str, str] | None


class Interpreter:
    """What encoders' and decoders' equations have in common.

    Args:
        kind: the class whose equations they are.
        equations: as printed.
        weights: its parameters by name.
    """

    def __init__(
        self, kind: str, equations: Sequence[Equation], weights: dict[str, np.ndarray]
    ) -> None:
        self.kind, self.weights = kind, Weights(weights)
        self.calculator = Calculator(kind, self.weights)
        self.values = self.calculator.values
        self.lines = [Line(n, one.left, one.right, one.size) for n, one in enumerate(equations)]
        for line in self.lines:
            if line.size == "" and line.left not in WITHOUT_SIZE:
                raise Wrong(f"{line.left} has no width")
        # Under which name a value was kept, and in the line of which left side.
        self.kept: dict[str, str] = {}
        self.states: dict[tuple[int, bool], dict[str, Any]] = {}
        self.cell = self._cell()

    def _cell(self) -> Cell | None:
        """Find the lines of the recurrent stack."""
        starts = [
            line.number
            for line in self.lines
            if line.left in GATES or (line.left in ("s_t", "h_j") and "U " in line.right)
        ]
        if self.kind not in ("RecurrentDecoder", "RecurrentEncoder") or not starts:
            return None
        state, step = ("s", "t") if self.kind == "RecurrentDecoder" else ("h", "j")
        end = next(
            (line.number for line in self.lines[starts[0] :] if line.left == f"{state}_{step}"),
            None,
        )
        if end is None:
            raise Unreadable(f"the cell has no line for {state}_{step}")
        lines = self.lines[starts[0] : end + 1]
        num_layers, no_summary, backward, residual = 1, False, None, None
        for line in self.lines[end + 1 :]:
            words = sentence(line.right)
            name, parts = words or ("", {})
            if line.left.startswith("layers ") and name == "layers":
                num_layers = int(re.fullmatch(r"layers 2\.\.(\d+)", line.left)[1])
                no_summary = parts["no_summary"] is not None
                self._expect(parts["below"], f"x_{step}")
                self._expect(line.size, self._state_size())
            elif line.left == "backward" and name == "backward":
                backward = (parts["old"], parts["new"])
            elif line.left == f"o_{step}" and name == "residual":
                residual = (line, parts["first"], parts["others"])
            else:
                break
        return Cell(lines, state, step, num_layers, no_summary, backward, residual)

    def _after_cell(self) -> list[Line]:
        """Return the lines after those of the recurrent stack."""
        last = self.cell.lines[-1].number
        more = self.lines[last + 1 :]
        own = ("layers ", "backward", "o_j")
        return [line for line in more if not line.left.startswith(own)]

    def _state_size(self) -> int:
        recurrent = [name for name in self.weights.values if "rnn." in name and "_hh" in name]
        return self.weights.values[recurrent[0]].shape[1]

    def _expect(self, found: Any, wanted: Any) -> None:
        if found != wanted:
            raise Wrong(f"{found} where {wanted} belongs")

    def line(self, line: Line, value: Any = None, layer: int = 1) -> None:
        """Compute a line and keep its value; `value` is that of a line in words."""
        calculator = self.calculator
        left = line.left.partition(", l = ")[0]
        calculator.left, calculator.layer, calculator.size = left, layer, line.size
        self.weights.line = line.number
        if value is None:
            value = calculator.right(line.right)
        self.keep(left, value, line.size, self.values)

    def keep(self, left: str, value: Any, size: int | str, scope: dict[str, Any]) -> None:
        """Check a value's width, and keep it under the name of the left side."""
        if left == "[mean_t; log deviation_t]":
            left = "mean_t"
        if isinstance(value, float) and size not in ("", 1):
            if value:
                raise Wrong(f"{left} is a number and should be {size} wide")
            value = np.zeros(size)
        width = len(value) if np.ndim(value) else 1
        if size == "S":
            size = self.calculator.bound["S"]
        if size != "" and width != size:
            raise Wrong(f"{left} is {width} wide, not {size}")
        key = self.calculator.key(left)
        if key is None:
            raise Unreadable(f"{left!r} cannot be a left side")
        scope[key] = value
        self.kept.setdefault(key, left)

    def cell_step(self, layer: int, backward: bool, inputs: np.ndarray | None, step: int) -> None:
        """Run the lines of the cell for one layer; `inputs` None: x is there already."""
        calculator, cell = self.calculator, self.cell
        calculator.local = local = self.states.setdefault((layer, backward), {})
        before = calculator.bound
        calculator.bound = before | {cell.step: step}
        has_summary = any("C c" in line.right for line in cell.lines)
        if inputs is not None:
            local[f"x_{step}"] = inputs
        if has_summary and layer > 1:
            if not cell.no_summary:
                raise Wrong("there is no summary in the input of upper layers")
            local["c"] = np.zeros(0)
        summary = local["c"] if "c" in local else self.values.get("c")
        calculator.cell = CellLetters(
            self.weights, layer, backward, len(summary) if has_summary else None
        )
        for line in cell.lines:
            self._cell_line(line, backward, local)
        calculator.cell, calculator.local, calculator.bound = None, {}, before

    def _cell_line(self, line: Line, backward: bool, local: dict[str, Any]) -> None:
        calculator = self.calculator
        self.weights.line = self.cell.lines[0].number
        right, names = line.right, tuple(line.left.split(", "))
        if backward:
            right = right.replace(*self.cell.backward)
        calculator.left, calculator.size = line.left, line.size
        calculator.gates = names if names[0] in "ifgorz" else ("",)
        value = calculator.right(right)
        parts = np.split(value, len(names)) if len(names) > 1 else [value]
        for name, part in zip(names, parts, strict=True):
            self.keep(name, part, line.size, local)

    def unused(self) -> set[str]:
        """Return the left sides that no other line has read."""
        used = {left for key, left in self.kept.items() if key in self.calculator.used}
        return set(self.kept.values()) - used


class DecoderInterpreter(Interpreter):
    """A decoder's equations for one example.

    Args:
        kind, equations, weights: see `Interpreter`.
        memory: (S, M) of real positions; summary: (D,).
        hidden, cell: (L, H) each, the encoder's last state; None where it has none.
        space_size: numbers of ids, or of values.
    """

    def __init__(
        self,
        kind: str,
        equations: Sequence[Equation],
        weights: dict[str, np.ndarray],
        *,
        memory: np.ndarray,
        summary: np.ndarray,
        hidden: np.ndarray | None,
        cell: np.ndarray | None,
        space_size: int,
    ) -> None:
        super().__init__(kind, equations, weights)
        self.encoded, self.space_size = (hidden, cell), space_size
        self.calculator.bound = {"S": len(memory)}
        self.values["c"] = summary
        self.values |= {f"m_{j}": row for j, row in enumerate(memory, start=1)}
        self.step_lines = [line for line in self.lines if line.left not in START]
        for line in self.lines:
            if line.left in START:
                self._start(line)

    def _start(self, line: Line) -> None:
        words = sentence(line.right)
        if words and words[0] in ("step", "step_ends"):
            self._first_step(words[1].get("ends"))
        elif line.left in ("s_0", "k_0"):
            for layer in range(1, self.cell.num_layers + 1):
                scope = self.states.setdefault((layer, False), {})
                row = self._pairing()[layer - 1]
                self.calculator.last = {
                    name: None if part is None else part[row]
                    for name, part in zip("hk", self.encoded, strict=True)
                }
                self.calculator.local = scope
                self.line(line, layer=layer)
                scope[line.left] = self.values[line.left]
            self.calculator.local = {}
        elif line.left != "s_0 per layer":
            self.line(line)

    def _pairing(self) -> list[int]:
        num_layers = self.cell.num_layers
        for line in self.lines:
            if line.left == "s_0 per layer":
                rows = [int(row) - 1 for row in sentence(line.right)[1]["layers"].split(",")]
                self._expect(len(rows), num_layers)
                return rows
        return [-1] * num_layers

    def _first_step(self, ends: str | None) -> None:
        """Take the step of x_0: from s_0, which is then called s_{-1}, to a new s_0."""
        first = self.values["x_0"]
        if ends:
            self._expect(int(ends), len(self.values["c"]))
        self.calculator.used.add("x_0")
        inputs = first
        for layer in range(1, self.cell.num_layers + 1):
            scope = self.states[layer, False]
            for letter in "sk":
                if f"{letter}_0" in scope:
                    scope[f"{letter}_-1"] = scope[f"{letter}_0"]
            if ends and layer == 1:
                scope["c"] = first[-int(ends) :]
            self.cell_step(layer, False, inputs, 0)
            inputs = scope["s_0"]
            if ends and layer == 1:
                del scope["c"]
        self._publish(0)

    def _publish(self, step: int) -> None:
        top = self.states[self.cell.num_layers, False]
        for letter in "sk":
            if f"{letter}_{step}" in top:
                self.values[f"{letter}_{step}"] = top[f"{letter}_{step}"]

    def step(self, number: int, previous: Any) -> np.ndarray:
        """Run the lines of step `number`, from 1; return its outputs.

        Args:
            number: t.
            previous: y_{t-1}, a token or values, unless a line says what it is.
        """
        self.calculator.bound["t"] = number
        self.values[f"y_{number - 1}"] = previous
        layered: list[Line] = []
        for line in self.step_lines:
            if "^l" in line.left:
                layered.append(line)
                continue
            if layered:
                self._layers(layered)
                layered = []
            if self.cell and line.number == self.cell.lines[0].number:
                inputs = None
                for layer in range(1, self.cell.num_layers + 1):
                    self.cell_step(layer, False, inputs, number)
                    inputs = self.states[layer, False][f"s_{number}"]
                self._publish(number)
            elif not self._in_cell(line):
                self._step_line(line, number, previous)
        name = "mean_t" if self.lines[-1].left.startswith("[mean") else self.lines[-1].left
        self.calculator.used.add(self.calculator.key(name))
        return self.values[self.calculator.key(name)]

    def _in_cell(self, line: Line) -> bool:
        if self.cell is None:
            return False
        first, last = self.cell.lines[0].number, self.cell.lines[-1].number
        return first <= line.number <= last or line.left.startswith("layers ")

    def _layers(self, lines: list[Line]) -> None:
        num_layers = int(re.search(r", l = 1\.\.(\d+)$", lines[0].left)[1])
        for layer in range(1, num_layers + 1):
            self.calculator.bound["l"] = layer
            for line in lines:
                self.line(line, layer=layer)
        del self.calculator.bound["l"]

    def _step_line(self, line: Line, number: int, previous: Any) -> None:
        calculator, words = self.calculator, sentence(line.right)
        if line.left == "y_{t-1}":
            if words is None:
                raise Unreadable(f"{line.right!r} is nothing that y_{{t-1}} can be")
            if words[0] == "softmax":
                before = self.values.get(calculator.key(words[1]["logits"]))
                previous = np.zeros(self.space_size) if before is None else _generated(before)
                self.values[f"y_{number - 1}"] = previous
        elif line.left == "score_tj":
            for j in calculator.positions:
                calculator.bound["j"] = j
                self.line(line)
            del calculator.bound["j"]
        elif words is None:
            self.line(line)
        elif words[0] == "no_input":  # torch's cells then have an input of a single zero
            self._expect(line.size, 0)
            self.values[f"x_{number}"] = np.zeros(1)
        else:
            self.line(line, self._in_words(*words))
        if line.left == "w_t":
            for j, weight in zip(calculator.positions, self.values[f"w_{number}"], strict=True):
                self.values[f"w_{number}_{j}"] = weight
                calculator.used.add(f"w_{number}")

    def _in_words(self, name: str, parts: dict[str, str]) -> Any:
        calculator = self.calculator
        if name == "position":
            return sinusoidal(calculator.bound["t"] - 1, self._size_of("p_t"))
        if name not in ("weights", "context"):
            raise Unreadable(f"{name} is not expected here")
        values = []
        calculator.left = "a_t"
        for j in calculator.positions:
            calculator.bound["j"] = j
            values.append(calculator.right(parts["scores" if name == "weights" else "summand"]))
        del calculator.bound["j"]
        return softmax(np.array(values)) if name == "weights" else sum(values)

    def _size_of(self, left: str) -> int:
        return next(line.size for line in self.lines if line.left == left)

    def feedback(self) -> tuple[str, dict[str, str]] | None:
        """Return what the line of y_{t-1} says, None without such a line."""
        for line in self.lines:
            if line.left == "y_{t-1}":
                return sentence(line.right)
        return None

    def state(self, number: int) -> dict[str, np.ndarray]:
        """Return what the equations say that is handed on after step `number`."""
        if self.cell is None:
            return {}
        layers = range(1, self.cell.num_layers + 1)
        return {
            f"{letter} of layer {layer}": self.states[layer, False][f"{letter}_{number}"]
            for letter in "sk"
            for layer in layers
            if f"{letter}_{number}" in self.states[layer, False]
        }


def _generated(logits: np.ndarray) -> np.ndarray:
    logits = logits.copy()
    logits[NEVER_GENERATED] = -np.inf
    return softmax(logits)


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
        self.source = source
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
        num_layers = int(re.search(r", l = 1\.\.(\d+)$", lines[0].left)[1])
        for layer in range(1, num_layers + 1):
            self.calculator.bound["l"] = layer
            for line in lines:
                self._at_each_position(line, layer)
        del self.calculator.bound["l"]

    def _at_each_position(self, line: Line, layer: int = 1) -> None:
        words = sentence(line.right)
        if line.left in ("h_0, k_0", "h_0"):
            self.start = line
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
        scope = self.states.setdefault((layer, backward), {})
        order = reversed(self.calculator.positions) if backward else self.calculator.positions
        before_first = len(inputs) + 1 if backward else 0
        for name in self.start.left.split(", "):
            if self.start.right != "0" or not re.fullmatch(r"[hk]_0", name):
                raise Unreadable(f"{self.start.left} = {self.start.right}")
            scope[f"{name[0]}_{before_first}"] = np.zeros(self.start.size)
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
