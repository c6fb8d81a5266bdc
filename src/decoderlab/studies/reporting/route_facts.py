"""What enters a decoder where, read from its own equations: what a route diagram is drawn from.

The equations are those of `decoderlab.layers.equations`, as a module states them or as
`result.json` keeps them, so that a diagram cannot say anything else than they do. A decoder of
one's own joins in by stating equations with the letters of docs/strategies.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MAX_LINES = 200  # equations of anybody's that are read
MAX_LETTERS = 120  # of a text of anybody's in a diagram
SUMMARY = re.compile(r"(?<![\w^{])c(?![\w^}])")
MEMORY_LETTER = re.compile(r"\bm(_j|_1)?(?![\w^])")
PREVIOUS = re.compile(r"\by_\{t-\w+\}")
ENCODER = re.compile(r"\bencoder\b")
CELL_STEP = "a step of the cell"
ALIGNMENTS = "summed over alignments"
BETWEEN = "s'_t"  # the state after the first of two cells
WITHOUT_EQUATIONS = "has no equations() of its own"
# Left sides that are neither what a step computes its state from nor that state.
WORDS_APART = re.compile(r"e\(|y_|p_t|[qm]_|score_|w_t|a_t$|[sk]_0|h_0|x_0|x_t$|h\^0_t|layers ")
SIDES = re.compile(r"([^=]+, l = \S+|[^=]*?) += (.*)")
# A letter of attention with an index that says which of several reads it is of.
OF_A_READ = re.compile(r"(q|m|score|w)\^(?:\{[\w,]+\}|\w)(_[tj]+)(?:, l = .*)?")
WEIGHTS_OF_STEP = ("w_t", "w_tj", "a_t")
TO_OUTPUT = re.compile(r"(logits|[founh])_t$")

Start = Literal["nothing", "constant", "summary", "state", "memory", "encoder"]
Timing = Literal[
    "none",
    "before the cell",
    "between the cells",
    "after the cell",
    "inside the layers",
    "over alignments",
]
Past = Literal["none", "state", "all steps"]


@dataclass(frozen=True, kw_only=True)
class RouteFacts:
    """Where a decoder gets what from; the defaults are those of one that gets nothing.

    Args:
        start: what the state before the first step is made of.
        first_input: whether the summary is read by a step before the first.
        every_input: whether it enters every step.
        output: whether the output layer sees it.
        feedback: what stands for the previous output, in words; empty without feedback.
        feedback_to_output: whether the output layer sees the previous output as well.
        attention: when the memory is read.
        score: how attention scores a position of the memory; empty where that is not said.
        attention_to_output: whether the output layer sees what was read.
        fed_later: whether the next input has what was read.
        past: what a step knows of those before, besides the previous output.
        unknown: of a decoder without such equations, its class and its parts.
    """

    start: Start = "nothing"
    first_input: bool = False
    every_input: bool = False
    output: bool = False
    feedback: str = ""
    feedback_to_output: bool = False
    attention: Timing = "none"
    score: str = ""
    attention_to_output: bool = False
    fed_later: bool = False
    past: Past = "none"
    unknown: tuple[str, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """What the diagram shows, in words."""
        if self.unknown:
            return [f"{', '.join(self.unknown)}: it states no equations, so no routes are drawn."]
        entries = [
            *(["the initial state"] if self.start in ("summary", "state") else []),
            *(["a first input"] if self.first_input else []),
            *(["every input"] if self.every_input else []),
            *(["the output layer"] if self.output else []),
        ]
        said = [f"The summary enters at {' and '.join(entries) if entries else 'no point'}."]
        started = {
            "nothing": "",
            "constant": "The initial state is a learned constant.",
            "summary": "The initial state is made of the summary.",
            "state": "The initial state is made of the encoder's last state.",
            "memory": "The initial state is made of the memory.",
            "encoder": "The initial state is made of what the encoder offers.",
        }[self.start]
        said += [started] if started else []
        deep = ", also at the output layer" if self.feedback_to_output else ""
        said.append(f"Feedback: {self.feedback or 'none'}{deep}.")
        if self.attention == "none":
            return [*said, "No attention."]
        if self.attention == "over alignments":
            return [*said, "The memory is read frame by frame, over all alignments."]
        score = f", score {self.score}" if self.score else ""
        later = ", fed to the next input" if self.fed_later else ""
        return [*said, f"Attention to the memory {self.attention}{score}{later}."]


Line = tuple[str, str]


def equation_lines(text: str) -> list[Line]:
    r"""Return left and right sides of equations as `equations.as_text` writes them.

    Example:
        >>> equation_lines("x_t = [e(y_{t-1}); c]  160\ns_0 = 0      128  20")
        [('x_t', '[e(y_{t-1}); c]'), ('s_0', '0')]
    """
    lines = []
    for line in text.splitlines()[:MAX_LINES]:
        if sides := SIDES.match(line):
            lines.append((sides[1].strip(), re.split(r"\s{2,}", sides[2].strip())[0]))
    return lines


def route_facts(lines: Sequence[Line]) -> RouteFacts:
    """Return what the equations of a decoder say.

    Args:
        lines: left and right side of each.

    Example:
        >>> route_facts([("s_0", "0"), ("x_t", "c"), ("s_t", "tanh(W x_t + U s_{t-1})")])
        RouteFacts(start='nothing', first_input=False, every_input=True, output=False, ...)
    """
    lines = [(OF_A_READ.sub(r"\1\2", left), right) for left, right in lines[:MAX_LINES]]
    every = " ; ".join(right for _, right in lines)
    if any(WITHOUT_EQUATIONS in right for _, right in lines) or not any(
        pattern.search(every) for pattern in (SUMMARY, MEMORY_LETTER, PREVIOUS, ENCODER)
    ):
        return RouteFacts(unknown=_parts(lines))
    has_state = any(left == "s_t" for left, _ in lines)
    output = [
        right
        for index, (left, right) in enumerate(lines)
        if TO_OUTPUT.match(left) and (left != "h_t" or has_state) or index == len(lines) - 1 > 0
    ]
    inputs = [right for left, right in lines if left == "x_t" or left.startswith("h^0_t")]
    core = [right for left, right in lines if not WORDS_APART.match(left) and right not in output]
    step = " ; ".join([*inputs, *core])
    end = " ; ".join(output)
    timing = _timing(lines)
    return RouteFacts(
        start=_start(lines),
        first_input=any(left == "x_0" and bool(SUMMARY.search(right)) for left, right in lines),
        every_input=bool(SUMMARY.search(step)),
        output=bool(SUMMARY.search(end)),
        feedback=_feedback(lines, every),
        feedback_to_output=bool(PREVIOUS.search(end)) and bool(PREVIOUS.search(step)),
        attention=timing,
        score=next((right[:MAX_LETTERS] for left, right in lines if left.startswith("score_")), ""),
        attention_to_output="a_t" in end or "w_tj" in end,
        fed_later=any("h_{t-1}" in right or "a_{t-1}" in right for right in inputs),
        past="all steps" if "steps up to t" in every else "state" if "s_{t-1}" in step else "none",
    )


def _parts(lines: Sequence[Line]) -> tuple[str, ...]:
    """Return what is known of a decoder without equations: its class, and the classes of parts."""
    own = [left for left, right in lines if right == WITHOUT_EQUATIONS]
    parts = [f"{left} ({right})" for left, right in lines if right != WITHOUT_EQUATIONS]
    return tuple(text[:MAX_LETTERS] for text in [*own, *parts][:8]) or ("a decoder",)


def _start(lines: Sequence[Line]) -> Start:
    right = next((right for left, right in lines if left == "s_0"), "0")
    if SUMMARY.search(right):
        return "summary"
    if "encoder's last" in right:
        return "state"
    if MEMORY_LETTER.search(right):
        return "memory"
    if ENCODER.search(right):
        return "encoder"
    return "nothing" if right == "0" or CELL_STEP in right else "constant"


def _feedback(lines: Sequence[Line], every: str) -> str:
    said = next((right for left, right in lines if left == "y_{t-1}"), None)
    if said is not None:
        return said[:MAX_LETTERS] + ("…" if len(said) > MAX_LETTERS else "")
    return "the previous output" if PREVIOUS.search(every) else ""


def _timing(lines: Sequence[Line]) -> Timing:
    """Return when the memory is read: by a step's own state, by the one before, or by layers."""
    lefts = [left for left, _ in lines]
    if BETWEEN in lefts:
        return "between the cells"
    if any(ALIGNMENTS in right for _, right in lines):
        return "over alignments"
    weights = next((index for index, left in enumerate(lefts) if left in WEIGHTS_OF_STEP), None)
    if weights is not None:
        after = "s_t" in lefts and lefts.index("s_t") < weights
        return "after the cell" if after else "before the cell"
    step = [right for left, right in lines if left not in ("s_0", "k_0", "x_0")]
    return "inside the layers" if any(MEMORY_LETTER.search(right) for right in step) else "none"
