"""The runs of a study as they stand on the disk, and as a data frame."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from decoderlab.common.errors import ConfigError, Invalid
from decoderlab.common.escapes import csv_text
from decoderlab.common.progress import track
from decoderlab.config.run_config import RunConfig
from decoderlab.data.packed_outcomes import pack, unpack
from decoderlab.metrics.metric_score import EXACT_MATCH, MetricScore
from decoderlab.metrics.shipped import recorded_scores
from decoderlab.metrics.signature import num_examples, without_search
from decoderlab.records.run_result import RunResult
from decoderlab.studies.design.plan_file import (
    Plan,
    StudyCell,
    plan_file,
    read_configs,
    read_plan,
)
from decoderlab.studies.design.planned_and_run import standing

T = TypeVar("T")
FAILURES = ("FAILED", "DIVERGED")
OF_EVALUATION = ("evaluation.", "evaluation=")


@dataclass(frozen=True)
class RunRow:
    """One planned run as it stands.

    Args:
        cell: what was planned.
        status: of the run folder, or INVALID for a damaged result.
        result: of a finished run, else None.
        reason: why it is not finished, where that is known.
        seconds: of computing spent on it, also where it failed.
    """

    cell: StudyCell
    status: str
    result: RunResult | None
    reason: str
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether it counts with the worst score."""
        return self.status in FAILURES

    @property
    def parameters(self) -> int:
        """Trained parameters: of the run, as planned without a result."""
        return self.cell.parameters if self.result is None else self.result.parameters["total"]

    @property
    def flops(self) -> float:
        """Operations of one example: of the run, as planned without a result."""
        return self.cell.flops if self.result is None else self.result.flops_per_example

    @property
    def ended_early(self) -> bool:
        """Whether a callback ended it before its budget of updates."""
        planned = self.cell.steps
        return self.result is not None and planned is not None and self.result.steps < planned

    @property
    def signature(self) -> str | None:
        """How it was measured; scores of one task and seed compare only if it is the same."""
        return None if self.result is None else self.result.signature

    def score(self, metric: str) -> float | None:
        """Return the test score, None without a result."""
        return None if self.result is None else self.result.metrics.test[metric]

    def correct(self) -> np.ndarray | None:
        """Return which test examples were wholly right, (N,) bool; None if that is not known."""
        return self.outcomes(EXACT_MATCH)

    def outcomes(self, score: MetricScore, number: int = 0) -> np.ndarray | None:
        """Return the outcome of each test example of which a score is the mean, (N,) bool.

        Args:
            score: what it means.
            number: of test examples, all of which a failure has as its worst score says.

        Returns:
            None for a score that is no such mean, and where its outcomes were not recorded.
        """
        if not score.per_example:
            return None
        if self.failed and number:
            return None if score.worst is None else np.full(number, score.worst == 1)
        if self.result is None or self.result.probes is None:
            return None
        return unpack(self.result.probes, num_examples(self.result.signature), score.name)


def ways_of_measuring(rows: Sequence[RunRow]) -> list[str | None]:
    """Return how each of some runs was measured; scores compare only if it is the same.

    That is the signature; where the study itself gives the runs other settings of evaluation, it is
    the signature without the search.

    Args:
        rows: the runs; None stands for one without a result.
    """
    given = {
        tuple(text for text in row.cell.overrides if text.lstrip("+").startswith(OF_EVALUATION))
        for row in rows
    }
    signatures = [row.signature for row in rows]
    if len(given) < 2:
        return signatures
    return [None if text is None else without_search(text) for text in signatures]


def shared_examples(rows: Iterable[RunRow]) -> int:
    """Return how many test examples some runs share; 0 where seeds have data of their own."""
    signatures = {row.signature for row in rows if row.signature is not None}
    if len(set(map(without_search, signatures))) != 1:
        return 0
    return num_examples(next(iter(signatures)))


def scores_in(rows: Iterable[RunRow], plan: Plan | None = None) -> dict[str, MetricScore]:
    """Return what the scores of runs mean, by name, as their plan and their results say.

    Args:
        rows: the runs.
        plan: of their study; None where it is not at hand.
    """
    scores: dict[str, Any] = {}
    for row in rows:
        if row.result is not None:
            scores = row.result.scores | scores
    return dict(recorded_scores(scores | (plan.scores if plan is not None else {})))


