"""Reports without the time that drawing takes: for tests that look at no picture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from decoderlab.studies.reporting import figures
from tests.undrawn.sitecustomize import save

UNDRAWN = Path(__file__).with_name("undrawn")


@contextmanager
def no_drawing() -> Iterator[None]:
    """Save every figure as an empty one of its kind, here and in processes that are started.

    Figures are made all the same, and here not laid out, which takes most of their time.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "_drawn", lambda draw, panels: draw(panels))
        patch.setattr(Figure, "savefig", save)
        patch.setenv("PYTHONPATH", str(UNDRAWN), prepend=os.pathsep)
        yield
