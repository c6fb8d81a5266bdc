"""What a report is made of: sections of blocks, which each template writes in its own format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from decoderlab.studies.reporting.figures import Picture

MAX_NAME = 32  # letters of a name in one line of a table


class Linked(str):
    """A text that leads somewhere, in the format that has links; a plain text in the others.

    Args:
        text: of it.
        href: where to: `#` and an id of the page, or a path from the report's folder.
    """

    href: str

    def __new__(cls, text: str, href: str) -> Linked:
        """Return the text."""
        made = super().__new__(cls, text)
        made.href = href
        return made


class Marked(str):
    """A text whose differences from another are marked in a page; a plain text elsewhere.

    Args:
        text: of it.
        pieces: what it consists of: `same`, `insert`, `delete` or `substitute`, the text here, and
            the text there.
    """

    pieces: Sequence[tuple[str, str, str]]

    def __new__(cls, text: str, pieces: Sequence[tuple[str, str, str]]) -> Marked:
        """Return the text."""
        made = super().__new__(cls, text)
        made.pieces = pieces
        return made


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `*` around words for emphasis has no meaning here.

    Args:
        text: of it.
        strong: words before the text that are set off.
        folded: a line under which a page has it; empty to show it at once.
    """

    kind: ClassVar[str] = "paragraph"
    text: str
    strong: str = ""
    folded: str = ""


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
        main: how many columns are always shown; a page has the others behind a switch, a document
            in a table of their own. None: all.
    """

    kind: ClassVar[str] = "grid"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    strong: Sequence[int] = ()
    align: Sequence[str] | None = None
    main: int | None = None

    @property
    def alignments(self) -> Sequence[str]:
        """`left` or `right` for each column."""
        return self.align or ["left", *["right"] * (len(self.header) - 1)]

    @property
    def longest_name(self) -> int:
        """Letters of the longest cell of the first column."""
        return max((len(row[0]) for row in self.rows), default=0)

    @property
    def letters(self) -> int:
        """Letters side by side, with the room between columns; long names take several lines."""
        lines = [self.header, *self.rows]
        widths = [2 + max(map(len, column)) for column in zip(*lines, strict=False)]
        return min(widths[0], MAX_NAME) + sum(widths[1:])

    @property
    def further(self) -> Sequence[str]:
        """The headings that are not always shown."""
        return [] if self.main is None else self.header[self.main :]

    @property
    def pieces(self) -> Sequence[Grid]:
        """Tables as wide as a page: the main columns, and the further ones beside the first."""
        if not self.further:
            return [self]

        def part(columns: Sequence[int], title: str) -> Grid:
            rows = [[row[index] for index in columns] for row in self.rows]
            aligned = [self.alignments[index] for index in columns]
            header = [self.header[index] for index in columns]
            return Grid(header, rows, title, self.strong, aligned)

        main = self.main or 0
        further = [0, *range(main, len(self.header))]
        return [part(range(main), self.title), part(further, f"{self.title}: further columns")]


@dataclass(frozen=True)
class FigureBlock:
    """A figure."""

    kind: ClassVar[str] = "figure"
    picture: Picture


@dataclass(frozen=True)
class Listing:
    """Text whose spaces matter, under a line that opens it.

    Args:
        title: the line.
        text: that it opens.
        anchor: id that links lead to; empty for none.
        links: names, each with what it links to.
    """

    kind: ClassVar[str] = "listing"
    title: str
    text: str
    anchor: str = ""
    links: Sequence[tuple[str, Sequence[Linked]]] = ()


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