def settings_by_row(plan: Plan, output_dir: Path) -> dict[str, RunConfig]:
    """Return the config of one run of each variant on each task, by run id; {} if unreadable.

    Args:
        plan: of a study.
        output_dir: as in `run.output_dir`.
    """
    firsts = {(cell.variant, cell.task): cell.run_id for cell in reversed(plan.cells)}
    try:
        return read_configs(plan_file(output_dir, plan.name), firsts.values())
    except (Invalid, ValueError, TypeError, LookupError, AttributeError):
        return {}  # a report does without


def read_rows(plan: Plan, output_dir: Path) -> tuple[RunRow, ...]:
    """Read the runs of a plan from their folders.

    Args:
        plan: of the study.
        output_dir: as in `run.output_dir`.
    """
    alike: dict[str, Any] = {}
    cells = track(plan.cells, "reading the runs")
    return tuple(_read(cell, plan, output_dir, alike) for cell in cells)


def defects(plan: Plan, output_dir: Path) -> list[str]:
    """Return what is damaged of a study, a line each.

    Args:
        plan: of the study.
        output_dir: as in `run.output_dir`.
    """
    rows = [(cell, *standing(cell, plan, output_dir)) for cell in plan.cells]
    invalid = [
        f"{cell.title}: {status}: {reason}"
        for cell, status, reason, _ in rows
        if status == "INVALID"
    ]
    return [*plan.damage, *invalid]


def _read(cell: StudyCell, plan: Plan, output_dir: Path, alike: dict[str, Any]) -> RunRow:
    status, reason, result = standing(cell, plan, output_dir)
    if result is None:
        return RunRow(cell, status, None, reason, _seconds(cell, output_dir))
    result = replace(  # the same in thousands of runs: kept once
        result,
        environment=_once(alike, result.environment, vars(result.environment)),
        equations=_once(alike, result.equations, result.equations),
        data=_once(alike, result.data, vars(result.data)),
    )
    seconds = result.train_seconds + result.evaluation_seconds
    return RunRow(cell, status, result, reason, seconds)


def _seconds(cell: StudyCell, output_dir: Path) -> float:
    """Return how long an unfinished run has trained."""
    try:
        return float(cell.run_folder(output_dir).last_metrics().get("seconds", 0.0))
    except ConfigError:
        return 0.0


def _once(alike: dict[str, Any], value: T, record: Mapping[str, Any]) -> T:
    return alike.setdefault(json.dumps(record, sort_keys=True), value)


def results(study: str, output_dir: str | Path = "outputs") -> pd.DataFrame:
    """Return the runs of a study, a row each, in the order of its plan.

    Args:
        study: its name.
        output_dir: as in `run.output_dir`.

    Returns:
        Columns study, variant, task, seed, status; `factor_NAME` for each factor; `tuned_SETTING`
        for each setting that was chosen by tuning; `test_METRIC` and
        `validation_METRIC` (NaN without a result; a failure's worst score is the report's doing);
        parameters, flops_per_example, steps, best_step, train_seconds, evaluation_seconds,
        signature, run_id, folder, reason. A row of which something is damaged has the status
        INVALID; what is damaged of the study itself stands in `.attrs["damage"]`, a list of
        texts, and is warned of.

    Raises:
        ConfigError: if there is no such study.

    Example:
        >>> import decoderlab
        >>> decoderlab.results("none")
        Traceback (most recent call last):
        decoderlab.common.errors.ConfigError: there is no study 'none' in outputs/studies; ...
    """
    plan = read_plan(Path(output_dir), study)
    table = frame(plan, read_rows(plan, Path(output_dir)))
    table.attrs["damage"] = list(plan.damage)
    if plan.damage:
        warnings.warn(f"study {study} is damaged: {'; '.join(plan.damage)}", stacklevel=2)
    return table


@dataclass(frozen=True)
class RunColumn:
    """A column of the data frame of runs, and of results.csv.

    Args:
        name: of the column.
        value: its cell, from the name of the study and a run.
        whole: whether its cells are whole numbers, or missing.
    """

    name: str
    value: Callable[[str, RunRow], Any]
    whole: bool = False


def _of_result(value: Callable[[RunResult], Any], missing: Any = np.nan) -> Callable:
    """Return a cell that shows something of a run's result."""
    return lambda study, row: missing if row.result is None else value(row.result)


def _of_factor(name: str) -> Callable[[str, RunRow], Any]:
    return lambda study, row: row.cell.factors.get(name, "")


