"""What a person sees and clicks in Chromium: the page to explore a study, and route diagrams."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.support.ui import Select

from decoderlab.studies.analysis.results import read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.build import build_report
from tests.browser.chromium import problems, requested, until
from tests.integration.predictions import CODE, line, write_predictions, write_steps
from tests.unit.studies import bits, scored, study, write_metrics

pytestmark = pytest.mark.browser

SEEDS = 7
SCORES = {
    "plain": [0.50, 0.52, 0.49, 0.55, 0.51, 0.50, 0.48],
    "with routes": [0.60, 0.61, "FAILED", 0.66, 0.62, 0.59, 0.57],
    f"theirs {CODE}": [0.40, 0.45, 0.44, 0.41, 0.50, 0.40, 0.39],
}
HUNDRED_STEPS = {
    "steps": 100,
    "best_step": 100,
    "best_checkpoint": "checkpoints/best-000000100.ckpt",
    "examples_seen": 1600,
    "tokens_seen": 6400,
}
HOW = [["generated freely", 2.8], ["given the true tokens", 1.2]]
EQUATIONS = {"decoder": "s_0 = c  8\nx_t = [e(y_{t-1}); c]  8\ns_t = tanh(W x_t + U s_{t-1})  8"}
# Of a chart, what is drawn in one of its layers.
ITEMS = "const items = explored.views.{}.getState({{data: () => true}}).data.layer_{}_marks;"
MEANS = (
    ITEMS.format("differences", 1)
    + "return items.map(({datum: one}) => [one.variant, one.mean, one.low, one.high, one.n]);"
)


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    """Write the report of a study with hostile names and texts; return its folder and analysis."""
    folder = tmp_path_factory.mktemp("explored")
    plan = study(
        folder,
        SCORES,
        baseline="plain",
        minimum_effect=0.02,
        result_changes={"equations": EQUATIONS},
    )

    def texts(cell):
        score = SCORES[cell.variant][cell.seed]
        lines = [line(number, right) for number, right in enumerate(bits(score, cell.seed))]
        text = f"{CODE} {cell.seed % 2}"
        right = [text] if lines[0]["correct"] else []
        first = {"source": CODE, "prediction": text, "references": lines[0]["references"] + right}
        return [lines[0] | first, *lines[1:]]

    write_predictions(folder, plan, texts)
    write_steps(folder, plan, CODE[:30])
    plan = replace(plan, study=replace(plan.study, question=CODE))
    build_report(plan, folder)
    return folder / "studies/s", Analysis(plan, read_rows(plan, folder))


def opens(page, folder, name="explore.html"):  # noqa: F811
    page.get((folder / name).as_uri())
    if name == "explore.html":
        drawn = "return document.documentElement.dataset.drawn"
        until(lambda: page.execute_script(drawn), "the charts")


def after(page, act):  # noqa: F811
    """Do something, and wait until the charts have followed."""
    count = "return document.documentElement.dataset.updated"
    before = page.execute_script(count)
    act()
    until(lambda: page.execute_script(count) != before, "an update")


def rows(page, name):  # noqa: F811
    return page.execute_script(f"return explored.rowsOf.{name}()")


def click_at(page, name, script):  # noqa: F811
    """Click in a chart where a script says, in its own coordinates."""
    x, y = page.execute_script(
        f"const view = explored.views.{name}, [left, top] = view.origin(), pad = view.padding();"
        f"const [x, y] = (() => {{ {script} }})(); return [x + left + pad.left, y + top + pad.top]"
    )
    canvas = page.find_element("css selector", f"#{name} canvas")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    size = canvas.size
    move = ActionChains(page).move_to_element_with_offset(
        canvas, round(x - size["width"] / 2), round(y - size["height"] / 2)
    )
    after(page, move.click().perform)


def test_the_page_draws_without_errors_and_without_a_network(page, explored):  # noqa: F811
    folder, analysis = explored
    opens(page, folder)
    assert problems(page) == []
    assert {url.split(":", 1)[0] for url in requested(page)} == {"file"}
    for name in ("differences", "learning", "positions", "errors", "examples"):
        # Something is drawn: a canvas with more than one colour.
        canvas = f"document.querySelector('#{name} canvas')"
        colours = page.execute_script(
            f"const c = {canvas}; return new Set(new Uint32Array(c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data.buffer)).size"
        )
        assert colours > 5, name
        assert rows(page, name), name
    assert page.title == "Explore s"
    # It takes half a second; a busy machine may take longer.
    assert float(page.execute_script("return document.documentElement.dataset.drawn")) < 5000


@pytest.mark.parametrize("baseline", ["plain", "with routes"])
def test_differences_are_those_of_the_analysis_for_any_baseline(page, explored, baseline):  # noqa: F811
    folder, analysis = explored
    opens(page, folder)
    number = analysis.variants.index(baseline)
    select = Select(page.find_element("id", "baseline"))
    if baseline != "plain":
        after(page, lambda: select.select_by_index(number))
    shown = {one[0]: one[1:] for one in page.execute_script(MEANS)}
    assert len(shown) == len(analysis.variants)
    for variant in analysis.variants:
        if variant == baseline:
            continue
        paired = analysis.compare(variant, baseline, "echo").paired
        expected = [paired.mean, paired.low, paired.high, paired.n]
        (found,) = (numbers for name, numbers in shown.items() if name[:6] == variant[:6])
        assert found == pytest.approx(expected, abs=1e-5)


def test_a_variant_that_is_left_out_is_gone_everywhere(page, explored):  # noqa: F811
    folder, _ = explored
    opens(page, folder)
    box = page.find_element("css selector", "#variants input[value='1']")
    after(page, box.click)
    for name in ("differences", "learning", "positions", "errors", "examples"):
        assert {row["order"] for row in rows(page, name)} == {0, 2}, name
    after(page, box.click)
    assert {row["order"] for row in rows(page, "errors")} == {0, 1, 2}


def test_a_click_on_a_seed_is_followed(page, explored):  # noqa: F811
    folder, analysis = explored
    opens(page, folder)
    dot = next(one for one in rows(page, "differences") if (one["order"], one["seed"]) == (1, 3))
    difference = analysis.score(analysis.by_cell["with routes", "echo"][3]) - 0.55
    assert dot["difference"] == pytest.approx(difference)
    where = (
        ITEMS.format("differences", 3)
        + "const dot = items.find(({datum: one}) => one.order === 1 && one.seed === 3);"
        "return [dot.x, dot.y];"
    )
    click_at(page, "differences", where)
    assert page.execute_script("return explored.state.seed") == 3
    assert page.find_element("id", "seed").get_attribute("value") == "3"
    assert {row["seed"] for row in rows(page, "errors")} == {3}
    assert {row["of"] for row in rows(page, "examples")} == {1}
    assert page.execute_script("return explored.views.learning.signal('seed')") == 3
    select = Select(page.find_element("id", "seed"))
    after(page, lambda: select.select_by_visible_text("all"))
    assert {row["seed"] for row in rows(page, "errors")} == set(range(SEEDS))


def test_a_click_on_an_example_shows_what_was_written(page, explored):  # noqa: F811
    folder, analysis = explored
    opens(page, folder)
    content = json.loads(page.find_element("id", "content").get_attribute("textContent"))
    (examples,) = content["data"]["examples"]
    place = examples["rows"].index(0)
    where = ITEMS.format("examples", 0) + (
        f"const cell = items.find(({{datum: one}}) => one.place === {place});"
        "return [cell.x + cell.width / 2, cell.y + cell.height / 2];"
    )
    click_at(page, "examples", where)
    assert page.execute_script("return explored.state.example") == place
    table = page.find_element("css selector", "#reading table").text
    assert "</script><script>alert(1)</script>" in table  # as a text
    assert "\\x1b[31m" in table
    # The right output stands apart from those that wrote the same and are wrong.
    assert re.search(r"✓ .* ×1, seed 0", table)
    assert "×3, seed 2, 4, 6" in table
    assert "×3, seed 1, 3, 5" in table
    assert page.execute_script("return document.querySelectorAll('#reading script').length") == 0
    assert "example 0 of the test split" in page.find_element("id", "which").text
    after(page, page.find_element("id", "harder").click)
    assert page.execute_script("return explored.state.example") == min(place + 1, 99)
    assert problems(page) == []


def test_examples_can_be_followed_step_by_step(page, explored):  # noqa: F811
    folder, _ = explored
    opens(page, folder)

    def shown():
        return page.find_element("css selector", "#steps table").text

    assert "step 1 of 2" in page.find_element("id", "step").text
    assert "summary 0.50" in shown()
    assert "previous token (alike in all)" in shown()
    assert "</script><script>alert(1)" in shown()
    assert "B 0.13" in shown()
    page.find_element("id", "on").click()
    assert "step 2 of 2" in page.find_element("id", "step").text
    assert "previous token 0.30" in shown()
    colours = page.execute_script(
        "return [...document.querySelector('.attention').children].map(one =>"
        " getComputedStyle(one).backgroundColor)"
    )
    assert colours == ["rgba(0, 158, 115, 0)", "rgba(0, 158, 115, 0)", "rgb(0, 158, 115)"]
    Select(page.find_element("id", "stepped")).select_by_index(1)
    assert "step 1 of 1" in page.find_element("id", "step").text
    assert problems(page) == []


def narrow(page, width):  # noqa: F811
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def scheme(page, value):  # noqa: F811
    features = [{"name": "prefers-color-scheme", "value": value}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


@pytest.mark.parametrize("width", [390, 900, 1440])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_page_fits_and_is_themed(page, explored, width, colours):  # noqa: F811
    narrow(page, width)
    scheme(page, colours)
    try:
        opens(page, explored[0])
        wide = page.execute_script(
            "return [document.documentElement.scrollWidth, ...[...document.querySelectorAll("
            "'.chart')].map(one => one.scrollWidth - one.clientWidth)]"
        )
        assert wide[0] <= width
        assert max(wide[1:]) <= 1
        ink = page.execute_script("return explored.views.differences.signal('ink')")
        assert ink == {"light": "#1a1a1a", "dark": "#e6e6e6"}[colours]
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        scheme(page, "")


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_route_diagrams_stand_beside_the_names_and_can_be_read(page, explored, colours):  # noqa: F811
    narrow(page, 390)
    scheme(page, colours)
    try:
        opens(page, explored[0], "report.html")
        icons = page.execute_script(
            "return [...document.querySelectorAll('table .rd-icon')].map(one => ["
            "one.getBoundingClientRect().width, one.querySelector('use').getBBox().width,"
            "document.getElementById(one.getAttribute('aria-labelledby')).textContent])"
        )
        assert len(icons) >= 3
        for width, inner, said in icons:
            assert min(width, inner) > 50
            assert "The summary enters at the initial state and every input." in said
        page.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
        sizes = page.execute_script(
            "return [...document.querySelectorAll('.rd-large')].map(one => "
            "12 * one.getBoundingClientRect().width / 360)"
        )
        assert len(sizes) == 3
        assert min(sizes) >= 10  # pixels of a letter's height
        blue = {"light": (0, 114, 178), "dark": (124, 200, 245)}[colours]
        for kind in (".rd-large", "table .rd-icon"):  # what is seen, not what is written
            shown = page.find_element("css selector", kind)
            page.execute_script("arguments[0].scrollIntoView({block: 'center'})", shown)
            picture = Image.open(io.BytesIO(shown.screenshot_as_png)).convert("RGB")
            seen = Counter({colour: number for number, colour in picture.getcolors(2**24)})
            assert seen[blue] > 20 if kind == ".rd-large" else len(seen) > 20
            background = seen.most_common(1)[0][0]
            assert (sum(background) > 600) == (colours == "light")
            assert sum(seen[one] for one in seen if sum(one) < 30) < 0.02 * seen.total()
        assert problems(page) == []
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        scheme(page, "")


@pytest.mark.parametrize("width", [390, 900])
def test_names_are_whole_beside_their_boxes_and_rows(page, explored, width):  # noqa: F811
    narrow(page, width)
    try:
        opens(page, explored[0])
        after(page, page.find_element("css selector", "#harder").click)
        room = page.execute_script(
            "const one = document.getElementById('variants');"
            "return [one.scrollHeight, one.clientHeight]"
        )
        assert room[0] <= room[1], "every name is seen at once"
        # Lines of the first cells, and the letters in them; a header of one letter a line has one.
        heads = page.execute_script(
            "return [...document.querySelectorAll('#reading th, #steps th')]"
            ".filter(one => one.checkVisibility()).map(one => {"
            "const range = document.createRange(); range.selectNodeContents(one);"
            "const tops = [...range.getClientRects()].map(rect => Math.round(rect.top / 8));"
            "return [one.textContent, new Set(tops).size]})"
        )
        wide, head = page.execute_script(
            "const one = document.getElementById('steps'), cell = one.querySelector('td');"
            "return [one.scrollWidth - one.clientWidth, getComputedStyle(cell, '::before').content]"
        )
        assert (wide, head) == (0, '"written"' if width < 600 else "none")
        assert len(heads) == 2 + 3 + 3 + (0 if width < 600 else 5)
        for text, lines in heads:
            if len(text) < 14:
                assert lines <= (2 if " " in text else 1), text
            assert len(text) / lines > 6 or lines == 1, text
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_fold_has_its_triangle_beside_the_diagram_on_a_telephone(page, explored):  # noqa: F811
    narrow(page, 390)
    try:
        opens(page, explored[0], "report.html")
        above = page.execute_script(
            "return [...document.querySelectorAll('summary:has(.rd-icon)')].map(one => "
            "one.querySelector('.rd-icon').getBoundingClientRect().top"
            " - one.getBoundingClientRect().top)"
        )
        assert len(above) == 3
        assert max(above) < 10, "pixels: less than a line"
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_page_of_64_runs_is_small_and_drawn_soon(page, tmp_path):  # noqa: F811
    scores = {
        f"decoder={route}": [0.3 + 0.05 * index + 0.01 * seed for seed in range(8)]
        for index, route in enumerate("abcdefgh")
    }
    plan = study(
        tmp_path,
        scores,
        baseline="decoder=a",
        minimum_effect=0.02,
        result_changes={"equations": EQUATIONS, **HUNDRED_STEPS},
        number=500,
    )

    def texts(cell):
        right = bits(scores[cell.variant][cell.seed], cell.seed, 500)
        return [line(number, outcome) for number, outcome in enumerate(right)]

    for cell in plan.cells:
        score = scores[cell.variant][cell.seed]
        curve = {step: scored(score * (step / 100)) for step in range(5, 101, 5)}
        write_metrics(cell.run_folder(tmp_path), curve)
    write_predictions(tmp_path, plan, texts)
    write_steps(tmp_path, plan)
    build_report(plan, tmp_path)
    folder = tmp_path / "studies/s"
    assert (folder / "explore.html").stat().st_size < 1_200_000
    seconds = []
    for _ in range(3):  # the best of them, as others may use the machine
        opens(page, folder)
        drawn = page.execute_script("return document.documentElement.dataset.drawn")
        seconds.append(float(drawn) / 1000)
    assert len(rows(page, "learning")) == 64 * 20
    assert len(rows(page, "differences")) == 64
    assert min(seconds) < 1.5


def test_each_variant_has_its_route_and_its_stroke_by_position(page, explored):  # noqa: F811
    folder, analysis = explored
    opens(page, folder)
    labels = page.find_elements("css selector", "#variants label")
    icons = [label.find_elements("css selector", "svg.rd-icon use") for label in labels]
    assert [len(icon) for icon in icons] == [1] * len(analysis.variants)
    assert all(icon[0].size["width"] > 20 for icon in icons)
    dashes = page.execute_script(
        ITEMS.format("positions", 0).replace("_marks", "_pathgroup")
        + "return items.flatMap(group => group.items[0].items.slice(0, 1))"
        ".map(one => [one.datum.order, one.datum.how, one.strokeDash, one.strokeWidth]);"
    )
    expected = [[order, how, width] for order in range(3) for how, width in HOW]
    assert sorted([order, how, width] for order, how, _, width in dashes) == expected
    strokes = {order: dash for order, _, dash, _ in dashes}
    assert len({str(dash) for dash in strokes.values()}) > 1
