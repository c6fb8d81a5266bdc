"""What a config says to Lightning: arguments of its Trainer, its loggers and its callbacks."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from decoderlab.common import require
from decoderlab.common.errors import ConfigError
from decoderlab.common.part_building import complete, find_target, is_part
from decoderlab.config.part_settings import PartSettings

# What needs no look at Lightning's registries, whose import takes seconds.
ACCELERATORS = ("auto", "cpu", "gpu")
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")
# Arguments of the Trainer that a run sets itself, and what to give instead.
SET_BY_THE_RUN = {
    "max_steps": "training.max_steps",
    "max_epochs": "training.max_epochs",
    "max_time": "training.max_seconds",
    "min_steps": "training.max_steps",
    "min_epochs": "training.max_epochs",
    "precision": "training.precision",
    "gradient_clip_val": "training.gradient_clip_norm",
    "gradient_clip_algorithm": "training.gradient_clip_norm",
    "val_check_interval": "evaluation.every_steps",
    "check_val_every_n_epoch": "evaluation.every_steps",
    "log_every_n_steps": "run.log_every_steps",
    "default_root_dir": "run.output_dir",
    "logger": "logger=NAME",
    "callbacks": "callbacks=NAME",
    "enable_checkpointing": "+callbacks.NAME._target_=pytorch_lightning.callbacks.ModelCheckpoint",
    "enable_model_summary": "+callbacks.NAME._target_=pytorch_lightning.callbacks.ModelSummary",
    "enable_progress_bar": "nothing: a run shows its progress",
    "num_sanity_val_steps": "nothing: validation is checked when the run is prepared",
    "plugins": "trainer.strategy",
    "fast_dev_run": "debug=fast",
    "overfit_batches": "task.num_train",
    "limit_train_batches": "task.num_train",
    "limit_val_batches": "task.num_validation",
    "limit_test_batches": "nothing: a score is of the whole test split",
    "limit_predict_batches": "nothing: predictions are of the whole test split",
    "reload_dataloaders_every_n_epochs": "nothing: batches are one stream",
    "use_distributed_sampler": "nothing: the data divide themselves among processes",
    "barebones": "logger=none",
}
# Among the arguments of the Trainer that count, how many processes there are.
PROCESSES = "num_processes"
# They say what is shown of a run.
WITHOUT_EFFECT = frozenset({"profiler", "detect_anomaly"})
# Of Lightning's own: they read and write nothing that training or selection depends on. All others
# count, and so does a class from outside that is derived from them: what it adds may train. A class
# of a user's own says so itself, with the attribute `watches_only = True` in its own body; its
# settings then have it too, so that a config is read without importing anything.
WATCHING = frozenset(
    {
        "DeviceStatsMonitor",
        "LearningRateMonitor",
        "ModelCheckpoint",
        "ModelSummary",
        "ProgressBar",
        "RichModelSummary",
        "RichProgressBar",
        "ThroughputMonitor",
        "TQDMProgressBar",
    }
)

# Of Lightning's own, with all that is derived from them: why a run takes none, and what to give.
FINDS = "trains by itself to find a setting, and again when an interrupted run goes on"
WAITS = "waits for the end of an epoch, but a run is one stream of batches"
REFUSED = {
    "LearningRateFinder": (FINDS, "give training.learning_rate, or several rates in a sweep"),
    "BatchSizeFinder": (FINDS, "give training.batch_size"),
    "GradientAccumulationScheduler": (WAITS, "give +trainer.accumulate_grad_batches"),
    "StochasticWeightAveraging": (WAITS, "take EMAWeightAveraging, which counts updates"),
    "ModelPruning": (WAITS, "write a callback of your own that counts updates"),
    "BackboneFinetuning": (WAITS, "give encoder.frozen=true, or a callback that counts updates"),
}


# The attribute of a callback, and what its settings have of it.
WATCHES = "watches_only"


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """Further arguments of Lightning's Trainer.

    Several processes divide each batch among them. Without dropout and scheduled sampling, of which
    each process draws its own, a result is that of one process up to rounding. So their number is
    part of the run's id; where they run (`accelerator`, `strategy`, machines) is not.

    Args:
        accelerator: `auto`, `cpu`, `gpu`, or another that Lightning knows.
        devices: processes on each machine that train one model, each with a GPU of its own or on
            the CPU, at least 1; torchrun or srun starts them.
        num_nodes: machines, at least 1; they share `run.output_dir`.
        strategy: Lightning's, for several processes: `auto` and `ddp` exchange all gradients;
            `ddp_find_unused_parameters_true` is for a model that does not use some of its weights
            in every update; or another that Lightning knows.
        further: what else the Trainer takes, but for `SET_BY_THE_RUN`.

    Raises:
        ValueError: for an argument that the run sets itself, or that the Trainer does not
            have.
    """

    accelerator: str
    devices: int
    num_nodes: int
    strategy: str
    further: PartSettings

    def __post_init__(self) -> None:
        if self.accelerator not in ACCELERATORS:
            from pytorch_lightning.accelerators import AcceleratorRegistry

            known = AcceleratorRegistry.available_accelerators()
            require.choice(
                "accelerator", self.accelerator, list(dict.fromkeys([*ACCELERATORS, *known]))
            )
        require.at_least("devices", self.devices, 1)
        require.at_least("num_nodes", self.num_nodes, 1)
        if self.strategy not in STRATEGIES:
            from pytorch_lightning.strategies import StrategyRegistry

            known = StrategyRegistry.available_strategies()
            require.choice("strategy", self.strategy, list(dict.fromkeys([*STRATEGIES, *known])))
        if self.further:
            # Lightning is imported for them alone: reading a config should not take seconds.
            from pytorch_lightning import Trainer

            known = list(inspect.signature(Trainer).parameters)
            for name in self.further:
                if name in SET_BY_THE_RUN:
                    raise ValueError(
                        f"{name} is set by the run itself; give {SET_BY_THE_RUN[name]}"
                    )
                require.choice("an argument of the Trainer", name, known)
        require.at_least("accumulate_grad_batches", self.accumulated, 1)
        if type(self.accumulated) is not int:
            raise ValueError(
                f"accumulate_grad_batches is {self.accumulated!r}; it must be an integer above 0"
            )

    @classmethod
    def of(cls, given: Any) -> TrainerSettings:
        """Return the settings of a config's section, checked.

        Args:
            given: a mapping of all arguments.

        Raises:
            ConfigError: for anything missing, unknown, of the wrong type or out of range.
        """
        if not isinstance(given, Mapping):
            raise ConfigError("trainer is missing; leave it in the config")
        own = [field.name for field in fields(cls) if field.name != "further"]
        further = {name: value for name, value in given.items() if name not in own}
        named = {name: given[name] for name in own if name in given}
        try:
            return cls(
                **complete("trainer", cls, named, ("further",)), further=PartSettings(further)
            )
        except ValueError as error:
            raise ConfigError(f"trainer: {error}") from error

    @property
    def accumulated(self) -> int:
        """Batches whose gradients are summed up for an update."""
        return self.further.get("accumulate_grad_batches", 1)

    @property
    def num_processes(self) -> int:
        """Processes that train the model together."""
        return self.devices * self.num_nodes

    def to_dict(self) -> dict[str, Any]:
        """Return all arguments, as they stand in a config."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: own[name] for name in own if name != "further"} | self.further.to_dict()


