"""What a TensorBoard in the colours of a report serves."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import zipfile

import pytest
from tensorboard import assets

from decoderlab.studies.reporting.tensorboard_server import coloured, listing_runs, run_names, shade
from decoderlab.studies.reporting.tensorboard_study import RUN_COLOURS
from decoderlab.studies.reporting.variant_styles import COLOURS

OLDER = 'tensorboardColorBlindAssist:["#ff7043","#0077bb"]'
NEWER = 'colors:[{name:"Slate",lightHex:"#425066",darkHex:"#8e98a3"}]'
PAGE = '<script src="index.js?_file_hash=528dec0c">'
BLUE = ("#0072B2", 0)


def files(script: str, page: str = PAGE) -> io.BytesIO:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        made.writestr("index.html", page)
        made.writestr("index.js", script)
    return io.BytesIO(content.getvalue())


def content_of(name: str, content: bytes | None) -> str:
    assert content is not None
    with zipfile.ZipFile(io.BytesIO(content)) as made:
        return made.read(name).decode()


def contrast(colour: str, other: str) -> float:
    """Return the contrast of two colours as WCAG 2 defines it."""

    def luminance(text: str) -> float:
        parts = [part / 255 for part in bytes.fromhex(text[1:])]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted(map(luminance, (colour, other)))
    return (light + 0.05) / (dark + 0.05)


def test_both_palettes_have_a_colour_for_each_run_and_nothing_else_changes():
    colours = [BLUE, ("black", 0), ("#0072B2", 1)]
    made = coloured(files(f"a={{{NEWER}}};b={{{OLDER}}};c"), colours)
    newer, older, rest = content_of("index.js", made).split(";")
    assert json.loads(newer.removeprefix("a={colors:").removesuffix("}")) == [
        {"name": "0", "lightHex": "#0072b2", "darkHex": "#0072b2"},
        {"name": "1", "lightHex": "#000000", "darkHex": "#ffffff"},
        {"name": "2", "lightHex": "#004a74", "darkHex": "#59a3cd"},
    ]
    both = json.loads(older.partition(":")[2].removesuffix("}"))
    assert both == ["#0072b2", "#808080", "#4095c5"]
    assert rest == "c"


def test_a_browser_asks_for_the_script_of_each_palette_anew():
    pages = {
        content_of("index.html", coloured(files(NEWER + OLDER), [colour]))
        for colour in (BLUE, ("#D55E00", 0))
    }
    assert len(pages | {PAGE}) == 3


@pytest.mark.parametrize("colour", [*COLOURS, "black"])
def test_shades_differ_and_are_seen_on_their_pages(colour):
    shades = [shade(colour, number) for number in range(3)]
    assert shade(colour, 3) == shades[0]
    for kind in zip(*shades, strict=True):
        assert len(set(kind)) == 3
    for light, dark, both in shades:
        assert contrast(light, "#ffffff") > 3
        assert contrast(dark, "#303030") > 2.5  # TensorBoard's
        assert min(contrast(both, "#ffffff"), contrast(both, "#303030")) > 2


@pytest.mark.parametrize(
    ("script", "page"),
    [("", PAGE), (NEWER, PAGE), (OLDER, PAGE), (NEWER * 2 + OLDER, PAGE), (NEWER + OLDER, "")],
)
def test_a_page_that_is_not_known_stays_as_it_is(script, page):
    assert coloured(files(script, page), [BLUE]) is None


def test_the_installed_tensorboard_is_known():
    provider = assets.get_default_assets_zip_provider()
    assert provider is not None
    with provider() as given:
        assert content_of("index.js", coloured(given, [BLUE])).count("#0072b2") == 3


def test_runs_are_listed_in_their_order_and_all_else_is_tensorboards():
    def application(environ, start):
        return [environ["PATH_INFO"].encode()]

    answer = listing_runs(application, lambda: ["mean/b", ".", "a"])
    said: list[str] = []
    for path in ("/data/runs", "/experiment/defaultExperimentId/data/runs"):
        (body,) = answer({"PATH_INFO": path}, lambda status, headers: said.append(status))
        assert json.loads(bytes(body)) == ["mean/b", ".", "a"]
    assert said == ["200 OK"] * 2
    assert answer({"PATH_INFO": "/index.js"}, None) == [b"/index.js"]


def test_runs_that_are_written_later_come_behind_the_others(tmp_path):
    assert run_names(tmp_path, ["b"]) == ["b"]  # it is being written
    (tmp_path / RUN_COLOURS).write_text(json.dumps({"a": BLUE, "b": BLUE}))
    assert run_names(tmp_path, ["b"]) == ["b", "a"]


@pytest.mark.parametrize(
    ("colours", "code", "said"),
    [
        ({"a": BLUE}, 1, "error: TensorBoard cannot be started; it has said why: take another "),
        ({}, 2, "has no finished run, so that there is nothing to show yet"),
    ],
)
def test_what_cannot_be_shown_is_one_message(tmp_path, colours, code, said):
    (tmp_path / RUN_COLOURS).write_text(json.dumps(colours))
    program = """
import sys
from pathlib import Path
from decoderlab.cli.app import guarded
from decoderlab.studies.reporting.tensorboard_server import serve_board
sys.exit(guarded(lambda: serve_board(Path(sys.argv[1]), int(sys.argv[2])) or 0))
"""
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        command = [sys.executable, "-c", program, str(tmp_path), str(taken.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == code
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "not known" not in done.stderr
