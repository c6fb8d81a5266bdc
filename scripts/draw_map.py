"""docs/sizes.svg: where repeating the encoding does better than starting from it.

    python scripts/draw_map.py

From the committed results.csv of the studies `sizes_*`: for each task and cell a grid of widths and
source lengths, with how far the symbol error rate of the decoder that starts lies above that of the
one that repeats, seed by seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from decoderlab.common.escapes import html_text
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.statistics import Summary, summarise
from measuring.arguments import script_parser
from redraw_study import FOLDER, committed

PANELS = {
    f"sizes_{task}_{cell}": f"{task}, {cell.upper()}"
    for task in ("echo", "reverse")
    for cell in ("lstm", "gru")
}
PICTURE = FOLDER.parent / "sizes.svg"
STARTING = "initial_state"
REPEATING = {
    "repeat_vector": "RepeatVector, without feedback",
    "every_input": "Repeating with feedback (every_input)",
    "peek": "Starting and repeating both (peek)",
}
CELL, LEFT, TITLE, HEADS, GAP = (100, 42), 64, 30, 54, 40  # in pixels
ACROSS = 2  # panels
LEAST = 720  # wide, which titles and the note below need
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1a1a1a; }
.small { font-size: 11px; } .title { font-weight: 600; }
.repeating { fill: #d55e00; } .starting { fill: #0072b2; }
.open { fill: none; stroke: #808080; stroke-dasharray: 3 3; }
@media (prefers-color-scheme: dark) { text { fill: #e6e6e6; } }
"""


class Place(NamedTuple):
    """Where on the map a size of a study stands."""

    panel: str
    width: int
    length: int


Map = Mapping[Place, Summary]


def main() -> None:
    """Write the picture."""
    script_parser(__doc__).parse_args()
    PICTURE.write_text(drawn(), encoding="utf-8")


def drawn() -> str:
    """Return the map of the studies whose results are committed."""
    studies = {name: committed(name) for name in PANELS if (FOLDER / name).is_dir()}
    return picture(maps(studies))


def maps(studies: Mapping[str, Analysis]) -> dict[str, Map]:
    """Return how far each decoder that repeats is ahead of starting, by place.

    Of an error rate, by how much less it is.
    """
    return {
        decoder: {
            place(name, size): _ahead(analysis, decoder, size)
            for name, analysis in studies.items()
            for size in analysis.tasks
        }
        for decoder in REPEATING
    }


def place(study: str, size: str) -> Place:
    """Return where a size of a study stands.

    Example:
        >>> place("sizes_echo_gru", "16_tokens_128_units")
        Place(panel='echo, GRU', width=128, length=16)
    """
    length, _, width, _ = size.split("_")
    return Place(PANELS[study], int(width), int(length))


def _ahead(analysis: Analysis, decoder: str, size: str) -> Summary:
    one, other = (_by_seed(analysis, variant, size) for variant in (decoder, STARTING))
    seeds = sorted(one.keys() & other.keys())
    return summarise([analysis.sign * (one[seed] - other[seed]) for seed in seeds])


def _by_seed(analysis: Analysis, variant: str, size: str) -> dict[int, float]:
    scores = {row.cell.seed: analysis.score(row) for row in analysis.by_cell[variant, size]}
    return {seed: score for seed, score in scores.items() if score is not None}


def picture(drawn: Mapping[str, Map]) -> str:
    """Return the maps as SVG, one below the other, a panel for each task and cell, two in a row.

    Args:
        drawn: differences of scores, by decoder.

    Example:
        >>> one = {Place("echo, LSTM", 32, 8): summarise([0.1, 0.2, 0.3])}
        >>> svg = picture({"repeat_vector": one})
        >>> "+0.200" in svg, 'class="repeating"' in svg, 'class="starting"' in svg
        (True, False, False)
    """
    first = next(iter(drawn.values()))
    panels = _levels(first, "panel")
    across, down = _panel_size(first)
    below = TITLE + math.ceil(len(panels) / ACROSS) * down
    size = max(LEFT + min(len(panels), ACROSS) * across, LEAST), 46 + len(drawn) * below
    shapes = [
        "".join(_panels(decoder, known, row * below))
        for row, (decoder, known) in enumerate(drawn.items())
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" '
        f'width="{size[0]}" height="{size[1]}" role="img" aria-labelledby="title words">'
        '<title id="title">Where repeating the encoding does better than starting from it</title>'
        f'<desc id="words">{html_text(" ".join(_words(drawn)))}</desc>'
        f"<style>{STYLE}</style>{''.join(shapes)}"
        f'<text class="small" x="{LEFT}" y="{size[1] - 26}">Symbol error rate of starting less '
        "that of the other, seed by seed. Coloured where its 95 % interval leaves 0 out:</text>"
        f'<text class="small" x="{LEFT}" y="{size[1] - 10}">orange where the other has fewer '
        "errors, blue where starting has.</text></svg>\n"
    )


