"""What TensorBoard shows of a finished run: predictions, attention, and its line in HPARAMS."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from decoderlab.common.bounded_archives import read_arrays
from decoderlab.common.escapes import markdown_entities, visible
from decoderlab.records.run_folder import RunFolder

MAX_INCHES = 12.0
MAX_TICKS = 200  # tokens that are named beside a map
MAX_LETTERS = 40  # of each


def write_summary(
    writer: Any,
    hyperparameters: Mapping[str, Any],
    predictions: Path,
    num_samples: int,
) -> None:
    """Add sample predictions, attention where the model has it, and the HPARAMS entry.

    Args:
        writer: of TensorBoard events.
        hyperparameters: names to plain values.
        predictions: the file of test predictions, in the folder of the run.
        num_samples: how many of them to show.
    """
    with predictions.open() as file:
        records = [json.loads(line) for line in islice(file, num_samples)]
    add_samples(writer, "test/predictions", records)
    probes = RunFolder(predictions.parent).probes
    if probes.exists():
        add_attention(writer, "test", read_arrays(probes))
    add_session(writer, hyperparameters, {})  # the scores are there already


def add_samples(writer: Any, tag: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Add a table of predictions as text.

    Args:
        writer: of TensorBoard events.
        tag: of the text.
        records: lines of `predictions.jsonl`.
    """
    lines = ["| source | target | prediction |", "|---|---|---|"]
    for record in records:
        cells = [markdown_entities(record[name]) for name in ("source", "target", "prediction")]
        lines.append(f"| {' | '.join(cells)}{' ✗' if record['correct'] is False else ''} |")
    if records:
        writer.add_text(tag, "\n".join(lines))


def add_attention(writer: Any, tag: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Add an image of the attention for each example: a row is a generated token, dark is 1.

    Sources of a single position have none.

    Args:
        writer: of TensorBoard events.
        tag: before the name of each image.
        arrays: of `probes.npz`.
    """
    if "attention" not in arrays:
        return
    # Only runs with attention need it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for index, weights in enumerate(arrays["attention"]):
        source, target = (
            json.loads(str(arrays[f"attention_{side}"][index])) for side in ("source", "target")
        )
        if len(source) < 2:
            continue  # a single position has the weight 1, whatever was learned
        width, height = (min(1.2 + 0.3 * len(side), MAX_INCHES) for side in (source, target))
        figure = Figure(figsize=(width, height), layout="constrained")
        axis = figure.subplots()
        shown = weights[: len(target), : len(source)].astype(float)
        source, target = (
            [visible(token[:MAX_LETTERS]) for token in side[:length]] if length <= MAX_TICKS else []
            for side, length in zip((source, target), reversed(shown.shape), strict=True)
        )
        axis.imshow(shown, cmap="Greys", vmin=0, vmax=1, aspect="auto")
        # A token such as $x$ is no formula.
        looks: Any = {"fontsize": 8, "parse_math": False}
        axis.set_xticks(range(len(source)), source, **looks)
        axis.set_yticks(range(len(target)), target, **looks)
        canvas = FigureCanvasAgg(figure)
        with warnings.catch_warnings():
            # Scripts that matplotlib's own font lacks are drawn as boxes.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            warnings.filterwarnings("ignore", message="constrained_layout not applied")
            canvas.draw()
        picture = np.asarray(canvas.buffer_rgba())[..., :3]
        writer.add_image(f"{tag}/attention, example {index + 1}", picture, dataformats="HWC")


def add_session(
    writer: Any, hyperparameters: Mapping[str, Any], metrics: Mapping[str, float]
) -> None:
    """Add a run's line in HPARAMS.

    Without torch's summary of the experiment: TensorBoard would believe the first that it reads,
    and show no column that this run lacks.

    Args:
        writer: of TensorBoard events.
        hyperparameters: names to plain values.
        metrics: names to scores.
    """
    # A plan writes no events; this takes a tenth of a second to import.
    from torch.utils.tensorboard.summary import hparams

    for summary in hparams(dict(hyperparameters), {})[1:]:
        writer.file_writer.add_summary(summary)
    for name, value in metrics.items():
        writer.add_scalar(name, value)
