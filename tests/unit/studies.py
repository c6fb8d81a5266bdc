"""Studies that are made up: run folders with given scores, written as a run would."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np

from decoderlab.config.part_settings import PartSettings
from decoderlab.config.run_config import Choices, RunConfig
from decoderlab.config.run_identity import digest_of, identity
from decoderlab.config.study_settings import Budget, Study
from decoderlab.data.packed_outcomes import unpack
from decoderlab.metrics.signature import num_examples
from decoderlab.records.manifest import read_manifest, write_manifest
from decoderlab.records.run_folder import (
    RunFolder,
    sealed,
    write_json,
)
from decoderlab.records.run_result import SCHEMA, RunResult
from decoderlab.studies.analysis.results import RunRow, read_rows
from decoderlab.studies.analysis.study_analysis import Analysis
from decoderlab.studies.design.plan_file import Plan, StudyCell
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
    on_failure="continue",
    seeds=None,
    factors=None,
    variants=None,
    references=None,
    exclude=None,
    max_runs=1000,
    max_hours=24.0,
    allow_changes=False,
    tuning=None,
    published=None,
)
CONFIG = RunConfig.from_composed(composed("task=echo", "decoder=luong", "evaluation.every_steps=5"))
# Of the runs that were made up, by run id.
CONFIGS: dict[str, RunConfig] = {}
UPDATES = Budget(match="updates", width="decoder.hidden_size", tolerance=0.01)


def signature(data: str = "d0", number: int = EXAMPLES, search: str = "greedy") -> str:
    return f"generation:{search}|max_length:4|split:test|n:{number}|data:{data}|v:1"


def bits(score: float, seed: int, number: int = EXAMPLES) -> np.ndarray:
    """Return which examples are right: as many as the score says, hard ones wrong first."""
    right = round(score * number)
    assert math.isclose(score * number, right, abs_tol=1e-9), f"{score} is of no {number} examples"
    return np.roll(np.arange(number) < right, seed)


def scored(score: float) -> dict[str, float]:
    """Return all scores of a run or of a validation."""
    errors = {"symbol_error_rate": 1 - score, "loss": 1 - score}
    return {"exact_match": score, "token_accuracy": score, **errors}


def result(score: float, seed: int = 0, number: int = EXAMPLES, **changes) -> dict:
    """Return a result whose numbers agree with each other, but for changes.

    Args:
        score: share of right test examples.
        seed: of the run.
        number: of its test examples.
        **changes: fields that are replaced.
    """
    scores = scored(score)
    correct = bits(score, seed, number)
    easy, short = number * 3 // 5, number * 2 // 5
    return {
        "schema": SCHEMA,
        "run_id": "0",
        "choices": {"task": "echo", "encoder": "lstm", "decoder": "luong"},
        "seed": seed,
        "metrics": {"test": scores, "validation": scores, "validation_last": scores},
        "signature": signature(number=number),
        "signatures": {},
        "selected_by": "exact_match",
        "best_step": 10,
        "best_checkpoint": "checkpoints/best-000000010.ckpt",
        "steps": 10,
        "examples_seen": 160,
        "tokens_seen": 640,
        "batches_per_epoch": 5,
        "parameters": {"encoder": 40, "decoder": 60, "total": 100},
        "peak_memory_bytes": None,
        "restarts": 0,
        "started": 0.0,
        "ended": 3.0,
        "code_changes": [],
        "budget": asdict(UPDATES),
        "flops_per_example": 1000.0,
        "train_seconds": 2.0,
        "evaluation_seconds": 1.0,
        "environment": ENVIRONMENT,
        "data": {
            "fingerprint": "d0",
            "counts": {"train": 2000, "test": number, "repeated_pairs": 0},
            "baselines": {},
        },
        "equations": {"encoder": "c = h_S", "decoder": "x_t = c"},
        "probes": {
            "correct": np.packbits(correct).tobytes().hex(),
            "by_length": {
                length: [len(right), int(right.sum())]
                for length, right in (("1", correct[:easy]), ("2", correct[easy:]))
                if len(right)
            },
            "by_position": {
                "number": [number, short],
                "free": [number * 4 // 5, short // 2],
                "forced": [number * 4 // 5, short * 3 // 4],
            },
            "summary_influence": [0.5, 0.25],
        },
    } | changes


def config_of(number: int, choices: Choices, seed: int) -> RunConfig:
    """Return the config of a run that is made up; each number has data of its own."""
    config = _of_width(8 + len(choices.decoder))
    task = PartSettings({**config.task.to_dict(), "data_seed": number})
    return replace(config, task=task, seed=seed, choices=choices)


@cache
def _of_width(width: int) -> RunConfig:
    return CONFIG.with_setting("decoder.hidden_size", width)


def write_run(
    folder: RunFolder, score: float | str, config: RunConfig, number: int = EXAMPLES, **changes
) -> str:
    """Write a finished run with a score, or one with a status in its place; return its run id."""
    failed = isinstance(score, str)
    record = result(0.0 if failed else score, config.seed, number, **changes)
    known = identity(config, record["data"]["fingerprint"])
    run_id = digest_of(known)
    if failed:
        if score != "PLANNED":
            folder.set_status(score, reason="because")
        return run_id
    folder.set_status("FINISHED")
    folder.checkpoints.mkdir(exist_ok=True)
    texts = {
        folder.config: json.dumps(config.to_dict()),  # which is YAML too
        folder.vocabularies: "{}",
        folder.made_by: "{}",
        folder.path / record["best_checkpoint"]: "weights",
    }
    for path, text in texts.items():
        path.write_text(text)
    np.savez(folder.probes)
    own = {"run_id": run_id, "choices": config.choices._asdict()}
    _write_result(folder, record | own | {"budget": asdict(config.budget)}, known)
    return run_id


def rewrite(folder: RunFolder, other: Mapping) -> None:
    """Write another result of a run that is there, as the run would have written it."""
    before = json.loads(folder.result_file.read_text())
    own = {name: before[name] for name in ("run_id", "seed", "choices", "budget")}
    _write_result(folder, {**other, **own}, read_manifest(folder).identity)


def write_metrics(folder: RunFolder, curve: Mapping[int, Mapping[str, float]]) -> None:
    """Write the validations of a run, with their scores by update; they take two seconds."""
    lines = [
        {"step": step, "seconds": 2.0 * step / max(curve)}
        | {f"validation/{name}": value for name, value in scores.items()}
        for step, scores in curve.items()
    ]
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_predictions(folder: RunFolder, right: Sequence[bool]) -> None:
    """Write predictions, of which some are right."""
    folder.predictions.write_text(_predictions(tuple(map(bool, right))))


@cache
def _predictions(right: tuple[bool, ...]) -> str:
    texts = {"source": "1 2", "target": "1", "references": ["1"]}
    lines = [texts | {"prediction": "1" if one else "1 | 2", "correct": one} for one in right]
    return "".join(json.dumps(line) + "\n" for line in lines)


def _write_result(folder: RunFolder, record: Mapping, known: Mapping) -> None:
    """Write a result, and the metrics and predictions that agree with it."""
    made = RunResult.from_dict(record)
    last = made.metrics.validation_last
    half = scored(made.metrics.test.get("exact_match", 0.0) / 2)
    before = {name: half.get(name, value) for name, value in last.items()}
    write_metrics(folder, {made.steps // 2: before, made.steps: last})
    number = num_examples(made.signature)
    score = made.metrics.test.get("exact_match", 0.0)
    right = unpack(made.probes or {}, number)
    write_predictions(folder, bits(score, made.seed, number) if right is None else right)
    write_json(folder.result_file, sealed(dict(record)))
    write_manifest(folder, known, made)


def study(
    output_dir: Path,
    scores: Mapping[str, Sequence[float | str]] | Mapping[tuple[str, str], Sequence[float | str]],
    *,
    factors: Mapping[str, Mapping[str, str]] | None = None,
    result_changes: Mapping[str, object] | None = None,
    number: int = EXAMPLES,
    **settings,
) -> Plan:
    """Write runs with given scores by variant, or by (variant, task), and return their plan.

    Args:
        output_dir: where to.
        scores: by seed; a status where a run has none.
        factors: of a variant.
        result_changes: see `result`.
        number: of test examples, of which the scores are shares.
        **settings: of the study.
    """
    name = settings.get("name", "s")
    cells = []
    for key, values in scores.items():
        variant, task = key if isinstance(key, tuple) else (key, "echo")
        for seed, score in enumerate(values):
            index = len(cells)
            place = f"runs/{name}{index}"
            of = dict((factors or {}).get(variant, {"decoder": variant}))
            config = config_of(index, Choices(task, "lstm", of.get("decoder", "luong")), seed)
            run_id = write_run(
                RunFolder(output_dir / place), score, config, number, **(result_changes or {})
            )
            CONFIGS[run_id] = config
            varied = of | {"task": task}
            given = tuple(f"{key}={value}" for key, value in varied.items())
            changed = result_changes or {}
            flops, steps = changed.get("flops_per_example", 1000.0), changed.get("steps", 10)
            parts = (given, varied, flops, steps)
            cells.append(StudyCell(run_id, place, variant, task, seed, 100, *parts))
    return Plan(replace(STUDY, **settings), tuple(cells), UPDATES)


def write(plan: Plan, output_dir: Path) -> None:
    """Write a plan that is made up."""
    plan.write(output_dir, CONFIGS)


def analysis(output_dir: Path, scores, **settings) -> Analysis:
    """Return the analysis of a study that is made up."""
    plan = study(output_dir, scores, **settings)
    return Analysis(plan, read_rows(plan, output_dir))


def measured_as(before: Analysis, sign: Callable[[int, RunRow], str]) -> Analysis:
    """Return an analysis whose runs were measured as `sign` says of each index and row."""
    rows = [
        replace(row, result=replace(row.result, signature=sign(index, row)))
        for index, row in enumerate(before.rows)
    ]
    return Analysis(before.plan, rows)
