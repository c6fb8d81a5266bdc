"""The settings of training, evaluation and running, checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from decoderlab.common import require
from decoderlab.generation.search import Search
from decoderlab.layers.initialisation import SCHEMES

OPTIMIZERS = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
    "sgd": partial(torch.optim.SGD, fused=True),
    "adagrad": partial(torch.optim.Adagrad, fused=True),
    "adadelta": partial(torch.optim.Adadelta, rho=0.95, eps=1e-6),  # as Zeiler 2012 and Cho 2014
    "rmsprop": torch.optim.RMSprop,
}
SCHEDULES = ("constant", "linear", "cosine", "exponential", "inverse_sqrt", "halving")
PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float64": "64-true"}


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a model is trained.

    Args:
        batch_size: examples per update, at least 1.
        max_steps, max_epochs, max_seconds: the budget: exactly one of updates, passes over the
            training split, and seconds of training is given, the others are null.
        optimizer: `adam`, `adamw`, `sgd`, `adagrad`, `adadelta` (rho 0.95, epsilon 1e-6) or
            `rmsprop`.
        learning_rate: above 0.
        weight_decay: at least 0.
        gradient_clip_norm: largest L2 norm of the gradient of all weights; null for no clipping.
        schedule: of the learning rate after warm-up: `constant`; `linear` or `cosine` down to 0
            at the end of the budget; `exponential` by `decay_ratio` over the whole budget;
            `inverse_sqrt` of the step; `halving`, constant until `decay_start_ratio` of the
            budget, then halved `num_decays` times at equal distances, at once the first time.
        decay_ratio: last over first learning rate, with schedule `exponential`.
        decay_start_ratio: 0 to 1, with schedule `halving`.
        num_decays: at least 1, with schedule `halving`.
        warmup_steps: updates over which the learning rate rises linearly, at least 0.
        label_smoothing: share of a target's probability spread over all tokens in training, 0 to 1.
        initial_weights: from the distributions of `torch` or `keras`, see
            `decoderlab.layers.initialisation`; what a constructor sets itself is kept.
        uniform_range: initial weights from U(-range, range) instead; null for none.
        precision: `float32`, `bfloat16` (mixed: weights stay float32) or `float64`.
    """

    batch_size: int
    max_steps: int | None
    max_epochs: float | None
    max_seconds: float | None
    optimizer: str
    learning_rate: float
    weight_decay: float
    gradient_clip_norm: float | None
    schedule: str
    decay_ratio: float
    decay_start_ratio: float
    num_decays: int
    warmup_steps: int
    label_smoothing: float
    initial_weights: str
    uniform_range: float | None
    precision: str

    def __post_init__(self) -> None:
        require.at_least("batch_size", self.batch_size, 1)
        require.choice("optimizer", self.optimizer, list(OPTIMIZERS))
        require.positive("learning_rate", self.learning_rate)
        require.at_least("weight_decay", self.weight_decay, 0)
        require.choice("schedule", self.schedule, SCHEDULES)
        require.choice("initial_weights", self.initial_weights, SCHEMES)
        require.choice("precision", self.precision, list(PRECISIONS))
        require.positive("decay_ratio", self.decay_ratio)
        require.ratio("decay_start_ratio", self.decay_start_ratio)
        require.at_least("num_decays", self.num_decays, 1)
        require.at_least("warmup_steps", self.warmup_steps, 0)
        require.ratio("label_smoothing", self.label_smoothing)
        for name in ("gradient_clip_norm", "uniform_range"):
            if getattr(self, name) is not None:
                require.positive(name, getattr(self, name))
        if self.uniform_range is not None and self.initial_weights != "torch":
            raise ValueError(
                f"initial_weights is {self.initial_weights!r} and uniform_range "
                f"{self.uniform_range}, but weights are drawn once; leave one of them out"
            )
        budgets = {
            name: getattr(self, name)
            for name in ("max_steps", "max_epochs", "max_seconds")
            if getattr(self, name) is not None
        }
        if len(budgets) != 1:
            raise ValueError(
                f"the budget is {budgets or 'not given'}; give exactly one of max_steps, "
                "max_epochs and max_seconds, and set the others to null"
            )
        require.positive(*next(iter(budgets.items())))
        if self.max_seconds is not None and self.schedule not in ("constant", "inverse_sqrt"):
            raise ValueError(
                f"schedule is {self.schedule!r} and the budget is max_seconds, so nobody knows "
                "which update is the last; take schedule=constant, or a budget in updates or epochs"
            )

    def total_steps(self, batches_per_epoch: float) -> int | None:
        """Return the budget in updates; None for a budget in seconds.

        Args:
            batches_per_epoch: updates of a pass over the training split.
        """
        if self.max_epochs is not None:
            return math.ceil(self.max_epochs * batches_per_epoch)
        return self.max_steps

    def make_optimizer(
        self, parameters: Iterable[torch.nn.Parameter], total_steps: int | None
    ) -> tuple[torch.optim.Optimizer, Any | None]:
        """Return the optimizer and its schedule per update, None where it never changes."""
        optimizer = OPTIMIZERS[self.optimizer](
            list(parameters), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        if self.schedule == "constant" and not self.warmup_steps:
            return optimizer, None
        return optimizer, torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.factor(step, total_steps)
        )

    def factor(self, step: int, total_steps: int | None) -> float:
        """Return the learning rate of an update, counted from 0, over `learning_rate`."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.schedule == "inverse_sqrt":
            return math.sqrt(max(self.warmup_steps, 1) / (step + 1))
        if self.schedule == "constant":
            return 1.0
        if total_steps is None:
            raise ValueError(
                f"total_steps is None, but schedule={self.schedule} depends on it; give the "
                "number of updates"
            )
        done = (step - self.warmup_steps) / max(total_steps - self.warmup_steps, 1)
        match self.schedule:
            case "linear":
                return max(1 - done, 0.0)
            case "cosine":
                return (1 + math.cos(math.pi * min(done, 1.0))) / 2
            case "halving":
                decayed = (done - self.decay_start_ratio) / (1 - self.decay_start_ratio)
                # The small number keeps a step that lies on a boundary from falling short of it.
                return 0.5 ** min(
                    max(math.floor(decayed * self.num_decays + 1e-9) + 1, 0), self.num_decays
                )
        return self.decay_ratio**done


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a model is evaluated. The test split is used once, at the step chosen on validation.

    Validation and test generate in the same way.

    Args:
        every_steps: updates between two validations, at least 1; there is always one at the end.
        select: the score that chooses the step on validation, one that the task has: exact_match,
            token_accuracy, symbol_error_rate, loss (teacher-forced), or one of another metric in
            `task.metrics`. In a config, null is the task's own.
        beam_width, length_penalty, temperature, top_k, top_p: how to generate, see
            `decoderlab.generation.search.Search`; a beam of 1 without a temperature is greedy.
    """

    every_steps: int
    select: str
    beam_width: int
    length_penalty: float
    temperature: float | None
    top_k: int | None
    top_p: float | None

    def __post_init__(self) -> None:
        self.search(0)
        require.at_least("every_steps", self.every_steps, 1)

    def search(self, seed: int) -> Search:
        """Return how to generate; `seed` is that of sampling."""
        return Search(
            beam_width=self.beam_width,
            length_penalty=self.length_penalty,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            seed=seed,
        )


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where and how a run is carried out; none of it changes a result on the CPU.

    Args:
        output_dir: the folder of all runs and studies.
        threads: threads of torch per process, at least 1; one is fastest for small models.
        evaluation_batch_size: examples to generate for at a time, at least 1.
        log_every_steps: updates between two lines of the training loss, at least 1.
        checkpoint_every_seconds: time between two checkpoints besides those at validations.
        num_samples: test examples shown as text in TensorBoard, at least 0.
    """

    output_dir: str
    threads: int
    evaluation_batch_size: int
    log_every_steps: int
    checkpoint_every_seconds: float
    num_samples: int

    def __post_init__(self) -> None:
        require.at_least("threads", self.threads, 1)
        require.at_least("evaluation_batch_size", self.evaluation_batch_size, 1)
        require.at_least("log_every_steps", self.log_every_steps, 1)
        require.positive("checkpoint_every_seconds", self.checkpoint_every_seconds)
        require.at_least("num_samples", self.num_samples, 0)
