"""What `result.json` says of a finished run: its fields, their units, and how they are checked."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any

from decoderlab.config.study_settings import Budget

# Raised when a field is added, removed or changes its meaning.
SCHEMA = 2
# Files without a version are of the first version, which had the same fields.
READABLE = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Scores by the name of the metric, in its own unit.

    Args:
        test: at the step chosen on validation.
        validation: at the same step.
        validation_last: at the last step.
    """

    test: dict[str, float]
    validation: dict[str, float]
    validation_last: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """The data of a run.

    Args:
        fingerprint: their sha256.
        counts: examples of each split, and what else the task counts.
        baselines: test scores of rules without trained weights, by rule and metric.
    """

    fingerprint: str
    counts: dict[str, int]
    baselines: dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What a run ran on.

    Args:
        versions: of Python and packages.
        git_commit: of the code; None outside a checkout.
        git_dirty: whether the code was changed since that commit; None outside a checkout.
        processor: its name.
        device: the GPU's name, or `cpu`.
        threads: of torch, per process.
        capability: the vector instructions that torch uses.
        world_size: processes that trained the model.
    """

    versions: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    processor: str
    device: str
    threads: int
    capability: str
    world_size: int


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The result of a finished run.

    Args:
        run_id: sha256 of the scientific config and the data.
        choices: names of task, encoder and decoder.
        seed: of the run.
        metrics: the scores.
        signature: how the test scores were measured; only those of one signature are comparable.
        signatures: how a library says that it computes further scores, by metric.
        scores: what the scores mean, by name; see `decoderlab.metrics.Score.record`.
        selected_by: the validation metric that chose the step.
        best_step: the step that was chosen, in updates.
        best_checkpoint: its weights, relative to the run's folder.
        steps: updates of training.
        examples_seen, tokens_seen: in training; tokens of targets, padding counted.
        batches_per_epoch: updates of a pass over the training split.
        probes: counts for the report's pictures, see `decoderlab.training.probes`; None where
            they could not be had.
        equations: the recurrences of encoder and decoder, as text.
        parameters: trained ones of each child module, and their `total`.
        flops_per_example: floating-point operations of a forward pass.
        train_seconds, evaluation_seconds: of computing, restarts counted.
        peak_memory_bytes: of the process; None where the system does not say.
        restarts: how often training went on from a checkpoint.
        started, ended: of the last process that worked on it, in seconds since the epoch.
        data: which the run was trained and tested on.
        environment: what it ran on.
        drift: what differs between the code that began the run and the code that ended it.
        budget: settings of the study's budget.
    """

    run_id: str
    choices: dict[str, str]
    seed: int
    metrics: Metrics
    signature: str
    signatures: dict[str, str]
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    selected_by: str
    best_step: int
    best_checkpoint: str
    steps: int
    examples_seen: int
    tokens_seen: int
    batches_per_epoch: int
    probes: dict[str, Any] | None
    equations: dict[str, str]
    parameters: dict[str, int]
    flops_per_example: float
    train_seconds: float
    evaluation_seconds: float
    peak_memory_bytes: int | None
    restarts: int
    started: float
    ended: float
    data: DataSummary
    environment: Environment
    drift: list[str]
    budget: Budget

    def to_dict(self) -> dict[str, Any]:
        """Return what `result.json` holds, but for its sha256."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> RunResult:
        """Return the result that a record holds.

        Raises:
            ValueError: naming the field, for an unknown version, or a field that is missing,
                unknown or of another type.
        """
        version = record.get("schema", 1)
        if version not in READABLE:
            raise ValueError(
                f"schema is {version!r}; this version of decoderlab reads "
                f"{' and '.join(map(str, READABLE))}"
            )
        plain = {key: value for key, value in record.items() if key not in ("schema", "sha256")}
        return _reader(cls)("", plain)


Reader = Callable[[str, Any], Any]


@cache
def _reader(kind: Any) -> Reader:
    """Return what checks a value of a type: (name of the field, value) to the value."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return _record_reader(kind)
    if kind is Any:
        return lambda name, value: value
    if origin is types.UnionType:  # X | None, the only union here
        inner = _reader(arguments[0])
        return lambda name, value: None if value is None else inner(name, value)
    if origin is dict:
        inner = _reader(arguments[1])
        return lambda name, value: {
            key: inner(f"{name}.{key}", item) for key, item in _of_type(name, value, dict).items()
        }
    if origin is list:
        inner = _reader(arguments[0])
        return lambda name, value: [inner(name, item) for item in _of_type(name, value, list)]
    return lambda name, value: _of_type(name, value, kind)


def _record_reader(kind: type) -> Reader:
    hints = typing.get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}
    optional = {field.name for field in fields(kind) if field.default_factory is not MISSING}

    def read(name: str, value: Any) -> Any:
        _of_type(name, value, dict)
        prefix = f"{name}." if name else ""
        made = {}
        for key, reader in readers.items():
            given = value.get(key, MISSING)
            if given is MISSING and key in optional:
                continue
            if given is MISSING:
                raise ValueError(f"{prefix}{key} is missing")
            made[key] = reader(prefix + key, given)
        for key in value:
            if key not in readers:
                raise ValueError(f"{prefix}{key} is no field of a result")
        return kind(**made)

    return read


def _of_type(name: str, value: Any, kind: type) -> Any:
    allowed = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name} is {value!r}, which is no {kind.__name__}")
    return value
