"""The report in each format: a template, and one function that escapes text for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from itertools import zip_longest
from typing import Any, TypedDict

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from decoderlab.common.escapes import html_text, latex_text, markdown_text
from decoderlab.studies.reporting.blocks import Grid, Section
from decoderlab.studies.reporting.table_texts import BARRED
from decoderlab.studies.reporting.variant_diagrams import VariantDiagrams
from decoderlab.studies.reporting.variant_names import broken_name

# Letters side by side from which a LaTeX table has smaller ones, and pages of its own, laid across.
SMALL, WIDE = 130, 160
# A table of so many rows fits a column of a two-column paper, names of so many letters in a line.
NARROW_ROWS, NARROW_NAME = 8, 16
MANY_COLUMNS = 8  # above which a table of Markdown has its further columns in one of its own
LONG_NAME = 36  # letters, from which a name in report.tex goes on in another line
MANY_ROWS = 24  # from which a paper's table has smaller letters, to fit a page


class Delimiters(TypedDict, total=False):
    """What stands around the blocks, variables and comments of a template."""

    block_start_string: str
    block_end_string: str
    variable_start_string: str
    variable_end_string: str
    comment_start_string: str
    comment_end_string: str


JINJA_DELIMITERS: Delimiters = {}
# Braces and percent signs have a meaning in LaTeX.
LATEX_DELIMITERS: Delimiters = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}


def markdown(title: str, question: str | None, parts: Sequence[Section]) -> str:
    """Return the report as Markdown; figures are files under `figures/`."""
    return _markdown_template("report.md.jinja").render(title=title, question=question, parts=parts)


def markdown_page(name: str, **values: Any) -> str:
    """Return a page of Markdown from a template of this folder, in which each value is escaped.

    Args:
        name: of the template.
        values: that it uses.
    """
    return _markdown_template(name).render(**values)


def latex(title: str, question: str | None, parts: Sequence[Section]) -> str:
    """Return the report as a LaTeX document with booktabs tables, to be compiled in its folder.

    It needs booktabs, graphicx, longtable and pdflscape, which every TeX distribution has, and
    compiles with pdflatex; letters beyond Latin-1 are written as their code points.
    """
    return _latex_template("report.tex.jinja").render(title=title, question=question, parts=parts)


def paper_tables(
    grids: Sequence[Grid], caption: str = "", label: str = "unnamed", note: str = ""
) -> str:
    r"""Return a table to be put into somebody's own paper by \input; it needs booktabs alone.

    Args:
        grids: a group of rows each, with the same columns.
        caption: above it.
        label: plain, for `ref`.
        note: below it.
    """
    names = [row[0] for grid in grids for row in grid.rows]
    narrow = max(len(grid.rows) for grid in grids) <= NARROW_ROWS
    wrapped = max(grid.longest_name for grid in grids) > NARROW_NAME and not narrow
    first = r"p{0.38\linewidth}" if wrapped else "l"
    return _latex_template("table.tex.jinja").render(
        grids=grids,
        lines_of=_narrow_lines if narrow else lambda row: [row],
        caption=caption,
        label=label,
        note=note,
        first_column=first,
        wrapped=wrapped,
        size=r"\scriptsize" if len(names) >= MANY_ROWS else r"\footnotesize",
    )


def _narrow_lines(row: Sequence[str]) -> list[list[str]]:
    """Return a row of a narrow table in lines: the numbers, and below each its interval.

    Example:
        >>> _narrow_lines(["a", "0.5 [0.4, 0.6]", ""]), _narrow_lines(["a", "not planned"])
        ([['a', '0.5', ''], ['', '[0.4, 0.6]', '']], [['a', 'not planned']])
    """
    parts = [cell.partition(" [") for cell in row[1:]]
    numbers = [number for number, _, _ in parts]
    intervals = [f"[{interval}" if interval else "" for _, _, interval in parts]
    below, nothing = [intervals] if any(intervals) else [], [""] * len(parts)
    lines = zip_longest(broken_name(row[0], NARROW_NAME), [numbers, *below])
    return [[name or "", *(cells or nothing)] for name, cells in lines]


def html(
    title: str,
    question: str | None,
    parts: Sequence[Section],
    diagrams: VariantDiagrams | None = None,
    explore: str | None = None,
) -> str:
    """Return the report as one file that needs nothing else, not even a network.

    Args:
        title: of the report.
        question: of the study.
        parts: of the report.
        diagrams: of the variants.
        explore: the file beside it in which the study can be explored.
    """
    return page_template("report.html.jinja").render(
        title=title,
        question=question,
        parts=parts,
        diagrams=diagrams or VariantDiagrams({}),
        explore=explore,
    )


@cache
def page_template(name: str) -> Any:
    """Return the template of a page, which escapes what is put in as the report's does."""
    environment = _environment(html_text, keep_trailing_newline=False)
    environment.filters["breakable"] = _html_name
    return environment.get_template(name)


@cache
def _markdown_template(name: str) -> Any:
    environment = _environment(markdown_text)
    environment.globals["many_columns"] = MANY_COLUMNS
    return environment.get_template(name)


@cache
def _latex_template(name: str) -> Any:
    environment = _environment(latex_text, LATEX_DELIMITERS)
    environment.globals |= {
        "small_letters": SMALL,
        "wide_letters": WIDE,
        "long_name": LONG_NAME,
    }
    # A bracket at the beginning of a line would be taken for an argument of the break before.
    environment.filters["cell"] = _latex_cell
    environment.filters["number"] = _latex_number
    environment.filters["name"] = _latex_name
    environment.filters["prose"] = _latex_prose
    return environment.get_template(name)


def _latex_cell(text: str) -> Markup:
    return Markup(re.sub(r"\{\[\}|\[", "{[}", latex_text(text)))


def _latex_number(text: str) -> Markup:
    """Escape a cell of numbers, with real minus signs and daggers."""
    cell = r"$\dagger$".join(map(_latex_cell, text.split(BARRED)))
    return Markup(re.sub(r"(?<![\w.])-(?=\d)", "$-$", cell))


def _latex_name(text: str) -> Markup:
    """Escape a name, which may go on in another line where words of code do."""
    return Markup(re.sub(r"(\\_|[/=.,:-])(?=\S)", r"\1\\allowbreak{}", _latex_cell(text)))


def _latex_prose(text: str) -> Markup:
    """Escape a sentence, whose settings and paths may go on in another line."""
    breaks = r"(\\_|[/=](?=\S)|(?<=[^\W\d])[.,:](?=[^\W\d]))"
    return Markup(re.sub(breaks, r"\1\\allowbreak{}", latex_text(text)))


def _html_name(text: str) -> Markup:
    """Escape a name, which may go on in another line where words of code do."""
    return Markup("<wbr>").join(map(html_text, re.split(r"(?<=[._=/])(?=\w)", text)))


def _environment(
    escape: Callable[[str], str],
    delimiters: Delimiters = JINJA_DELIMITERS,
    keep_trailing_newline: bool = True,
) -> Environment:
    """Return an environment in which whatever a template puts in is escaped, once.

    Templates are marked as safe themselves, and so is what a macro or the filter `safe` returns.
    """

    def escaped(value: Any) -> Markup:
        return value if isinstance(value, Markup) else Markup(escape(str(value)))

    return Environment(
        loader=PackageLoader("decoderlab.studies.reporting", "templates"),
        autoescape=True,
        finalize=escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=keep_trailing_newline,
        **delimiters,
    )
