"""A decoder's routes as a picture: three steps of it, unrolled, as SVG.

What the encoder read stands at the left: memory, last state, summary. A step is a column: its input
below, its cell, its output above. Blue is the summary, green the memory, orange the feedback.
"""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap

from decoderlab.common.escapes import html_text
from decoderlab.studies.reporting.route_facts import RouteFacts

WIDTH, HEIGHT, LINE = 360, 172, 14
CAPTION_LETTERS = 58  # of a line of words below the picture
STEPS = (150, 230, 310)
BEFORE = 96  # where the step before the first stands
OUTPUT, CELL, INPUT = 34, 90, 140  # heights of the middles
STYLE = """
.rd { --rd-ink: #1a1a1a; --rd-soft: #767676; --rd-box: #f1f1f1; --rd-summary: #0072b2; --rd-memory: #00795a; --rd-back: #b34700; font: 12px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .rd { --rd-ink: #e6e6e6; --rd-soft: #9a9a9a; --rd-box: #2c2c2c; --rd-summary: #56b4e9; --rd-memory: #35c997; --rd-back: #f0a04b; } }
.rd text { fill: var(--rd-ink); text-anchor: middle; }
.rd .rd-n, .rd .rd-s, .rd .rd-m, .rd .rd-f { fill: none; stroke-width: calc(1.8px * var(--rd-bold, 1)); stroke: var(--rd-soft); }
.rd .rd-s { stroke: var(--rd-summary); stroke-width: calc(2.4px * var(--rd-bold, 1)); } .rd .rd-m { stroke: var(--rd-memory); stroke-width: calc(2.4px * var(--rd-bold, 1)); } .rd .rd-f { stroke: var(--rd-back); }
.rd .rd-tip { stroke: none; fill: var(--rd-soft); } .rd .rd-tip.rd-s { fill: var(--rd-summary); } .rd .rd-tip.rd-m { fill: var(--rd-memory); } .rd .rd-tip.rd-f { fill: var(--rd-back); }
.rd .rd-box { fill: var(--rd-box); stroke: var(--rd-soft); stroke-width: 1.2; } .rd .rd-dash { stroke-dasharray: 4 3; } .rd .rd-dots { stroke-dasharray: 1.5 3; }
.rd .rd-own { fill: var(--rd-box); stroke-width: 2.2; } .rd .rd-unused { opacity: 0.3; } .rd .rd-words { text-anchor: start; }
"""  # noqa: E501
TIPS = {"right": "l-7 -4 v8 z", "up": "l-4 7 h8 z", "down": "l-4 -7 h8 z"}


def diagram_shapes(facts: RouteFacts) -> str:
    """Return the shapes of a diagram, without words below it, `WIDTH` x `HEIGHT`."""
    return _unknown(facts) if facts.unknown else "".join(_shapes(facts))


def diagram(facts: RouteFacts, title: str, *, named: bool = False) -> str:
    """Return a diagram as a file of its own, for light and dark, with words below it.

    Args:
        facts: of the decoder.
        title: of the picture, such as the decoder's name; of anybody's.
        named: whether the title stands below it, in place of what it says in words.
    """
    said = [title] if named else facts.sentences
    words = [line for text in said for line in wrap(text, CAPTION_LETTERS)]
    below = "".join(
        f'<text class="rd-words" x="8" y="{HEIGHT + 12 + LINE * row}">{html_text(line)}</text>'
        for row, line in enumerate(words)
    )
    height = HEIGHT + 8 + LINE * len(words)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="rd" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" aria-labelledby="title words">'
        f'<title id="title">{html_text(title)}: where the decoder gets what from</title>'
        f'<desc id="words">{html_text(" ".join(facts.sentences))}</desc>'
        f"<style>{STYLE}</style>{diagram_shapes(facts)}{below}</svg>\n"
    )


