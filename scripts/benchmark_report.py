"""How long a report over many stored runs takes, and how much memory.

    python scripts/benchmark_report.py --runs 10000

Writes run folders as runs of 2,000 test examples leave them, with scores that are drawn, into a
temporary folder, and builds their report in a process of its own with one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from decoderlab.config.composition import compose_config
from decoderlab.records.run_folder import sealed
from decoderlab.records.run_result import SCHEMA
from decoderlab.studies.design.plan_file import Cell, Plan

EXAMPLES, POSITIONS, SEEDS, TASKS = 2000, 30, 10, ("one", "two", "three", "four")


def write_runs(output_dir: Path, number: int) -> None:
    """Write a study of so many runs: variants x 4 tasks x 10 seeds."""
    generator = np.random.default_rng(0)
    cells, configs = [], {}
    config = compose_config(["task=echo", "decoder=luong"])
    variants = [f"variant {place}" for place in range(number // (SEEDS * len(TASKS)))]
    for variant in variants:
        for task in TASKS:
            skill = generator.uniform(0.2, 0.9)
            for seed in range(SEEDS):
                identity = f"{len(cells):064d}"
                name = f"runs/{task}-{len(cells)}"
                factors = {"decoder": variant, "task": task}
                cell = Cell(identity, name, variant, task, seed, 100_000, (), factors, 1e6, 2000)
                cells.append(cell)
                configs[identity] = replace(config, seed=seed)
                correct = generator.random(EXAMPLES) < skill + generator.normal(0, 0.03)
                write_run(output_dir / name, identity, task, correct)
    study = replace(
        config.study,
        name="large",
        question="Which?",
        metric="exact_match",
        baseline=variants[0],
        minimum_effect=0.02,
    )
    Plan(study, tuple(cells), config.budget).write(output_dir, configs)


def write_run(folder: Path, identity: str, task: str, correct: np.ndarray) -> None:
    """Write the records of one run, as long as those of a real one."""
    (folder / "tensorboard").mkdir(parents=True)
    score = float(correct.mean())
    scores = {"exact_match": score, "token_accuracy": score, "symbol_error_rate": 1 - score}
    scores |= {"loss": 1 - score}
    lengths = np.arange(EXAMPLES) % 12 + 1
    reached = [int((lengths >= place).sum()) for place in range(1, POSITIONS + 1)]
    result = {
        "schema": SCHEMA,
        "run_id": identity,
        "choices": {"task": task, "encoder": "lstm", "decoder": "luong"},
        "seed": 0,
        "metrics": {"test": scores, "validation": scores, "validation_last": scores},
        "signature": f"generation:greedy|max_length:30|split:test|n:{EXAMPLES}|data:{task}|v:1",
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
        "budget": {"match": "updates", "width": "decoder.hidden_size", "tolerance": 0.01},
        "parameters": {"encoder": 50_000, "decoder": 50_000, "total": 100_000},
        "flops_per_example": 1e6,
        "train_seconds": 10.0,
        "evaluation_seconds": 1.0,
        "restarts": 0,
        "drift": [],
        "data": {"fingerprint": task, "counts": {"train": 100_000}, "baselines": {}},
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
    (folder / "result.json").write_text(json.dumps(sealed(result), indent=2))
    (folder / "status.json").write_text(json.dumps({"status": "FINISHED", "at": 0.0}))
    lines = [
        {"step": step, "seconds": step / 200, "train/loss": 1.0, "train/learning_rate": 0.01}
        for step in range(50, 2001, 50)
    ]
    lines += [{"step": step, "validation/exact_match": score} for step in range(500, 2001, 500)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000, help="stored runs (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_runs(Path(folder), arguments.runs)
        command = [sys.executable, "-m", "decoderlab.cli.report", "large", "--output-dir", folder]
        started = time.perf_counter()
        subprocess.run(
            command,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        size = (Path(folder) / "studies" / "large" / "report.html").stat().st_size / 2**20
    print(f"{arguments.runs:,} runs: {seconds:.1f} s, {peak:.2f} GB, report.html {size:.1f} MB")


if __name__ == "__main__":
    main()
