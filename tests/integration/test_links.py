"""Every relative link of the README and the pages leads to a file, and to a heading in it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Reports that are committed are pages too; what `make docs` writes is not committed.
WRITTEN = ROOT / "docs" / "reference" / "settings.md"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path != WRITTEN),
    *sorted((ROOT / "examples").rglob("*.md")),
]
LINK = re.compile(r"\]\(([^()\s]+)\)|(?:src|href)=\"([^\"]+)\"")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def links(path: Path) -> list[str]:
    found = LINK.findall(CODE.sub("", path.read_text()))
    return [one or other for one, other in found if not re.match(r"[a-z]+:", one or other)]


@cache
def anchors(path: Path) -> set[str]:
    """Return what can be linked to in a page: its headings as GitHub writes them, and ids."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    names: list[str] = []
    for heading in re.findall(r"^#+ +(.+?) *#*$", text, re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        names.append(name if name not in names else f"{name}-{names.count(name)}")
    return {*names, *re.findall(r"(?:id|name)=\"([^\"]+)\"", text)}


def broken(path: Path) -> list[str]:
    wrong = []
    for link in links(path):
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or not file.is_relative_to(ROOT):
            wrong.append(link)
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_and_anchor_is_there(path):
    assert broken(path) == []


def split_tables(text: str) -> list[str]:
    """Return the rows that begin a table without a line below its head: they print as text."""
    lines = CODE.sub("", text).splitlines()
    return [
        line
        for before, line, after in zip(["", *lines], lines, [*lines[1:], ""], strict=False)
        if line.startswith("|") and not before.startswith("|")
        if not re.match(r"^\|[\s:|-]+\|$", after)
    ]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_table_is_whole(path):
    assert split_tables(path.read_text()) == []


def test_split_tables_are_found():
    assert split_tables("| a |\n|---|\n| 1 |\n\n| 2 |\n") == ["| 2 |"]


def test_links_are_found_and_broken_ones_too(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.integration.test_links.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "# What `this` is\n[a](#what-this-is) [b](#nothing) [c](other.md)\n"
        "[d](page.md#what-this-is)\n"
        '[![e](none.png)](page.md) <img src="gone.svg"> `[f](g.md)` [h](https://example.org)\n'
    )
    assert broken(page) == ["#nothing", "other.md", "none.png", "gone.svg"]
    assert sum(len(links(path)) for path in PAGES) > 100
