"""The config of one run: complete, checked once, and read-only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, NamedTuple, TypeVar

from omegaconf import DictConfig

from decoderlab.common import require
from decoderlab.common.errors import ConfigError
from decoderlab.common.part_building import (
    call,
    complete,
    complete_part,
    find_target,
    is_part,
    normalised_settings,
    short_name,
)
from decoderlab.config.bounds import check_bounds
from decoderlab.config.composed_values import plain_values, section_of, setting_in
from decoderlab.config.encoder_start import EncoderStart
from decoderlab.config.lightning_settings import (
    TrainerSettings,
    completed_callbacks,
    completed_loggers,
    named_parts,
)
from decoderlab.config.part_settings import PartSettings
from decoderlab.config.run_sections import MAX_SEED, TRAINING_PARTS, Evaluation, Run, Training
from decoderlab.config.scientific import SCIENTIFIC, scientific_of
from decoderlab.config.study_settings import Budget, Study

T = TypeVar("T")

BUILT = ("task", "encoder", "decoder")
SECTIONS = {
    "training": Training,
    "evaluation": Evaluation,
    "run": Run,
    "budget": Budget,
    "study": Study,
}
LIGHTNING = ("trainer", "logger", "callbacks")
# Keywords that are no settings: whoever builds the class adds those of them that it takes.
INJECTED = {
    "task": (),
    "encoder": ("source_space",),
    "decoder": ("target_space", "encoder_shape", "source_space", "alignment"),
    "training.optimizer": ("params", "lr", "weight_decay"),
    "training.schedule": ("warmup_steps",),
    "training.objective": ("target_space",),
}
# Settings that a class may do without, so that a preset's schedule can be exchanged for another.
OPTIONAL = {"training.schedule": ("decay_ratio", "decay_start_ratio", "num_decays")}


class Choices(NamedTuple):
    """The names of the YAMLs that a config was composed of, for people to read."""

    task: str = "task"
    encoder: str = "encoder"
    decoder: str = "decoder"


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Where a preset comes from.

    Args:
        authors, year, title, url: of the paper.
        task: the paper's own task.
        section: of the paper that describes the model; None where it is not said.
        differs: how the preset departs from it, a sentence each.
    """

    authors: str
    year: int
    title: str
    url: str
    task: str
    section: str | None = None
    differs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "differs", tuple(self.differs))  # a list in a config


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All settings of a run, each with a value; checked when it is made.

    Changes make another config: `dataclasses.replace` with sections that are checked in turn, or
    `with_setting` where a user names the setting.

    Args:
        task, encoder, decoder: the classes to build, and their settings.
        training, evaluation, run, budget, study: the sections, see their classes.
        trainer: further arguments of Lightning's Trainer.
        logger, callbacks: Lightning's loggers and callbacks to build, by name.
        seed: of initial weights, order and dropout, 0 to 2^32 - 1.
        choices: names of task, encoder and decoder.
        paper: where a preset comes from; None without a preset.
    """

    task: PartSettings
    encoder: PartSettings
    decoder: PartSettings
    training: Training
    evaluation: Evaluation
    run: Run
    budget: Budget
    study: Study
    trainer: TrainerSettings
    logger: PartSettings
    callbacks: PartSettings
    seed: int
    choices: Choices = Choices()
    paper: Paper | None = None

    def __post_init__(self) -> None:
        _checked_seed(self.seed)

    @classmethod
    def from_composed(
        cls, composed: DictConfig, choices: Mapping[str, str] | None = None
    ) -> RunConfig:
        """Return what Hydra composed, complete and checked.

        Interpolations are resolved, settings that a YAML leaves out get their constructor's
        default, and integers given for floats become floats, so that equal settings give equal
        configs. A class with a static method `normalised(settings)` sets back there what has no
        effect beside the rest.

        Args:
            composed: by Hydra, with or without its `hydra` node.
            choices: the chosen option of each config group; None where names do not matter.

        Raises:
            ConfigError: for anything missing, unknown, of the wrong type or out of range.
        """
        plain = plain_values(composed)
        if "choices" in plain:
            raise ConfigError("choices is not a setting: it says what was chosen; give task=NAME")
        _check_keys(plain)
        for group in BUILT:
            _check_target(group, plain.get(group))
            target = find_target(group, plain[group]["_target_"])
            settings = {key: value for key, value in plain[group].items() if key != "_target_"}
            metrics = settings.pop("metrics", None) if group == "task" else None
            start: dict[str, Any] = {}
            if group == "encoder":
                settings, _ = EncoderStart.split(settings)
                start = EncoderStart.of_run(plain).settings()
            settings = complete(group, target, settings, injected=INJECTED[group])
            settings = normalised_settings(group, target, settings)
            plain[group] = {"_target_": plain[group]["_target_"], **settings, **start}
            if group == "task":
                plain[group]["metrics"] = _metrics(target, settings, metrics)
            _fill(plain)  # once the task is there, and again what a name alone has become
        plain["logger"] = completed_loggers(plain.get("logger"))
        plain["callbacks"] = completed_callbacks(
            plain.get("callbacks"), (plain.get("evaluation") or {}).get("select")
        )
        if isinstance(plain.get("training"), dict):
            for name in TRAINING_PARTS:
                plain["training"][name] = _training_part(name, plain["training"].get(name))
            if is_part(given := plain["training"].get("initial_weights")):
                part = complete_part("training.initial_weights", given)
                plain["training"]["initial_weights"] = short_name(part)
        names = {group: (choices or {}).get(group, group) for group in BUILT}
        return cls.from_dict(plain | {"choices": names})

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> RunConfig:
        """Return a config from a `record` of `to_dict`, checked but for the built classes.

        Nothing that it names is imported.

        Raises:
            ConfigError: for anything missing, unknown, of the wrong type or out of range.
        """
        _check_keys(record)
        check_bounds(record)
        for group in BUILT:
            _check_target(group, record.get(group))
        EncoderStart.of_run(record)
        paper = record.get("paper")
        return cls(
            **{group: PartSettings(record[group]) for group in BUILT},
            **{group: section(group, kind, record.get(group)) for group, kind in SECTIONS.items()},
            trainer=TrainerSettings.of(record.get("trainer")),
            logger=PartSettings(named_parts("logger", record.get("logger"))),
            callbacks=PartSettings(named_parts("callbacks", record.get("callbacks"))),
            seed=_checked_seed(record.get("seed")),
            choices=choices_of(record),
            paper=None if paper is None else section("paper", Paper, paper),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the config as dictionaries and lists of its own, as it stands in config.yaml."""
        record: dict[str, Any] = {
            "encoder": self.encoder.to_dict(),
            "decoder": self.decoder.to_dict(),
            "task": self.task.to_dict(),
            **{group: _plain(getattr(self, group)) for group in SECTIONS},
            **{group: getattr(self, group).to_dict() for group in LIGHTNING},
            "seed": self.seed,
            "choices": self.choices._asdict(),
        }
        if self.paper is not None:
            record["paper"] = asdict(self.paper) | {"differs": list(self.paper.differs)}
        return record

    @property
    def encoder_start(self) -> EncoderStart:
        """Whose weights the encoder begins with."""
        return EncoderStart.split(self.encoder)[1]

    def total_steps(self, batches_per_epoch: int) -> int | None:
        """Return the budget in updates; None for seconds. An epoch has `batches_per_epoch`."""
        accumulated = self.trainer.accumulated
        epoch = batches_per_epoch if accumulated == 1 else batches_per_epoch / accumulated
        return self.training.total_steps(epoch)

    def scientific(self) -> dict[str, Any]:
        """Return the part of the config that a run's result depends on.

        Callbacks are part of it, but for those that only watch, and so are arguments of the
        trainer that may change a result; where there are none of them, nothing says so.
        """
        return scientific_of(self.to_dict())

    def get(self, name: str) -> Any:
        """Return the setting called `name`, such as `decoder.hidden_size`; None without it."""
        group = name.partition(".")[0]
        return setting_in({group: _plain(getattr(self, group, None))}, name)

    def with_setting(self, name: str, value: Any) -> RunConfig:
        """Return a config in which the setting called `name` has another value.

        Raises:
            ConfigError: if there is no such setting, or the value is out of range.
        """
        group, *path = name.split(".")
        record = _plain(getattr(self, group, None))
        node = record
        for key in path[:-1]:
            node = node.get(key) if isinstance(node, dict) else None
        if not path or not isinstance(node, dict) or path[-1] not in node:
            raise ConfigError(f"{name} is not a setting of this run; -c job prints its settings")
        node[path[-1]] = value
        kind = SECTIONS.get(group)
        if group == "trainer":
            made = TrainerSettings.of(record)
        else:
            made = PartSettings(record) if kind is None else section(group, kind, record)
        return replace(self, **{group: made})


