"""Sections of a run's config: `Training`, `Evaluation` and `Run`, checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from decoderlab.common import require
from decoderlab.common.part_choice import Choice
from decoderlab.config.part_settings import PartSettings
from decoderlab.generation.search import Search
from decoderlab.layers.initialisation import SCHEMES

# What of `Training` is a class, chosen from a config group: training/optimizer=adamw.
TRAINING_PARTS = ("optimizer", "schedule", "objective")
MAX_SEED = 2**32 - 1
OWN_SEEDS = ("weights_seed", "order_seed")  # of `Training`: each of one draw alone
# What Lightning calls each precision.
PRECISIONS: dict[str, Literal["32-true", "bf16-mixed", "64-true"]] = {
    "float32": "32-true",
    "bfloat16": "bf16-mixed",
    "float64": "64-true",
}


class Seeds(NamedTuple):
    """Seeds of the initial weights, and of the order of the training examples."""

    weights: int
    order: int


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a model is trained.

    Args:
        batch_size: examples per update, at least 1.
        group_by_target_length: whether a batch has targets of nearly one length, so that little is
            padded; its sources have one length in any case. False for batches drawn at random
            among the sources of a length.
        max_steps, max_epochs, max_seconds: the budget: exactly one of updates, passes over the
            training split, and seconds of training is given, the others are null. Time in which
            the process is stopped (Ctrl-Z, SIGSTOP, a closed laptop) does not count, nor does
            validation; see `decoderlab.common.stopwatch`.
        optimizer: the class, such as torch.optim.Adam, and its settings; the parameters,
            `learning_rate` and `weight_decay` are handed in.
        learning_rate: above 0.
        weight_decay: at least 0.
        gradient_clip_norm: largest L2 norm of the gradient of all weights; null for no clipping.
        schedule: of the learning rate after warm-up: a class of `decoderlab.training.schedules`,
            or one of your own, and its settings.
        warmup_steps: updates over which the learning rate rises linearly, at least 0.
        objective: what training makes small: `decoderlab.training.objective.Likelihood`, or a class
            of your own, and its settings. Validation measures the plain likelihood in any case.
        initial_weights: from the distributions of `torch` or `keras`, or of a class of your own
            and its settings, see `InitialWeights` in `decoderlab.layers.initialisation`; what a
            constructor sets itself is kept.
        uniform_range: initial weights from U(-range, range) instead; null for none.
        from_run: folder of a finished run to go on from, as if its budget had been this one: its
            updates, seconds and metrics count as this run's, the best step may be one of them,
            unless the evaluation is another one, and the learning rate of update n is that of this
            run's schedule and budget. Encoder,
            decoder, data, optimizer and precision are the parent's. null to train from scratch.
        precision: `float32`, `bfloat16` (mixed: weights stay float32) or `float64`.
        weights_seed, order_seed: seeds of the initial weights, and of the order of the training
            examples, in place of the run's `seed`; null for that one. With one of them fixed, and
            `task.data_seed` fixed or equal to the seed, seeds show how much of the variance each
            makes.

    Raises:
        ValueError: for a value out of range, a part without a class, or another number of
            budgets than one.
    """

    batch_size: int
    max_steps: int | None
    max_epochs: float | None
    max_seconds: float | None
    optimizer: PartSettings
    learning_rate: float
    weight_decay: float
    gradient_clip_norm: float | None
    schedule: PartSettings
    warmup_steps: int
    objective: PartSettings
    initial_weights: str | PartSettings
    uniform_range: float | None
    precision: str
    from_run: str | None = None
    group_by_target_length: bool = False
    weights_seed: int | None = None
    order_seed: int | None = None

    def __post_init__(self) -> None:
        for name in TRAINING_PARTS:
            part = getattr(self, name)
            if not isinstance(part, Mapping) or "_target_" not in part:
                raise ValueError(
                    f"{name} is {part!r}, which names no class; choose it: training/{name}=NAME"
                )
            object.__setattr__(self, name, PartSettings(part))
        require.at_least("batch_size", self.batch_size, 1)
        require.positive("learning_rate", self.learning_rate)
        require.at_least("weight_decay", self.weight_decay, 0)
        if isinstance(self.initial_weights, Mapping):
            object.__setattr__(self, "initial_weights", PartSettings(self.initial_weights))
        else:
            Choice.named("training.initial_weights", self.initial_weights, SCHEMES)
        require.choice("precision", self.precision, list(PRECISIONS))
        require.at_least("warmup_steps", self.warmup_steps, 0)
        for name in ("gradient_clip_norm", "uniform_range"):
            if getattr(self, name) is not None:
                require.positive(name, getattr(self, name))
        for name in OWN_SEEDS:
            if getattr(self, name) is not None:
                require.between(name, getattr(self, name), 0, MAX_SEED)
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
                "max_epochs and max_seconds"
            )
        require.positive(*next(iter(budgets.items())))

    def seeds(self, seed: int) -> Seeds:
        """Return what each kind of draw is made with in a run of `seed`."""
        weights = seed if self.weights_seed is None else self.weights_seed
        return Seeds(weights, seed if self.order_seed is None else self.order_seed)

    def total_steps(self, batches_per_epoch: float) -> int | None:
        """Return the budget in updates; None for a budget in seconds.

        Args:
            batches_per_epoch: updates of a pass over the training split.
        """
        if self.max_epochs is not None:
            return math.ceil(self.max_epochs * batches_per_epoch)
        return self.max_steps


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a model is evaluated. The test split is used once, at the step chosen on validation.

    Validation and test generate in the same way, unless `validate_greedily`.

    Args:
        every_steps: updates between two validations, at least 1; there is always one at the end.
        select: the score that chooses the step on validation, one that the task has: exact_match,
            token_accuracy, symbol_error_rate, loss (teacher-forced), or one of another metric in
            `task.metrics`. Of equal scores the lower loss is taken, of equal losses the later
            step. In a config, null is the task's own.
        beam_width, length_penalty, coverage_penalty: of a beam search, see
            `decoderlab.generation.Search`; a beam of 1 without a temperature is greedy.
        temperature, top_k, top_p, min_p, mbr_samples, exact_steps: other ways to generate, see
            there.
        beam_groups, diversity_penalty: of a diverse beam search, see there too.
        oracle_length: whether an output is told how long its target is: it cannot end before, and
            ends there; with greedy and beam search. Scores do not compare with others.
        max_length: tokens to generate at most, EOS included, at least 1; None for the longest
            target of the data. An output that meets it without an end is marked, and counted.
        validate_greedily: whether validations generate greedily, whatever the settings of a search,
            which are then the test's alone. Runs of a study that differ in these alone are trained
            once, and each is tested.

    Raises:
        ValueError: for settings out of range or without effect beside the others, and for a
            greatest length beside given ones.
    """

    every_steps: int
    select: str
    beam_width: int
    length_penalty: float
    temperature: float | None
    top_k: int | None
    top_p: float | None
    max_length: int | None = None
    min_p: float | None = None
    mbr_samples: int | None = None
    exact_steps: int | None = None
    coverage_penalty: float = 0.0
    beam_groups: int | None = None
    diversity_penalty: float | None = None
    oracle_length: bool = False
    validate_greedily: bool = False

    def __post_init__(self) -> None:
        self.search(0)
        require.at_least("every_steps", self.every_steps, 1)
        if self.max_length is not None:
            require.at_least("max_length", self.max_length, 1)
        if self.oracle_length and self.max_length is not None:
            raise ValueError(
                f"max_length is {self.max_length} and oracle_length true, so that an output is as "
                "long as its target; leave max_length at null, or oracle_length at false"
            )

    def search(self, seed: int) -> Search:
        """Return how to generate; `seed` is that of sampling."""
        return Search(
            beam_width=self.beam_width,
            length_penalty=self.length_penalty,
            coverage_penalty=self.coverage_penalty,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            mbr_samples=self.mbr_samples,
            exact_steps=self.exact_steps,
            beam_groups=self.beam_groups,
            diversity_penalty=self.diversity_penalty,
            oracle_length=self.oracle_length,
            seed=seed,
        )

    def validation_search(self, seed: int) -> Search:
        """Return how validations generate; `seed` is that of sampling."""
        if self.validate_greedily:
            return Search(oracle_length=self.oracle_length)
        return self.search(seed)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where and how a run is carried out; none of it is part of what names the run.

    On one machine two settings here change a result, in its last bits: `threads` and
    `evaluation_batch_size`, with others of which numbers are added up in another order. That can
    decide which of two equally good validations is chosen, and which of two outputs that are all
    but equally probable is generated. Keep them alike in a study. A report says where the threads
    of its runs differ; it does not look at the batches of evaluation.

    Args:
        output_dir: the folder of all runs and studies.
        threads: threads of torch per process, at least 1; one is fastest for small models.
        evaluation_batch_size: examples to evaluate and to generate for at a time, at least 1.
        log_every_steps: updates between two lines of the training loss, at least 1.
        checkpoint_every_seconds: time between two checkpoints besides those at validations.
        num_samples: test examples shown as text in TensorBoard, at least 0.
        min_free_megabytes: a sweep begins no run with less room on the disk than this, or than the
            run needs for its checkpoints; at least 0.
    """

    output_dir: str
    threads: int
    evaluation_batch_size: int
    log_every_steps: int
    checkpoint_every_seconds: float
    num_samples: int
    min_free_megabytes: float

    def __post_init__(self) -> None:
        require.at_least("threads", self.threads, 1)
        require.at_least("evaluation_batch_size", self.evaluation_batch_size, 1)
        require.at_least("log_every_steps", self.log_every_steps, 1)
        require.positive("checkpoint_every_seconds", self.checkpoint_every_seconds)
        require.at_least("num_samples", self.num_samples, 0)
        require.at_least("min_free_megabytes", self.min_free_megabytes, 0)
