"""From settings to an optimizer and the schedule of its learning rate; and Keras's Adam."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from decoderlab.common import require
from decoderlab.common.errors import ConfigError
from decoderlab.common.part_building import build, find_target, taken_by
from decoderlab.config.run_sections import Training
from decoderlab.training.schedules import Constant, Schedule


class KerasAdam(torch.optim.Adam):
    """Adam as Keras has it: epsilon is added before the second moment is corrected, not after.

    Paper: Kingma and Ba 2015, the end of section 2, with epsilon hat
        (https://arxiv.org/abs/1412.6980); Keras's `Adam`.
    Differs: a parameter without a gradient does not count the update in its own correction.

    Args:
        params: the parameters.
        lr: learning rate, above 0.
        betas: decay of the first and of the second moment, each 0 to 1.
        epsilon: Keras's, above 0.
        fused: torch's fast implementation.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        *,
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-7,
        fused: bool = True,
    ) -> None:
        require.positive("epsilon", epsilon)
        super().__init__(params, lr=lr, betas=betas, eps=epsilon, fused=fused)
        for group in self.param_groups:
            group["epsilon"], group["updates"] = epsilon, 0
        self.register_step_pre_hook(_as_keras)


def _as_keras(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Set torch's epsilon to that which gives the next update of Keras."""
    for group in optimizer.param_groups:
        group["updates"] += 1
        group["eps"] = group["epsilon"] / (1 - group["betas"][1] ** group["updates"]) ** 0.5


def make_optimizer(
    training: Training, parameters: Iterable[torch.nn.Parameter], total_steps: int | None
) -> tuple[torch.optim.Optimizer, Any | None]:
    """Return the optimizer and its schedule per update, None where the rate never changes.

    Args:
        training: the settings.
        parameters: to train.
        total_steps: the budget in updates; None for a budget in seconds.

    Raises:
        ConfigError: for a setting that is out of range, or has no effect.
    """
    optimizer = _built(training, list(parameters))
    schedule = make_schedule(training)
    if is_constant(training, schedule):
        return optimizer, None
    return optimizer, LambdaLR(optimizer, rate_factors(training, schedule, total_steps))


def is_constant(training: Training, schedule: Schedule) -> bool:
    """Whether the rate is the same at every update, so that there is no scheduler."""
    return isinstance(schedule, Constant) and not training.warmup_steps


def check_optimizer(training: Training) -> None:
    """Raise ConfigError for settings of the optimizer that it refuses, or that have no effect.

    Torch checks settings before parameters, and makes its first optimizer in seconds: so there are
    none here, which is what it complains of if all else is right.
    """
    try:
        _built(training, [])
    except ConfigError as error:
        if "empty parameter list" not in str(error):
            raise
    except Exception:  # a class of somebody's own that counts on parameters
        return


def _built(training: Training, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    part = training.optimizer
    target = find_target("training.optimizer", part.target)
    decay = taken_by(target, {"weight_decay": training.weight_decay})
    if training.weight_decay and not decay:
        raise ConfigError(
            f"training.weight_decay is {training.weight_decay}, but {part.target} has none; "
            "leave it at 0, or take another training/optimizer"
        )
    known = {"params": parameters, "lr": training.learning_rate, **decay}
    return build("training.optimizer", part.to_dict(), **known)


def make_schedule(training: Training) -> Schedule:
    """Return the schedule of the learning rate after warm-up.

    Raises:
        ConfigError: for a setting that is out of range, or a budget that does not go with it.
    """
    part = training.schedule
    target = find_target("training.schedule", part.target)
    known = taken_by(target, {"warmup_steps": training.warmup_steps})
    schedule = build("training.schedule", part.to_dict(), **known)
    if training.max_seconds is not None and getattr(schedule, "needs_total_steps", True):
        raise ConfigError(
            f"training.schedule is {part.target} and the budget is max_seconds, so the last update "
            "is not known in advance; take training/schedule=constant, or a budget in updates or "
            "epochs"
        )
    return schedule


def rate_factors(
    training: Training, schedule: Schedule, total_steps: int | None
) -> Callable[[int], float]:
    """Return a function from an update, counted from 0, to its rate over `learning_rate`.

    Args:
        training: the settings.
        schedule: from `make_schedule`.
        total_steps: the budget in updates; None for a budget in seconds.
    """
    warmup = training.warmup_steps
    left = None if total_steps is None else max(total_steps - warmup, 1)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return schedule.factor(step - warmup, left)

    return factor