def _shapes(facts: RouteFacts) -> Iterable[str]:
    """Yield the parts of a picture, what lies behind first."""
    first = STEPS[0] - 20
    if facts.past != "none":
        for left, right in zip(STEPS, STEPS[1:], strict=False):
            yield _arrow("n", f"M{left + 20} {CELL} H{right - 20}", right - 20, CELL, "right")
    if facts.past == "all steps":
        way = f"M{STEPS[0] + 14} {CELL + 13} C{STEPS[1]} 124 {STEPS[1]} 124 {STEPS[2] - 14} 103"
        yield _arrow("n", way, STEPS[2] - 14, 103, "up")
    yield from _columns(facts)
    yield from _feedback(facts)
    yield from _attention(facts)
    if facts.first_input:
        yield f'<rect class="rd-box rd-dash" x="{BEFORE - 13}" y="{CELL - 10}" width="26" height="20" rx="4"/>'  # noqa: E501
        yield _arrow("n", f"M{BEFORE + 13} {CELL} H{first}", first, CELL, "right")
        yield _arrow("s", f"M{BEFORE} 163 V{CELL + 11}", BEFORE, CELL + 11, "up")
        first = BEFORE - 13
    if facts.start in ("summary", "state", "encoder"):
        yield _arrow("s", f"M48 {CELL} H{first}", first, CELL, "right")
    elif facts.start == "memory":
        yield _arrow("m", f"M62 62 C80 62 70 {CELL} {first} {CELL}", first, CELL, "right")
    elif facts.start == "constant":
        yield _arrow("n", f"M{first - 14} {CELL} H{first}", first, CELL, "right")
    rail = [*([BEFORE] if facts.first_input else []), *(STEPS if facts.every_input else [])]
    if rail:
        yield f'<path class="rd-s" d="M35 136 V163 H{max(rail)}"/>'
    if facts.every_input:
        foot = INPUT + 10
        yield from (_arrow("s", f"M{x} 163 V{foot}", x, foot, "up") for x in STEPS)
    if facts.output:
        yield f'<path class="rd-s" d="M22 122 H5 V10 H{STEPS[-1]}"/>'
        yield from (_arrow("s", f"M{x} 10 V{OUTPUT - 9}", x, OUTPUT - 9, "down") for x in STEPS)
    yield from _sources(facts)


def _sources(facts: RouteFacts) -> Iterable[str]:
    """Yield what the encoder offers; faint what the decoder does not use."""
    memory = facts.attention != "none" or facts.start == "memory"
    state = facts.start in ("state", "encoder")
    summary = facts.first_input or facts.every_input or facts.output
    cells = "".join(f'<rect x="{x}" y="56" width="13" height="13"/>' for x in (9, 22, 35, 48))
    yield f'<g class="rd-m rd-own{_faint(memory)}">{cells}</g>{_text(35, 49, "memory")}'
    if facts.start == "summary":
        # The same summary, drawn once, where the first state begins.
        yield _source("c", CELL, True)
        if summary:
            yield f'<path class="rd-s" d="M35 {CELL + 14} V122"/>' + _source("c", 122, True)
    else:
        yield _source("h", CELL, state) + _source("c", 122, summary)


def _source(letter: str, y: int, used: bool) -> str:
    shape = f'<circle class="rd-s rd-own" cx="35" cy="{y}" r="13"/>{_text(35, y + 4, letter)}'
    return f'<g class="{_faint(used).strip()}">{shape}</g>'


def _faint(used: bool) -> str:
    return "" if used else " rd-unused"


def _columns(facts: RouteFacts) -> Iterable[str]:
    """Yield the boxes of the steps, and what goes up through them."""
    reads = facts.every_input or bool(facts.feedback) or facts.fed_later
    reads |= facts.attention == "before the cell"
    for step, x in enumerate(STEPS, start=1):
        yield _arrow("n", f"M{x} {CELL - 13} V{OUTPUT + 10}", x, OUTPUT + 10, "up")
        yield f'<rect class="rd-box" x="{x - 20}" y="{CELL - 13}" width="40" height="26" rx="5"/>'
        yield _text(x, CELL + 4, f"s{_small(step)}" if facts.past != "all steps" else "layers")
        yield f'<rect class="rd-box" x="{x - 17}" y="{OUTPUT - 9}" width="34" height="18" rx="9"/>'
        yield _text(x, OUTPUT + 4, f"y{_small(step)}")
        if reads:
            yield _arrow("n", f"M{x} {INPUT - 9} V{CELL + 14}", x, CELL + 14, "up")
            yield f'<rect class="rd-box" x="{x - 17}" y="{INPUT - 9}" width="34" height="18" rx="3"/>'  # noqa: E501
            yield _text(x, INPUT + 4, f"x{_small(step)}")


