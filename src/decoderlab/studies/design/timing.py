"""How long a run will take, from one timed update and one timed batch of generation."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import sorted_json
from decoderlab.config.run_sections import OWN_SEEDS
from decoderlab.config.scientific import training_of
from decoderlab.data.task import Task
from decoderlab.training.assembly import build_model

if TYPE_CHECKING:
    from decoderlab.studies.design.draft import Draft

# Settings of training that change how many updates there are, what they begin with or come to.
OF_NO_TIME = (
    *("learning_rate", "max_steps", "max_epochs", "max_seconds", "schedule", "warmup_steps"),
    *("initial_weights", "uniform_range", "from_run", *OWN_SEEDS),
)
LARGE_MODEL = 20_000_000  # parameters; above, nothing is timed, since one update takes seconds


@dataclass(frozen=True)
class Times:
    """Seconds of an update, and of an example in test and validation, with what was timed."""

    update: float
    example: float
    validated: float
    flops: float

    def scaled(self, flops: float) -> Times:
        """Return the times of a model with other operations."""
        ratio = flops / self.flops
        return Times(self.update * ratio, self.example * ratio, self.validated * ratio, flops)


class Timer:
    """Adds up the time that runs will take.

    A model is timed once, whatever its seeds, learning rate and budget. When all timing together
    has taken `max_seconds`, and for very large models, the times of the model with the nearest
    number of operations are scaled.

    Args:
        max_seconds: that timing may take.
    """

    def __init__(self, max_seconds: float = 10.0) -> None:
        self.left = max_seconds
        self.seconds = 0.0
        self._times: dict[str, Times | None] = {}
        self._trained: set[str] = set()

    def add(self, draft: Draft, task: Task) -> None:
        """Add the time of one run; NaN if nothing could be timed.

        Raises:
            ValueError: if the run has no budget in updates yet.
        """
        config = draft.config
        training, evaluation = config.training, config.evaluation
        scientific = config.scientific()
        key = _costs(scientific)
        if key not in self._times and self.left > 0 and draft.parameters < LARGE_MODEL:
            started = time.perf_counter()
            self._times[key] = _time(config, task, draft.flops)
            self.left -= time.perf_counter() - started
        times = self._times.get(key) or self._nearest(draft.flops)
        if times is None:
            self.seconds = math.nan
            return
        if training.max_seconds is not None:
            trained, steps = training.max_seconds, training.max_seconds / times.update
        elif draft.steps is not None:
            trained, steps = draft.steps * times.update, draft.steps
        else:
            raise ValueError(f"{draft.row} has no updates yet; a draft is identified, then timed")
        validations = max(math.ceil(steps / evaluation.every_steps), 1)
        splits = task.data.splits
        if self._is_trained(scientific):
            trained = validations = 0
        self.seconds += trained + len(splits["test"]) * times.example
        self.seconds += validations * len(splits["validation"]) * times.validated

    def _is_trained(self, scientific: Mapping[str, Any]) -> bool:
        """Whether a run before it is trained alike, so that it is only tested."""
        training = training_of(scientific)
        key = None if training is None else sorted_json(training)
        known = key in self._trained
        if key is not None:
            self._trained.add(key)
        return known

    def _nearest(self, flops: float) -> Times | None:
        known = [times for times in self._times.values() if times is not None]
        if not known:
            return None
        nearest = min(known, key=lambda times: abs(math.log(times.flops / flops)))
        return nearest.scaled(flops)


def _costs(scientific: Mapping[str, Any]) -> str:
    """Return those settings that the time of an update, or of an example, depends on."""
    training = {
        name: value for name, value in scientific["training"].items() if name not in OF_NO_TIME
    }
    return sorted_json({**scientific, "training": training, "seed": 0})


def _time(config: RunConfig, task: Task, flops: float) -> Times | None:
    """Time a model; None if it fails, which the run itself will say better."""
    try:
        model = build_model(config, task)
        optimizer = model.configure_optimizers()
        optimizer = optimizer[0][0] if isinstance(optimizer, tuple) else optimizer
        batches = iter(task.train_dataloader())
        updates = []
        for _ in range(3):  # the first update warms up
            batch = model.transfer_batch_to_device(next(batches), model.device, 0)
            started = time.perf_counter()
            optimizer.zero_grad()
            model.training_step(batch, 0).backward()
            optimizer.step()
            updates.append(time.perf_counter() - started)
        batch = next(iter(task.val_dataloader()))
        batch = model.transfer_batch_to_device(batch, model.device, 0)
        model.eval()
        seconds = []
        for search in (model.search, model.validation_search):
            started = time.perf_counter()
            with torch.no_grad():
                model.generated(batch, search)
            seconds.append((time.perf_counter() - started) / len(batch.index))
        return Times(min(updates[1:]), seconds[0], seconds[1], flops)
    except (Exception, SystemExit):  # whatever somebody's module does
        return None
