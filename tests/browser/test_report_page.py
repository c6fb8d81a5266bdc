"""The report of a study as a person sees it in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.browser.chromium import problems, requested, until
from tests.browser.conftest import SEEDS

pytestmark = pytest.mark.browser


def column(page: webdriver.Chrome, head: str) -> list[str]:
    """Return a column of the first table, from top to bottom."""
    return page.execute_script(
        """
        const table = document.querySelector("table.sortable");
        const place = [...table.tHead.rows[0].cells].findIndex(
          one => one.textContent.trim() === arguments[0]);
        return [...table.tBodies[0].rows].map(row => row.cells[place].textContent.trim());
        """,
        head,
    )


def click(page: webdriver.Chrome, head: str) -> dict[str, str]:
    """Click on a heading of the first table and return the headings that say how it is sorted."""
    xpath = f"(//table)[1]//th/button[normalize-space()='{head}']"
    button = page.find_element("xpath", xpath)
    # As a reader does where the first column, which stays in view, covers a heading.
    page.execute_script("arguments[0].scrollIntoView({block: 'nearest', inline: 'end'})", button)
    button.click()
    return page.execute_script(
        """
        const sorted = document.querySelectorAll("table.sortable th[aria-sort]");
        return Object.fromEntries(
          [...sorted].map(one => [one.textContent.trim(), one.getAttribute("aria-sort")]));
        """
    )


def show(page: webdriver.Chrome, studied, width: int = 1440, dark: bool = False, **media) -> Path:
    """Open the report on a page of a width, in light or in dark; return its folder."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme], **media})
    folder = studied[0] / "studies/s"
    page.get((folder / "report.html").as_uri())
    return folder


@pytest.fixture(autouse=True)
def reset(opened) -> Iterator[None]:
    """Give the page back its size and its colours after each test."""
    yield
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def all_columns(page: webdriver.Chrome) -> None:
    page.execute_script("document.querySelector('.switch input').click()")


def headings(page: webdriver.Chrome) -> list[str]:
    """Return the headings of the first table that are shown."""
    return page.execute_script(
        """
        return [...document.querySelector("table.sortable").tHead.rows[0].cells]
          .filter(one => one.offsetParent).map(one => one.textContent.trim())
        """
    )


def test_the_report_opens_without_errors_and_without_a_network(page, studied):
    report = show(page, studied)
    assert page.title == "s"
    figures = page.execute_script(
        """
        return [...document.querySelectorAll("figure")].map(figure => [...figure.children]
          .filter(one => one.checkVisibility())
          .map(one => [one.tagName, one.getBoundingClientRect().width]))
        """
    )
    assert len(figures) == len(list(report.glob("figures/*.png"))) >= 6
    assert len(figures) == len(list(report.glob("figures/*.pdf")))
    assert all(tag == "svg" and width > 100 for parts in figures for tag, width in parts)
    assert all(figures)
    assert problems(page) == []
    schemes = {url.split(":", 1)[0] for url in requested(page)}
    assert schemes <= {"file", "data"}
    assert len(column(page, "variant")) == len(studied[1].variants) == 4


def test_the_first_screen_is_question_answer_and_forest_plot(page, studied):
    show(page, studied)
    tops = page.execute_script(
        """
        const top = one => one.getBoundingClientRect().top;
        const section = document.querySelector("section");
        return [
          top(document.querySelector(".question")), top(section.querySelector("p")),
          top(section.querySelector("figure")),
          section.querySelector("figure").getBoundingClientRect().bottom,
          top(document.querySelector("table")),
        ]
        """
    )
    assert tops == sorted(tops)
    assert tops[-2] < 900
    sentences = page.execute_script(
        """
        const found = [];
        for (const one of document.querySelector("section").children) {
          if (one.tagName === "FIGURE") break;
          if (one.tagName === "P") found.push(one.textContent);
        }
        return found
        """
    )
    assert 1 <= len(sentences) <= 3
    assert all(len(one) < 240 and one.count(". ") == 0 for one in sentences)
    # Every seed is a dot in the row of each variant but the baseline.
    dots = page.execute_script(
        """
        return [...document.querySelectorAll("figure")][0].querySelectorAll("use").values()
          .filter(one => one.checkVisibility() && one.style.fill.startsWith("rgb"))
          .toArray().length
        """
    )
    assert dots == SEEDS * (len(studied[1].variants) - 1)


def cut_tables(page) -> list[str]:
    """Return the beginnings of the tables that are wider than the room that they have."""
    return page.execute_script(
        """
        return [...document.querySelectorAll(".wide")]
          .filter(one => one.scrollWidth > one.clientWidth + 1)
          .map(one => one.textContent.trim().slice(0, 60))
        """
    )


