"""Which parameter a letter of a printed equation stands for: by class and by left side."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re

import numpy as np

from decoderlab import decoders, encoders
from decoderlab.layers.equations import Letters
from tests.equations.notation import Unreadable


def _declared() -> dict[str, Letters]:
    """Return the letters of every encoder and decoder that states equations, by class."""
    letters = {}
    for package in (decoders, encoders):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for kind in vars(importlib.import_module(module.name)).values():
                if inspect.isclass(kind) and hasattr(kind, "equation_letters"):
                    letters[kind.__name__] = kind.equation_letters()
    return letters


# {l} is the layer, counted from 0 as in the module (from 1 in the equations).
LETTERS = _declared()


def without_upper(left: str) -> tuple[str, list[str]]:
    """Return a left side without its upper index, and what that is of.

    Example:
        >>> without_upper("score^{2,l}_tj"), without_upper("w_t")
        (('score_tj', ['2', 'l']), ('w_t', []))
    """
    match = re.fullmatch(r"(\w+)\^(?:\{([\w,]+)\}|(\w))(_.+)", left)
    if match is None:
        return left, []
    return match[1] + match[4], (match[2] or match[3]).split(",")


def of_read(name: str, reads: list[int]) -> str:
    """Return the name of a parameter in one of several reads: hops, and heads in them."""
    room, _, rest = name.partition(".")
    if room != "attention" or not reads or rest.startswith("further."):
        return name
    if rest.startswith("split_"):  # which all heads share
        reads = reads[:-1]
    return room + "".join(f".scores.{one - 1}" for one in reads) + f".{rest}"


class Weights:
    """The parameters of a module by name; it notes in which line each was read.

    Args:
        values: name to array.
    """

    def __init__(self, values: dict[str, np.ndarray]) -> None:
        self.values = values
        self.read_in: dict[str, int] = {}
        self.line = 0

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a parameter."""
        if name not in self.values:
            raise Unreadable(f"there is no parameter {name}")
        self.read_in.setdefault(name, self.line)
        return self.values[name]

    def __contains__(self, name: str) -> bool:
        """Whether there is such a parameter."""
        return name in self.values

    def letter(self, kind: str, left: str, letter: str, layer: int) -> np.ndarray:
        """Return what a letter stands for in the line of `left`; layers are counted from 1."""
        plain, upper = without_upper(left)
        own = LETTERS[kind].get(left, {}) | ({} if plain == left else LETTERS[kind].get(plain, {}))
        name = own.get(letter)
        if name is None:
            raise Unreadable(f"{letter!r} in the line of {left!r} is nothing that we know")
        # Of several reads: the hop's number, then the head's.
        reads = [layer if one == "l" else int(one) for one in upper if one == "l" or one.isdigit()]
        hop = reads[0] - 2 if reads else 0
        name = name.format(l=layer - 1, even=2 * (layer - 1), hop=hop)
        name = of_read(name, reads)
        if plain == "score_tj":
            return self._of_score(letter, name)
        if letter in ("v_p", "v_g", "d_g"):
            return self[name][0]
        if letter == "constant":
            return self[name][layer - 1, 0]
        value = self[name]
        if value.ndim == 3:  # a kernel (out, in, positions), for positions side by side
            return value.transpose(0, 2, 1).reshape(len(value), -1)
        return value

    def _of_score(self, letter: str, name: str) -> np.ndarray:
        room, _, rest = name.rpartition(".")
        room, rest = room.rpartition(".")[0], f"{room.rpartition('.')[2]}.{rest}"
        inside = f"{room}.content"  # of a score around another one
        room = inside if f"{inside}.{rest}" in self else room
        value = f"{room}.{rest}"
        if letter == "v":
            return self[value][0]
        if letter == "u_a":
            return self[value][:, 0]
        for single in (f"{room}.project.weight", f"{room}.position.weight"):
            if letter == "W_a" and single in self:  # concat: a single matrix
                return self[single]
        general = letter == "W_a" and f"{room}.project_memory.weight" not in self
        # q W_a m: W_a stands between the two, and so the other way round than torch keeps it.
        return self[value].T if general else self[value]

    def normalise(self, name: str, value: np.ndarray, order: list[int] | None = None) -> np.ndarray:
        """Return LN(value) with the scale and shift of the module `name`."""
        scale, shift = self[f"{name}.weight"], self[f"{name}.bias"]
        if order is not None:
            scale, shift = scale[order], shift[order]
        value = np.broadcast_to(value, scale.shape)
        spread = np.sqrt(value.var() + 1e-5)
        return (value - value.mean()) / spread * scale + shift


GATES = (("i", "f", "g", "o"), ("r", "z", "g"), ("f", "i", "g"), ("z", "g"), ("",))


# Weights of a stack.
OWN_LETTERS = {
    "V": "weight_top",
    "W_p": "weight_action",
    "b_p": "bias_action",
    "W_v": "weight_pushed",
    "b_v": "bias_pushed",
}


