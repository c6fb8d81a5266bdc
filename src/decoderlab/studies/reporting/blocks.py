"""What a report is made of: sections of blocks, which each template writes in its own format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from decoderlab.studies.reporting.figures import Picture


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `*` around words for emphasis has no meaning here.

    Args:
        text: of it.
        strong: words before the text that are set off.
    """

    kind: ClassVar[str] = "paragraph"
    text: str
    strong: str = ""


@dataclass(frozen=True)
class Bullets:
    """A list."""

    kind: ClassVar[str] = "bullets"
    items: Sequence[str]


@dataclass(frozen=True)
class Grid:
    """A table.

    Args:
        header: the headings.
        rows: cells as text.
        title: above it; empty for none.
        strong: indices of rows to set off, as the baseline's.
        align: `left` or `right` for each column; None for a left first column, the rest right.
    """

    kind: ClassVar[str] = "grid"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    strong: Sequence[int] = ()
    align: Sequence[str] | None = None

    @property
    def alignments(self) -> Sequence[str]:
        """`left` or `right` for each column."""
        return self.align or ["left", *["right"] * (len(self.header) - 1)]


@dataclass(frozen=True)
class FigureBlock:
    """A figure."""

    kind: ClassVar[str] = "figure"
    picture: Picture


@dataclass(frozen=True)
class Listing:
    """Text whose spaces matter, under a line that opens it."""

    kind: ClassVar[str] = "listing"
    title: str
    text: str


Block = Paragraph | Bullets | Grid | FigureBlock | Listing


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Args:
        title: of the part.
        blocks: what it says.
        appendix: whether only the report that opens in a browser has it.
    """

    title: str
    blocks: Sequence[Block]
    appendix: bool = False
