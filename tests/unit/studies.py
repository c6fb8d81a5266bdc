"""Studies that are made up: run folders with given scores, written as a run would."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from decoderlab.config.run_config import RunConfig
from decoderlab.config.study_settings import Budget, Study
from decoderlab.records.run_folder import RunFolder, sealed, write_json, write_text
from decoderlab.records.run_result import SCHEMA
from decoderlab.studies.analysis.results import Row, read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import Cell, Plan
from tests.conftest import composed

ENVIRONMENT = {
    "versions": {"python": "3"},
    "git_commit": "abc",
    "git_dirty": False,
    "processor": "a CPU",
    "device": "cpu",
    "capability": "AVX2",
    "threads": 1,
    "world_size": 1,
}
EXAMPLES = 100
STUDY = Study(
    name="s",
    question="Which?",
    metric="exact_match",
    minimum_effect=None,
    baseline="a",
    family="task",
    retry="none",
    seeds=None,
    factors=None,
    variants=None,
    references=None,
    exclude=None,
    max_runs=1000,
    max_hours=24.0,
    allow_drift=False,
    tuning=None,
    published=None,
)
CONFIG = RunConfig.from_composed(composed("task=echo", "decoder=luong"))
UPDATES = Budget(match="updates", width="decoder.hidden_size", tolerance=0.01)


def signature(data: str = "d0", number: int = EXAMPLES) -> str:
    return f"generation:greedy|max_length:4|split:test|n:{number}|data:{data}|v:1"


def bits(score: float, seed: int) -> np.ndarray:
    """Return which examples are right: as many as the score says, hard ones wrong first."""
    right = np.arange(EXAMPLES) < round(score * EXAMPLES)
    return np.roll(right, seed)


def result(score: float, seed: int = 0, **changes) -> dict:
    scores = {
        "exact_match": score,
        "token_accuracy": score,
        "symbol_error_rate": 1 - score,
        "loss": 1 - score,
    }
    correct = bits(score, seed)
    return {
        "schema": SCHEMA,
        "run_id": "0",
        "choices": {"task": "echo", "encoder": "lstm", "decoder": "luong"},
        "seed": seed,
        "metrics": {"test": scores, "validation": scores, "validation_last": scores},
        "signature": signature(),
        "signatures": {},
        "selected_by": "exact_match",
        "best_step": 5,
        "best_checkpoint": "checkpoints/best-000000005.ckpt",
        "steps": 10,
        "examples_seen": 160,
        "tokens_seen": 640,
        "batches_per_epoch": 5,
        "parameters": {"total": 100},
        "peak_memory_bytes": None,
        "restarts": 0,
        "started": 0.0,
        "ended": 3.0,
        "drift": [],
        "budget": asdict(UPDATES),
        "flops_per_example": 1.0,
        "train_seconds": 2.0,
        "evaluation_seconds": 1.0,
        "environment": ENVIRONMENT,
        "data": {
            "fingerprint": "d0",
            "counts": {"train": 2000, "test": 100, "repeated_pairs": 0},
            "baselines": {},
        },
        "equations": {"encoder": "c = h_S", "decoder": "x_t = c"},
        "probes": {
            "correct": np.packbits(correct).tobytes().hex(),
            "by_length": {"1": [60, int(correct[:60].sum())], "2": [40, int(correct[60:].sum())]},
            "by_position": {"number": [100, 40], "free": [80, 20], "forced": [80, 30]},
            "summary_influence": [0.5, 0.25],
        },
    } | changes


def write_run(folder: RunFolder, score: float | str, seed: int, **changes) -> None:
    """Write a finished run with a score, or one with a status in its place."""
    if isinstance(score, str):
        if score != "PLANNED":
            folder.set_status(score, reason="because")
        return
    folder.set_status("FINISHED")
    write_json(folder.result_file, sealed(result(score, seed, **changes)))
    write_text(
        folder.metrics,
        f'{{"step": 5, "seconds": 1.0, "validation/exact_match": {score / 2}}}\n'
        f'{{"step": 10, "seconds": 2.0, "validation/exact_match": {score}}}\n',
    )
    write_text(
        folder.predictions,
        '{"source": "1 2", "target": "1", "prediction": "1 | 2", "correct": false}\n',
    )


def study(
    output_dir: Path,
    scores: Mapping[str, Sequence[float | str]] | Mapping[tuple[str, str], Sequence[float | str]],
    *,
    factors: Mapping[str, Mapping[str, str]] | None = None,
    result_changes: Mapping[str, object] | None = None,
    **settings,
) -> Plan:
    """Write runs with given scores by variant, or by (variant, task), and return their plan."""
    name = settings.get("name", "s")
    cells = []
    for key, values in scores.items():
        variant, task = key if isinstance(key, tuple) else (key, "echo")
        for seed, score in enumerate(values):
            place = f"runs/{name}{len(cells)}"
            of = dict((factors or {}).get(variant, {"decoder": variant}))
            cell = Cell(
                f"{name}{len(cells)}",
                place,
                variant,
                task,
                seed,
                100,
                (),
                of | {"task": task},
                1000.0,
                10,
            )
            cells.append(cell)
            write_run(RunFolder(output_dir / place), score, seed, **(result_changes or {}))
    return Plan(replace(STUDY, **settings), tuple(cells), UPDATES)


def write(plan: Plan, output_dir: Path) -> None:
    """Write a plan, each variant with a decoder of another width."""
    widths = {cell.variant: 8 + len(cell.variant) for cell in plan.cells}
    configs = {
        variant: CONFIG.with_setting("decoder.hidden_size", width)
        for variant, width in widths.items()
    }
    plan.write(output_dir, {cell.run_id: configs[cell.variant] for cell in plan.cells})


def analysis(output_dir: Path, scores, **settings) -> Analysis:
    """Return the analysis of a study that is made up."""
    plan = study(output_dir, scores, **settings)
    return Analysis(plan, read_rows(plan, output_dir))


def measured_as(before: Analysis, sign: Callable[[int, Row], str]) -> Analysis:
    """Return an analysis whose runs were measured as `sign` says of each index and row."""
    rows = [
        replace(row, result=replace(row.result, signature=sign(index, row)))
        for index, row in enumerate(before.rows)
    ]
    return Analysis(before.plan, rows)