class CellLetters:
    """The letters of one layer and direction of a recurrent stack.

    W and U are the rows of the gates that stand left of the sign of equality (all rows of a cell
    without gates), W_g and U_g those of g, b = b_ih + b_hh where torch has two. With C, the
    columns of W_g are divided: the last are those of the summary.
    """

    def __init__(
        self,
        weights: Weights,
        layer: int,
        backward: bool,
        summary_size: int | None,
        size: int,
        named: set[str],
        stack: str = "rnn",
    ) -> None:
        end = "_reverse" if backward else ""
        stepped = f"{stack}.layers.{layer - 1}.cells.{int(backward)}."
        self.weights, self.norms, self.summary_size = weights, stepped, summary_size
        if f"{stepped}weight_ih" in weights:
            names = [f"{stepped}{one}" for one in ("weight_ih", "weight_hh", "bias")]
        else:
            stem, level = f"{stack}.layers.0.", layer - 1
            if f"{stack}.layers.{layer - 1}.weight_hh_l0" in weights:
                stem, level = f"{stack}.layers.{layer - 1}.", 0
            if f"{stepped}weight_hh_l0" in weights:
                stem, level, end = stepped, 0, ""
            kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            names = [f"{stem}{kind}_l{level}{end}" for kind in kinds]
        self.names = [name for name in names if name in weights]
        number, self.size = len(weights.values[self.names[0]]) // size, size
        fitting = [gates for gates in GATES if len(gates) == number and named <= set(gates)]
        if not fitting:
            raise Unreadable(f"{number} gates, of which some are called {named}")
        self.gates = fitting[0]
        self.split_bias = len(self.names) == 4 and len(self.gates) == 3

    def rows(self, gates: tuple[str, ...]) -> list[int]:
        """Return the rows of some gates, in that order."""
        at = [self.gates.index(gate) for gate in gates]
        return [row for one in at for row in range(one * self.size, (one + 1) * self.size)]

    def __call__(self, letter: str, left: tuple[str, ...]) -> np.ndarray:
        """Return what a letter stands for in the line of the gates `left`."""
        base, _, of_gate = letter.partition("_")
        if letter == "C":
            of_gate = "g"
        if f"{self.norms}weight_ih_gates" in self.weights:
            return self._of_matrix(letter)
        if letter in OWN_LETTERS:
            return self.weights[f"{self.norms}{OWN_LETTERS[letter]}"]
        gates = (of_gate,) if of_gate else left if len(self.gates) > 1 else ("",)
        if base not in ("W", "U", "b", "d", "C") or not set(gates) <= set(self.gates):
            raise Unreadable(f"{letter!r} is no letter of a cell with {self.gates} in {left}")
        rows = self.rows(gates)
        if base == "U":
            return self.weights[self._named("weight_hh")][rows]
        if base in "WC":
            matrix = self.weights[self.names[0]][rows]
            if of_gate and self.summary_size is not None:
                start = matrix.shape[1] - self.summary_size
                return matrix[:, start:] if base == "C" else matrix[:, :start]
            if base == "C":
                raise Unreadable("C without a summary in the input")
            return matrix
        return self._bias(base, rows, split=self.split_bias and of_gate == "g")

    def _of_matrix(self, letter: str) -> np.ndarray:
        base, _, of_gate = letter.partition("_")
        if base not in ("W", "b") or of_gate not in tuple("qkvoif"):
            raise Unreadable(f"{letter!r} is no letter of a cell with a matrix")
        name = f"{self.norms}{'weight_ih' if base == 'W' else 'bias'}"
        if of_gate in "if":
            return self.weights[f"{name}_gates"]["if".index(of_gate)][None]
        return np.split(self.weights[name], 4)["qkvo".index(of_gate)]

    def _bias(self, base: str, rows: list[int], split: bool) -> np.ndarray:
        if split:
            return self.weights[self.names[2 if base == "b" else 3]][rows]
        if base == "d":
            raise Unreadable("d_g is a bias of torch's GRU alone")
        return sum(self.weights[name] for name in self.names if "bias" in name)[rows]

    def _named(self, kind: str) -> str:
        name = next((name for name in self.names if kind in name), None)
        if name is None:
            raise Unreadable(f"the cell has no {kind}")
        return name

    def normalise(self, argument: tuple, value: np.ndarray, left: tuple[str, ...]) -> np.ndarray:
        """Return LN(value); which normalisation it is, its argument's first letter says."""
        if argument[0] == "number" and argument[1] != 0:
            raise Unreadable(f"LN({argument[1]})")
        first = argument[1][1] if argument[0] == "chain" else argument[1]
        which = "cell" if str(first).startswith("k") else "input"
        which = "hidden" if str(first) == "U" else which
        order = None if which == "cell" else self.rows(left)
        return self.weights.normalise(f"{self.norms}norm_{which}", value, order)