def changing_arguments(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a result may depend on; of several processes their number.

    Args:
        trainer: from `TrainerSettings.to_dict`.
    """
    own = {field.name for field in fields(TrainerSettings)}
    changing = {
        name: value
        for name, value in trainer.items()
        if name not in own and name not in WITHOUT_EFFECT
    }
    num_processes = trainer["devices"] * trainer["num_nodes"]
    return changing | ({PROCESSES: num_processes} if num_processes > 1 else {})


def named_parts(group: str, given: Any) -> dict[str, Any]:
    """Return the parts of a group by their names; {} where there are none.

    Raises:
        ConfigError: for anything that names no class.
    """
    parts = given or {}
    if not isinstance(parts, Mapping):
        raise ConfigError(f"{group} is {given!r}; choose it: {group}=NAME, or {group}=none")
    parts = {name: part for name, part in parts.items() if part is not None}
    for name, part in parts.items():
        if not is_part(part) or not isinstance(part["_target_"], str):
            raise ConfigError(
                f"{group}.{name} is {part!r}, which names no class; choose a YAML: {group}=NAME, "
                f"or give +{group}.{name}._target_=package.Class"
            )
    return parts


def completed_loggers(given: Any) -> dict[str, Any]:
    """Return the loggers of a config, checked; where they write is filled in when they are made.

    Raises:
        ConfigError: for a setting that a logger does not have.
    """
    return {
        name: {"_target_": part["_target_"]}
        | {
            key: value
            for key, value in _completed(f"logger.{name}", part, ("save_dir",)).items()
            if key in part
        }
        for name, part in named_parts("logger", given).items()
    }


def completed_callbacks(given: Any, select: str | None) -> dict[str, Any]:
    """Return the callbacks of a config with the defaults of their classes.

    Args:
        given: parts by name. Where `monitor` is null it is the validation score that selects the
            step; where `mode` is null it follows from that score when the callback is made.
        select: the score that selects the step.

    Raises:
        ConfigError: for a setting that a callback does not have, or one that it lacks.
    """
    completed = {}
    for name, part in named_parts("callbacks", given).items():
        part = {key: value for key, value in part.items() if key != WATCHES}
        if "monitor" in part and part["monitor"] is None:
            part["monitor"] = f"validation/{select}"
        left_open = {"mode": part.pop("mode")} if part.get("mode", "") is None else {}
        settings = _completed(f"callbacks.{name}", part, ())
        plain = {key: value for key, value in settings.items() if key in part or _is_plain(value)}
        watches = {WATCHES: True} if _watches(f"callbacks.{name}", part) else {}
        completed[name] = {"_target_": part["_target_"], **watches, **plain, **left_open}
    return completed


def changing_callbacks(callbacks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the callbacks that a result may depend on."""
    return {
        name: part
        for name, part in callbacks.items()
        if not (
            part.get(WATCHES) is True
            or (
                part["_target_"].startswith("pytorch_lightning.")
                and part["_target_"].split(".")[-1] in WATCHING
            )
        )
    }


def check_callback(group: str, kind: Any) -> None:
    """Raise ConfigError for a class of callback of which a run could not keep what it promises."""
    for known in getattr(kind, "__mro__", ()):
        if known.__name__ in REFUSED and known.__module__.startswith("pytorch_lightning."):
            why, instead = REFUSED[known.__name__]
            raise ConfigError(f"{group} is a {known.__name__}, which {why}; {instead}")


def _watches(group: str, part: Mapping[str, Any]) -> bool:
    """Whether a callback's class says that it only watches; none inherits that."""
    return vars(find_target(group, part["_target_"])).get(WATCHES) is True


def _completed(group: str, part: Mapping[str, Any], injected: tuple[str, ...]) -> dict[str, Any]:
    settings = {key: value for key, value in part.items() if key != "_target_"}
    given = tuple(name for name in injected if name not in settings)
    return complete(group, find_target(group, part["_target_"]), settings, given)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