@pytest.mark.parametrize("width", [390, 900, 1440])
def test_the_verdict_is_seen_at_every_width_and_the_page_never_goes_sideways(page, studied, width):
    show(page, studied, width)
    shown = headings(page)
    assert shown == ["variant", "token accuracy [95 % CI]", "difference [95 % CI]", "verdict", "n"]
    right = page.execute_script(
        """
        return [...document.querySelector("table").tBodies[0].rows].map(row =>
          row.cells[3].getBoundingClientRect().right)
        """
    )
    assert max(right) <= width
    everything = "return document.documentElement.scrollWidth"
    assert page.execute_script(everything) <= width
    page.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert cut_tables(page) == []
    all_columns(page)
    assert page.execute_script(everything) <= width
    assert headings(page)[:5] == shown
    assert {"p", "p Holm", "operations", "seconds"} < set(headings(page))
    # The letters of figures stay legible: the smallest have 7 points.
    scales = page.execute_script(
        """
        return [...document.querySelectorAll("svg.plot")]
          .filter(one => one.checkVisibility())
          .map(one => one.getBoundingClientRect().width / one.viewBox.baseVal.width)
        """
    )
    assert min(scales) * 8 > 9


@pytest.mark.parametrize(("width", "side_by_side"), [(390, 1), (900, 2), (1440, 2)])
def test_figures_use_the_width_that_there_is(page, studied, width, side_by_side):
    show(page, studied, width)
    figures = page.execute_script(
        """
        return [...document.querySelectorAll("figure")].map(figure => {
          const parts = [...figure.children].filter(one => one.checkVisibility())
            .map(one => one.getBoundingClientRect());
          const first = parts.filter(one => Math.abs(one.top - parts[0].top) < 2);
          return [figure.previousElementSibling.textContent, parts.length, first.length,
            (Math.max(...first.map(one => one.right)) - first[0].left) / figure.clientWidth];
        })
        """
    )
    assert len(figures) >= 6
    shares = {title: share for title, _, _, share in figures}
    for title, parts, first, _ in figures:
        assert first >= min(parts, side_by_side), title
    if width == 390:
        assert min(shares.values()) > 0.95
    else:
        broad = ("By position, and the exposure bias", "Cost against quality", "Every seed")
        assert min(shares[title] for title in broad) > 0.7


@pytest.mark.parametrize("width", [390, 1440])
def test_numbers_stand_at_the_height_of_their_names(page, studied, width):
    show(page, studied, width)
    apart = page.execute_script(
        """
        const middle = node => {
          const range = document.createRange();
          range.selectNodeContents(node);
          const box = range.getBoundingClientRect();
          return (box.top + box.bottom) / 2;
        };
        return [...document.querySelector("table").tBodies[0].rows].flatMap(row =>
          [1, 4].map(index => Math.abs(middle(row.cells[index]) - middle(row.cells[0]))));
        """
    )
    assert len(apart) == 8
    assert max(apart) < 3


def test_the_first_column_stays_when_the_table_moves(page, studied):
    show(page, studied, 390)
    all_columns(page)
    before, after, moved = page.execute_script(
        """
        const box = document.querySelector(".wide"), cell = box.querySelector("tbody td");
        const left = () => cell.getBoundingClientRect().left, before = left();
        box.scrollLeft = 200;
        return [before, left(), box.scrollLeft]
        """
    )
    assert moved == 200
    assert before == after


CONTRASTS = """
const rgb = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
const light = text => {
  const [r, g, b] = rgb(text).map(one => one / 255)
    .map(one => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const back = light(getComputedStyle(document.body).backgroundColor);
const contrast = text => {
  const one = light(text);
  return (Math.max(one, back) + 0.05) / (Math.min(one, back) + 0.05);
};
"""


@pytest.mark.parametrize("dark", [False, True])
def test_dots_and_letters_can_be_told_from_the_page_in_light_and_in_dark(page, studied, dark):
    show(page, studied, dark=dark)
    dots, letters, back = page.execute_script(
        CONTRASTS
        + """
        const of = selector => [...document.querySelectorAll(selector)];
        return [
          of("svg.plot use").filter(one => one.style.fill.startsWith("rgb"))
            .map(one => contrast(getComputedStyle(one).fill)),
          of("svg.plot g[transform] use").filter(one => !one.style.fill)
            .map(one => contrast(getComputedStyle(one).fill)),
          back,
        ]
        """
    )
    assert (back < 0.1) == dark
    assert len(dots) > SEEDS
    assert min(dots) >= 3
    assert min(letters) >= 7
    filters = "return [...document.querySelectorAll('*')].map(one => getComputedStyle(one).filter)"
    assert set(page.execute_script(filters)) == {"none"}


