"""What TensorBoard shows of a finished run: sample predictions, and its line in HPARAMS."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from torch.utils.tensorboard.summary import hparams


def write_summary(
    writer: Any,
    hyperparameters: Mapping[str, Any],
    predictions: Path,
    num_samples: int,
) -> None:
    """Add sample predictions and the HPARAMS entry.

    Args:
        writer: of TensorBoard events.
        hyperparameters: names to plain values.
        predictions: the file of test predictions.
        num_samples: how many of them to show.
    """
    with predictions.open() as file:
        records = [json.loads(line) for line in islice(file, num_samples)]
    add_samples(writer, "test/predictions", records)
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
        cells = [_plain(record[name]) for name in ("source", "target", "prediction")]
        lines.append(f"| {' | '.join(cells)}{' ✗' if record['correct'] is False else ''} |")
    if records:
        writer.add_text(tag, "\n".join(lines))


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
    for summary in hparams(dict(hyperparameters), {})[1:]:
        writer.file_writer.add_summary(summary)
    for name, value in metrics.items():
        writer.add_scalar(name, value)


def _plain(text: str) -> str:
    """Return a text in which nothing is Markdown or HTML.

    Example:
        >>> _plain("a|b _c_")
        'a&#124;b &#95;c&#95;'
    """
    return re.sub(r"[^\w ]|_", lambda match: f"&#{ord(match[0])};", " ".join(text.split()))
