"""Runs and bare loops of decoderlab that the benchmarks time."""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path

from torch import nn

from decoderlab.config.composition import compose_config
from decoderlab.training.assembly import build_model
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.optimizers import make_optimizer
from decoderlab.training.prepared_run import Prepared, prepare_config
from decoderlab.training.run_lifecycle import execute


def prepared_run(overrides: list[str], steps: int, output_dir: Path) -> Prepared:
    """Compose and check the run to measure; it validates once, at its end."""
    given = [
        *overrides,
        f"training.max_steps={steps}",
        f"evaluation.every_steps={steps}",
        f"run.output_dir={output_dir}",
    ]
    return prepare_config(compose_config(given))


def bare_seconds(prepared: Prepared, steps: int, model: EncoderDecoder | None = None) -> float:
    """Train in the plainest loop there is and return its seconds.

    Args:
        prepared: the run, whose data and settings count.
        steps: updates.
        model: what is trained; None for a new one.
    """
    model = (model or build_model(prepared.config, prepared.task)).train()
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
