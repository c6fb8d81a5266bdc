"""TensorBoard on one study, each variant in the colour that its report gives it.

Event files cannot say colours. TensorBoard gives its runs the colours of a palette in turn, in the
order in which its server lists them. Here the palette has a colour for each run, and the order is
that in which the study was written, also while TensorBoard is still reading. Variants that a report
tells apart by their lines alone have shades of one colour.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from decoderlab.common.errors import LaunchError
from decoderlab.common.progress import say
from decoderlab.studies.reporting.tensorboard_study import COLOURS, MEANS

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
# The palettes in the script of TensorBoard's page: of its time series, and of its older tabs.
COLOUR = r'\{name:"[^"]*",lightHex:"#\w{6}",darkHex:"#\w{6}"\}'
PALETTE = re.compile(rf"(?<=colors:)\[(?:{COLOUR},?)+\]".encode())
OLDER_PALETTE = re.compile(rb'(?<=tensorboardColorBlindAssist:)\[(?:"#\w{6}",?)+\]')
SCRIPT = "index.js"
BLACK, WHITE, GREY = "#000000", "#ffffff", "#808080"


def serve_board(folder: Path, port: int | None = None) -> None:
    """Show a study in TensorBoard until somebody ends it with Ctrl-C.

    Args:
        folder: from `write_board`.
        port: of this machine; None for the first that is free, from 6006 on.

    Raises:
        LaunchError: if the port is taken.
    """
    from tensorboard import assets, program

    colours = json.loads((folder / COLOURS).read_text(encoding="utf-8"))
    provider = assets.get_default_assets_zip_provider()
    content = None
    if provider is not None:
        with provider() as files:
            content = coloured(files, [*colours.values()])
    if content is None:
        say("note: this version of TensorBoard has palettes that are not known: it takes its own")

    def server(application: Application, flags: Any) -> Any:
        made = program.create_port_scanning_werkzeug_server(
            in_order(application, list(colours)), flags
        )
        say(f"open {made.get_url()}{MEANS} (the mean curves of every variant); Ctrl-C ends it")
        return made

    if content is not None:
        provider = partial(io.BytesIO, content)
    board = program.TensorBoard(assets_zip_provider=provider, server_class=server)
    chosen = {} if port is None else {"port": port}
    board.configure(("",), logdir=str(folder), host="localhost", **chosen)
    if board.main():
        raise LaunchError("TensorBoard cannot be started; it has said why: take another --port")


def coloured(assets: IO[bytes], colours: Sequence[tuple[str, int]]) -> bytes | None:
    """Return TensorBoard's files with these colours for its runs, in turn.

    Args:
        assets: its files, a ZIP.
        colours: "black", or as "#0072B2"; with how many steps they are made darker, or lighter on
            dark pages.

    Returns:
        A ZIP; None where its own colours are not found.
    """
    palette, older = [], []
    for index, (colour, steps) in enumerate(colours):
        black = colour == "black"
        light = _mixed(BLACK, WHITE, steps) if black else _mixed(colour, BLACK, steps)
        dark = _mixed(WHITE, BLACK, steps) if black else _mixed(colour, WHITE, steps)
        palette.append({"name": str(index), "lightHex": light, "darkHex": dark})
        older.append(_mixed(GREY, WHITE, steps) if black else light)  # on light and dark pages
    content, found = io.BytesIO(), []
    with zipfile.ZipFile(assets) as given, zipfile.ZipFile(content, "w") as made:
        for entry in given.infolist():
            data = given.read(entry)
            if entry.filename == SCRIPT:
                for pattern, new in ((PALETTE, palette), (OLDER_PALETTE, older)):
                    data, number = pattern.subn(json.dumps(new).encode(), data)
                    found.append(number)
            made.writestr(entry, data)
    return content.getvalue() if colours and found == [1, 1] else None


def _mixed(colour: str, other: str, steps: int) -> str:
    """Return a colour that is a step, or several, nearer to another."""
    share = 0.65**steps
    pairs = zip(*(bytes.fromhex(each[1:]) for each in (colour, other)), strict=True)
    return "#" + bytes(round(share * a + (1 - share) * b) for a, b in pairs).hex()


def in_order(application: Application, runs: list[str]) -> Application:
    """Return a web application that lists runs in this order, as soon as it is asked."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if not environ.get("PATH_INFO", "").endswith("/data/runs"):
            return application(environ, start)
        body = json.dumps(runs).encode()
        length = ("Content-Length", str(len(body)))
        start("200 OK", [("Content-Type", "application/json"), length])
        return [body]

    return answer