def _feedback(facts: RouteFacts) -> Iterable[str]:
    """Yield the way of an output to the next input.

    Dashed where training has the target's in its place, dotted where it sometimes has.
    """
    if not facts.feedback:
        return
    forced = facts.feedback.startswith("in training the target")
    dash = "" if not forced else " rd-dots" if "probability" in facts.feedback else " rd-dash"
    for left, right in zip(STEPS, STEPS[1:], strict=False):
        y, end = INPUT - 3, right - 17
        way = f"M{left + 17} {OUTPUT} C{left + 52} {OUTPUT} {left + 26} {y} {end} {y}"
        yield _arrow("f", way, end, y, "right", dash)
    yield _arrow(
        "f",
        f"M{STEPS[0] - 32} {INPUT} H{STEPS[0] - 17}",
        STEPS[0] - 17,
        INPUT,
        "right",
    )
    if facts.feedback_to_output:
        for x in STEPS:
            way = f"M{x - 14} {INPUT - 9} C{x - 32} 110 {x - 32} 60 {x - 12} {OUTPUT + 9}"
            yield _arrow("f", way, x - 12, OUTPUT + 9, "up")


def _attention(facts: RouteFacts) -> Iterable[str]:
    """Yield the way of the memory to where it is read, a diamond a step."""
    if facts.attention == "none":
        return
    before = facts.attention == "before the cell"
    inside = facts.attention in ("inside the layers", "between the cells", "over alignments")
    y, shift = (117, 0) if before else (62, -12 if inside else 0)
    way = f"M61 62 H112 V{y}" if before else "M61 62"
    yield f'<path class="rd-m" d="{way} H{STEPS[-1] + shift}"/>'
    for index, x in enumerate(STEPS):
        middle, after = (
            x + shift,
            STEPS[index + 1] if index + 1 < len(STEPS) else None,
        )
        if before and index:
            yield _arrow(
                "n", f"M{STEPS[index - 1] + 18} 101 L{x - 9} {y - 2}", x - 7, y - 2, "right"
            )  # noqa: E501
        if before and facts.attention_to_output:
            way = f"M{x + 7} {y} C{x + 34} 108 {x + 34} 60 {x + 12} {OUTPUT + 9}"
            yield _arrow("m", way, x + 12, OUTPUT + 9, "up")
        elif before:
            yield _arrow("m", f"M{x} {y} V{CELL + 14}", x, CELL + 14, "up")
        elif inside:
            yield _arrow("m", f"M{middle} {y} V{CELL - 13}", middle, CELL - 13, "down")
            if facts.attention == "between the cells" and facts.attention_to_output:
                yield _arrow("m", f"M{middle} {y} V{OUTPUT + 10}", middle, OUTPUT + 10, "up")
        else:
            yield _arrow("m", f"M{x} {y} V{OUTPUT + 10}", x, OUTPUT + 10, "up")
        if facts.fed_later and after:
            end = INPUT + 4
            way = f"M{x + 7} {y} C{x + 44} {y} {x + 30} {end} {after - 17} {end}"
            yield _arrow("m", way, after - 17, end, "right")
        yield f'<path class="rd-m rd-own" d="M{middle} {y - 8} l8 8 l-8 8 l-8 -8 z"/>'


def _arrow(kind: str, way: str, x: int, y: int, tip: str, more: str = "") -> str:
    return f'<path class="rd-{kind}{more}" d="{way}"/><path class="rd-tip rd-{kind}" d="M{x} {y} {TIPS[tip]}"/>'  # noqa: E501


def _text(x: int, y: int, text: str) -> str:
    return f'<text x="{x}" y="{y}">{html_text(text)}</text>'


def _small(number: int) -> str:
    return "₀₁₂₃"[number]


def _unknown(facts: RouteFacts) -> str:
    """Return a box with what is known of a decoder that states no equations."""
    name, *parts = facts.unknown
    listed = "".join(
        _text(200, 62 + LINE * row, _short(text, 34)) for row, text in enumerate(parts[:6])
    )
    cells = "".join(f'<rect x="{x}" y="56" width="13" height="13"/>' for x in (9, 22, 35, 48))
    return (
        f'<g class="rd-m rd-own">{cells}</g>{_text(35, 49, "memory")}'
        + _source("h", CELL, True)
        + _source("c", 122, True)
        + _arrow("n", "M66 90 H88", 90, 90, "right")
        + '<rect class="rd-box rd-dash" x="90" y="26" width="220" height="122" rx="6"/>'
        + f"{_text(200, 46, _short(name, 32))}{listed}"
        + _arrow("n", "M310 90 H334", 336, 90, "right")
        + _text(348, 94, "y")
    )


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
