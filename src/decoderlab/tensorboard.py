"""What TensorBoard shows of a finished run: sample predictions, and its line in HPARAMS."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from decoderlab.config import BUILT


def write_summary(
    writer: Any,
    config: Mapping[str, Any],
    scores: Mapping[str, float],
    predictions: Path,
    num_samples: int,
) -> None:
    """Add sample predictions and the HPARAMS entry.

    Args:
        writer: of TensorBoard events.
        config: resolved.
        scores: of the test split.
        predictions: the file of test predictions.
        num_samples: how many of them to show.
    """
    rows = ["| source | target | prediction |", "|---|---|---|"]
    with predictions.open() as file:
        for line in islice(file, num_samples):
            record = json.loads(line)
            mark = "" if record["correct"] else " ✗"
            rows.append(
                f"| {record['source']} | {record['target']} | {record['prediction']}{mark} |"
            )
    writer.add_text("test/predictions", "\n".join(rows))
    plain = {
        name: value if isinstance(value, int | float | str | bool) else str(value)
        for group in ("task", "encoder", "decoder", "training")
        for name, value in _flat(group, config[group])
        if not name.endswith("._target_")
    }
    names = {group: config["choices"][group] for group in BUILT}
    writer.add_hparams(
        names | plain | {"seed": config["seed"]},
        {f"test/{name}": value for name, value in scores.items()},
        run_name=".",
    )


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings under dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}.{name}", value)
        else:
            yield f"{prefix}.{name}", value