def _of_tuning(key: str) -> Callable:
    def value(study: str, row: RunRow) -> Any:
        given = dict(override.split("=", 1) for override in row.cell.overrides if "=" in override)
        return given.get(key, "")

    return value


def _of_score(split: str, name: str) -> Callable[[str, RunRow], Any]:
    return _of_result(lambda result: getattr(result.metrics, split).get(name, np.nan))


# Each column once; factors and scores, of which each study has its own, stand between the two.
COLUMNS_BEFORE = (
    RunColumn("study", lambda study, row: study),
    RunColumn("variant", lambda study, row: row.cell.variant),
    RunColumn("task", lambda study, row: row.cell.task),
    RunColumn("seed", lambda study, row: row.cell.seed),
    RunColumn("status", lambda study, row: row.status),
)
COLUMNS_AFTER = (
    RunColumn("parameters", lambda study, row: row.parameters),
    RunColumn("flops_per_example", _of_result(lambda result: result.flops_per_example)),
    RunColumn("steps", _of_result(lambda result: result.steps, None), whole=True),
    RunColumn("best_step", _of_result(lambda result: result.best_step, None), whole=True),
    RunColumn("train_seconds", _of_result(lambda result: round(result.train_seconds, 3))),
    RunColumn("evaluation_seconds", _of_result(lambda result: round(result.evaluation_seconds, 3))),
    RunColumn("signature", lambda study, row: row.signature or ""),
    RunColumn("run_id", lambda study, row: row.cell.run_id),
    RunColumn("folder", lambda study, row: row.cell.folder),
    RunColumn("reason", lambda study, row: row.reason),
)


def run_columns(plan: Plan, rows: Sequence[RunRow]) -> list[RunColumn]:
    """Return the columns of the runs of a study, in their order.

    Args:
        plan: of the study.
        rows: its runs.
    """
    factors = dict.fromkeys(key for row in rows for key in row.cell.factors if key != "task")
    there = {name for row in rows if row.result for name in row.result.metrics.test} | {plan.metric}
    metrics = [name for name in scores_in(rows, plan) if name in there]
    return [
        *COLUMNS_BEFORE,
        *(RunColumn(f"factor_{name}", _of_factor(name)) for name in factors),
        *(
            RunColumn(f"tuned_{key}", _of_tuning(key))
            for key in (plan.tuning or {"space": ()})["space"]
        ),
        *(
            RunColumn(f"{split}_{name}", _of_score(split, name))
            for split in ("test", "validation")
            for name in metrics
        ),
        *COLUMNS_AFTER,
    ]


def frame(plan: Plan, rows: Sequence[RunRow]) -> pd.DataFrame:
    """Return rows as a data frame; see `results`."""
    columns = run_columns(plan, rows)
    return pd.DataFrame(
        [
            {_whole(column.name): _whole(column.value(plan.name, row)) for column in columns}
            for row in rows
        ]
    )


def _whole(value: Any) -> Any:
    """Return a text in which half a character, which no data frame holds, stands as its code."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def as_csv(table: pd.DataFrame) -> str:
    """Return a data frame as CSV in which no spreadsheet takes a text for a formula.

    Args:
        table: of runs, see `results`, or any other.
    """
    texts = table.copy()
    for name in texts.columns:
        if texts[name].dtype.kind not in "iuf":
            texts[name] = [
                csv_text(value) if isinstance(value, str) else value for value in texts[name]
            ]
    for column in COLUMNS_AFTER:
        if column.whole and column.name in texts:
            texts[column.name] = texts[column.name].astype("Int64")
    texts.columns = list(map(csv_text, texts.columns))
    return texts.to_csv(index=False, lineterminator="\n")


def outcomes_csv(rows: Sequence[RunRow], score: MetricScore) -> str | None:
    """Return which test examples each run has right, as CSV: of each a bit, packed, in hexadecimal.

    With it the intervals over seeds and examples follow from two files; see
    `decoderlab.data.packed_outcomes.unpack`.

    Args:
        rows: the runs.
        score: what it means.

    Returns:
        None where no run has outcomes: of scores that are no mean of them.
    """
    known = [(row.cell.run_id, row.outcomes(score)) for row in rows]
    lines = [f"{run_id},{pack(bits)}" for run_id, bits in known if bits is not None]
    return "\n".join([f"run_id,{csv_text(score.name)}", *lines, ""]) if lines else None
