r"""Untrusted text in an output: for each kind of output, the function that escapes it.

Names, reasons, paths, data and predictions may hold anything. In every output a control character,
a mark that turns the direction of writing, or half a character stands as its code, such as `\x1b`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from markupsafe import escape as _html

# They change the order or the look of the text around them, and are no letters themselves.
MISLEADING = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    "\u200b\u2060\u2061\u2062\u2063\u2064\ufeff\ufff9\ufffa\ufffb"
)
MARKDOWN_SPECIAL = re.compile(
    r"[\\|<>`*_~$]"
    r"|!(?=\[)"  # an image
    r"|\](?=[(\[:])"  # a link, or what one refers to
    r"|:(?=//)|(?<=\b[wW]{3})\."  # an address that is a link by itself
    r"|&(?=[#\w]+;)"
)
# An address of mail, of which GitHub makes a link whatever is escaped in it: it looks at the text
# that comes of it. A space of no width, as an entity, ends the address.
MAIL = re.compile(r"(?<=[\w.+-])@(?=[\w-])")
# At the beginning of a line: a heading, a list, a rule.
MARKDOWN_BEGINNING = re.compile(r"#|=(?==*\s*$)|[+-](?=\s|$)|-(?=--)|(?<=\d)[.)](?=\s|$)")
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
# What a spreadsheet takes for a formula, at the beginning of a cell or of what it takes for one.
FORMULA = re.compile(r"(^|[;\t\r\n])(?=[\s']*[=+\-@\t\r\uff0b\uff0d\uff1d\uff20])")


def visible(text: object, keep: str = "") -> str:
    r"""Return a text without characters that control a terminal or a page.

    Args:
        text: of anybody's.
        keep: control characters that are wanted, such as line ends.

    Example:
        >>> print(visible("\x1b[31mred\x07 \u202eabc\ud800"))
        \x1b[31mred\x07 \u202eabc\ud800
    """
    text = str(text)
    if text.isascii() and text.isprintable():  # most are
        return text
    return "".join(
        letter if letter in keep or not _acts(letter) else _code(letter) for letter in text
    )


@cache
def _acts(letter: str) -> bool:
    return letter in MISLEADING or unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")


def _code(letter: str) -> str:
    named = {"\n": r"\n", "\t": r"\t", "\r": r"\r"}
    number = ord(letter)
    return named.get(letter) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")


def one_line(text: object) -> str:
    """Return a text on one line, and visible: line ends and tabs are spaces."""
    return visible(re.sub(r"[\n\t\r]", " ", str(text)))


def terminal_text(text: object) -> str:
    r"""Return a text as a terminal shows it, which may have several lines.

    Example:
        >>> terminal_text("a\r\x1b[2Jb\n  c")
        'a\\r\\x1b[2Jb\n  c'
    """
    return visible(text, keep="\n")


def terminal_line(text: object) -> str:
    """Return a line for a terminal, in which tabs stand for tabs."""
    return visible(text, keep="\t")


def piped_text(text: object) -> str:
    """Return a line for another program: as it is, but for what would end or colour a line."""
    return "".join(
        _code(letter) if unicodedata.category(letter) in ("Cs", "Zl", "Zp") or _controls(letter)
        else letter
        for letter in str(text)
    )  # fmt: skip


def _controls(letter: str) -> bool:
    return letter != "\t" and unicodedata.category(letter) == "Cc"


def markdown_text(text: object) -> str:
    r"""Escape a text for Markdown: no table, link, image, heading, list or HTML comes of it.

    Example:
        >>> print(markdown_text("a_b | [c](https://d)"))
        a\_b \| [c\](https\://d)
        >>> markdown_text("0.3 [0.2, 0.4]: more than 1. place")
        '0.3 [0.2, 0.4\\]: more than 1. place'
    """
    # White space at the beginning would make code of it, at the end a line break.
    escaped = MARKDOWN_SPECIAL.sub(r"\\\g<0>", one_line(text).strip())
    escaped = MAIL.sub("@&#8203;", escaped)
    beginning = re.match(r"\s*\d*", escaped)
    end = beginning.end() if beginning else 0
    if MARKDOWN_BEGINNING.match(escaped, end):
        escaped = f"{escaped[:end]}\\{escaped[end:]}"
    return escaped


def markdown_entities(text: object) -> str:
    """Escape a text for TensorBoard's Markdown, which knows no backslash in tables.

    Example:
        >>> markdown_entities("a|b _c_")
        'a&#124;b &#95;c&#95;'
    """
    plain = " ".join(visible(text, keep="\n\t\r").split())
    return re.sub(r"[^\w ]|_", lambda match: f"&#{ord(match[0])};", plain)


def latex_text(text: object) -> str:
    r"""Escape a text for LaTeX; what pdflatex has no letter for is written as its code point.

    Example:
        >>> print(latex_text("50 % of a_b"))
        50 \% of a\_b
    """
    escaped = "".join(map(_latex_character, one_line(text)))
    # A bracket would be taken for an argument of the command before.
    return f"{{[}}{escaped[1:]}" if escaped.startswith("[") else escaped


def _latex_character(character: str) -> str:
    if character in LATEX_SPECIAL:
        return LATEX_SPECIAL[character]
    known = character.isascii() or 0xA1 <= ord(character) <= 0xFF
    return character if known else rf"\texttt{{U+{ord(character):04X}}}"


def html_text(text: object) -> str:
    """Escape a text for HTML, between tags or in an attribute with quotes.

    Example:
        >>> html_text('<b title="x">')
        '&lt;b title=&#34;x&#34;&gt;'
    """
    return str(_html(visible(text, keep="\n\t")))


def csv_text(text: object) -> str:
    """Escape a text for a cell of a CSV file: no spreadsheet takes it, or a part, for a formula.

    Example:
        >>> csv_text("=1+1"), csv_text("a;@b"), csv_text("x-1")
        ("'=1+1", "a;'@b", 'x-1')
    """
    return visible(FORMULA.sub(r"\1'", str(text)))
