"""Python imports this at its start where PYTHONPATH names this folder: figures are saved empty.

So do the commands that a test starts which looks at no picture, see `tests.drawing`.
"""

from __future__ import annotations

import io
import sys
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

# With it, an empty figure would be of its time.
NO_METADATA = {
    "pdf": dict.fromkeys(("Creator", "Producer", "CreationDate")),
    "svg": dict.fromkeys(("Creator", "Date", "Format", "Type")),
}


def save(figure: Any, target: Any, **settings: Any) -> None:
    """Save an empty figure of the same kind, as `Figure.savefig` is called."""
    content = empty_figure(settings.get("format") or Path(target).suffix[1:])
    if isinstance(target, str | Path):
        Path(target).write_bytes(content)
    else:
        target.write(content)


@cache
def empty_figure(kind: str) -> bytes:
    """Return an empty figure as a file of a kind: png, pdf or svg."""
    from matplotlib.figure import Figure

    file, figure = io.BytesIO(), Figure(figsize=(1, 1))
    figure.canvas.print_figure(file, format=kind, metadata=NO_METADATA.get(kind))
    return file.getvalue()


class Undrawn(MetaPathFinder, Loader):
    """Has figures saved by `save` as soon as matplotlib has any."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        spec = PathFinder.find_spec(fullname, path) if fullname == "matplotlib.figure" else None
        if spec is not None:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        self.loader.exec_module(module)
        module.Figure.savefig = save


if __name__ == "sitecustomize":
    sys.meta_path.insert(0, Undrawn())
