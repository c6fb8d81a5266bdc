"""The appendix that opens in a browser: settings, equations and sample predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.reporting.blocks import Block, Grid, Listing, Section
from decoderlab.studies.reporting.variant_styles import shown_variants

NUM_SAMPLES = 5


def settings_and_equations(analysis: Analysis) -> Section:
    """Return the settings in which the variants differ, and the equations of each."""
    blocks: list[Block] = []
    flat = {
        row.cell.variant: _flat(analysis.configs[row.cell.run_id].to_dict())
        for row in reversed(analysis.rows)
        if row.cell.run_id in analysis.configs
    }
    shared = set.intersection(*(set(config.items()) for config in flat.values())) if flat else set()
    for variant in shown_variants(analysis):
        done = [
            (row.cell.task, row.result)
            for row in analysis.rows
            if row.cell.variant == variant and row.result is not None
        ]
        own = sorted(set(flat.get(variant, {}).items()) - shared)
        lines = [f"{key}: {value}" for key, value in own] or ["as all others"]
        for task, result in done[:1]:
            for part, text in result.equations.items():
                lines += ["", f"{part} on {task}", text]
        blocks.append(Listing(variant, "\n".join(lines)))
    if len(flat) > 1:
        lines = [f"{key}: {value}" for key, value in sorted(shared)]
        blocks.append(Listing("All variants alike", "\n".join(lines)))
    return Section("Settings that differ, and equations", blocks, appendix=True)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in config.items():
        if not prefix and key in ("study", "run", "choices", "seed", "task", "paper"):
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(value)
    return flat


def sample_predictions(analysis: Analysis, output_dir: Path) -> Section | None:
    """Return what each variant's first finished seed predicts; None without predictions."""
    blocks: list[Block] = []
    for task in analysis.tasks:
        columns: dict[str, list[dict[str, Any]]] = {}
        for variant in shown_variants(analysis):
            for row in analysis.by_cell.get((variant, task), []):
                if row.result is not None:
                    folder = RunFolder(output_dir / row.cell.folder)
                    if lines := samples(folder, NUM_SAMPLES):
                        columns[variant] = lines
                    break
        if not columns:
            continue
        examples = next(iter(columns.values()))
        rows = [
            [
                example["source"],
                example["target"],
                *(
                    lines[index]["prediction"] + (" ✗" if lines[index]["correct"] is False else "")
                    if index < len(lines) and lines[index]["source"] == example["source"]
                    else "(other data)"
                    for lines in columns.values()
                ),
            ]
            for index, example in enumerate(examples)
        ]
        blocks.append(Grid(["source", "target", *columns], rows, task))
    return Section("Sample predictions", blocks, appendix=True) if blocks else None


def samples(folder: RunFolder, number: int) -> list[dict[str, Any]]:
    """Return the first test predictions of a run."""
    try:
        with folder.predictions.open() as file:
            return [json.loads(line) for line, _ in zip(file, range(number), strict=False)]
    except (OSError, ValueError):
        return []
