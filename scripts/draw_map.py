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
CELL, LEFT, TOP, GAP = (100, 42), 64, 84, 40  # in pixels
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
    """Return the maps as SVG, one below the other, a panel for each task and cell.

    Args:
        drawn: differences of scores, by decoder.

    Example:
        >>> one = {Place("echo, LSTM", 32, 8): summarise([0.1, 0.2, 0.3])}
        >>> svg = picture({"repeat_vector": one})
        >>> "+0.200" in svg, 'class="repeating"' in svg, 'class="starting"' in svg
        (True, False, False)
    """
    first = next(iter(drawn.values()))
    panels, lengths = _levels(first, "panel"), _levels(first, "length")
    widths = _levels(first, "width")
    across = len(lengths) * CELL[0] + GAP
    down = len(widths) * CELL[1] + TOP
    size = max(LEFT + len(panels) * across, LEAST), 46 + len(drawn) * down
    shapes = [
        "".join(_row_of_panels(decoder, known, row * down))
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


def _row_of_panels(decoder: str, known: Map, top: int) -> Iterator[str]:
    """Yield the panels of one map, from left to right."""
    widths, lengths = _levels(known, "width"), _levels(known, "length")
    title = f"{REPEATING[decoder]}, against starting with feedback ({STARTING})"
    yield f'<text x="{LEFT}" y="{top + 24}" class="title">{html_text(title)}</text>'
    yield f'<text class="small" x="6" y="{top + TOP - 8}">units</text>'
    for row, width in enumerate(widths):
        y = top + TOP + row * CELL[1] + 26
        yield f'<text x="{LEFT - 10}" y="{y}" text-anchor="end">{width}</text>'
    for column, panel in enumerate(_levels(known, "panel")):
        left = LEFT + column * (len(lengths) * CELL[0] + GAP)
        yield f'<text x="{left}" y="{top + 50}">{html_text(panel)}, source length</text>'
        for index, length in enumerate(lengths):
            x = left + index * CELL[0] + CELL[0] // 2
            yield f'<text x="{x}" y="{top + TOP - 8}" text-anchor="middle">{length}</text>'
        for row, width in enumerate(widths):
            for index, length in enumerate(lengths):
                at = left + index * CELL[0], top + TOP + row * CELL[1]
                yield _square(known[Place(panel, width, length)], at)


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
