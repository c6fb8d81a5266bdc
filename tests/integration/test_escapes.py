"""One hostile text through every output: nothing of it acts."""

from __future__ import annotations

import csv
import html
import io
import re
import unicodedata
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from decoderlab.cli.app import guarded
from decoderlab.common import escapes, progress
from decoderlab.common.errors import ConfigError
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.reporting import render
from decoderlab.studies.reporting.blocks import Bullets, Grid, Listing, Paragraph, Section
from decoderlab.studies.reporting.build import build_report
from decoderlab.studies.reporting.terminal_table import terminal_report
from tests.unit.studies import study

CONTROLS = "\x1b[2J\x1b]0;title\x07\x08\x0b\x0c\x7f\x85\x9b31m\u202e\u2066\u2028\u200b\ufeff"
MARKUP = "[x](https://evil.example) ![y](data:z) <img src=x onerror=alert(1)> | `c` &#91; $m$ ~~s~~"
RICH = "[red]bold[/red] [link=https://evil.example]z[/link] :smile: \\"
LATEX = "\\input{/etc/passwd} \\end{document} ^^M % # _"
TEXTS = {
    "controls": f"a{CONTROLS}b",
    "markup": MARKUP,
    "rich": RICH,
    "latex": LATEX,
    "formula": "=HYPERLINK(1)",
    "newlines": "a\n\nb\r\n# c\n\n* d\n\n[e]: https://evil.example",
    "surrogate": "a\ud800b",
    "all": f"=a{CONTROLS}{MARKUP}{RICH}{LATEX}\n# c",
}
ACTIVE = re.compile("[\u202a-\u202e\u2066-\u2069\u200b\ufeff\u2028\u2029]")


def acts(text: str, keep: str = "\n") -> list[str]:
    """Return the characters of a text that would act on a terminal."""
    return [
        one
        for one in text
        if one not in keep and (unicodedata.category(one) in ("Cc", "Cs") or ACTIVE.match(one))
    ]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_no_output_lets_a_character_act(text):
    for function in (
        escapes.visible,
        escapes.one_line,
        escapes.terminal_text,
        escapes.markdown_text,
        escapes.markdown_entities,
        escapes.latex_text,
        escapes.html_text,
        escapes.csv_text,
    ):
        assert acts(function(text), "\n\t") == []
    piped = escapes.piped_text(text)
    assert [one for one in piped if unicodedata.category(one) in ("Cc", "Cs", "Zl")] == []


@pytest.mark.parametrize(
    "text",
    ["ordinary words", "0.5 [0.4, 0.6]", "naïve café – 漢字 👩‍🚀", "a (b), c/d: 50 %", "x-1+2=3"],
)
def test_ordinary_text_stays_as_it_is(text):
    for function in (escapes.visible, escapes.terminal_text, escapes.piped_text, escapes.csv_text):
        assert function(text) == text
    assert escapes.markdown_text(text) == text


LIVE = [
    *TEXTS.values(),
    "# heading",
    "* item",
    "- item",
    "+ item",
    "1. item",
    "2) item",
    "> quote",
    "---",
    "***",
    "===",
    "    code",
    "```\ncode",
    "~~~\ncode",
    "<b>html</b>",
    "<!-- x -->",
    "&lt;b&gt;",
    "[a]: https://evil.example",
    "[a](<b>)",
    "[a][b]",
    "[a]\\(b)",
    "\\[a](b)",
    "![a](b)",
    "!\\[a](b)",
    "https://evil.example",
    "www.evil.example",
    "<https://evil.example>",
    "me@evil.example",
    "mailto:me@evil.example",
    "XMPP:me@evil.example/x",
    "a | b\n|---|---|",
    "**bold** _it_ __b__ *i*",
    "a  \nb",
    "a\\",
]


@pytest.mark.parametrize("text", LIVE, ids=lambda text: ascii(text)[:30])
@pytest.mark.fault(62)
def test_in_markdown_a_text_is_a_text(text):
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    section = Section(
        text,
        [
            Paragraph(text, strong=text),
            Paragraph(text),
            Bullets([text]),
            Grid([text], [[text]], text),
        ],
    )
    plain = Section(
        "x", [Paragraph("x", strong="x"), Paragraph("x"), Bullets(["x"]), Grid(["x"], [["x"]], "x")]
    )
    made, wanted = (
        parser.parse(render.markdown(one, one, [part]))
        for one, part in ((text, section), ("x", plain))
    )
    assert kinds(made) == kinds(wanted)
    words = parser.renderInline(escapes.markdown_text(text))
    assert re.sub("<", "&lt;", words).count("&lt;a ") == 0


