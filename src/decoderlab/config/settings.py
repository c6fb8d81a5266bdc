"""The settings of training, evaluation and running, checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from decoderlab.common import require
from decoderlab.common.parts import part
from decoderlab.data.metrics import SCALES
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
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")
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

    def total_steps(self, batches_per_epoch: int) -> int | None:
        """Return the budget in updates; None for a budget in seconds."""
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
        select: the metric that chooses the step on validation, one that the task has: exact_match,
            token_accuracy, symbol_error_rate, loss (teacher-forced), or another of
            `decoderlab.data.metrics.SCALES`. In a config, null is the task's own.
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
        require.choice("select", self.select, list(SCALES))

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

    def better(self, score: float, best: float | None) -> bool:
        """Whether a score beats the best so far; the earlier one wins among equals."""
        if best is None:
            return True
        return score > best if SCALES[self.select].better == "max" else score < best


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where and how a run is carried out; none of it changes a result on the CPU.

    Several processes divide each batch among them, so that a result is that of one process up to
    rounding; what dropout and scheduled sampling draw differs too.

    Args:
        output_dir: the folder of all runs and studies.
        accelerator: `auto`, `cpu` or `gpu`.
        devices: processes on each machine that train one model, each with a GPU of its own or on
            the CPU, at least 1.
        num_nodes: machines, at least 1; they share `output_dir`.
        strategy: Lightning's, for several processes: `auto` and `ddp` exchange all gradients;
            `ddp_find_unused_parameters_true` is for a model that does not use some of its weights
            in every update.
        threads: threads of torch per process, at least 1; one is fastest for small models.
        evaluation_batch_size: examples to generate for at a time, at least 1.
        log_every_steps: updates between two lines of the training loss, at least 1.
        checkpoint_every_seconds: time between two checkpoints besides those at validations.
        tensorboard: whether to write TensorBoard events.
        num_samples: test examples shown as text in TensorBoard, at least 0.
    """

    output_dir: str
    accelerator: str
    devices: int
    num_nodes: int
    strategy: str
    threads: int
    evaluation_batch_size: int
    log_every_steps: int
    checkpoint_every_seconds: float
    tensorboard: bool
    num_samples: int

    def __post_init__(self) -> None:
        require.choice("accelerator", self.accelerator, ("auto", "cpu", "gpu"))
        require.at_least("devices", self.devices, 1)
        require.at_least("num_nodes", self.num_nodes, 1)
        require.choice("strategy", self.strategy, STRATEGIES)
        require.at_least("threads", self.threads, 1)
        require.at_least("evaluation_batch_size", self.evaluation_batch_size, 1)
        require.at_least("log_every_steps", self.log_every_steps, 1)
        require.positive("checkpoint_every_seconds", self.checkpoint_every_seconds)
        require.at_least("num_samples", self.num_samples, 0)
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise ValueError("accelerator is 'gpu', but torch sees none; take accelerator=cpu")
        gpus = torch.cuda.device_count() if self.accelerator != "cpu" else 0
        if gpus and self.devices > gpus:
            raise ValueError(f"devices is {self.devices}, but torch sees {gpus} GPUs; take fewer")


MATCHES = ("updates", "parameters", "flops", "seconds")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the variants of a study are given alike; the baseline of the study sets the measure.

    Args:
        match: `updates`: each variant trains for as many updates as `training` says. `parameters`:
            besides, the width of each decoder is solved for, so that the model has as many
            parameters as the baseline's. `flops`: the updates are solved for, so that training
            takes as many floating-point operations as the baseline's. `seconds`: each variant
            trains for `training.max_seconds`. Validations stay `evaluation.every_steps` apart, so
            that a variant with more updates is validated more often.
        width: the setting of the decoder that `parameters` changes.
        tolerance: largest relative difference that is left in parameters or operations, 0 to 1.
    """

    match: str
    width: str
    tolerance: float

    def __post_init__(self) -> None:
        require.choice("match", self.match, MATCHES)
        require.ratio("tolerance", self.tolerance)
        if not self.width.startswith("decoder."):
            raise ValueError(
                f"width is {self.width!r}; name a setting of the decoder: decoder.NAME"
            )


SAMPLERS = ("random", "tpe")


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A search for the best settings of every variant, before its evaluation seeds are run.

    Args:
        space: settings, each with a list of values or a range `{low: A, high: B}`, with `log: true`
            for logarithmic ones; a range between two integers is one of integers.
        trials: settings tried for each variant on each task, at least 1.
        seeds: of the trials' runs; none of them is a seed of the study itself.
        sampler: `random`: every variant is tried with the very same settings. `tpe`: a
            tree-structured Parzen estimator, which follows each variant's own results.
    """

    space: dict[str, Any]
    trials: int
    seeds: list[int] | str
    sampler: str = "random"

    def __post_init__(self) -> None:
        require.at_least("tuning.trials", self.trials, 1)
        require.choice("tuning.sampler", self.sampler, SAMPLERS)
        if not self.space:
            raise ValueError("tuning.space is empty; name at least one setting and its values")
        for key, values in self.space.items():
            _check_dimension(key, values)