def section(group: str, kind: type[T], given: Any) -> T:
    """Return a section of the config, checked.

    Args:
        group: its name, for messages.
        kind: its class.
        given: a mapping of its settings.

    Raises:
        ConfigError: for anything missing, unknown, of the wrong type or out of range.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"{group} is missing; leave it in the config")
    return call(group, kind, **complete(group, kind, given))


def study_of(composed: DictConfig) -> Study:
    """Return the settings of a study from what Hydra composed, checked.

    Raises:
        ConfigError: for anything missing, unknown, of the wrong type or out of range.
    """
    return section("study", Study, section_of(composed, "study"))


def run_of(composed: DictConfig) -> Run:
    """Return how the runs of a sweep run, as `study_of`."""
    return section("run", Run, section_of(composed, "run"))


def trainer_of(composed: DictConfig) -> TrainerSettings:
    """Return what the runs of a sweep say to Lightning, as `study_of`."""
    return TrainerSettings.of(section_of(composed, "trainer"))


def choices_of(record: Mapping[str, Any]) -> Choices:
    """Return the names of the YAMLs that a config was composed of.

    Args:
        record: as `RunConfig.to_dict` returns it.

    Raises:
        ConfigError: for anything but names of groups.
    """
    given = record.get("choices", {})
    if not isinstance(given, Mapping):
        raise ConfigError(f"choices is {given!r:.80}; it must be a mapping of groups to names")
    for group, name in given.items():
        if group not in Choices._fields or not isinstance(name, str):
            raise ConfigError(
                f"choices.{group} is {name!r:.80}; choices has the names of the YAMLs of "
                f"{', '.join(Choices._fields)}"
            )
    return Choices(**given)


def _checked_seed(seed: object) -> int:
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MAX_SEED:
        raise ConfigError(f"seed is {seed!r}; it must be an integer from 0 to {MAX_SEED}")
    return seed


def _plain(value: Any) -> Any:
    if isinstance(value, PartSettings | TrainerSettings):
        return value.to_dict()
    if isinstance(value, Training):
        own = {item.name: getattr(value, item.name) for item in fields(value)}
        return {name: _plain(setting) for name, setting in own.items()}
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _check_keys(plain: Mapping[str, Any]) -> None:
    known = list(dict.fromkeys([*SCIENTIFIC, *SECTIONS, *LIGHTNING, "paper"]))
    for key in plain:
        if key not in known and key != "choices":
            raise ConfigError(
                f"{key} is not a setting; the config has {', '.join(known)}."
                + require.did_you_mean(key, known)
            )


def _check_target(group: str, settings: Any) -> None:
    if not is_part(settings):
        how = f"name the class to build, or a YAML: {group}=NAME"
        raise ConfigError(f"{group} has no _target_; {how}")
    if not isinstance(settings["_target_"], str):
        find_target(group, settings["_target_"])  # which says what is wrong with it


def _metrics(task: Any, settings: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """Return the metrics of a task in full: its own, and those given; null leaves a metric out."""
    if not isinstance(given, Mapping | None):
        raise ConfigError(
            f"task.metrics is {given!r}; it must be metrics by name: +metric@task.metrics.NAME=NAME"
        )
    own = task.own_metrics(settings) if hasattr(task, "own_metrics") else {}
    metrics = {}
    for name, metric in (own | dict(given or {})).items():
        group = f"task.metrics.{name}"
        if metric is None:
            continue
        if not is_part(metric):
            raise ConfigError(
                f"{group} is {metric!r}, which names no class; choose a metric of conf/metric: "
                f"+metric@{group}=NAME"
            )
        target = find_target(group, metric["_target_"])
        rest = {key: value for key, value in metric.items() if key != "_target_"}
        metrics[name] = {"_target_": metric["_target_"], **complete(group, target, rest)}
    return metrics


def _training_part(name: str, given: Any) -> dict[str, Any]:
    """Return optimizer, schedule or objective in full.

    Of an optimizer the settings are those that its YAML gives, checked, and no defaults: torch's
    constructors have switches besides that are about speed, which differ between its versions.
    """
    group = f"training.{name}"
    return complete_part(
        group,
        given,
        injected=INJECTED[group],
        optional=OPTIONAL.get(group, ()),
        defaults=name != "optimizer",
    )


def _fill(plain: dict[str, Any]) -> None:
    """Put in what null stands for with the config's task, which is complete already."""
    task = find_target("task", plain["task"]["_target_"])
    for name, value in getattr(task, "fills", lambda settings: {})(plain["task"]).items():
        *groups, key = name.split(".")
        node: Any = plain
        for group in groups:
            node = node.get(group) if isinstance(node, dict) else None
        if isinstance(node, dict) and key in node and node[key] is None:
            node[key] = value
