"""Computes a decoder from its printed equations, step after step, for one example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from decoderlab.layers.equations import Equation
from tests.equations.calculator import Known, begun, entmax, sinusoidal, softmax
from tests.equations.interpreter import Interpreter, Line, zeros
from tests.equations.letters import without_upper
from tests.equations.notation import Unreadable, sentence

NEVER_GENERATED = [0, 1, 3]  # pad, BOS, UNK
BLANK, BOS, EOS, UNK = 0, 1, 2, 3
START = ("s_0 per layer", "s_0", "k_0", "n_0", "M_0", "C_0", "x_0", "h_0", "a_0", "w_0", "pos_0")
OF_EACH = ", l = 1.."  # a line for each layer or head
# Left sides that are computed position by position, beside those in _tj.
OF_POSITIONS = ("m_j", "h_j", "p_j")
# Where the value of each position has a name of its own as well.
BY_POSITION = ("w_t", "cov_t", "l_t", "alpha_t")


class DecoderInterpreter(Interpreter):
    """A decoder's equations for one example.

    Args:
        kind, equations, weights: see `Interpreter`.
        memory: (S, M) of real positions; summary: (D,).
        hidden, cell: (L, H) each, the encoder's last state; None where it has none.
        stack: (L, ...) likewise, of its further state.
        space_size: numbers of ids, or of values.
        copied: of each position of the source the target id of the same token, -1 for none.
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
        stack: np.ndarray | None,
        space_size: int,
        copied: list[int],
    ) -> None:
        super().__init__(kind, equations, weights)
        self.encoded, self.space_size = (hidden, cell, stack), space_size
        self.copied = [UNK if one < 0 else one for one in copied]
        self.calculator.bound = {"S": len(memory)}
        self.values["c"] = summary
        self.values |= {f"m_{j}": row for j, row in enumerate(memory, start=1)}
        starts = [_plain(line) in START for line in self.lines]
        self.step_lines = [
            line for line, start in zip(self.lines, starts, strict=True) if not start
        ]
        for line, start in zip(self.lines, starts, strict=True):
            if start:
                self._start(line)

    def _start(self, line: Line) -> None:
        words = sentence(line.right)
        if words and words[0] in ("step", "step_ends"):
            self._expect(line.size, self._state_size())
            self._first_step(words[1].get("ends"))
        elif line.left in ("s_0", "k_0", "n_0", "M_0", "C_0"):
            for layer in range(1, self.cell.num_layers + 1):
                scope = self.states.setdefault((layer, False), Known())
                row = self._pairing()[layer - 1]
                self.calculator.last = {
                    name: None if part is None else part[row]
                    for name, part in zip("hkM", self.encoded, strict=True)
                }
                self.calculator.local = scope
                empty = words and words[0] == "empty"
                self.line(line, zeros(words[1]) if empty else None, layer=layer)
                scope[line.left] = self.values[line.left]
            self.calculator.local = {}
        elif OF_EACH in line.left:
            for head in range(1, self.number_of_layers(line) + 1):
                self.calculator.bound["l"] = head
                self.line(line, layer=head)
            del self.calculator.bound["l"]
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
            for letter in "sknMC":
                if f"{letter}_0" in scope:
                    scope[f"{letter}_-1"] = scope[f"{letter}_0"]
            if ends and layer == 1:
                scope["c"] = first[-int(ends) :]
            self.cell_step(layer, False, inputs, 0)
            for letter in "skn":  # of two cells the first alone takes this step
                if f"{letter}'_0" in scope:
                    scope[f"{letter}_0"] = scope[f"{letter}'_0"]
            inputs = scope["s_0"]
            if ends and layer == 1:
                del scope["c"]
        self._publish(0)

    def _publish(self, step: int) -> None:
        top = self.states[self.cell.num_layers, False]
        for letter in ("s", "k", "s'"):
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
            if "^l" in line.left or OF_EACH in line.left:
                layered.append(line)
                continue
            if layered:
                self._layers(layered, number, previous)
                layered = []
            if self.cell and line.number == self.cell.lines[0].number:
                inputs = None
                for layer in range(1, self.cell.num_layers + 1):
                    self.cell_step(layer, False, inputs, number)
                    inputs = self.states[layer, False][f"{self.cell.state}_{number}"]
                self._publish(number)
            elif (sentence(line.right) or ("",))[0] == "second":
                self._second_cell(line, number)
            elif not self._in_cell(line):
                self._step_line(line, number, previous)
        name = "mean_t" if self.lines[-1].left.startswith("[mean") else self.lines[-1].left
        self.calculator.used.add(self.calculator.key(name))
        return self.values[self.calculator.key(name)]

    def _second_cell(self, line: Line, number: int) -> None:
        """Take a step of the second cell, which goes on from what the first has left."""
        words = sentence(line.right)[1]
        self._expect(line.size, self._state_size())
        first, inputs = (self.calculator.key(words[name]) for name in ("first", "with"))
        self.calculator.used |= {first, inputs}
        inputs = self.values[inputs]
        for layer in range(1, self.cell.num_layers + 1):
            scope = self.states[layer, False]
            before = {letter: scope.get(f"{letter}_{number - 1}") for letter in "skn"}
            for letter in "skn":
                if f"{letter}'_{number}" in scope:
                    scope[f"{letter}_{number - 1}"] = scope[f"{letter}'_{number}"]
            self.cell_step(layer, False, inputs, number, second=line)
            scope |= {f"{letter}_{number - 1}": one for letter, one in before.items()}
            inputs = scope[f"s_{number}"]
        self._publish(number)

    def _in_cell(self, line: Line) -> bool:
        if self.cell is None:
            return False
        first, last = self.cell.lines[0].number, self.cell.lines[-1].number
        return first <= line.number <= last or line.left.startswith("layers ")

    def _layers(self, lines: list[Line], number: int, previous: Any) -> None:
        """Run lines that are for each layer, or for each head."""
        for layer in range(1, self.number_of_layers(lines[0]) + 1):
            self.calculator.bound["l"] = layer
            for line in lines:
                self._step_line(line, number, previous, layer)
        del self.calculator.bound["l"]

    def _step_line(self, line: Line, number: int, previous: Any, layer: int = 1) -> None:
        calculator, words = self.calculator, sentence(line.right)
        plain = _plain(line)
        if line.left == "y_{t-1}":
            if words is None:
                raise Unreadable(f"{line.right!r} is nothing that y_{{t-1}} can be")
            if words[0] == "softmax":
                before = self.values.get(calculator.key(words[1]["logits"]))
                previous = np.zeros(self.space_size) if before is None else _generated(before)
                self.values[f"y_{number - 1}"] = previous
        elif plain.endswith("_tj") or plain in OF_POSITIONS:
            for j in calculator.positions:
                calculator.bound["j"] = j
                self.line(line, None if words is None else self._at_position(line, layer), layer)
            del calculator.bound["j"]
        elif words is None:
            self.line(line, layer=layer)
        elif words[0] == "part":
            self.line(line, self._part(line, layer), layer)
        elif words[0] == "no_input":  # torch's cells then have an input of a single zero
            self._expect(line.size, 0)
            self.values[f"x_{number}"] = np.zeros(1)
        else:
            self.line(line, self._in_words(*words), layer)
        if plain in BY_POSITION:
            key = calculator.key(line.left.partition(OF_EACH)[0])
            for j, value in zip(calculator.positions, self.values[key], strict=True):
                self.values[f"{key}_{j}"] = value
            calculator.used.add(key)

    def _at_position(self, line: Line, layer: int) -> np.ndarray:
        name, words = sentence(line.right) or ("", {})
        if name != "with_blank":
            return self._part(line, layer)
        self.calculator.left, self.weights.line = line.left.partition(OF_EACH)[0], line.number
        scores = self.calculator.right(words["scores"])
        scores[[BOS, EOS]] = -np.inf
        return softmax(scores)

    def _part(self, line: Line, head: int) -> np.ndarray:
        """Return a head's part of what is divided among all heads."""
        calculator, words = self.calculator, sentence(line.right)
        if words is None or words[0] != "part":
            raise Unreadable(f"{line.right!r} is no part of anything")
        calculator.left = line.left.partition(OF_EACH)[0]
        self.weights.line = line.number
        self._expect(int(words[1]["parts"]), self.number_of_layers(line))
        return np.split(calculator.right(words[1]["whole"]), int(words[1]["parts"]))[head - 1]

    def _in_words(self, name: str, parts: dict[str, str]) -> Any:
        calculator = self.calculator
        match name:
            case "position":
                return sinusoidal(calculator.bound["t"] - 1, self._size_of("p_t"))
            case "weights":
                return _over_positions(self._at_all(parts["scores"]))
            case "entmax":
                return entmax(self._at_all(parts["scores"]), float(parts["alpha"]))
            case "window":
                scores = self._at_all(parts["scores"])
                distance = np.abs(self._at_all(f"j - {parts['centre']}"))
                return softmax(np.where(distance <= int(parts["half"]), scores, -np.inf))
            case "context":
                return self._at_all(parts["summand"]).sum(axis=0)
            case "mixture":
                return np.log(self._at_all(parts["summand"]).sum(axis=0))
            case "copied":
                held = np.zeros(self.space_size)
                np.add.at(held, self.copied, self._at_all(f"{parts['copied']}j"))
                return held
            case "alignments":
                return self._aligned(float(parts["none"]), parts["factor"])
            case "past":
                steps = range(1, calculator.bound["t"])
                past = [self._at_step(f"{parts['summed']}_t", step) for step in steps]
                return np.sum([np.zeros(len(calculator.positions)), *past], axis=0)
            case "moved":
                return self._moved()
            case "after":
                return self._after()
        raise Unreadable(f"{name} is not expected here")

    def _at_step(self, letter: str, step: int) -> np.ndarray:
        before = self.calculator.bound
        self.calculator.bound = before | {"t": step}
        key = self.calculator.key(letter)
        self.calculator.bound = before
        return self.values[key]

    def _at_all(self, text: str) -> np.ndarray:
        """Return the values of a formula at all positions, (S, ...)."""
        calculator, values = self.calculator, []
        calculator.left = "a_t"
        for j in calculator.positions:
            calculator.bound["j"] = j
            values.append(calculator.right(text))
        del calculator.bound["j"]
        return np.array(values)

    def _moved(self) -> np.ndarray:
        """Return p(a_t = j) from b_{t-1}: from position i on, the scores decide."""
        before, scores = self.values[f"b_{self._before()}"], np.exp(self._at_all("score_tj"))
        self.calculator.used.add(f"b_{self._before()}")
        chances = [
            sum(before[i] * scores[j] / scores[i:].sum() for i in range(j + 1))
            for j in range(len(scores))
        ]
        return np.array(chances)

    def _after(self) -> np.ndarray:
        """Return p(a_{t-1} = j given y up to t-1), before the first step that of the first."""
        step, positions = self._before(), self.calculator.positions
        if step == 0:
            return np.eye(len(positions))[0]
        token = self.values[f"y_{step}"]
        shares = [
            self.values[f"w_{step}_{j}"] * self.values[f"p_{step}_{j}"][token] for j in positions
        ]
        return np.array(shares) / sum(shares)

    def _aligned(self, none: float, letter: str) -> np.ndarray:
        """Return the logarithms of what may come next, by all ways to write it with blanks."""
        keys = [one for one in self.values if one.startswith(f"{letter}^")]
        per_position = len(keys) // len(self.calculator.positions)
        names = [
            f"{letter}^{frame}_{j}"
            for j in self.calculator.positions
            for frame in range(1, per_position + 1)
        ]
        self.calculator.used |= set(names)
        frames = np.array([self.values[name] for name in names])
        before = [self.values[f"y_{step}"] for step in range(1, self.calculator.bound["t"])]
        ids = range(self.space_size)
        begins = [begun(frames, [*before, token]) for token in ids]
        begins[EOS] = begun(frames, before, whole=True)
        begins[BLANK] = begins[BOS] = 0
        shares = np.array(begins) / begun(frames, before)
        return np.array([np.log(one) if one else none for one in shares])

    def _before(self) -> int:
        return self.calculator.bound["t"] - 1

    def _size_of(self, left: str) -> int | str:
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
        scaled = any(
            line.left in ("n_t", "n'_t") for line in self.cell.lines
        )  # k and n share a factor
        return {
            f"{letter} of layer {layer}": self.states[layer, False][f"{letter}_{number}"]
            for letter in ("s" if scaled else "skM")
            for layer in layers
            if f"{letter}_{number}" in self.states[layer, False]
        }


def _plain(line: Line) -> str:
    """Return the left side without what says which head or hop it is of."""
    return without_upper(line.left.partition(OF_EACH)[0])[0]


def _over_positions(scores: np.ndarray) -> np.ndarray:
    return np.apply_along_axis(softmax, 0, scores)


def _generated(logits: np.ndarray) -> np.ndarray:
    logits = logits.copy()
    logits[NEVER_GENERATED] = -np.inf
    return softmax(logits)
