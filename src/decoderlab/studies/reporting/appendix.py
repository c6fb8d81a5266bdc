"""The appendix that opens in a browser: settings, equations, runs and sample predictions."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from decoderlab.common.bounded_reading import read_json_lines
from decoderlab.common.errors import Invalid
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import study_folder
from decoderlab.studies.reporting.blocks import (
    Block,
    Grid,
    Linked,
    Listing,
    Marked,
    Paragraph,
    Section,
)
from decoderlab.studies.reporting.prediction_marks import marked_pieces
from decoderlab.studies.reporting.tables import MAX_LISTED, variant_anchor
from decoderlab.studies.reporting.variant_styles import shown_variants

NUM_SAMPLES = 5
SIDE_BY_SIDE = 5  # columns of predictions that fit a screen of 900 pixels
MAX_SEEDS = 4  # whose predictions stand side by side
MAX_LINKS = 5000  # runs that a page links


def settings_and_equations(analysis: Analysis, output_dir: Path) -> Section:
    """Return the settings in which the variants differ, and the equations and runs of each."""
    flat = {
        row.cell.variant: _flat(analysis.configs[row.cell.run_id].to_dict())
        for row in reversed(analysis.rows)
        if row.cell.run_id in analysis.configs
    }
    shared = set.intersection(*(set(config.items()) for config in flat.values())) if flat else set()
    blocks: list[Block] = []
    seen: dict[str, str] = {}
    for index, variant in enumerate(analysis.variants[:MAX_LISTED]):
        own = sorted(set(flat.get(variant, {}).items()) - shared)
        lines = [f"{key}: {value}" for key, value in own] or ["as all others"]
        if equations := _equations(analysis, variant):
            before = seen.setdefault(equations, variant)
            lines += ["", equations if before == variant else f"equations: those of {before}"]
        links = _run_links(analysis, variant, output_dir)
        blocks.append(Listing(variant, "\n".join(lines), variant_anchor(index), links))
    if len(analysis.variants) > MAX_LISTED:
        more = len(analysis.variants) - MAX_LISTED
        blocks.append(Paragraph(f"{more} more rows are in configs.jsonl and results.csv."))
    if len(flat) > 1:
        lines = [f"{key}: {value}" for key, value in sorted(shared)]
        blocks.append(Listing("All variants alike", "\n".join(lines)))
    return Section("Settings that differ, equations and runs", blocks, appendix=True)


def _equations(analysis: Analysis, variant: str) -> str:
    """Return the equations of a variant's first finished run."""
    for task in analysis.tasks:
        for row in analysis.by_cell.get((variant, task), []):
            if row.result is not None:
                parts = row.result.equations.items()
                return "\n\n".join(f"{part} on {task}\n{text}" for part, text in parts)
    return ""


def _run_links(
    analysis: Analysis, variant: str, output_dir: Path
) -> list[tuple[str, list[Linked]]]:
    """Return the runs of a variant on each task, with links to their folders."""
    if len(analysis.rows) > MAX_LINKS:
        return [("Runs: in results.csv, as there are too many to link", [])]
    folder = study_folder(output_dir, analysis.plan.name)
    titled_links = []
    for task in analysis.tasks:
        links = []
        for row in analysis.by_cell.get((variant, task), []):
            score = row.score(analysis.metric)
            said = row.status.lower() if score is None else f"{score:.3f}"
            path = os.path.relpath(output_dir / row.cell.folder, folder)
            links.append(Linked(f"seed {row.cell.seed}: {said}", f"{quote(path)}/"))
        if links:
            titled_links.append((f"Runs on {task}:", links))
    return titled_links


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
    """Return what the first seeds predict, marked where it differs; None without predictions."""
    blocks: list[Block] = []
    variants = shown_variants(analysis)
    for task in analysis.tasks:
        seeds = sorted({row.cell.seed for row in analysis.rows if row.cell.task == task})
        lines = {
            (variant, row.cell.seed): samples(row.cell.run_folder(output_dir), NUM_SAMPLES)
            for variant in variants
            for row in analysis.by_cell.get((variant, task), [])
            if row.cell.seed in seeds[:MAX_SEEDS] and row.result is not None
        }
        if not any(lines.values()):
            continue
        rows = _prediction_rows(lines, seeds[:MAX_SEEDS], variants)
        header = ["variant", "source", "target", *(f"seed {seed}" for seed in seeds[:MAX_SEEDS])]
        align = ["left"] * len(header)
        main = SIDE_BY_SIDE if len(header) > SIDE_BY_SIDE else None
        blocks.append(Grid(header, rows, task, align=align, main=main))
    if not blocks:
        return None
    fewer = "" if len(variants) == len(analysis.variants) else " of the rows in the figures"
    how = (
        f"The first {NUM_SAMPLES} test examples and the first {MAX_SEEDS} seeds{fewer}; none is "
        "chosen. Underlined: not in the target; struck out: missing; bold: in place of another "
        "(point at it to see of which). ✗: counts as wrong."
    )
    return Section("Sample predictions", [Paragraph(how), *blocks], appendix=True)


def _prediction_rows(
    lines: Mapping[tuple[str, int], list[dict[str, Any]]],
    seeds: Sequence[int],
    variants: Sequence[str],
) -> list[list[str]]:
    """Return a row for each example and variant, with a cell for each seed."""
    rows = []
    for index in range(NUM_SAMPLES):
        for variant in variants:
            by_seed = [lines.get((variant, seed), []) for seed in seeds]
            examples = [some[index] for some in by_seed if index < len(some)]
            if not examples:
                continue
            first = examples[0]
            cells = [_prediction(some[index : index + 1], first["source"]) for some in by_seed]
            rows.append([variant, first["source"], first["target"], *cells])
    return rows


def _prediction(example: Sequence[dict[str, Any]], source: str) -> str:
    """Return the cell of a seed, which may have had other data or no predictions."""
    if not example:
        return "–"
    (record,) = example
    if record["source"] != source:
        return "(other data)"
    wrong = " ✗" if record["correct"] is False else ""
    pieces = marked_pieces(record["target"], record["prediction"])
    return Marked(record["prediction"] + wrong, [*pieces, ("same", wrong, "")])


def samples(folder: RunFolder, number: int) -> list[dict[str, Any]]:
    """Return the first test predictions of a run."""
    try:
        lines = list(islice(read_json_lines(folder.predictions), number))
    except Invalid:
        return []
    texts = ("source", "target", "prediction")
    right = all(isinstance(line.get(name), str) for line in lines for name in texts)
    return [{"correct": None, **line} for line in lines] if right else []
