"""A decoder's routes as a small picture: two steps, with what enters where and no words.

The colours are those of the route diagrams: blue is the summary or last state, green the memory,
orange the feedback. What is not used is not drawn.
"""

from __future__ import annotations

from collections.abc import Iterator

from decoderlab.studies.reporting.route_facts import RouteFacts

WIDTH, HEIGHT = 84, 52
STEPS = (36, 68)
OUTPUT, READ, CELL, READ_BEFORE, RAIL = 6, 14, 27, 39, 48  # heights
TOP, FOOT = CELL - 7, CELL + 7
TIPS = {"right": "l-5 -3 v6 z", "up": "l-3 5 h6 z", "down": "l-3 -5 h6 z"}
START_KINDS = {"summary": "s", "state": "s", "encoder": "s", "memory": "m", "constant": "n"}


def icon_shapes(facts: RouteFacts) -> str:
    """Return the shapes of an icon, `WIDTH` x `HEIGHT`, of the classes of a route diagram."""
    return "".join(_unknown() if facts.unknown else _shapes(facts))


def _shapes(facts: RouteFacts) -> Iterator[str]:
    left, right = STEPS
    first = left - 9
    if facts.past != "none":
        yield _arrow("n", f"M{left + 9} {CELL} H{right - 9}", right - 9, CELL, "right")
    for x in STEPS:
        yield f'<path class="rd-n" d="M{x} {TOP} V{OUTPUT + 3}"/>'
        yield f'<circle class="rd-box" cx="{x}" cy="{OUTPUT}" r="3"/>'
        yield f'<rect class="rd-box" x="{x - 9}" y="{TOP}" width="18" height="14" rx="3"/>'
    if facts.first_input:
        yield f'<rect class="rd-box rd-dash" x="15" y="{CELL - 5}" width="9" height="10" rx="2"/>'
        yield _arrow("n", f"M24 {CELL} H{first}", first, CELL, "right")
        yield _arrow("s", f"M19 {RAIL} V{CELL + 6}", 19, CELL + 6, "up")
        first = 15
    if kind := START_KINDS.get(facts.start):
        begin = 4 if kind != "n" else first - 9
        yield _arrow(kind, f"M{begin} {CELL} H{first}", first, CELL, "right")
    if facts.every_input:
        yield from (_arrow("s", f"M{x} {RAIL} V{FOOT + 1}", x, FOOT + 1, "up") for x in STEPS)
    if ends := [*([19] if facts.first_input else []), *(STEPS if facts.every_input else ())]:
        yield f'<path class="rd-s" d="M4 {RAIL} H{max(ends)}"/>'
    if facts.output:
        yield f'<path class="rd-s" d="M4 {OUTPUT} H{left - 3} M{left + 3} {OUTPUT} H{right - 3}"/>'
    yield from _attention(facts)
    if facts.feedback:
        forced = facts.feedback.startswith("in training the target")
        dash = "" if not forced else " rd-dots" if "probability" in facts.feedback else " rd-dash"
        end, foot = right - 5, FOOT + 1
        bend = f"C{left + 22} {OUTPUT} {left + 12} {foot + 9} {end - 1} {foot + 6}"
        way = f"M{left + 3} {OUTPUT} {bend} L{end} {foot}"
        yield _arrow("f", way, end, foot, "up", dash)


def _attention(facts: RouteFacts) -> Iterator[str]:
    if facts.attention == "none":
        return
    before = facts.attention == "before the cell"
    y = READ_BEFORE if before else READ
    way = f"M11 {READ} V{y} H{STEPS[-1]}" if before else f"M11 {y} H{STEPS[-1]}"
    yield f'<path class="rd-m" d="{way}"/>'
    for x in STEPS:
        if before:
            yield _arrow("m", f"M{x} {y} V{FOOT + 1}", x, FOOT + 1, "up")
        yield f'<path class="rd-m rd-own" d="M{x} {y - 4} l4 4 l-4 4 l-4 -4 z"/>'
    cells = "".join(f'<rect x="{x}" y="{READ - 3}" width="5" height="6"/>' for x in (2, 7, 12))
    yield f'<g class="rd-m rd-own">{cells}</g>'


def _unknown() -> Iterator[str]:
    """Yield a box of which nothing is known."""
    yield _arrow("n", f"M4 {CELL} H20", 20, CELL, "right")
    yield '<rect class="rd-box rd-dash" x="21" y="8" width="44" height="36" rx="4"/>'
    yield _arrow("n", f"M65 {CELL} H80", 80, CELL, "right")


def _arrow(kind: str, way: str, x: int, y: int, tip: str, more: str = "") -> str:
    return (
        f'<path class="rd-{kind}{more}" d="{way}"/>'
        f'<path class="rd-tip rd-{kind}" d="M{x} {y} {TIPS[tip]}"/>'
    )
