"""How much computing a report over many stored runs takes, and how much memory.

    python scripts/benchmark_report.py --runs 10000 --examples 2000

Writes run folders as runs of so many test examples leave them, with scores that are drawn, into a
temporary folder, and builds their report in a process of its own with one thread.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from unittest import mock

import numpy as np

from decoderlab.config.composition import compose_config
from decoderlab.config.run_config import Choices, RunConfig
from decoderlab.config.run_identity import digest_of, identity
from decoderlab.records.manifest import write_manifest
from decoderlab.records.run_folder import RunFolder, sealed
from decoderlab.records.run_result import SCHEMA, RunResult
from decoderlab.studies.design.plan_file import Plan, StudyCell
from decoderlab.studies.design.planned_and_run import note_all_planned
from measuring.arguments import positive, script_parser

POSITIONS, SEEDS, TASKS = 30, 10, ("one", "two", "three", "four")
TEXT = " ".join("abcdefgh")
PREDICTIONS = [
    json.dumps(
        {
            "source": TEXT,
            "target": TEXT,
            "references": [TEXT],
            "prediction": TEXT if right else TEXT[2:],
            "correct": right,
        }
    )
    + "\n"
    for right in (False, True)
]


def write_runs(output_dir: Path, number: int, examples: int) -> None:
    """Write a study of so many runs: variants x 4 tasks x 10 seeds."""
    generator = np.random.default_rng(0)
    cells, configs = [], {}
    config = compose_config(["task=echo", "decoder=luong"])
    variants = [f"variant {index}" for index in range(number // (SEEDS * len(TASKS)))]
    for index, variant in enumerate(variants):
        wider = config.with_setting("decoder.hidden_size", 8 + index)
        for task in TASKS:
            skill = generator.uniform(0.2, 0.9)
            for seed in range(SEEDS):
                own = replace(wider, seed=seed, choices=Choices(task, "lstm", variant))
                name = f"runs/{task}-{len(cells)}"
                correct = generator.random(examples) < skill + generator.normal(0, 0.03)
                run_id = write_run(RunFolder(output_dir / name), own, correct)
                configs[run_id] = own
                factors = {"decoder": variant, "task": task}
                given = tuple(f"{key}={value}" for key, value in factors.items())
                cell = StudyCell(
                    run_id, name, variant, task, seed, 100_000, given, factors, 1e6, 2000
                )
                cells.append(cell)
    study = replace(
        config.study,
        name="large",
        question="Which?",
        metric="exact_match",
        baseline=variants[0],
        minimum_effect=0.02,
    )
    plan = Plan(study, tuple(cells), config.budget)
    plan.write(output_dir, configs)
    note_all_planned(plan, output_dir, set(configs))


def write_run(folder: RunFolder, config: RunConfig, correct: np.ndarray) -> str:
    """Write the records of one run, as long as those of a real one; return its id."""
    folder.events.mkdir(parents=True)
    folder.checkpoints.mkdir()
    task, score = config.choices.task, float(correct.mean())
    known = identity(config, task)
    scores = {"exact_match": score, "token_accuracy": score, "symbol_error_rate": 1 - score}
    scores |= {"loss": 1 - score}
    number = len(correct)
    lengths = np.arange(number) % 12 + 1
    reached = [int((lengths >= place).sum()) for place in range(1, POSITIONS + 1)]
    result = {
        "schema": SCHEMA,
        "run_id": digest_of(known),
        "choices": config.choices._asdict(),
        "seed": config.seed,
        "metrics": {"test": scores, "validation": scores, "validation_last": scores},
        "signature": f"generation:greedy|max_length:30|split:test|n:{number}|data:{task}|v:1",
        "signatures": {},
        "selected_by": "exact_match",
        "best_step": 2000,
        "best_checkpoint": "checkpoints/best-000002000.ckpt",
        "steps": 2000,
        "examples_seen": 128_000,
        "tokens_seen": 1_280_000,
        "batches_per_epoch": 1563,
        "peak_memory_bytes": 10**9,
        "started": 0.0,
        "ended": 11.0,
        "budget": asdict(config.budget),
        "parameters": {"encoder": 50_000, "decoder": 50_000, "total": 100_000},
        "flops_per_example": 1e6,
        "train_seconds": 10.0,
        "evaluation_seconds": 1.0,
        "restarts": 0,
        "code_changes": [],
        "data": {
            "fingerprint": task,
            "counts": {"train": 100_000, "test": number},
            "baselines": {},
        },
        "equations": {"encoder": "h_t = LSTM(x_t)\n" * 8, "decoder": "s_t = LSTM(x_t)\n" * 14},
        "environment": {
            "versions": {"python": "3", "torch": "2"},
            "git_commit": "0" * 40,
            "git_dirty": False,
            "processor": "a processor",
            "device": "cpu",
            "threads": 1,
            "capability": "AVX512",
            "world_size": 1,
        },
        "probes": {
            "correct": np.packbits(correct).tobytes().hex(),
            "by_length": {
                str(one): [int((lengths == one).sum()), int(correct[lengths == one].sum())]
                for one in range(1, 13)
            },
            "by_position": {name: reached for name in ("number", "free", "forced")},
            "summary_influence": [0.5] * 12,
        },
    }
    lines = [
        {"step": step, "seconds": step / 200, "train/loss": 1.0, "train/learning_rate": 0.01}
        for step in range(50, 2001, 50)
    ]
    validations = {f"validation/{name}": value for name, value in scores.items()}
    lines += [
        {"step": step, "seconds": step / 200, **validations} for step in range(500, 2001, 500)
    ]
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder.config.write_text(json.dumps(config.to_dict()))  # which is YAML too
    for path in (folder.vocabularies, folder.made_by):
        path.write_text("{}")
    folder.predictions.write_text("".join(PREDICTIONS[right] for right in correct.tolist()))
    (folder.path / result["best_checkpoint"]).write_text("weights")
    np.savez(folder.probes)
    folder.result_file.write_text(json.dumps(sealed(result), indent=2))
    write_manifest(folder, known, RunResult.from_dict(result))
    folder.set_status("FINISHED")
    return result["run_id"]


def main() -> None:
    """Run the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("--runs", type=positive, default=10_000, help="stored runs (%(default)s)")
    parser.add_argument("--examples", type=positive, default=2000, help="of a test (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with mock.patch("os.fsync"):  # what is drawn may be lost
            write_runs(Path(folder), arguments.runs, arguments.examples)
        command = [sys.executable, "-m", "decoderlab.cli.report", "large", "--output-dir", folder]
        subprocess.run(
            command,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
        size = (Path(folder) / "studies" / "large" / "report.html").stat().st_size / 2**20
    cost = f"{seconds:.1f} s of computing, {peak:.2f} GB"
    print(f"{arguments.runs:,} runs: {cost}, report.html {size:.1f} MB")


if __name__ == "__main__":
    main()
