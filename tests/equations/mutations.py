"""Wrong letters: every small mistake that somebody could make in a printed equation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from decoderlab.layers.equations import Equation
from tests.equations.notation import LETTER, Unreadable, formula, sentence

# What stands on the left for what stands on the right.
EXCHANGED = (
    ("tanh(", "sigmoid("),
    ("sigmoid(", "tanh("),
    ("max(0, ", "tanh("),
    ("{t-1}", "t"),
    ("_t", "_{t-1}"),
    ("{l-1}", "l"),
    ("{S+1-j}", "j"),
    ("j+1", "j-1"),
    ("{j-1}", "j"),
    ("_S", "_1"),
    ("_1", "_S"),
    (" + ", " - "),
    (" - ", " + "),
    (" * ", " + "),
    (" + ", " * "),
    ("; ", " + "),
    (", in pairs", ""),
    (" without c", ""),
    ("LN(", "("),
    ("LN(", "tanh("),
    ("sqrt(", "("),
    ("mean", "max"),
    ("max of", "mean of"),
    ("forward", "backward"),
    ("backward", "forward"),
    ("last h", "last k"),
    ("last k", "last h"),
    ("to m", "to steps up to t"),
    ("to steps up to t", "to m"),
    (" with C c = 0", ""),
    ("in layer 1", "in layer 2"),
    ("a learned constant", "0"),
    ("in training the target's, in generation", "what was generated, in training too; in"),
    ("what was generated, in training too", "in training the target's, in generation"),
    ("softmax over j of ", ""),
    ("softplus(", "sigmoid("),
    ("softmax(", "sigmoid("),
    ("exp(", "sigmoid("),
    ("^2", ""),
    ("i < t", "i <= t"),
    ("i <= j", "i < j"),
    ("k >= i", "k > i"),
    ("|j", "|t"),
    (")_j", ")"),
    ("min(", "max("),
    ("sum over j of ", ""),
    ("one-hot", "tanh"),
)
NAMES = ("sigmoid", "tanh", "max", "LN", "sqrt", "mean", "one", "hot", "row", "of", "a", "table")
NAMES += ("heads", "to", "steps", "up", "all", "real", "positions", "in", "pairs", "over", "the")
NAMES += ("attention", "side", "by", "place", "places", "x", "softmax", "sum", "below", "beyond")
NAMES += ("ends", "sinusoidal", "first", "every", "second", "rows", "weighted", "without", "last")
NAMES += ("forward", "backward", "layer", "same", "others", "from", "end", "for", "which", "has")
NAMES += ("softplus", "exp", "min", "entmax", "log", "else", "around", "exactly", "at", "padding")


def mutations(equations: Sequence[Equation]) -> Iterator[tuple[int, str]]:
    """Yield lines and wrong right sides for them, each but once; none that means the same."""
    lefts = [one.left for one in equations if re.fullmatch(LETTER, one.left)]
    # Two names of one thing: x_t = e(y_{t-1}), h^{l-1} where there is one layer.
    names = {one.left: one.right for one in equations if re.fullmatch(LETTER, one.right)}
    for number, line in enumerate(equations):
        also = {"^{l-1}": "^0"} if line.left.endswith(", l = 1..1") else {}
        also |= {"{j-0}": "j", "{j+0}": "j"}
        means = _meaning(line.right, names, also)
        seen = {line.right}
        for wrong in _wrong(line.right, lefts):
            if wrong not in seen and (means is None or _meaning(wrong, names, also) != means):
                seen.add(wrong)
                yield number, wrong


def _wrong(right: str, lefts: Sequence[str]) -> Iterator[str]:
    for before, after in EXCHANGED:
        for match in re.finditer(re.escape(before), right):
            yield right[: match.start()] + after + right[match.end() :]
    letters = [match for match in re.finditer(LETTER, right) if match[0] not in NAMES]
    if sentence(right) and not right.startswith(("sum", "softmax over", "h_j in", "[forward")):
        letters = []
    for one, other in pairwise(letters):
        between = right[one.end() : other.start()]
        yield right[: one.start()] + other[0] + between + one[0] + right[other.end() :]
    for one in letters:
        for left in lefts:
            yield right[: one.start()] + left + right[one.end() :]
    for match in re.finditer(r"\d+", right):  # a wrong number
        yield right[: match.start()] + str(int(match[0]) + 1) + right[match.end() :]
    for match in re.finditer(r" [-+*] (?:\w+ )?[\w{}^-]+(?: [\w{}^-]+)?(?=[ ),]|$)", right):
        yield right[: match.start()] + right[match.end() :]  # a term is lost
    for match in re.finditer(r"; [^;\]]+", right):
        yield right[: match.start()] + right[match.end() :]


def _meaning(right: str, names: dict[str, str], also: dict[str, str]) -> object:
    """Return what is the same for all ways to write a formula; None for what is no formula."""
    for before, after in also.items():
        right = right.replace(before, after)
    try:
        words, formulas = _formulas(right)
        return words, [(_ordered(tree, names), str(ends)) for tree, ends in map(formula, formulas)]
    except (Unreadable, IndexError):
        return None


def _formulas(right: str) -> tuple[str, list[str]]:
    """Return a right side's words and the formulas in it."""
    name, parts = sentence(right) or ("", {"formula": right})
    if name == "residual":
        return name, list(parts.values())
    if name == "window":
        return f"{name} {parts['half']}", [parts["scores"], parts["centre"]]
    return (name, [parts["formula"]]) if not name else (right, [])


def _ordered(tree: object, names: dict[str, str]) -> object:
    """Return a tree with the operands of sums and products in order, each letter by one name."""
    if not isinstance(tree, tuple):
        return tree
    if len(tree) == 2 and tree[0] == "letter":
        letter = tree[1]
        while letter in names:
            letter = names[letter]
        return ("letter", letter)
    parts = tuple(_ordered(part, names) for part in tree)
    if parts and parts[0] in ("+", "*", "."):
        operands: list[object] = []
        for part in parts[1:]:
            operands += part[1:] if isinstance(part, tuple) and part[0] == parts[0] else [part]
        return (parts[0], *sorted(operands, key=repr))
    if parts[:1] == ("square",) and parts[1][0] == "-":
        return ("square", "-", *sorted(parts[1][1:], key=repr))
    if parts[:2] in (("call", "min"), ("call", "max")):
        return (*parts[:2], *sorted(parts[2:], key=repr))
    return parts
