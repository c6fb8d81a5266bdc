"""Predictions of studies that are made up, and what their runs recorded step by step."""

from __future__ import annotations

import json

import numpy as np

from decoderlab.records.manifest import read_manifest, write_manifest
from decoderlab.records.run_folder import RunFolder
from tests.unit.studies import bits

CODE = '</script><script>alert(1)</script><!--"&\x1b[31m\u202e'


def write_predictions(output_dir, plan, made=None) -> None:
    """Write all predictions of a study that is made up, as their runs would have."""
    for cell in plan.cells:
        folder = RunFolder(output_dir / cell.folder)
        if (found := folder.result()) is None:
            continue
        right = bits(found.metrics.test["exact_match"], cell.seed)
        lines = made(cell) if made else [line(number, one) for number, one in enumerate(right)]
        folder.predictions.write_text("".join(json.dumps(one) + "\n" for one in lines))
        write_manifest(folder, read_manifest(folder).identity, found)


def line(number: int, right: bool) -> dict:
    """Return a prediction that is right, or so many edits from right as its number says."""
    target = ["A", "B", "C", "D", str(number)]
    written = target if right else target[: -(number % 4 + 1)]
    texts = {"source": f"s{number}", "target": " ".join(target), "references": [" ".join(target)]}
    return texts | {"prediction": " ".join(written), "correct": bool(right)}


def write_steps(output_dir, plan, token="A") -> None:
    """Write what runs of a study that is made up recorded of two examples, step by step."""
    for cell in plan.cells:
        folder = RunFolder(output_dir / cell.folder)
        if (found := folder.result()) is None:
            continue
        np.savez(
            folder.probes,
            step_rows=np.array([0, 7]),
            step_written=np.array([json.dumps([token, "<eos>"]), json.dumps(["<eos>"])]),
            step_source=np.array([json.dumps([token, "2", "3"])] * 2),
            step_best=np.array([json.dumps([token, "B"] * 2), json.dumps(["<eos>", "B"])]),
            step_probability=np.array([[[0.75, 0.125], [0.5, 0.25]]] * 2, np.float32),
            step_leaning=np.array([[[0.5, 0.25, np.nan], [0.1, 0.2, 0.3]]] * 2, np.float32),
            step_attention=np.array([[[0.5, 0.25, 0.25], [0, 0, 1]]] * 2, np.float16),
        )
        write_manifest(folder, read_manifest(folder).identity, found)
