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

from decoderlab.studies.reporting.tensorboard_server import coloured, in_order
from decoderlab.studies.reporting.tensorboard_study import COLOURS

OLDER = 'tensorboardColorBlindAssist:["#ff7043","#0077bb"]'
NEWER = 'colors:[{name:"Slate",lightHex:"#425066",darkHex:"#8e98a3"}]'


def files(script: str) -> io.BytesIO:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        made.writestr("index.html", "<p>")
        made.writestr("index.js", script)
    return io.BytesIO(content.getvalue())


def script_in(content: bytes | None) -> str:
    assert content is not None
    with zipfile.ZipFile(io.BytesIO(content)) as made:
        return made.read("index.js").decode()


def test_both_palettes_have_a_colour_for_each_run_and_nothing_else_changes():
    colours = [("#0072B2", 0), ("black", 0), ("#0072B2", 1)]
    script = script_in(coloured(files(f"a={{{NEWER}}};b={{{OLDER}}};c"), colours))
    newer, older, rest = script.split(";")
    assert json.loads(newer.removeprefix("a={colors:").removesuffix("}")) == [
        {"name": "0", "lightHex": "#0072b2", "darkHex": "#0072b2"},
        {"name": "1", "lightHex": "#000000", "darkHex": "#ffffff"},
        {"name": "2", "lightHex": "#004a74", "darkHex": "#59a3cd"},
    ]
    older = json.loads(older.partition(":")[2].removesuffix("}"))
    assert older == ["#0072b2", "#808080", "#004a74"]
    assert rest == "c"


@pytest.mark.parametrize("script", ["", NEWER, OLDER, f"{NEWER}{NEWER}{OLDER}"])
def test_a_page_that_is_not_known_stays_as_it_is(script):
    assert coloured(files(script), [("#0072B2", 0)]) is None


def test_the_installed_tensorboard_is_known():
    provider = assets.get_default_assets_zip_provider()
    assert provider is not None
    with provider() as given:
        assert script_in(coloured(given, [("#0072B2", 0)])).count("#0072b2") == 3


def test_runs_are_listed_in_their_order_and_all_else_is_tensorboards():
    def application(environ, start):
        return [environ["PATH_INFO"].encode()]

    answer = in_order(application, ["mean/b", ".", "a"])
    said: list[str] = []
    for path in ("/data/runs", "/experiment/defaultExperimentId/data/runs"):
        (body,) = answer({"PATH_INFO": path}, lambda status, headers: said.append(status))
        assert json.loads(bytes(body)) == ["mean/b", ".", "a"]
    assert said == ["200 OK"] * 2
    assert answer({"PATH_INFO": "/index.js"}, None) == [b"/index.js"]


def test_a_port_that_is_taken_is_one_message(tmp_path):
    (tmp_path / COLOURS).write_text("{}")
    code = """
import sys
from pathlib import Path
from decoderlab.cli.app import guarded
from decoderlab.studies.reporting.tensorboard_server import serve_board
sys.exit(guarded(lambda: serve_board(Path(sys.argv[1]), int(sys.argv[2])) or 0))
"""
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        command = [sys.executable, "-c", code, str(tmp_path), str(taken.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "note: this version of TensorBoard has palettes that are not known" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "error: TensorBoard cannot be started; it has said why: take another --port"
    )
    assert "Traceback" not in done.stderr
