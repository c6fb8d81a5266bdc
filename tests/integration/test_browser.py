"""What a person sees: a study's report and its TensorBoard in Chromium, its LaTeX on paper."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import read_plan
from decoderlab.studies.reporting.build import build_report
from decoderlab.studies.reporting.tensorboard_study import write_board
from tests.integration.cli import in_process, tiny_arguments

pytestmark = pytest.mark.browser

SEEDS = 6
# The operations differ in their number of digits: sorted as text they would be in another order.
SWEEP = ("decoder=repeat_vector,luong", "encoder.embedding_size=4,300", f"seed=range(0,{SEEDS})")
NUM_ATTENTION = 3
# Finds elements in shadow roots too; TensorBoard consists of them.
FIND = """
const find = (selector, root = document) => [...root.querySelectorAll("*")].flatMap(one => [
  ...(one.matches(selector) ? [one] : []),
  ...(one.shadowRoot ? find(selector, one.shadowRoot) : []),
]);
"""


@pytest.fixture(scope="module")
def studied(tmp_path_factory) -> tuple[Path, Analysis]:
    """Run a study of seconds and write its report; return its output folder and its analysis."""
    output_dir = tmp_path_factory.mktemp("study")
    arguments = tiny_arguments(output_dir, *SWEEP, "study.name=s", "study.question='Which?'")
    baseline = "study.baseline='encoder.embedding_size=4 repeat_vector'"
    more = (baseline, "study.metric=token_accuracy", "hydra/launcher=basic")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert in_process(monkeypatch, "-m", *arguments, *more) == 0
    report = build_report(read_plan(output_dir, "s"), output_dir)
    assert report.complete
    return output_dir, report.analysis


@pytest.fixture(scope="module")
def board(studied) -> Path:
    """Return the folder with the TensorBoard events of the study."""
    output_dir, analysis = studied
    return write_board(analysis, output_dir)


@pytest.fixture(scope="module")
def opened() -> Iterator[webdriver.Chrome]:
    """Open the browser once for all tests."""
    driver, browser = (
        found_program(name, "packages chromium and chromium-driver")
        for name in ("chromedriver", "chromium")
    )
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    # High enough for a table that draws only the rows that are seen.
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-dev-shm-usage",
        "window-size=1600,2400",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With the path given selenium does not look for a driver in the network.
    chrome = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def page(opened) -> webdriver.Chrome:
    """Return the browser with an empty page and empty logs."""
    opened.get("about:blank")
    for log in ("browser", "performance"):
        opened.get_log(log)
    return opened


@pytest.fixture(scope="module")
def served(board, tmp_path_factory) -> Iterator[str]:
    """Start a TensorBoard on the study and return its address once it has read everything."""
    output = tmp_path_factory.mktemp("tensorboard") / "output.txt"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(board)]
    with output.open("w") as file:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", "0"], stdout=file, stderr=file
        )
    try:
        pattern = re.compile(r"at (http://127\.0\.0\.1:\d+)")
        address = until(lambda: pattern.search(output.read_text()), "an address")[1]
        expected = len({path.parent for path in board.rglob("events.out.tfevents.*")})
        until(lambda: len(get(f"{address}/data/runs")) == expected, f"{expected} runs")
        yield address
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def found_program(name: str, packages: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"there is no {name}: install the Debian {packages}")
    return path


def until(condition: Callable[[], Any], what: str, seconds: float = 90) -> Any:
    """Wait for a value that is true and return it."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come in {seconds} s"
        time.sleep(0.1)
    return value


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def problems(page: webdriver.Chrome) -> list[str]:
    """Return what the console says that is no mere warning."""
    return [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"]


def requested(page: webdriver.Chrome) -> set[str]:
    """Return the addresses that the page asked for."""
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    return {
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }


# The report


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
    page.find_element("xpath", xpath).click()
    return page.execute_script(
        """
        const sorted = document.querySelectorAll("table.sortable th[aria-sort]");
        return Object.fromEntries(
          [...sorted].map(one => [one.textContent.trim(), one.getAttribute("aria-sort")]));
        """
    )


def test_the_report_opens_without_errors_and_without_a_network(page, studied):
    output_dir, analysis = studied
    report = output_dir / "studies/s/report.html"
    page.get(report.as_uri())
    assert page.title == "s"
    images = page.execute_script(
        "return [...document.images].map(one => [one.complete, one.naturalWidth])"
    )
    assert len(images) == len(list(report.parent.glob("figures/*.png"))) >= 6
    assert all(complete and width > 100 for complete, width in images)
    assert problems(page) == []
    schemes = {url.split(":", 1)[0] for url in requested(page)}
    assert schemes == {"file", "data"}
    assert len(column(page, "variant")) == len(analysis.variants) == 4


def test_a_click_on_a_heading_sorts_the_table_by_value(page, studied):
    output_dir, analysis = studied
    page.get((output_dir / "studies/s/report.html").as_uri())
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


PAPER = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{table}\end{document}"


@pytest.mark.parametrize("document", ["report", "paper"])
def test_the_latex_compiles(studied, tmp_path, document):
    found_program("pdflatex", "package texlive-latex-recommended")
    folder = tmp_path / "s"
    shutil.copytree(studied[0] / "studies/s", folder, ignore=shutil.ignore_patterns("tensorboard"))
    (folder / "paper.tex").write_text(PAPER)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{document}.tex"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
    )
    log = (folder / f"{document}.log").read_text(encoding="utf-8", errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert (folder / f"{document}.pdf").read_bytes().startswith(b"%PDF")
    overfull = re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\).*", log)
    # Into which page somebody's paper puts a table is not ours to say.
    assert document == "paper" or [width for width in map(float, overfull) if width > 40] == []


# TensorBoard


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
    return {f"echo/{row.cell.variant}/seed {row.cell.seed}": row for row in seeds}


def local(page: webdriver.Chrome, address: str) -> bool:
    """Whether nothing was asked of other addresses."""
    return all(url.startswith((address, "data:", "blob:")) for url in requested(page))


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
    assert local(page, served)


def test_custom_scalars_show_the_means_with_their_bands(page, served, studied):
    series = """
        return find("tf-custom-scalar-margin-chart-card").flatMap(card =>
          Object.values(card._nameToDataSeries).map(one => [
            card.title, one.getRun(), card._missingTags.length,
            one.getData().map(point => [point.step, point.lower, point.scalar, point.upper]),
          ]))
    """
    found = visit(page, served, "custom_scalars", series, 4)
    variants = studied[1].variants
    assert {run for _, run, *_ in found} == {f"mean/echo/{variant}" for variant in variants}
    for title, _, missing, points in found:
        assert (title, missing) == ("echo", 0)
        assert [step for step, *_ in points] == [5, 10, 12]
        assert all(low <= mean <= high for _, low, mean, high in points)
        assert any(low < mean < high for _, low, mean, high in points)
    assert problems(page) == []
    assert local(page, served)


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
    assert local(page, served)


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
    assert local(page, served)


def test_the_projector_shows_the_summaries(page, served, studied):
    url = f"{served}/data/plugin/projector"
    assert until(lambda: get(f"{url}/runs"), "the projector's runs") == ["."]
    embeddings = get(f"{url}/info?run=.")["embeddings"]
    expected = {f"echo/{variant}" for variant in studied[1].variants}
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
    assert local(page, served)