def _levels(known: Iterable[Place], name: str) -> list:
    return list(dict.fromkeys(getattr(place, name) for place in known))


def _panel_size(known: Iterable[Place]) -> tuple[int, int]:
    """Return how far the next panel is to the right, and how far below."""
    across = len(_levels(known, "length")) * CELL[0] + GAP
    return across, HEADS + len(_levels(known, "width")) * CELL[1]


def _panels(decoder: str, known: Map, top: int) -> Iterator[str]:
    """Yield the title and the panels of one map."""
    title = f"{REPEATING[decoder]}, against starting with feedback ({STARTING})"
    yield f'<text x="{LEFT}" y="{top + 24}" class="title">{html_text(title)}</text>'
    across, down = _panel_size(known)
    for index, panel in enumerate(_levels(known, "panel")):
        row, column = divmod(index, ACROSS)
        at = LEFT + column * across, top + TITLE + row * down
        yield from _panel({one: of for one, of in known.items() if one.panel == panel}, at)


def _panel(known: Map, at: tuple[int, int]) -> Iterator[str]:
    """Yield a panel; the widths stand at the left edge of the picture alone."""
    left, top = at
    if left == LEFT:
        yield f'<text class="small" x="6" y="{top + 46}">units</text>'
    widths, lengths = _levels(known, "width"), _levels(known, "length")
    for place, ahead in known.items():
        row, column = widths.index(place.width), lengths.index(place.length)
        x, y = left + column * CELL[0], top + HEADS + row * CELL[1]
        if row == column == 0:
            yield f'<text x="{x}" y="{top + 20}">{html_text(place.panel)}, source length</text>'
        if row == 0:
            middle = x + CELL[0] // 2
            yield f'<text x="{middle}" y="{y - 8}" text-anchor="middle">{place.length}</text>'
        if x == LEFT:
            yield f'<text x="{x - 10}" y="{y + 26}" text-anchor="end">{place.width}</text>'
        yield _square(ahead, (x, y))


def _square(ahead: Summary, at: Sequence[int]) -> str:
    """Return a cell of the map with its mean and interval."""
    x, y = at
    side = "repeating" if ahead.low > 0 else "starting" if ahead.high < 0 else "open"
    strength = "" if side == "open" else f' fill-opacity="{_strength(ahead.mean):.2f}"'
    middle = x + CELL[0] // 2
    return (
        f'<rect class="{side}" x="{x + 1}" y="{y + 1}" width="{CELL[0] - 2}" '
        f'height="{CELL[1] - 2}"{strength}/>'
        f'<text x="{middle}" y="{y + 19}" text-anchor="middle">{ahead.mean:+.3f}</text>'
        f'<text class="small" x="{middle}" y="{y + 34}" text-anchor="middle">'
        f"{_interval_text(ahead)}</text>"
    )


def _interval_text(ahead: Summary) -> str:
    """Return the interval of a difference, of which there is none where all seeds are equal."""
    return "all equal" if math.isnan(ahead.low) else f"{ahead.low:+.3f}, {ahead.high:+.3f}"


def _strength(difference: float) -> float:
    """Return how opaque a cell is: text stays readable on the strongest, in light and dark."""
    return 0.12 + 0.38 * min(abs(difference) / 0.5, 1.0)


def _words(drawn: Mapping[str, Map]) -> Iterator[str]:
    """Yield what the picture shows as sentences, for those who do not see it."""
    for decoder, known in drawn.items():
        for place, ahead in known.items():
            yield (
                f"{decoder} on {place.panel}, {place.width} units, length {place.length}: "
                f"{ahead.mean:+.3f} [{_interval_text(ahead)}]."
            )


if __name__ == "__main__":
    main()