def test_on_paper_all_is_open_and_what_is_left_out_is_said(page, studied):
    show(page, studied, 794, dark=True, media="print")
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    closed = page.execute_script("return document.querySelectorAll('details:not([open])').length")
    assert closed == 0
    assert page.execute_script("return document.documentElement.scrollWidth") <= 794
    right = "return document.querySelector('table').getBoundingClientRect().right"
    assert page.execute_script(right) <= 794
    assert "verdict" in headings(page)
    (told,) = page.execute_script(
        "return [...document.querySelectorAll('.left-out')].filter(one => one.offsetParent)"
        ".map(one => one.textContent)"
    )[:1]
    for heading in ("p Holm", "operations", "seconds"):
        assert heading in told
    back = page.execute_script(CONTRASTS + "return back")
    assert back == 1  # nobody prints a dark page
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    assert page.execute_script("return document.querySelectorAll('details[open]').length") == 0
    printed = page.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})
    assert len(printed["data"]) > 10_000


def test_a_row_leads_to_its_settings_and_runs_and_a_run_to_its_folder(page, studied):
    folder = show(page, studied)
    opens = "return document.querySelector('details:target[open]') !== null"
    for _ in range(2):
        page.execute_script("document.querySelector('details:target')?.removeAttribute('open')")
        page.find_element("css selector", "table.sortable tbody a").click()
        until(lambda: page.execute_script(opens), "the row's settings")
    variant, text, links = page.execute_script(
        """
        const one = document.querySelector("details:target");
        const text = selector => one.querySelector(selector).textContent;
        return [text("summary"), text("pre"),
          [...one.querySelectorAll(".runs a")].map(link => link.getAttribute("href"))]
        """
    )
    assert variant == studied[1].variants[0]
    assert "encoder.embedding_size: 4" in text
    assert len(links) == SEEDS
    assert all((folder / link / "result.json").is_file() for link in links)


def test_predictions_are_marked_where_they_differ_from_the_target(page, studied):
    show(page, studied)
    rows = page.execute_script(
        """
        const tables = [...document.querySelectorAll("table")];
        const table = tables.find(one => one.tHead.textContent.includes("seed 0"));
        return [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => [
          cell.textContent, cell.querySelectorAll("ins, del, mark").length]))
        """
    )
    assert rows
    for _, _, (target, _), *cells in rows:
        assert len(cells) == 4  # of six seeds the first four, side by side
        for text, marks in cells:
            wrong = text.endswith(" ✗")
            assert (marks > 0) == wrong
            assert wrong or text == target


def test_a_click_on_a_heading_sorts_the_table_by_value(page, studied):
    analysis = studied[1]
    show(page, studied, 1600)
    all_columns(page)
    as_written = column(page, "operations")
    by_value = sorted(as_written, key=lambda text: int(text.replace(",", "")))
    assert by_value != sorted(as_written)  # else the order would prove nothing
    assert click(page, "operations") == {"operations": "ascending"}
    assert column(page, "operations") == by_value
    assert click(page, "operations") == {"operations": "descending"}
    assert column(page, "operations") == by_value[::-1]
    # A row stays a row: the variants came along.
    flops = {f"{one.flops:,.0f}": variant for (variant, _), one in analysis.entries.items()}
    shown = [text.removesuffix(" (baseline)") for text in column(page, "variant")]
    assert shown == [flops[text] for text in by_value[::-1]]

    assert click(page, "variant") == {"variant": "ascending"}
    assert column(page, "variant") == sorted(column(page, "variant"))
    # Differences have signs, and the baseline has none: it comes last either way.
    head = "difference [95 % CI]"
    for direction, sign in (("ascending", 1), ("descending", -1)):
        assert click(page, head) == {head: direction}
        *values, last = column(page, head)
        numbers = [sign * float(text.split()[0]) for text in values]
        assert last == ""
        assert numbers == sorted(numbers)
        assert len(set(numbers)) > 1
    assert problems(page) == []


def test_words_among_numbers_do_not_make_a_text_of_a_column(page, studied):
    show(page, studied)
    page.execute_script(
        """
        const rows = document.querySelector("table.sortable").tBodies[0].rows;
        const texts = ["varies", "9", "−10", "1,000"];
        texts.forEach((text, index) => rows[index].cells[4].textContent = text);
        """
    )
    click(page, "n")
    assert column(page, "n") == ["−10", "9", "1,000", "varies"]
    click(page, "n")
    assert column(page, "n") == ["1,000", "9", "−10", "varies"]
