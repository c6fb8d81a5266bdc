"""Some test examples step by step, by every variant: what the page to explore a study shows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from decoderlab.common.escapes import visible
from decoderlab.studies.analysis.results import RunRow
from decoderlab.training import probes

MAX_TOKEN = 40  # letters of a token
MAX_SOURCE = 100  # positions of attention


def steps_of(
    rows: Iterable[RunRow], numbers: Mapping[str, int], output_dir: Path, letters: int
) -> list[dict[str, Any]]:
    """Return the examples that the runs recorded step by step.

    Args:
        rows: finished runs on the same test examples, one of each variant.
        numbers: of the variants.
        output_dir: as in `run.output_dir`.
        letters: how much room there is; examples beyond it are left out.

    Returns:
        Of each example its number `row`, `source` tokens and, in `said`, for each variant: variant,
        seed, tokens written, for each step the best tokens with their probabilities, attention
        (percent, by source position; null without any) and what it leaned on (summary, memory,
        previous token: 0 to 1, null where that is not known).
    """
    by_row: dict[int, dict[str, Any]] = {}
    for row in rows:
        arrays = probes.read(row.cell.run_folder(output_dir).probes)
        if "step_rows" not in arrays:
            continue
        for index, example in enumerate(arrays["step_rows"].tolist()):
            said = _example(arrays, index)
            if said is None:
                continue
            source = [_token(token) for token in _list(arrays, "step_source", index)][:MAX_SOURCE]
            kept = by_row.setdefault(example, {"row": example, "source": source, "said": []})
            if kept["source"] == source:
                kept["said"].append([numbers[row.cell.variant], row.cell.seed, *said])
    shown = []
    for example in by_row.values():
        letters -= len(json.dumps(example))
        if letters < 0:
            break
        shown.append(example)
    return shown


def first_runs(rows: Iterable[RunRow], shown: Sequence[str]) -> list[RunRow]:
    """Return the first of the runs of each variant that is shown."""
    first: dict[str, RunRow] = {}
    for row in rows:
        if row.cell.variant in shown:
            first.setdefault(row.cell.variant, row)
    return list(first.values())


def _example(arrays: Mapping[str, np.ndarray], index: int) -> list[Any] | None:
    """Return one example of a run; None where its arrays do not fit each other."""
    written, best = (_list(arrays, name, index) for name in ("step_written", "step_best"))
    probability, leaning = arrays["step_probability"][index], arrays["step_leaning"][index]
    length, number = len(written), probability.shape[1]
    if (
        len(best) != length * number
        or len(probability) < length
        or len(leaning) < length
        or leaning.shape[1] != 3
    ):
        return None
    tokens = [_token(token) for token in best]
    ranked = [
        [[tokens[step * number + rank], _share(probability[step, rank])] for rank in range(number)]
        for step in range(length)
    ]
    weights = None
    attention = arrays.get("step_attention")
    if attention is not None and attention.shape[1] >= length:
        positions = min(attention.shape[2], MAX_SOURCE)
        percent = np.nan_to_num(attention[index, :length, :positions].astype(float)) * 100
        weights = np.clip(percent, 0, 100).round().astype(int).tolist()
    leaned = [[_share(value) for value in step] for step in leaning[:length]]
    return [[_token(token) for token in written], ranked, weights, leaned]


def _list(arrays: Mapping[str, np.ndarray], name: str, index: int) -> list[str]:
    return json.loads(str(arrays[name][index]))


def _token(text: str) -> str:
    return visible(text if len(text) <= MAX_TOKEN else f"{text[: MAX_TOKEN - 1]}…")


def _share(value: float) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None
