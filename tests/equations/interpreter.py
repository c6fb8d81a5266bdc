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
from tests.equations.calculator import Calculator, Known, Wrong
from tests.equations.letters import CellLetters, Weights
from tests.equations.notation import Unreadable, sentence

GATES = set("ifogrz")
AFTER_STATE = ("p", "v", "M_t", "M_j")
# Left sides that have no width: in words, or of what has no vector.
WITHOUT_SIZE = ("y_{t-1}", "s_0 per layer", "backward", "zoneout", "g^0")


class Line(NamedTuple):
    """One equation and its number."""

    number: int
    left: str
    right: str
    size: int | str


class Cell(NamedTuple):
    """The lines of a recurrent stack, and what the lines after them say of the other layers."""

    lines: list[Line]
    state: str  # the letter of the state, s, s' or h
    step: str  # t or j
    num_layers: int
    no_summary: bool  # above the first layer
    backward: tuple[str, str] | None
    residual: tuple[Line, str, str] | None
    zoneout: dict[str, str] | None


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
        self.states: dict[tuple[int, bool], dict[str, Any]] = Known()
        self.cell = self._cell()

    def _cell(self) -> Cell | None:
        """Find the lines of the recurrent stack."""
        starts = [
            line.number
            for line in self.lines
            if set(line.left.split(", ")) <= GATES
            or (line.left in ("s_t", "s'_t", "h_j") and "U " in line.right)
        ]
        if not any("rnn." in name for name in self.weights.values):
            return None
        if not starts:
            raise Unreadable("there is no line of a recurrent cell")
        state, step = ("h", "j") if self.kind == "RecurrentEncoder" else ("s", "t")
        if any(line.left == "s'_t" for line in self.lines):  # the first of two cells
            state = "s'"
        end = next(
            (line.number for line in self.lines[starts[0] :] if line.left == f"{state}_{step}"),
            None,
        )
        if end is None:
            raise Unreadable(f"the cell has no line for {state}_{step}")
        # What a cell does with the new state stands below it.
        while self.lines[end + 1].left in AFTER_STATE:
            end += 1
        lines = self.lines[starts[0] : end + 1]
        num_layers, no_summary, backward, residual, zoneout = 1, False, None, None, None
        for line in self.lines[end + 1 :]:
            words = sentence(line.right)
            name, parts = words or ("", {})
            if line.left.startswith("layers ") and name == "layers":
                num_layers = int(re.fullmatch(r"layers 2\.\.(\d+)", line.left)[1])
                no_summary = parts["no_summary"] is not None
                self._expect(parts["below"], f"x_{step}")
                self._expect(line.size, self._state_size())
            elif line.left == "zoneout" and name == "zoneout":
                zoneout = parts
            elif line.left == "backward" and name == "backward":
                backward = (parts["old"], parts["new"])
            elif line.left == f"o_{step}" and name == "residual":
                residual = (line, parts["first"], parts["others"])
            else:
                break
        return Cell(lines, state, step, num_layers, no_summary, backward, residual, zoneout)

    def _after_cell(self) -> list[Line]:
        """Return the lines after those of the recurrent stack."""
        last = self.cell.lines[-1].number
        more = self.lines[last + 1 :]
        own = ("layers ", "backward", "zoneout", "o_j")
        return [line for line in more if not line.left.startswith(own)]

    def _state_size(self) -> int:
        """Return the width of a state: of a cell without weights of its own, as printed."""
        recurrent = [name for name in self.weights.values if "rnn." in name and "_hh" in name]
        if recurrent:
            return self.weights.values[recurrent[0]].shape[1]
        return next(int(line.size) for line in self.lines if line.left in ("s_t", "h_j"))

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
            value = np.zeros(self.calculator.bound["S"] if size == "S" else size)
        width = len(value) if np.ndim(value) else 1
        if left.startswith(("M_", "C_")):
            width = np.size(value)
        if size in ("S", "2 S"):  # 2 S: two numbers for each position
            if np.ndim(value) != (1 if size == "S" else 2) or value.shape[1:] not in ((), (2,)):
                raise Wrong(f"{left} is {np.shape(value)}, not {size}")
            size = self.calculator.bound["S"]
        if size != "" and width != size:
            raise Wrong(f"{left} is {width} wide, not {size}")
        key = self.calculator.key(left)
        if key is None:
            raise Unreadable(f"{left!r} cannot be a left side")
        scope[key] = value
        self.kept.setdefault(key, left)

    def cell_step(
        self,
        layer: int,
        backward: bool,
        inputs: np.ndarray | None,
        step: int,
        second: Line | None = None,
    ) -> None:
        """Run the lines of the cell for one layer.

        Args:
            layer: from 1.
            backward: whether it reads from the end.
            inputs: None where x is there already.
            step: its number.
            second: the line that says that a second cell takes this step; None for the first.
        """
        calculator, cell = self.calculator, self.cell
        calculator.local = local = self.states.setdefault((layer, backward), Known())
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
        named = {name for line in cell.lines for name in line.left.split(", ")} & GATES
        width = len(summary) if has_summary else None
        size = self._state_size()
        stack = "rnn" if second is None else "second_rnn"
        calculator.cell = CellLetters(self.weights, layer, backward, width, size, named, stack)
        for line in cell.lines:
            self._cell_line(line, backward, local, second)
        if cell.zoneout is not None:
            self._zone_out(local, step, step + 1 if backward else step - 1)
        calculator.cell, calculator.local, calculator.bound = None, {}, before

    def _zone_out(self, local: dict[str, Any], step: int, before: int) -> None:
        words = self.cell.zoneout
        for name in words["which"].split(" and "):
            letter, _, index = name.partition("_")
            self._expect(index, self.cell.step)
            kept = float(words["kept"]) * local[f"{letter}_{before}"]
            local[f"{letter}_{step}"] = kept + float(words["taken"]) * local[f"{letter}_{step}"]

    def _cell_line(
        self, line: Line, backward: bool, local: dict[str, Any], second: Line | None
    ) -> None:
        calculator = self.calculator
        self.weights.line = (second or self.cell.lines[0]).number
        if second is not None:  # whose state is the step's own
            line = line._replace(left=line.left.replace("'", ""), right=line.right.replace("'", ""))
        right, names = line.right, tuple(line.left.split(", "))
        if backward:
            right = right.replace(*self.cell.backward)
        calculator.left, calculator.size = line.left, line.size
        calculator.gates = names if names[0] in GATES else ("",)
        value = calculator.right(right)
        parts = np.split(value, len(names)) if len(names) > 1 else [value]
        if line.size == 1 and np.ndim(value):
            parts = [value[0]]
        for name, part in zip(names, parts, strict=True):
            self.keep(name, part, line.size, local)

    def number_of_layers(self, line: Line) -> int:
        """Return the L of a left side such as `h^l_j, l = 1..L`."""
        match = re.search(r", l = 1\.\.(\d+)$", line.left)
        if match is None:
            raise Unreadable(f"{line.left!r} does not say how many layers there are")
        return int(match[1])

    def unused(self) -> set[str]:
        """Return the left sides that no other line has read."""
        used = {left for key, left in self.kept.items() if key in self.calculator.used}
        return set(self.kept.values()) - used


def zeros(parts: dict[str, str]) -> np.ndarray:
    """Return what an empty matrix is, of the parts of that sentence."""
    return np.zeros((int(parts["rows"]), int(parts["wide"])))
