"""A study's TensorBoard as a person sees it in Chromium."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import Any
from urllib.parse import urlencode

import pytest
from selenium import webdriver

from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.tensorboard_server import shade
from decoderlab.studies.reporting.tensorboard_study import MEANS
from decoderlab.studies.reporting.variant_names import short_names
from decoderlab.studies.reporting.variant_styles import styles
from tests.browser.chromium import get, problems, requested, until
from tests.browser.conftest import SEEDS

pytestmark = pytest.mark.browser

NUM_ATTENTION = 3
# Finds elements in shadow roots too; TensorBoard consists of them.
FIND = """
const find = (selector, root = document) => [...root.querySelectorAll("*")].flatMap(one => [
  ...(one.matches(selector) ? [one] : []),
  ...(one.shadowRoot ? find(selector, one.shadowRoot) : []),
]);
"""


def visit(page: webdriver.Chrome, address: str, tab: str, script: str, number: int) -> list[Any]:
    """Open a tab and return what a script finds there, once it is so many things."""
    page.get(f"{address}/#{tab}")
    found: list[Any] = []

    def complete() -> bool:
        found[:] = page.execute_script(FIND + script)
        return len(found) == number

    try:
        until(complete, f"{number} elements in {tab}")
    except AssertionError as error:
        raise AssertionError(f"{error}; found are {found}; the console: {problems(page)}") from None
    return found


def names(analysis: Analysis, with_seeds: bool = True) -> dict[str, Any]:
    """Return the runs of TensorBoard, each with a row of ours."""
    seeds = analysis.rows if with_seeds else [row for row in analysis.rows if row.cell.seed == 0]
    short = short_names(analysis.variants)
    return {f"echo/{short[row.cell.variant]}/seed {row.cell.seed}": row for row in seeds}


def elsewhere(page: webdriver.Chrome, address: str) -> list[str]:
    """Return what was asked of other addresses."""
    own = (address, "data:", "blob:")
    return sorted(url for url in requested(page) if not url.startswith(own))


def test_hparams_lists_every_run_with_its_scores(page, served, studied):
    cells = """
        return find("vaadin-grid").flatMap(grid =>
          [...grid.shadowRoot.querySelectorAll("#items > tr:not([hidden])")].map(row =>
            [...row.cells].map(cell => cell.querySelector("slot").assignedNodes()
              .map(one => one.textContent.trim()).join(""))))
    """
    expected = names(studied[1])
    assert len(expected) == 4 * SEEDS
    table = visit(page, served, "hparams", cells, len(expected))
    header = FIND + cells.replace("#items > tr:not([hidden])", "#header > tr")
    (heads,) = page.execute_script(header)
    shown = {line[0]: dict(zip(heads, line, strict=False)) for line in table}
    assert shown.keys() == expected.keys()
    for name, row in expected.items():
        one = shown[name]
        assert (one["variant"], one["task"]) == (row.cell.variant, "echo")
        assert one["decoder"] == row.cell.factors["decoder"]
        assert float(one["seed"]) == row.cell.seed
        assert float(one["parameters"]) == pytest.approx(row.cell.parameters, rel=1e-4)
        assert float(one["test/loss"]) == pytest.approx(row.score("loss"), rel=1e-3)
    count = page.execute_script(
        FIND + 'return find("tf-hparams-query-pane")[0].shadowRoot.textContent'
    )
    assert re.search(rf"Number of matching session groups: {len(expected)}\b", count)
    assert problems(page) == []
    assert elsewhere(page, served) == []


def test_custom_scalars_show_the_means_with_their_bands(page, served, studied):
    series = """
        return find("tf-custom-scalar-margin-chart-card").flatMap(card =>
          Object.values(card._nameToDataSeries).map(one => [
            card.title, one.getRun(), card._missingTags.length,
            one.getData().map(point => [point.step, point.lower, point.scalar, point.upper]),
          ]))
    """
    found = visit(page, served, "custom_scalars", series, 4)
    variants = short_names(studied[1].variants).values()
    assert {run for _, run, *_ in found} == {f"mean/{variant}" for variant in variants}
    for title, _, missing, points in found:
        assert (title, missing) == ("echo", 0)
        assert [step for step, *_ in points] == [5, 10, 12]
        assert all(low <= mean <= high for _, low, mean, high in points)
        assert any(low < mean < high for _, low, mean, high in points)
    assert problems(page) == []
    assert elsewhere(page, served) == []


def test_the_address_that_is_printed_selects_the_means_and_nothing_else(page, served, studied):
    selected = 'return find("tf-runs-selector").flatMap(one => one.selectedRuns)'
    found = visit(page, served, MEANS.removeprefix("#"), selected, 4)
    assert set(found) == {
        f"mean/{variant}" for variant in short_names(studied[1].variants).values()
    }
    assert problems(page) == []


def test_runs_have_the_colours_of_the_report(page, coloured, studied):
    analysis = studied[1]
    first, second = {style["color"].lower(): None for style in styles(analysis).values()}
    # Of two factors one is a colour, and the other a line: here a shade.
    drawn = [(first, 0), (first, 1), (second, 0), (second, 1)]
    by_variant = dict(zip(analysis.variants, (shade(*each) for each in drawn), strict=True))
    variants = short_names(analysis.variants)
    means = {f"mean/{variants[name]}": both for name, (_, _, both) in by_variant.items()}
    light = {f"mean/{variants[name]}": light for name, (light, _, _) in by_variant.items()}
    light |= {name: by_variant[row.cell.variant][0] for name, row in names(analysis).items()}
    light |= {".": "#000000"}
    boxes = """
        return find("paper-checkbox").filter(one => one.id.startsWith("checkbox-"))
          .map(one => [one.id.slice("checkbox-".length),
            one.style.getPropertyValue("--paper-checkbox-checked-color").trim()])
    """
    found = visit(page, coloured, MEANS.removeprefix("#"), boxes, len(means))
    assert dict(found) == means
    lines = """
        return find("tf-custom-scalar-margin-chart-card").flatMap(card =>
          find("path.line", card.shadowRoot).map(one => one.getAttribute("stroke")).filter(Boolean))
    """
    shades = set(means.values())
    until(lambda: set(page.execute_script(FIND + lines)) == shades, "lines of their colours")

    swatches = """
        return find(".run-color-swatch").map(one => [
          one.closest("tb-data-table-content-row").textContent.trim(), one.style.background])
    """
    found = dict(visit(page, coloured, "timeseries", swatches, len(light)))
    assert found == {name: f"rgb{tuple(bytes.fromhex(one[1:]))}" for name, one in light.items()}
    assert problems(page) == []
    assert elsewhere(page, coloured) == []


def test_images_are_the_attention_of_the_first_seeds(page, served, studied):
    images = """
        return find("tf-image-loader").flatMap(one => find("img", one.shadowRoot)
          .filter(image => image.naturalWidth > 100).map(() => [one.run, one.tag]))
    """
    luong = [name for name in names(studied[1], with_seeds=False) if "luong" in name]
    found = visit(page, served, "images", images, NUM_ATTENTION * len(luong))
    tags = [f"echo/attention, example {place + 1}" for place in range(NUM_ATTENTION)]
    assert sorted(map(tuple, found)) == sorted((name, tag) for name in luong for tag in tags)
    assert problems(page) == []
    assert elsewhere(page, served) == []


def test_text_is_the_predictions_of_the_first_seeds(page, served, studied):
    tables = """
        return find("tf-text-loader").map(one => [one.run,
          find("tr", one.shadowRoot).filter(row => row.querySelectorAll(":scope > td").length === 3)
            .map(row => [...row.cells].map(cell => cell.textContent.trim()))])
          .filter(one => one[1].length)
    """
    output_dir, analysis = studied
    first = names(analysis, with_seeds=False)
    found = dict(visit(page, served, "text", tables, len(first)))
    assert found.keys() == first.keys()
    for name, row in first.items():
        lines = (output_dir / row.cell.folder / "predictions.jsonl").read_text().splitlines()
        expected = []
        for one in map(json.loads, lines[:10]):
            prediction = one["prediction"] + ("" if one["correct"] else " ✗")
            expected.append([one["source"], one["target"], prediction.strip()])
        assert found[name] == expected
    assert problems(page) == []
    assert elsewhere(page, served) == []


def test_the_projector_shows_the_summaries(page, served, studied):
    url = f"{served}/data/plugin/projector"
    assert until(lambda: get(f"{url}/runs"), "the projector's runs") == ["."]
    embeddings = get(f"{url}/info?run=.")["embeddings"]
    expected = {f"echo/{variant}" for variant in short_names(studied[1].variants).values()}
    assert {one["tensorName"] for one in embeddings} == expected
    for one in embeddings:
        assert one["tensorShape"] == [20, 8]
        query = urlencode({"run": ".", "name": one["tensorName"]})
        with urllib.request.urlopen(f"{url}/metadata?{query}", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        assert len(lines) == 1 + 20
        assert {line.count("\t") for line in lines} == {4}

    (frame,) = visit(page, served, "projector", 'return find("iframe")', 1)
    page.switch_to.frame(frame)
    (frame,) = until(lambda: page.execute_script(FIND + 'return find("iframe")'), "a frame")
    page.switch_to.frame(frame)
    points = FIND + 'return find(".numDataPoints").map(one => one.textContent)'
    assert until(lambda: page.execute_script(points) == ["20"], "20 points")
    tensors = FIND + 'return find("vz-projector-data-panel")[0].tensorNames.map(one => one.name)'
    assert set(page.execute_script(tensors)) == expected
    page.switch_to.default_content()
    assert problems(page) == []
    assert elsewhere(page, served) == []
