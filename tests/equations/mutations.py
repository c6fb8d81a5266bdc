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
    ("sum over j of ", ""),
    ("one-hot", "tanh"),
)
NAMES = ("sigmoid", "tanh", "max", "LN", "sqrt", "mean", "one", "hot", "row", "of", "a", "table")
NAMES += ("heads", "to", "steps", "up", "all", "real", "positions", "in", "pairs", "over", "the")
NAMES += ("attention", "side", "by", "place", "places", "x", "softmax", "sum", "below", "beyond")
NAMES += ("ends", "sinusoidal", "first", "every", "second", "rows", "weighted", "without", "last")
NAMES += ("forward", "backward", "layer", "same", "others", "from", "end", "for", "which", "has")


def mutations(equations: Sequence[Equation]) -> Iterator[tuple[int, str]]:
    """Yield lines and wrong right sides for them, each but once."""
    lefts = [one.left for one in equations if re.fullmatch(LETTER, one.left)]
    for number, line in enumerate(equations):
        seen = {line.right}
        for wrong in _wrong(line.right, lefts):
            if wrong not in seen and not _equal(line.right, wrong):
                seen.add(wrong)
                yield number, wrong


def _wrong(right: str, lefts: Sequence[str]) -> Iterator[str]:
    for before, after in EXCHANGED:
        for match in re.finditer(re.escape(before), right):
            yield right[: match.start()] + after + right[match.end() :]
    letters = [match for match in re.finditer(LETTER, right) if match[0] not in NAMES]
    if sentence(right) and not right.startswith(("sum", "softmax over j", "h_j in", "[forward")):
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


def _equal(right: str, wrong: str) -> bool:
    """Whether a change does nothing, because the order of operands does not matter."""
    if sentence(right) or sentence(wrong):
        return False
    try:
        return _ordered(formula(right)[0]) == _ordered(formula(wrong)[0])
    except (Unreadable, IndexError):
        return False


def _ordered(tree: object) -> object:
    if not isinstance(tree, tuple):
        return tree
    parts = tuple(_ordered(part) for part in tree)
    if parts and parts[0] in ("+", "*", "."):
        operands: list[object] = []
        for part in parts[1:]:
            operands += part[1:] if isinstance(part, tuple) and part[0] == parts[0] else [part]
        return (parts[0], *sorted(operands, key=repr))
    return parts
