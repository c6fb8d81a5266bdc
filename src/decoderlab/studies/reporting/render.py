"""The report in each format: a template, and one function that escapes text for it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from markupsafe import escape as html_text

from decoderlab.studies.reporting.blocks import Grid, Section

WIDE = 9  # columns from which a LaTeX table has pages of its own, laid across
MARKDOWN_SPECIAL = "\\|<>`*_"
LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "·": r"\textperiodcentered{}",
}


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
    template = _environment(markdown_text).get_template("report.md.jinja")
    return template.render(title=title, question=question, parts=parts)


def latex(title: str, question: str | None, parts: Sequence[Section]) -> str:
    """Return the report as a LaTeX document with booktabs tables, to be compiled in its folder.

    It needs booktabs, graphicx, longtable and pdflscape, which every TeX distribution has, and
    compiles with pdflatex; letters beyond Latin-1 are written as their code points.
    """
    return _latex_template("report.tex.jinja").render(title=title, question=question, parts=parts)


def paper_tables(grids: Sequence[Grid]) -> str:
    r"""Return tables to be put into somebody's own paper by \input; they need booktabs alone."""
    return _latex_template("table.tex.jinja").render(grids=grids)


def html(title: str, question: str | None, parts: Sequence[Section]) -> str:
    """Return the report as one file that needs nothing else, not even a network."""
    template = _environment(html_text, keep_trailing_newline=False).get_template(
        "report.html.jinja"
    )
    return template.render(
        title=title,
        question=question,
        parts=parts,
        base64=lambda png: base64.b64encode(png).decode(),
    )


def markdown_text(text: str) -> str:
    r"""Escape a text for Markdown.

    Example:
        >>> print(markdown_text("a_b | c"))
        a\_b \| c
    """
    for character in MARKDOWN_SPECIAL:
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ")


def latex_text(text: str) -> str:
    r"""Escape a text for LaTeX; what pdflatex has no letter for is written as its code point.

    Example:
        >>> print(latex_text("50 % of a_b"))
        50 \% of a\_b
    """
    return "".join(map(_latex_character, text))


def _latex_character(character: str) -> str:
    if character in LATEX_SPECIAL:
        return LATEX_SPECIAL[character]
    if character in "\n\t":
        return " "
    known = character.isascii() or 0xA1 <= ord(character) <= 0xFF
    return character if known else rf"\texttt{{U+{ord(character):04X}}}"


def _latex_template(name: str) -> Any:
    environment = _environment(latex_text, LATEX_DELIMITERS)
    environment.globals["wide_columns"] = WIDE
    # A bracket at the beginning of a line would be taken for an argument of the break before.
    environment.filters["cell"] = lambda text: Markup(latex_text(text).replace("[", "{[}"))
    return environment.get_template(name)


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
