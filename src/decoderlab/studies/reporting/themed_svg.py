"""A figure as SVG inside a page: in the page's own colours, light or dark, with its own ids."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure

# Colours of a figure that are those of the page; the variants' own stand in both.
PAGE_COLOURS: Mapping[str, str] = {
    "#000000": "var(--ink)",
    "#ffffff": "var(--back)",
    "#b0b0b0": "var(--grid)",
    "#cccccc": "var(--grid)",
}
# Letters are drawn as paths: a page needs no font for them.
SVG_SETTINGS: Any = {"svg.fonttype": "path", "svg.hashsalt": "decoderlab"}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def themed_svg(figure: Figure, name: str, kind: str = "") -> str:
    """Return a figure as an `svg` element; the same figure gives the same text.

    Args:
        figure: to draw.
        name: short and of no other figure on the page; ids begin with it.
        kind: classes beside `plot`, by which the page shows either of two.
    """
    file = io.BytesIO()
    figure.patch.set_visible(False)
    for axis in figure.axes:
        axis.patch.set_visible(False)
    with matplotlib.rc_context(SVG_SETTINGS):
        figure.savefig(file, format="svg", metadata=NO_METADATA)
    return themed(file.getvalue().decode(), name, kind)


def themed(text: str, name: str, kind: str = "") -> str:
    """Return the SVG of matplotlib as part of a page.

    Args:
        text: a whole file.
        name: that its ids begin with.
        kind: as of `themed_svg`.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    # Groups have ids that nothing refers to; what is used again has a short one.
    used = dict.fromkeys(re.findall(r"(?:href=\"|url\()#([^\")]+)", text))
    short = {identifier: f"{name}.{number}" for number, identifier in enumerate(used)}
    text = re.sub(
        r' id="([^"]+)"',
        lambda match: f' id="{short[match[1]]}"' if match[1] in short else "",
        text,
    )
    text = re.sub(
        r"(?:xlink:)?(href=\"|url\()#([^\")]+)", lambda match: f"{match[1]}#{short[match[2]]}", text
    )
    text = text.replace("xlink:href", "href")
    for colour, variable in PAGE_COLOURS.items():
        text = text.replace(colour, variable)
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)[0]
    name_of_class = f"plot {kind}".strip()
    head = (
        f'<svg class="{name_of_class}" viewBox="0 0 {width} {height}" '
        f'width="{float(width) * 4 / 3:.0f}" aria-hidden="true">'
    )
    text = re.sub(r"<svg[^>]*>", head, text, count=1, flags=re.S)
    text = re.sub(r"\s*\n\s*", " ", re.sub(r"(?<=>)\s+(?=<)", "", text)).strip()
    # A hundredth of a point is no longer seen; scales of letters keep all their digits.
    return re.sub(r'( (?:d|x|y)="[^"]*"|translate\([^)]*\))', _rounded, text)


def _rounded(match: re.Match[str]) -> str:
    return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", match[0])