def _check_dimension(key: str, values: Any) -> None:
    if key == "seed":
        raise ValueError("tuning.space has seed, which is not tuned; give tuning.seeds")
    if isinstance(values, list) and values:
        return
    if isinstance(values, dict) and {"low", "high"} <= set(values) <= {"low", "high", "log"}:
        low, high = values["low"], values["high"]
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (low, high))
        finite = numbers and math.isfinite(low) and math.isfinite(high)
        if finite and low < high and (low > 0 or not values.get("log")):
            return
    raise ValueError(
        f"tuning.space.{key} is {values!r}; give a list of values, or {{low: A, high: B}} with "
        "A below B, and above 0 with log: true"
    )


FAMILIES = ("task", "study")


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published value that a study is to reproduce, with the tolerance stated before.

    Args:
        row: of the table.
        value: what was published, in the study's metric; of the difference to the row `against`,
            where that is given.
        tolerance: how far from it counts as reproduced, above 0.
        source: where it was published.
        task: column of the table; null where there is only one.
        against: another row; null for the value of the row itself.
    """

    row: str
    value: float
    tolerance: float
    source: str
    task: str | None = None
    against: str | None = None

    def __post_init__(self) -> None:
        require.positive("published.tolerance", self.tolerance)


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a sweep asks, of which runs it consists, and how its table is made.

    Every combination of a variant, the factors' values and a seed is a run. A setting given on the
    command line takes the place of the factor or seeds of that name.

    Args:
        name: its folder under `outputs/studies`; null lets a sweep be named after its contents.
        question: what the study asks, in a sentence.
        metric: the test metric of the table, one that its tasks have; in a config, null is the
            task's own.
        minimum_effect: the smallest difference in that metric that anybody would care about, above
            0; a variant is called better only if its interval lies above it, and no different only
            by two one-sided tests against it. null: better than nothing at all is better, and
            nothing is called no different.
        baseline: the row that the others are to be read against; null for none.
        family: which comparisons Holm's correction takes together: those on each `task`, or those
            of the whole `study`.
        retry: `failed` runs failed and diverged runs again; `none` leaves them as they are.
        seeds: a list, or `range(0,10)`; null for the seed of the config.
        factors: settings, each with a list of values: a grid. Or a name of your own, with the
            levels of the factor by name, each a bundle of settings.
        variants: names, each with a bundle of settings: what varies together.
        references: names, each with a bundle of settings: rows that stand beside the named factors
            and variants, and are no part of their grid.
        exclude: combinations to leave out, each a mapping of a factor (or `variant`) to a value or
            a list of values.
        max_runs, max_hours: above so many runs still to do, or so long an estimate, a person is
            asked first; without a terminal, the sweep is refused.
        allow_drift: go on with runs made by other code, and with a plan that lacks runs of before;
            it is recorded.
        tuning: see `Tuning`; null for none.
        published: values to stand beside ours, each a mapping as in `Published`.
    """

    name: str | None
    question: str | None
    metric: str | None
    minimum_effect: float | None
    baseline: str | None
    family: str
    retry: str
    seeds: list[int] | str | None
    factors: dict[str, Any] | None
    variants: dict[str, Any] | None
    references: dict[str, Any] | None
    exclude: list[dict] | None
    max_runs: int
    max_hours: float
    allow_drift: bool
    tuning: Mapping[str, Any] | Tuning | None
    published: list[dict] | None

    def __post_init__(self) -> None:
        if self.metric is not None:
            require.choice("metric", self.metric, list(SCALES))
        require.choice("retry", self.retry, ("none", "failed"))
        require.choice("family", self.family, FAMILIES)
        if self.minimum_effect is not None:
            require.positive("minimum_effect", self.minimum_effect)
        for place, one in enumerate(self.published or []):
            part(f"published[{place}]", Published, one)
        require.at_least("max_runs", self.max_runs, 1)
        require.positive("max_hours", self.max_hours)
        if self.tuning is not None:
            part("tuning", Tuning, self.tuning)
        if self.name is not None:
            plain = self.name.replace("-", "").replace("_", "").replace(".", "")
            if not plain.isalnum() or not plain.isascii() or self.name[0] in ".-":
                raise ValueError(
                    f"name is {self.name!r}; use letters, digits, '-', '_' and '.', "
                    "beginning with a letter or digit"
                )
            require.between("the length of name", len(self.name), 1, 80)
