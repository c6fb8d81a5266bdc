"""A report whose rows have long names, in Chromium: nothing is cut, broken or lost at any width."""

from __future__ import annotations

import pytest

from decoderlab.studies.reporting.build import build_report
from tests.unit.studies import study, write

pytestmark = pytest.mark.browser

ROWS = 27  # ten seeds cannot be certain of any of so many, and the verdict says so at length
NAME = "encoder.hidden_size={} decoder.attention=location training.learning_rate=0.001"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    scores = {
        NAME.format(8 * row): [
            0.3 + row / 100 + seed * (1 + row % 5) % 7 / 200 for seed in range(10)
        ]
        for row in range(1, ROWS + 1)
    }
    plan = study(folder, scores, number=200, baseline=NAME.format(8), minimum_effect=0.02)
    write(plan, folder)
    build_report(plan, folder)
    return folder / "studies/s/report.html"


@pytest.fixture
def chrome(opened):
    """Return the browser, and give it back as wide as it was."""
    yield opened
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


LINES = """
const lines = node => {
  const range = document.createRange();
  range.selectNodeContents(node);
  const high = range.getBoundingClientRect().height;
  return Math.round(high / parseFloat(getComputedStyle(node).lineHeight));
};
const rows = [...document.querySelector("table").tBodies[0].rows];
return {
  right: Math.max(...rows.map(row => row.cells[4].getBoundingClientRect().right)),
  wide: document.documentElement.scrollWidth,
  scores: Math.max(...rows.map(row => lines(row.cells[1]))),
  names: Math.max(...rows.map(row => lines(row.cells[0].querySelector("a")))),
  verdict: rows[1].cells[3].textContent,
  high: Math.max(...rows.map(row => row.getBoundingClientRect().height)),
}
"""


@pytest.mark.parametrize(
    ("width", "media", "score_lines"),
    [(390, "", 3), (900, "", 1), (1440, "", 1), (794, "print", 1)],
)
def test_names_intervals_and_verdicts_are_whole(chrome, report, width, media, score_lines):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})
    chrome.get(report.as_uri())
    seen = chrome.execute_script(LINES)
    assert seen["verdict"] == "inconclusive (n=10: too few for so many comparisons)"
    assert seen["right"] <= width
    assert seen["wide"] <= width
    assert seen["scores"] <= score_lines
    # A name of three settings is broken between their words, and not letter by letter.
    assert seen["names"] <= (9 if width == 390 else 7)
    assert seen["high"] <= (220 if width == 390 else 150)
