"""The fields of `result.json` of a finished run, their units and their checks."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any

from decoderlab.config.study_settings import Budget

# Raised when a field is added, removed or changes its meaning.
SCHEMA = 5
# Files without a version are of the first version, which had the fields of the second; the third
# says besides how many outputs met the limit, the fourth which scores are means of outcomes of
# single examples, and these outcomes, the fifth whose training it is.
READABLE = (1, 2, 3, 4, 5)
# No number of a result is larger.
MAX_NUMBER = 1e300
MAX_DRAWABLE = 1e100  # a picture of larger numbers cannot be computed
# Of test examples, and of positions of a target: the largest that settings can ask for.
MOST_EXAMPLES, MOST_POSITIONS = 10**8, 100_000


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
        met_limit: share of the test outputs that were cut at the greatest length; None where
            targets have no end, and in old records.
        scores: what the scores mean, by name; see `decoderlab.metrics.MetricScore.record`.
        selected_by: the validation metric that chose the step.
        best_step: the step that was chosen, in updates.
        best_checkpoint: its weights, relative to the run's folder.
        steps: updates of training.
        examples_seen, tokens_seen: in training; tokens of targets, padding counted.
        batches_per_epoch: updates of a pass over the training split.
        probes: which test examples were right, see `decoderlab.data.packed_outcomes.unpack`, and
            counts for the report's pictures, see `decoderlab.training.probes`; None where there are
            none.
        equations: the recurrences of encoder and decoder, as text.
        parameters: trained ones of each child module, and their `total`.
        flops_per_example: floating-point operations of a forward pass.
        train_seconds, evaluation_seconds: of computing, restarts counted.
        peak_memory_bytes: of the process; None where the system does not say.
        restarts: how often training went on from a checkpoint.
        trained_by: id of the run whose training this is, see `evaluation.validate_greedily`; None
            for its own.
        started, ended: of the last process that worked on it, in seconds since the epoch.
        data: which the run was trained and tested on.
        environment: what it ran on.
        code_changes: what differs between the code that began the run and the code that ended it.
        budget: settings of the study's budget.
    """

    run_id: str
    choices: dict[str, str]
    seed: int
    metrics: Metrics
    signature: str
    signatures: dict[str, str]
    met_limit: float | None = field(default_factory=lambda: None)
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
    trained_by: str | None = field(default_factory=lambda: None)
    started: float
    ended: float
    data: DataSummary
    environment: Environment
    code_changes: list[str]
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
                f"{', '.join(map(str, READABLE))}"
            )
        plain = {key: value for key, value in record.items() if key not in ("schema", "sha256")}
        result = _reader(cls)("", plain)
        _check_signature(result.signature)
        if result.probes is not None:
            _check_probes(result.probes)
        return result


Reader = Callable[[str, Any], Any]


@cache
def _reader(kind: Any) -> Reader:
    """Return a function that checks a value of a type: (name of the field, value) to the value."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return _record_reader(kind)
    if kind is Any:
        return lambda name, value: value
    if origin is types.UnionType:
        return _union_reader(arguments)
    if origin is dict:
        inner = _reader(arguments[1])
        return lambda name, value: {
            key: inner(f"{name}.{key}", item) for key, item in _of_type(name, value, dict).items()
        }
    if origin is list:
        inner = _reader(arguments[0])
        return lambda name, value: [inner(name, item) for item in _of_type(name, value, list)]
    return lambda name, value: _of_type(name, value, kind)


def _union_reader(kinds: Sequence[Any]) -> Reader:
    """Return the reader of a value that is of one of several types, of the first if of none."""
    readers = {typing.get_origin(kind) or kind: _reader(kind) for kind in kinds}
    first = next(iter(readers.values()))

    def read(name: str, value: Any) -> Any:
        if value is None and types.NoneType in readers:
            return None
        return readers.get(type(value), first)(name, value)

    return read


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
                raise ValueError(f"{prefix}{key} is not a field of a result")
        return kind(**made)

    return read


def _check_signature(signature: str) -> None:
    """Raise ValueError for a signature that does not say on how many of which examples."""
    pairs = [part.split(":", 1) for part in signature.split("|")]
    parts = {pair[0]: pair[-1] for pair in pairs}
    right = len(parts) == len(pairs) and all(len(pair) == 2 for pair in pairs)
    number = re.fullmatch(r"[0-9]{1,9}", parts.get("n", ""))
    if not right or number is None or int(number[0]) > MOST_EXAMPLES or not parts.get("data"):
        raise ValueError(f"signature is {signature!r:.90}, which does not say n and data")


def _check_probes(probes: dict[str, Any]) -> None:
    """Raise ValueError for counts that are not those of `decoderlab.training.probes`."""

    def numbers(value: Any, length: int | None = None) -> bool:
        given = isinstance(value, list) and length in (None, len(value))
        return given and all(
            type(number) in (int, float) and abs(number) < MAX_NUMBER for number in value
        )

    def bits(value: Any) -> bool:
        return isinstance(value, str) and bool(re.fullmatch("([0-9a-f]{2})*", value))

    outcomes, influence = probes.get("outcomes", {}), probes.get("summary_influence", [])
    positions, lengths = probes.get("by_position", {}), probes.get("by_length", {})
    targets = positions.get("number") if isinstance(positions, dict) else None
    room = min(len(targets), MOST_POSITIONS) if isinstance(targets, list) else 0
    right = {
        "correct": bits(probes.get("correct", "")),
        "outcomes": isinstance(outcomes, dict) and all(map(bits, outcomes.values())),
        "by_position": isinstance(positions, dict)
        and {"number", "free", "forced"} <= positions.keys()
        and all(numbers(counts, room) for counts in positions.values()),
        "by_length": isinstance(lengths, dict)
        and all(
            re.fullmatch("[0-9]{1,9}", key) and numbers(counts, 2) and counts[0]
            for key, counts in lengths.items()
        ),
        "summary_influence": numbers(influence) and len(influence) <= room,
    }
    for name, good in right.items():
        if not good:
            raise ValueError(f"probes.{name} is not what a run counts")


def _of_type(name: str, value: Any, kind: type) -> Any:
    allowed = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name} is {value!r:.90}, which is no {kind.__name__}")
    if isinstance(value, int | float) and not abs(value) < MAX_NUMBER:
        raise ValueError(f"{name} is {value!r:.40}, which is too large")
    return value
