"""What attention looked at while one output was written, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from decoderlab.common.errors import ConfigError
from decoderlab.common.escapes import visible

FORMATS = (".png", ".svg", ".pdf")
MAX_LABELS = 60
WITHOUT = "this run has no attention to draw; take a run with attention, such as decoder=luong"


def check_picture(path: Path) -> None:
    """Raise ConfigError for a file whose name ends in no format of a picture."""
    if path.suffix not in FORMATS:
        raise ConfigError(f"{path} is not a picture: its name must end in {', '.join(FORMATS)}")


def check_attention(decoder: object) -> None:
    """Raise ConfigError for a decoder of ours, or one of an ensemble, that has no attention.

    Of somebody else's decoder it shows when it generates.
    """
    for member in getattr(decoder, "members", (decoder,)):
        ours = type(member).__module__.startswith("decoderlab.decoders.")
        if ours and getattr(member, "attention", None) is None and not hasattr(member, "score"):
            raise ConfigError(WITHOUT)


def draw_attention(
    path: Path, weights: Sequence[Sequence[float]], source: Sequence[str], target: Sequence[str]
) -> None:
    """Write the picture: a row for each token that was written, a column for each that was read.

    Args:
        path: of the picture; its ending says the format.
        weights: (T, S), from 0 to 1.
        source: what stands at each position that was read; empty where that has no words.
        target: the tokens that were written.

    Raises:
        ConfigError: for another format.
    """
    check_picture(path)
    grid = np.array(weights, dtype=float)
    size = (1.6 + 0.25 * min(grid.shape[1], MAX_LABELS), 1.2 + 0.25 * min(len(grid), MAX_LABELS))
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    shown = axis.imshow(grid, vmin=0, vmax=max(grid.max(), 1e-9), cmap="Greys", aspect="auto")
    figure.colorbar(shown, ax=axis, label="attention weight")
    axis.set_xlabel("source")
    axis.set_ylabel("output")
    if len(source) == grid.shape[1] <= MAX_LABELS:
        axis.set_xticks(range(len(source)), list(map(visible, source)), parse_math=False)
    if len(target) == len(grid) <= MAX_LABELS:
        axis.set_yticks(range(len(target)), list(map(visible, target)), parse_math=False)
    figure.savefig(path, format=path.suffix[1:], dpi=150)
