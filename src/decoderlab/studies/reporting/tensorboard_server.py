"""TensorBoard on one study, each variant in the colour that its report gives it.

Event files cannot say colours. TensorBoard gives its runs the colours of a palette in turn, in the
order in which its server lists them. Here the palette has a colour for each run, and the order is
that in which the study was written, also while TensorBoard is still reading. Variants that a report
tells apart by their lines alone have shades of one colour.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from decoderlab.common.errors import ConfigError, LaunchError
from decoderlab.common.progress import say
from decoderlab.studies.reporting.tensorboard_study import MEANS, RUN_COLOURS

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
# The palettes in the script of TensorBoard's page: of its time series, and of its older tabs.
COLOUR = r'\{name:"[^"]*",lightHex:"#\w{6}",darkHex:"#\w{6}"\}'
PALETTE = re.compile(rf"(?<=colors:)\[(?:{COLOUR},?)+\]".encode())
OLDER_PALETTE = re.compile(rb'(?<=tensorboardColorBlindAssist:)\[(?:"#\w{6}",?)+\]')
SCRIPT, PAGE = "index.js", "index.html"
# The page asks for its script by this, and a browser keeps that for a day.
SCRIPT_HASH = re.compile(rb"(?<=_file_hash=)\w+")
BLACK, WHITE, GREY = "#000000", "#ffffff", "#808080"
# How much of a colour is left in its shades: on light pages, on dark ones, on both.
SHADES = ((1.0, 1.0, 1.0), (0.65, 0.65, 0.75), (0.45, 0.45, 0.9))
BOTH = (BLACK, WHITE, BLACK)  # what is added to those that are seen on both


def serve_board(folder: Path, port: int | None = None) -> None:
    """Show a study in TensorBoard until somebody ends it with Ctrl-C.

    Args:
        folder: from `write_board`.
        port: of this machine; None for the first that is free, from 6006 on.

    Raises:
        ConfigError: if no run of the study is finished.
        LaunchError: if the port is taken.
    """
    from tensorboard import assets, program

    colours = read_colours(folder)
    if not colours:
        raise ConfigError(f"{folder} has no finished run, so that there is nothing to show yet")
    provider = assets.get_default_assets_zip_provider()
    content = None
    if provider is not None:
        with provider() as files:
            content = coloured(files, [*colours.values()])
    if content is None:
        say("note: the colours of this version of TensorBoard are not known: it takes its own")
    else:
        provider = partial(io.BytesIO, content)

    def server(application: Application, flags: Any) -> Any:
        listed = listing_runs(application, partial(run_names, folder, [*colours]))
        made = program.create_port_scanning_werkzeug_server(listed, flags)
        means = any(name.startswith("mean/") for name in colours)
        address = f"{made.get_url()}{MEANS} (the mean curves)" if means else made.get_url()
        say(f"open {address}; Ctrl-C ends it")
        return made

    board = program.TensorBoard(assets_zip_provider=provider, server_class=server)
    chosen = {} if port is None else {"port": port}
    board.configure(("",), logdir=str(folder), host="localhost", **chosen)
    if board.main():
        raise LaunchError("TensorBoard cannot be started; it has said why: take another --port")


def read_colours(folder: Path) -> dict[str, tuple[str, int]]:
    """Return the runs of a study in their order, each with a colour and the number of its shade."""
    colours = json.loads((folder / RUN_COLOURS).read_text(encoding="utf-8"))
    return {name: (colour, shade) for name, (colour, shade) in colours.items()}


def run_names(folder: Path, first: Sequence[str]) -> list[str]:
    """Return the runs, those that were written after the start behind the others."""
    try:
        return list(dict.fromkeys([*first, *read_colours(folder)]))
    except (OSError, ValueError):  # it is being written anew
        return list(first)


def coloured(assets: IO[bytes], colours: Sequence[tuple[str, int]]) -> bytes | None:
    """Return TensorBoard's files with these colours for its runs, in turn.

    Args:
        assets: its files, a ZIP.
        colours: "black", or as "#0072B2"; each with the number of its shade.

    Returns:
        A ZIP; None where its own colours are not found.
    """
    shades = [shade(*colour) for colour in colours]
    palette = [
        {"name": str(index), "lightHex": light, "darkHex": dark}
        for index, (light, dark, _) in enumerate(shades)
    ]
    with zipfile.ZipFile(assets) as given:
        files = {entry.filename: given.read(entry) for entry in given.infolist()}
    script, newer = PALETTE.subn(json.dumps(palette).encode(), files.get(SCRIPT, b""))
    both = json.dumps([each for _, _, each in shades]).encode()
    script, older = OLDER_PALETTE.subn(both, script)
    digest = hashlib.sha256(script).hexdigest()[:8].encode()
    page, asked = SCRIPT_HASH.subn(digest, files.get(PAGE, b""))
    if (newer, older, asked) != (1, 1, 1):
        return None
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        for name, data in (files | {SCRIPT: script, PAGE: page}).items():
            made.writestr(name, data)
    return content.getvalue()


def shade(colour: str, number: int) -> tuple[str, str, str]:
    """Return a shade of a colour on light pages, on dark ones, and one that is seen on both."""
    ends = (BLACK, WHITE, GREY) if colour == "black" else (colour, colour, colour)
    others = (WHITE, BLACK, WHITE) if colour == "black" else (BLACK, WHITE, BOTH[number % 3])
    left = SHADES[number % 3]
    light, dark, both = map(_mixed, ends, others, left)
    return light, dark, both


def _mixed(colour: str, other: str, share: float) -> str:
    """Return what is a share of a colour, and the rest of another."""
    pairs = zip(*(bytes.fromhex(each[1:]) for each in (colour, other)), strict=True)
    return "#" + bytes(round(share * a + (1 - share) * b) for a, b in pairs).hex()


def listing_runs(application: Application, runs: Callable[[], list[str]]) -> Application:
    """Return a web application that lists runs in their order, as soon as it is asked."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if not environ.get("PATH_INFO", "").endswith("/data/runs"):
            return application(environ, start)
        body = json.dumps(runs()).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        headers += [("Cache-Control", "no-cache, must-revalidate")]
        headers += [("X-Content-Type-Options", "nosniff")]
        start("200 OK", headers)
        return [body]

    return answer
