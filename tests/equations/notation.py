"""The notation of printed equations, taken apart: strict, whatever is not listed here is an error.

    a + b, a - b      sums, of equal widths
    a * b, a . b      element by element; the dot product
    a / b             division by a number, or element by element
    x^2, (x)_j        the square; the entry of a position
    W x, W(x + y)     what stands side by side is multiplied, from left to right
    [a; b]            side by side
    tanh(x), ...      see `FUNCTIONS`
    x_t, h^{l-1}_j    letters with indices; W_a, b_o: letters of weights

and the words of `WORDS` and `SENTENCES`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

FUNCTIONS = ("sigmoid", "tanh", "max", "LN", "sqrt", "mean", "one-hot", "softmax", "softplus")
FUNCTIONS += ("log", "exp", "min", "top", "push", "pop", "outer", "abs")
LETTER = r"e\(y_\{t-1\}\)|[A-Za-z]+'?(?:\^(?:\{[^}]*\}|\w))?(?:_(?:\{[^}]*\}|\w+))?"
# Words inside of an equation, by what they become.
WORDS = {
    "row": rf"(?:row (?P<row>{LETTER}|\w+) of a table(?: \((?P<rows>\d+), (?P<width>\d+)\))?)",
    "weighted": r"rows of a table \((?P<all>\d+), (?P<wide>\d+)\), weighted by (?P<by>y_\{t-1\})",
    "last": r"the encoder's last (?P<last>[hkM])",
    "constant": r"a learned constant",
    "pool": r"(?P<pool>max|mean) of m",
    "direction": r"(?P<direction>forward|backward) (?P<of>[a-z]_(?:\{[^}]*\}|\w))",
    "grid": r"place j of (?P<grid>g\^\d+), (?P<height>\d+) x (?P<across>\d+)",
    "heads": r"attention of (?P<heads>\d+) heads(?=\()",
    "to": r", to (?P<to>m|steps up to t|all real positions)(?=\))",
    "pairs": r", in pairs(?=\))",
    "without": r"without c",
    "places": r", all (?P<places>\d+) places side by side",
    "range": r"\.\. ",
    "entry": r"\)_(?P<entry>[j123])",
    "square": r"\^2",
}
END_WORDS = {
    "embeddings": r", E the table of e",
    "positions": r", p the sinusoidal positions, the first 0",
    "around": r", (?P<width>\d+) positions around j, 0 beyond the ends",
    "below": r", 0 beyond the ends; (?P<below>[a-z](?:\^0)?_j) below",
    "convolution": r", (?P<side>\d+) x (?P<side2>\d+), every second place",
}
PROBABILITY = r"[\d.]+(?: falling to [\d.]+ \(\w+, \d+ updates\))?"
# Whole right sides, by the left sides that they may have.
SENTENCES = {
    "step": r"a step of the cell from s_0 with x_0, its output dropped",
    "step_ends": r"a step of the cell from s_0 with x_0, its last (?P<ends>\d+) numbers as c, "
    r"its output dropped",
    "second": r"a step of another such cell from (?P<first>s'_t) with (?P<with>a_t)",
    "pairing": r"of the encoder's layers \[(?P<layers>[\d, ]+)\]",
    "target": r"in training the target's, in generation what was generated",
    "own": r"what was generated, in training too",
    "softmax": r"softmax\((?P<logits>\w+_\{t-1\})\) over what can be generated, in training too; "
    r"0 before the first",
    "coins": rf"in training the target's with probability (?P<ratio>{PROBABILITY}), "
    r"a coin per (?:token|sequence); else what was generated",
    "layers": r"the same(?P<no_summary> with C c = 0)?, the layer below as (?P<below>x_[tj])",
    "backward": r"the same, from the end: (?P<new>\w\+1) for (?P<old>\w-1)",
    "zoneout": r"(?P<which>.+): (?P<kept>[\d.]+) of what it was \+ (?P<taken>[\d.]+) of "
    r"what it is, in training the whole of either",
    "residual": r"(?P<first>.+) in layer 1, (?P<others>.+) in the others",
    "empty": r"0, (?P<rows>\d+) rows of (?P<wide>\d+)",
    "no_input": r"0 in layer 1, which has no input",
    "weights": r"softmax over j of (?P<scores>[^|]+), exactly 0 at padding",
    "window": r"softmax over j of (?P<scores>.+), \|j - (?P<centre>.+)\| <= (?P<half>\d+), else 0",
    "entmax": r"(?P<alpha>[\d.]+)-entmax over j of (?P<scores>.+), exactly 0 at padding",
    "past": r"sum over i < t of (?P<summed>w(?:\^(?:\{[^}]*\}|\w))?)_i",
    "moved": r"sum over i <= j of b_\{t-1,i\} exp\(score_tj\) / sum over k >= i of exp\(score_tk\)",
    "after": r"w_\{t-1,j\} times the share of y_\{t-1\} in p_\{t-1,j\}, "
    r"divided by the sum over j; b_0 is 1 at the first position",
    "part": r"part l of (?P<parts>\d+) of (?P<whole>.+)",
    "copied": r"sum of (?P<copied>w_t)j over the positions j that hold y_t",
    "with_blank": r"softmax over tokens and the blank of (?P<scores>.+)",
    "alignments": r"log of the share of y_t in what begins with y before t, "
    r"(?P<none>-\d+) for none: products of (?P<factor>\w)\^l_j over frames, summed over alignments",
    "mixture": r"log\(sum over j of (?P<summand>.+)\)",
    "context": r"sum over j of (?P<summand>.+)",
    "position": r"the sinusoidal position t-1",
    "image": r"the image",
}
TOKEN = re.compile(
    "|".join(f"(?P<W_{name}>{pattern})" for name, pattern in WORDS.items())
    + rf"|(?P<function>(?:{'|'.join(FUNCTIONS)})(?=\())|(?P<letter>{LETTER})"
    + r"|(?P<number>-?\d+(?:\.\d+)?)|(?P<sign> [-+*./] |[()\[\];,])|(?P<space> )"
)
STARTS = ("letter", "number", "function", "(", "[", "row", "weighted", "last", "constant", "pool")
STARTS += ("direction", "grid", "heads")


class Unreadable(ValueError):
    """A printed equation that is not in the notation."""


@cache
def sentence(right: str) -> tuple[str, dict[str, str]] | None:
    """Return the name of a right side in words and its parts, None for a formula."""
    for name, pattern in SENTENCES.items():
        if match := re.fullmatch(pattern, right):
            return name, match.groupdict()
    return None


@cache
def formula(right: str) -> tuple[tuple, dict[str, dict[str, str]]]:
    """Return the tree of a right side, and the words that stand at its end."""
    ends = {}
    for name, pattern in END_WORDS.items():
        if match := re.search(pattern + "$", right):
            ends[name], right = match.groupdict(), right[: match.start()]
    tokens = _tokens(right)
    tree, rest = _sum(tokens, 0)
    if _kind(tokens, rest) == "places":
        tree, rest = ("places", int(tokens[rest][1]["places"]), tree), rest + 1
    if rest != len(tokens):
        raise Unreadable(f"{right!r}: {tokens[rest][1]!r} is not expected")
    return tree, ends


def _tokens(text: str) -> list[tuple[str, Any]]:
    tokens, position = [], 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if not match:
            raise Unreadable(f"{text!r} is not in the notation from {text[position:]!r} on")
        kind = match.lastgroup
        parts = {key: value for key, value in match.groupdict().items() if value is not None}
        word = next((key for key in parts if key.startswith("W_")), None)
        if word:
            del parts[word]
            tokens.append((word[2:], parts))
        elif kind == "sign":
            tokens.append((match[0].strip(),) * 2)
        elif kind != "space":
            tokens.append((kind, match[0]))
        position = match.end()
    return tokens


def _kind(tokens: list, at: int) -> str:
    return tokens[at][0] if at < len(tokens) else "end"


def _sum(tokens: list, at: int) -> tuple[tuple, int]:
    return _operators(tokens, at, "+-", _product)


def _product(tokens: list, at: int) -> tuple[tuple, int]:
    return _operators(tokens, at, "*./", _chain)


def _operators(tokens: list, at: int, signs: str, operand: Any) -> tuple[tuple, int]:
    tree, at = operand(tokens, at)
    while _kind(tokens, at) in tuple(signs):
        sign = tokens[at][0]
        right, at = operand(tokens, at + 1)
        tree = (sign, tree, right)
    return tree, at


def _chain(tokens: list, at: int) -> tuple[tuple, int]:
    factors = []
    while _kind(tokens, at) in STARTS:
        factor, at = _atom(tokens, at)
        if _kind(tokens, at) == "without":
            factor, at = ("without", factor), at + 1
        if _kind(tokens, at) == "square":
            factor, at = ("square", factor), at + 1
        factors.append(factor)
    if not factors:
        raise Unreadable(f"something is missing before {_kind(tokens, at)!r} in {tokens}")
    return (factors[0] if len(factors) == 1 else ("chain", *factors)), at


def _atom(tokens: list, at: int) -> tuple[tuple, int]:
    kind, value = tokens[at]
    if kind == "(":
        tree, at = _sum(tokens, at + 1)
        if _kind(tokens, at) == "entry":
            return ("entry", tree, tokens[at][1]["entry"]), at + 1
        return tree, _closed(tokens, at, ")")
    if kind == "[":
        return _list(tokens, at + 1)
    if kind == "function":
        return _call(tokens, at, value)
    if kind == "heads":
        tree, at = _sum(tokens, at + 2)
        if _kind(tokens, at) != "to":
            raise Unreadable(f"attention to what? {tokens}")
        to = tokens[at][1]["to"]
        return ("heads", int(value["heads"]), tree, to), _closed(tokens, at + 1, ")")
    if kind == "number":
        return ("number", float(value)), at + 1
    if kind == "letter":
        return ("letter", value), at + 1
    return (kind, tuple(sorted(value.items()))), at + 1


def _call(tokens: list, at: int, name: str) -> tuple[tuple, int]:
    arguments, at = [], at + 1
    while _kind(tokens, at) in ("(", ","):
        tree, at = _sum(tokens, at + 1)
        arguments.append(tree)
    if _kind(tokens, at) == "pairs":
        return ("pairs", name, *arguments), _closed(tokens, at + 1, ")")
    if _kind(tokens, at) == "places":
        count = int(tokens[at][1]["places"])
        arguments[-1], at = ("places", count, arguments[-1]), at + 1
    return ("call", name, *arguments), _closed(tokens, at, ")")


def _list(tokens: list, at: int) -> tuple[tuple, int]:
    tree, at = _sum(tokens, at)
    if _kind(tokens, at) == "range":
        last, at = _sum(tokens, at + 1)
        return ("range", tree, last), _closed(tokens, at, "]")
    parts = [tree]
    while _kind(tokens, at) == ";":
        tree, at = _sum(tokens, at + 1)
        parts.append(tree)
    return ("list", *parts), _closed(tokens, at, "]")


def _closed(tokens: list, at: int, bracket: str) -> int:
    if _kind(tokens, at) != bracket:
        raise Unreadable(f"{bracket!r} is missing in {tokens}")
    return at + 1


@cache
def letter_parts(letter: str) -> tuple[str, str | None, tuple[str, ...] | None]:
    """Return base, upper index and lower indices of a letter; no indices for a weight's name."""
    if letter == "e(y_{t-1})":
        return "e", None, ("t-1",)
    base, upper, lower = re.fullmatch(
        r"([A-Za-z]+'?)(?:\^(\{[^}]*\}|\w))?(?:_(\{[^}]*\}|\w+))?", letter
    ).groups()
    upper = upper and upper.strip("{}")
    if lower is None:
        return base, upper, ()
    indices = (lower.strip("{}"),) if "{" in lower else tuple(lower)
    if lower.isdigit():
        indices = (lower,)
    if not all(re.fullmatch(r"[tjlS\d]+(?:[-+][tjlS\d]+)*", one) for one in indices):
        return base, upper, None
    return base, upper, indices


def index(text: str, bound: dict[str, int]) -> int | str:
    """Return the value of an index such as S+1-j; of two, such as 2,l, both."""
    if "," in text:
        return ",".join(str(index(one, bound)) for one in text.split(","))
    total, sign = 0, 1
    for part in re.findall(r"[-+]|\d+|\w", text):
        if part in "+-":
            sign = 1 if part == "+" else -1
            continue
        if not part.isdigit() and part not in bound:
            raise Unreadable(f"index {part} of {text!r} has no value here")
        total, sign = total + sign * (int(part) if part.isdigit() else bound[part]), 1
    return total
