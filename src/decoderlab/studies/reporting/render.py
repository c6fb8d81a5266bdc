"""The report as Markdown and as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from decoderlab.studies.reporting.sections import Grid, Items, Section, Shown, Text

WIDE = 9  # columns
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


def markdown(title: str, question: str | None, parts: Sequence[Section]) -> str:
    """Return the report as Markdown; figures are files under `figures/`."""
    lines = [f"# {_md(title)}", ""]
    if question:
        lines += [_md(question), ""]
    for part in parts:
        if part.appendix:
            continue
        lines += [f"## {_md(part.title)}", ""]
        for block in part.blocks:
            match block:
                case Text(text, strong):
                    lines += [(f"**{_md(strong.strip())}** " if strong else "") + _md(text), ""]
                case Items(items):
                    lines += [*(f"* {_md(item)}" for item in items), ""]
                case Grid():
                    lines += [*_markdown_table(block), ""]
                case Shown(picture):
                    lines += [f"![{_md(picture.title)}](figures/{picture.name}.png)", ""]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_table(grid: Grid) -> list[str]:
    lines = [f"**{_md(grid.title)}**", ""] if grid.title else []
    lines.append(f"| {' | '.join(map(_md, grid.header))} |")
    lines.append(f"|---|{'---:|' * (len(grid.header) - 1)}")
    for number, row in enumerate(grid.rows):
        cells = [_md(cell) for cell in row]
        if number in grid.strong:
            cells[0] = f"**{cells[0]}**"
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _md(text: str) -> str:
    for character in MARKDOWN_SPECIAL:
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split("\n"))


def latex(title: str, question: str | None, parts: Sequence[Section]) -> str:
    """Return the report as a LaTeX document with booktabs tables, to be compiled in its folder.

    It needs booktabs, graphicx, longtable and pdflscape, which every TeX distribution has, and
    compiles with pdflatex; letters beyond Latin-1 are written as their code points.
    """
    lines = [
        r"\documentclass[10pt,a4paper]{article}",
        r"\usepackage[T1]{fontenc}",
        r"\usepackage[utf8]{inputenc}",
        r"\usepackage[margin=20mm]{geometry}",
        r"\usepackage{booktabs,graphicx,longtable,pdflscape}",
        r"\setlength{\parindent}{0pt}\setlength{\parskip}{4pt}",
        r"\begin{document}",
        rf"\section*{{{_tex(title)}}}",
    ]
    if question:
        lines += [_tex(question), ""]
    for part in parts:
        if part.appendix:
            continue
        lines.append(rf"\subsection*{{{_tex(part.title)}}}")
        for block in part.blocks:
            match block:
                case Text(text, strong):
                    opening = rf"\textbf{{{_tex(strong)}}}" if strong else ""
                    lines += [opening + _tex(text), ""]
                case Items(items):
                    lines += [r"\begin{itemize}", *(rf"\item {_tex(one)}" for one in items)]
                    lines += [r"\end{itemize}"]
                case Grid():
                    lines += _latex_table(block)
                case Shown(picture):
                    file = rf"figures/{picture.name}.png"
                    lines += [
                        r"\begin{center}",
                        rf"\includegraphics[width=\linewidth,height=0.8\textheight,"
                        rf"keepaspectratio]{{{file}}}",
                        r"\end{center}",
                    ]
    return "\n".join([*lines, r"\end{document}", ""])


def _latex_table(grid: Grid) -> list[str]:
    """Return a table that may go on over pages; a wide one has pages of its own, laid across."""
    columns = "l" + "r" * (len(grid.header) - 1)
    wide = len(grid.header) >= WIDE
    size = r"\tiny" if wide else r"\scriptsize"
    header = " & ".join(_tex(one) for one in grid.header) + r" \\"
    lines = [
        "{" + size + r"\setlength{\tabcolsep}{2pt}",
        rf"\begin{{longtable}}{{@{{}}{columns}@{{}}}}",
    ]
    if grid.title:
        lines.append(
            rf"\multicolumn{{{len(grid.header)}}}{{@{{}}l}}{{\textbf{{{_tex(grid.title)}}}}} \\"
        )
    lines += [r"\toprule", header, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"]
    for number, row in enumerate(grid.rows):
        cells = [_tex(cell) for cell in row]
        if number in grid.strong:
            cells[0] = rf"\textbf{{{cells[0]}}}"
        lines.append(_brackets(" & ".join(cells)) + r" \\")
    lines.append(r"\end{longtable}}")
    return [r"\begin{landscape}", *lines, r"\end{landscape}", ""] if wide else [*lines, ""]


def _tex(text: str) -> str:
    def one(character: str) -> str:
        if character in LATEX_SPECIAL:
            return LATEX_SPECIAL[character]
        if character in "\n\t":
            return " "
        known = character.isascii() or 0xA1 <= ord(character) <= 0xFF
        return character if known else rf"\texttt{{U+{ord(character):04X}}}"

    return "".join(map(one, text))


def short_tables(grids: Sequence[Grid]) -> str:
    r"""Return tables to be put into somebody's own paper by \input; they need booktabs alone."""
    lines = []
    for grid in grids:
        columns = "l" + "r" * (len(grid.header) - 2) + ("l" if len(grid.header) > 3 else "r")
        lines += [f"% {_tex(grid.title)}", rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}"]
        lines += [r"\toprule", _tex_row(grid.header), r"\midrule"]
        lines += [_tex_row(row) for row in grid.rows]
        lines += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(lines)


def _tex_row(cells: Sequence[str]) -> str:
    return _brackets(" & ".join(_tex(cell) for cell in cells)) + r" \\"


def _brackets(text: str) -> str:
    # One at the beginning of a line would be taken for an argument of the break before.
    return text.replace("[", "{[}")