@pytest.mark.parametrize("text", ["me@evil.example", "mailto:me@b-c.d", "XMPP:a.b@d.e/f", "é@é.fr"])
def test_no_text_is_an_address_of_mail(text):
    """GitHub's parser looks for addresses in the text that escapes and entities give."""
    shown = html.unescape(MarkdownIt("commonmark").renderInline(escapes.markdown_text(text)))
    assert re.search(r"[\w.+-]@[\w-]", shown) is None
    assert shown.replace("\u200b", "") == text
    assert escapes.markdown_text("a @ b, c@, @d") == "a @ b, c@, @d"


def kinds(tokens) -> list[str]:
    """Return what a Markdown text consists of, without its words."""
    inner = [child.type for token in tokens for child in token.children or ()]
    return [token.type for token in tokens] + [kind for kind in inner if kind != "text"]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.fault(62)
def test_in_latex_and_html_a_text_is_a_text(text):
    parts = [
        Section(
            text,
            [Paragraph(text, text), Bullets([text]), Grid([text], [[text]]), Listing(text, text)],
        )
    ]
    tex, plain = (
        render.latex(one, one, part) for one, part in ((text, parts), ("x", [Section("x", [])]))
    )
    commands = set(re.findall(r"\\([A-Za-z]+)", tex))
    allowed = set(re.findall(r"\\([A-Za-z]+)", render.latex("x", "x", [_all("x")]))) | {
        "textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar",
        "textquotedbl", "texttt", "textperiodcentered",
    }  # fmt: skip
    assert commands <= allowed
    assert tex.count("\\end{document}") == plain.count("\\end{document}") == 1
    html = render.html(text, text, parts)
    assert tags(html) == tags(render.html("x", "x", [_all("x")]))
    table = render.paper_tables([Grid([text], [[text]], text)])
    assert acts(tex + html + table) == []
    assert all(
        line.startswith(("%", "\\", "{[}")) or line == "" or "\\\\" in line
        for line in table.split("\n")
    )


def _all(text: str) -> Section:
    return Section(
        text, [Paragraph(text, text), Bullets([text]), Grid([text], [[text]]), Listing(text, text)]
    )


def tags(html: str) -> list[str]:
    return re.findall(
        r"<[^>]*>", re.sub(r"<script>.*?</script>|<style>.*?</style>", "", html, flags=re.S)
    )


@pytest.mark.parametrize(
    "text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "a;=1", "a\t@b", "\uff1d1", "'=1"]
)
@pytest.mark.fault(62)
def test_no_cell_is_a_formula(text):
    written = escapes.csv_text(text)
    for cell in re.split("[;\t\r\n]", written):
        assert not cell.lstrip(" '").startswith(tuple("=+-@\uff1d")) or cell.lstrip().startswith(
            "'"
        )


def printed(show, width: int = 200) -> str:
    """Return what is printed to a terminal."""
    console = Console(
        file=io.StringIO(), force_terminal=True, color_system=None, width=width, highlight=False
    )
    show(console)
    return console.file.getvalue()


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.fault(62)
def test_what_is_said_acts_on_no_terminal(text, monkeypatch, capfd):
    for show in (progress.say, lambda one: progress.print_outcome(one, "FAILED", one)):
        console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=900)
        monkeypatch.setattr(progress, "console", console)
        show(text)
        said = console.file.getvalue()
        assert acts(said) == []
        assert said.count("\n") == 1
        assert escapes.visible(text) in said.replace("\n", "")

    def fail() -> int:
        raise ConfigError(f"x is {text}")

    assert guarded(fail) == 2
    assert acts(capfd.readouterr().err) == []


@pytest.mark.thinned(2)
@pytest.mark.parametrize("text", [TEXTS["all"], TEXTS["surrogate"]], ids=["all", "surrogate"])
@pytest.mark.fault(62)
def test_a_whole_study_of_hostile_names(text, tmp_path, monkeypatch, capfd):
    text = text.encode("utf-8", "replace").decode() if text == TEXTS["all"] else text
    plan = study(tmp_path, {"theirs": [0.5, "FAILED"], "b": [0.5, 0.6]}, baseline=None)
    cells = [
        replace(
            cell, variant=text if cell.variant == "theirs" else "b", task=text, factors={text: text}
        )
        for cell in plan.cells
    ]
    plan = replace(plan, cells=tuple(cells), study=replace(plan.study, question=text))
    for cell in cells:
        folder = RunFolder(tmp_path / cell.folder)
        if folder.recorded_status()["status"] == "FAILED":
            folder.set_status("FAILED", reason=text)
    report = build_report(plan, tmp_path)
    for name in ("report.md", "report.tex", "report.html", "table.tex", "results.csv"):
        written = (tmp_path / "studies" / "s" / name).read_text(encoding="utf-8")
        assert acts(written) == [], name
    rows = list(csv.DictReader(io.StringIO((tmp_path / "studies/s/results.csv").read_text())))
    assert {row["variant"][0] for row in rows} <= {"'", "b", "a"}
    for width in (60, 120, 400):
        monkeypatch.setenv("COLUMNS", str(width))
        terminal_report(report).print()
    shown = capfd.readouterr()
    assert acts(shown.out + shown.err) == []
