"""Compare the training speed of a decoderlab run with a bare PyTorch loop.

Both train the same modules on the same batches with the same optimizer, in one process with one
thread, taking turns; what is printed is the ratio of their speeds. Have nothing else running.

Example:
    python scripts/benchmark.py --steps 300 --repeats 5 decoder=repeat_vector task=addition
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from torch import nn

from decoderlab.common.folders import conf_dir
from decoderlab.training.assembly import build_model
from decoderlab.training.optimizers import make_optimizer
from decoderlab.training.prepared_run import Prepared, prepare
from decoderlab.training.run_lifecycle import execute


def prepared_run(overrides: list[str], steps: int, output_dir: Path) -> Prepared:
    """Compose and check the run to measure; it validates once, at its end."""
    given = [
        *overrides,
        f"training.max_steps={steps}",
        f"evaluation.every_steps={steps}",
        f"run.output_dir={output_dir}",
    ]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train", overrides=given, return_hydra_config=True)
    return prepare(config, config.hydra.runtime.choices)


def bare_seconds(prepared: Prepared, steps: int) -> float:
    """Train in the plainest loop there is and return its seconds."""
    model = build_model(prepared.config, prepared.task).train()
    parameters = list(model.parameters())
    training = prepared.config.training
    optimizer, _ = make_optimizer(training, parameters, steps)
    batches = itertools.islice(prepared.task.train_dataloader(), steps)
    begin = time.perf_counter()
    for batch in batches:
        optimizer.zero_grad()
        total, num_tokens = model.loss(batch)
        (total / num_tokens).backward()
        if training.gradient_clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, training.gradient_clip_norm)
        optimizer.step()
    return time.perf_counter() - begin


def run_seconds(overrides: list[str], steps: int) -> float:
    """Train as decoderlab-train does, records and all, and return its seconds of training."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepared_run(overrides, steps, Path(folder))
        status = execute(prepared, report=lambda step, values: None, retry=True)
        if status != "FINISHED":
            raise SystemExit(f"the run ended {status}: {prepared.folder.status()}")
        result = prepared.folder.result()
        if result is None:
            raise SystemExit(f"{prepared.folder.path} has no result")
        return result.train_seconds


def main() -> None:
    """Measure and print the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300, help="updates a turn (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each (%(default)s)")
    parser.add_argument("overrides", nargs="*", help="as for decoderlab-train")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    prepared = prepared_run(arguments.overrides, arguments.steps, Path("unused"))
    bare_seconds(prepared, 30)  # warm-up
    run_seconds(arguments.overrides, 30)
    ratios = []
    for _ in range(arguments.repeats):
        bare = bare_seconds(prepared, arguments.steps)
        run = run_seconds(arguments.overrides, arguments.steps)
        ratios.append(bare / run)
        per = 1000 / arguments.steps
        print(f"bare {bare * per:.2f} ms, run {run * per:.2f} ms an update, ratio {bare / run:.2f}")
    print(f"speed of a run over a bare loop: median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
