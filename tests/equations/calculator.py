"""Numbers for the trees of `notation`: one example, one step and one position at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tests.equations.letters import LETTERS, CellLetters, Weights
from tests.equations.notation import Unreadable, formula, index, letter_parts


class Wrong(AssertionError):
    """An equation whose numbers do not fit: widths, or values that are not the module's."""


class Known(dict):
    """Values by name; to ask for a name that has none is an error of the equations."""

    def __missing__(self, name: object) -> None:
        """Refuse."""
        raise Unreadable(f"{name} has no value")


class Calculator:
    """Evaluates right sides. Values of letters are kept under their name with its indices.

    Args:
        kind: the module's class, a key of `LETTERS`.
        weights: the module's parameters.
    """

    def __init__(self, kind: str, weights: Weights) -> None:
        self.kind, self.weights = kind, weights
        self.values: dict[str, Any] = Known()
        self.local: dict[str, Any] = {}  # of one layer of a recurrent stack
        self.directions: dict[str, dict[str, Any]] = {}
        self.last: dict[str, np.ndarray] = {}  # the encoder's, of the layer paired with this one
        self.bound: dict[str, int] = {}
        self.used: set[str] = set()
        self.cell: CellLetters | None = None
        self.left, self.gates, self.size, self.layer = "", (), 0, 1
        self.ends: dict[str, dict[str, str]] = {}
        self.flat = False

    def right(self, text: str) -> Any:
        """Return the value of a formula."""
        tree, self.ends = formula(text)
        if "below" in self.ends:
            for j in self.positions:
                below = self._bind({"j": j}, ("letter", self.ends["below"]["below"]))
                self.values[f"h^0_{j}"] = below
        if "embeddings" in self.ends and "E" not in text.split(", E the")[0]:
            raise Wrong(f"{text!r} explains an E that it does not have")
        if "positions" in self.ends:
            step = self.bound["t"] if "t" in self.bound else self.bound["j"]
            self.values["p"] = sinusoidal(step - 1, self.size)
        if "around" in self.ends:
            return self._filtered(*tree[1:])
        return self.evaluate(tree)

    def evaluate(self, tree: tuple) -> Any:
        """Return the value of a tree."""
        return getattr(self, OPERATIONS.get(tree[0], f"_{tree[0]}"))(*tree[1:])

    @property
    def positions(self) -> range:
        """The real positions of the source, from 1."""
        return range(1, self.bound["S"] + 1)

    def key(self, letter: str) -> str | None:
        """Return the name under which a letter's value is kept; None for a weight's letter."""
        base, upper, lower = letter_parts(letter)
        if lower is None:
            return None
        name = base if upper is None else f"{base}^{index(upper, self.bound)}"
        return name + "".join(f"_{index(one, self.bound)}" for one in lower)

    def _bind(self, bound: dict[str, int], tree: tuple) -> Any:
        before, self.bound = self.bound, self.bound | bound
        value = self.evaluate(tree)
        self.bound = before
        return value

    def _letter(self, text: str) -> Any:
        if text in ("j", "t", "S") and text in self.bound:
            return float(self.bound[text])
        if text == "m":
            memory = [self.values[f"m_{j}"] for j in self.positions]
            return np.concatenate(memory) if self.flat else np.stack(memory)
        key = self.key(text)
        for scope in (self.local, self.values):
            if key in scope:
                self.used.add(key)
                return scope[key]
        if self.cell is not None:
            return self.cell(text, self.gates)
        return self.weights.letter(self.kind, self.left, text, self.layer)

    def _number(self, value: float) -> float:
        return value

    def _add(self, left: tuple, right: tuple) -> Any:
        return self._sum(self.evaluate(left), self.evaluate(right))

    def _subtract(self, left: tuple, right: tuple) -> Any:
        return self._sum(self.evaluate(left), -self.evaluate(right))

    def _sum(self, one: Any, other: Any) -> Any:
        if np.ndim(one) == 3:  # a grid and a bias
            other = other[:, None, None]
        elif np.shape(one) != np.shape(other) and not isinstance(one, float):
            raise Wrong(f"{self.left}: widths {np.shape(one)} and {np.shape(other)} in a sum")
        return one + other

    def _times(self, left: tuple, right: tuple) -> Any:
        one, other = self.evaluate(left), self.evaluate(right)
        if np.ndim(one) == 4:
            return self._convolve(one, other)
        if np.shape(one) != np.shape(other):
            raise Wrong(f"{self.left}: widths {np.shape(one)} and {np.shape(other)} in a product")
        return one * other

    def _convolve(self, kernel: np.ndarray, grid: np.ndarray) -> np.ndarray:
        side = int(self.ends["convolution"]["side"])
        if kernel.shape[2:] != (side, int(self.ends["convolution"]["side2"])):
            raise Wrong(f"{self.left}: a kernel of {kernel.shape}")
        made = functional.conv2d(
            torch.from_numpy(grid)[None], torch.from_numpy(kernel), stride=2, padding=side // 2
        )
        return made[0].numpy()

    def _dot(self, left: tuple, right: tuple) -> float:
        one, other = self.evaluate(left), self.evaluate(right)
        if np.ndim(one) != 1 or np.shape(one) != np.shape(other):
            raise Wrong(f"{self.left}: a dot product of {np.shape(one)} and {np.shape(other)}")
        return one @ other

    def _over(self, left: tuple, right: tuple) -> Any:
        divisor = self.evaluate(right)
        value = self.evaluate(left)
        if np.ndim(divisor) and np.shape(divisor) != np.shape(value):
            raise Wrong(f"{self.left}: widths {np.shape(value)} and {np.shape(divisor)}")
        return value / divisor

    def _square(self, tree: tuple) -> Any:
        return self.evaluate(tree) ** 2

    def _entry(self, tree: tuple, position: str) -> float:
        value = self.evaluate(tree)
        if position.isdigit():
            return value[int(position) - 1]
        if len(value) < self.bound["S"]:
            raise Wrong(f"{self.left}: {len(value)} entries for {self.bound['S']} positions")
        return value[self.bound[position] - 1]

    def _chain(self, *factors: tuple) -> Any:
        value = self.evaluate(factors[0])
        for number, factor in enumerate(factors[1:], start=2):
            other = self.evaluate(factor)
            if np.ndim(value) == 0:
                value = value * other
            elif np.ndim(value) + np.ndim(other) == 3 or (np.ndim(value) == 1 and number == 3):
                if value.shape[-1] != other.shape[0]:
                    raise Wrong(f"{self.left}: {value.shape} by {other.shape}")
                value = value @ other
            else:
                raise Wrong(f"{self.left}: {np.shape(value)} beside {np.shape(other)}")
        return value

    def _list(self, *parts: tuple) -> np.ndarray:
        values = [np.atleast_1d(self.evaluate(part)) for part in parts]
        if any(np.ndim(value) != 1 for value in values):
            raise Wrong(f"{self.left}: not all are vectors in a list")
        return np.concatenate(values)

    def _call(self, name: str, *arguments: tuple) -> Any:
        if name in ("max", "min"):
            floor, other = (self.evaluate(one) for one in arguments)
            return np.maximum(floor, other) if name == "max" else np.minimum(floor, other)
        if name == "outer":
            return np.outer(*(self.evaluate(one) for one in arguments))
        if name == "push":
            value, stack = (self.evaluate(one) for one in arguments)
            return np.vstack([value[None], stack[:-1]])
        if len(arguments) != 1:
            raise Unreadable(f"{name} of {len(arguments)} things")
        if name == "one-hot":
            return np.eye(self.size)[self.evaluate(arguments[0])]
        value = self.evaluate(arguments[0])
        match name:
            case "LN" if self.cell is not None:
                return self.cell.normalise(arguments[0], value, self.gates)
            case "LN":
                module = LETTERS[self.kind].get(self.left, {}).get("LN")
                if module is None:
                    raise Unreadable(f"LN in the line of {self.left!r} is nothing that we know")
                return self.weights.normalise(module.format(l=self.layer - 1), value)
            case "mean":
                return value.mean(axis=0)
            case "sqrt":
                return float(np.sqrt(value))
            case "tanh":
                return np.tanh(value)
            case "softmax":
                return softmax(value)
            case "softplus":
                return np.log1p(np.exp(value))
            case "exp":
                return np.exp(value)
            case "log":
                return np.log(value)
            case "abs":
                return abs(value)
            case "top":
                return value[0]
            case "pop":
                return np.vstack([value[1:], np.zeros((1, value.shape[1]))])
        return 1 / (1 + np.exp(-value))

    def _pairs(self, name: str, argument: tuple) -> np.ndarray:
        return self.evaluate(argument).reshape(-1, 2).max(axis=1)

    def _filtered(self, *factors: tuple) -> np.ndarray:
        """Return what filters make of the numbers around position j."""
        filters, numbers = (self.evaluate(factor) for factor in factors)
        width = int(self.ends["around"]["width"])
        if filters.shape[1:] != (width,) or numbers.shape != (self.bound["S"],):
            raise Wrong(f"{self.left}: filters of {filters.shape} over {numbers.shape}")
        padded = np.pad(numbers, width // 2)
        return filters @ padded[self.bound["j"] - 1 :][:width]

    def _places(self, number: int, tree: tuple) -> Any:
        if number != len(self.positions):
            raise Wrong(f"{self.left}: {number} places, but {len(self.positions)} in the memory")
        self.flat = True
        value = self.evaluate(tree)
        self.flat = False
        return value

    def _pool(self, parts: tuple) -> np.ndarray:
        memory = self._letter("m")
        return memory.max(axis=0) if dict(parts)["pool"] == "max" else memory.mean(axis=0)

    def _without(self, tree: tuple) -> np.ndarray:
        value = self.evaluate(tree)
        return value[: len(value) - len(self._letter("c"))]

    def _row(self, parts: tuple) -> np.ndarray:
        words = dict(parts)
        table = self.weights.letter(self.kind, self.left, "table", self.layer)
        if "rows" in words and table.shape != (int(words["rows"]), int(words["width"])):
            raise Wrong(f"{self.left}: the table is {table.shape}")
        row = self._letter(words["row"])
        if np.ndim(row) or not isinstance(row, int | np.integer):
            raise Wrong(f"{self.left}: {words['row']} is no token")
        return table[row]

    def _weighted(self, parts: tuple) -> np.ndarray:
        words = dict(parts)
        table = self.weights.letter(self.kind, self.left, "table", self.layer)
        if table.shape != (int(words["all"]), int(words["wide"])):
            raise Wrong(f"{self.left}: the table is {table.shape}")
        return self._letter(words["by"]) @ table

    def _last(self, parts: tuple) -> np.ndarray:
        return self.last[dict(parts)["last"]]

    def _constant(self, parts: tuple) -> np.ndarray:
        return self.weights.letter(self.kind, self.left, "constant", self.layer)

    def _direction(self, parts: tuple) -> np.ndarray:
        words = dict(parts)
        key = self.key(words["of"])
        self.used.add(key)
        found = self.directions.get(words["direction"], {}).get(key)
        if found is None:
            raise Unreadable(f"{words['direction']} {words['of']} has no value")
        return found

    def _grid(self, parts: tuple) -> np.ndarray:
        words = dict(parts)
        grid = self._letter(words["grid"])
        if grid.shape[1:] != (int(words["height"]), int(words["across"])):
            raise Wrong(f"{self.left}: the grid is {grid.shape[1:]}")
        return grid.reshape(len(grid), -1)[:, self.bound["j"] - 1]

    def _range(self, first: tuple, last: tuple) -> np.ndarray:
        (base, upper, lower), (_, _, higher) = (letter_parts(one[1]) for one in (first, last))
        if lower is None or higher is None:
            raise Unreadable(f"a range of letters without indices: {first[1]} .. {last[1]}")
        (low,), (high,) = lower, higher
        if letter_parts(last[1])[:2] != (base, upper):
            raise Unreadable(f"a range of two letters: {first[1]} .. {last[1]}")
        window = []
        for j in range(index(low, self.bound), index(high, self.bound) + 1):
            if j in self.positions:
                window.append(self.values[f"{base}^{index(upper, self.bound)}_{j}"])
            elif "below" in self.ends:
                window.append(np.zeros(self.size))
            else:
                raise Unreadable(f"what is beyond the ends? {self.left}")
        return np.concatenate(window)

    def _heads(self, number: int, tree: tuple, to: str) -> np.ndarray:
        name = LETTERS[self.kind].get(self.left, {}).get("heads")
        if name is None:
            raise Unreadable(f"attention in the line of {self.left!r} is nothing that we know")
        name = name.format(l=self.layer - 1)
        if to == "m":
            seen = self._letter("m")
        elif to == "steps up to t":
            seen = [self._bind({"t": t}, tree) for t in range(1, self.bound["t"] + 1)]
        else:
            seen = [self._bind({"j": j}, tree) for j in self.positions]
        weights, seen = self.weights, np.stack(list(seen))
        query = weights[f"{name}.query.weight"] @ self.evaluate(tree)
        query = (query + weights[f"{name}.query.bias"]).reshape(number, -1)
        keys = (seen @ weights[f"{name}.key.weight"].T).reshape(len(seen), number, -1)
        values = seen @ weights[f"{name}.value.weight"].T + weights[f"{name}.value.bias"]
        values = values.reshape(len(seen), number, -1)
        scores = np.einsum("nd,snd->ns", query, keys) / np.sqrt(query.shape[1])
        heads = np.stack([softmax(row) for row in scores])
        found = np.einsum("ns,snd->nd", heads, values).reshape(-1)
        return weights[f"{name}.output.weight"] @ found + weights[f"{name}.output.bias"]


OPERATIONS = {"+": "_add", "-": "_subtract", "*": "_times", ".": "_dot", "/": "_over"}


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return probabilities."""
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def entmax(scores: np.ndarray, alpha: float) -> np.ndarray:
    """Return alpha-entmax, its threshold by bisection (Peters et al. 2019, eq. 10)."""
    if alpha == 1:
        return softmax(scores)
    scaled = (alpha - 1) * scores
    low, high = scaled.max() - 1, scaled.max()
    for _ in range(200):
        threshold = (low + high) / 2
        sums = (np.maximum(scaled - threshold, 0) ** (1 / (alpha - 1))).sum() > 1
        low, high = (threshold, high) if sums else (low, threshold)
    return np.maximum(scaled - threshold, 0) ** (1 / (alpha - 1))


def sinusoidal(number: int, size: int) -> np.ndarray:
    """Return the vector of the position `number`, from 0 (Vaswani et al. 2017, section 3.5)."""
    angles = [number / 10000 ** (2 * (i // 2) / size) for i in range(size)]
    return np.array([np.cos(one) if i % 2 else np.sin(one) for i, one in enumerate(angles)])


def begun(frames: np.ndarray, written: list[int], whole: bool = False, blank_id: int = 0) -> float:
    """Return the probability that frames write tokens, and nothing else where it is the `whole`.

    By following what has been written after each frame, in probabilities: the number of tokens, and
    whether the last frame was a blank.

    Example:
        >>> begun(np.array([[0.25, 0.75], [0.5, 0.5]]), [1]), begun(np.full((3, 2), 0.5), [1, 1])
        (0.875, 0.125)
    """
    ways = {(0, True): 1.0}
    for frame in frames:
        after: dict[tuple[int, bool], float] = {}
        for (number, blank), way in ways.items():
            done = number == len(written)
            steps = [(number, True, frame[blank_id])]
            last = written[number - 1] if number else blank_id
            if not blank:
                steps.append((number, False, frame[last]))
            if not done and (blank or written[number] != last):
                steps.append((number + 1, False, frame[written[number]]))
            if done and not whole and number:  # whatever the rest of the frames write
                steps = [(number, blank, 1.0)]
            for count, is_blank, chance in steps:
                after[count, is_blank] = after.get((count, is_blank), 0.0) + way * chance
        ways = after
    if not (written or whole):
        return 1.0
    return float(sum(way for (number, _), way in ways.items() if number == len(written)))
