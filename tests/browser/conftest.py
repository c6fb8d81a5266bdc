"""A study, its TensorBoard and a browser, once for all tests that look at pages."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import read_plan
from decoderlab.studies.reporting.build import build_report
from decoderlab.studies.reporting.tensorboard_study import write_board
from tests.browser.chromium import found_program, get, until
from tests.integration.cli import in_process, tiny_arguments

SEEDS = 6
# The operations differ in their number of digits: sorted as text they would be in another order.
SWEEP = ("decoder=repeat_vector,luong", "encoder.embedding_size=4,300", f"seed=range(0,{SEEDS})")


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def board(studied) -> Path:
    """Return the folder with the TensorBoard events of the study."""
    output_dir, analysis = studied
    return write_board(analysis, output_dir)


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def served(board, tmp_path_factory) -> Iterator[str]:
    """Start a TensorBoard on the study and return its address once it has read everything."""
    command = ("tensorboard.main", "--logdir", str(board), "--host", "127.0.0.1", "--port", "0")
    with started(command, tmp_path_factory.mktemp("tensorboard") / "output.txt") as address:
        expected = len({path.parent for path in board.rglob("events.out.tfevents.*")})
        until(lambda: len(get(f"{address}/data/runs")) == expected, f"{expected} runs")
        yield address


@pytest.fixture(scope="session")
def coloured(studied, tmp_path_factory) -> Iterator[str]:
    """Start the TensorBoard that has the report's colours, and return its address."""
    output_dir = shutil.copytree(studied[0], tmp_path_factory.mktemp("coloured") / "outputs")
    command = ("decoderlab.cli.report", "s", "--output-dir", str(output_dir), "--serve")
    with started(command, output_dir.parent / "output.txt") as address:
        yield address


@contextlib.contextmanager
def started(command: Sequence[str], output: Path) -> Iterator[str]:
    """Run a module that starts a TensorBoard; give its address, and end it."""
    with output.open("w") as file:
        process = subprocess.Popen([sys.executable, "-m", *command], stdout=file, stderr=file)
    try:
        pattern = re.compile(r"at (http://(?:127\.0\.0\.1|localhost):\d+)")
        yield until(lambda: pattern.search(output.read_text()), "an address")[1]
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
