"""The runs of a study as they stand on the disk, and as a data frame."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from decoderlab.common.progress import track
from decoderlab.metrics.score import Score
from decoderlab.metrics.shipped import recorded_scores
from decoderlab.records.run_folder import Invalid, RunFolder
from decoderlab.records.run_result import RunResult
from decoderlab.studies.design.plan_file import Cell, Plan, read_plan
from decoderlab.training.probes import unpack

T = TypeVar("T")
FAILURES = ("FAILED", "DIVERGED")


@dataclass(frozen=True)
class Row:
    """One planned run as it stands.

    Args:
        cell: what was planned.
        status: of the run folder, or INVALID for a damaged result.
        result: of a finished run, else None.
        reason: why it is not finished, where that is known.
        seconds: of computing spent on it, also where it failed.
    """

    cell: Cell
    status: str
    result: RunResult | None
    reason: str
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether it counts with the worst score."""
        return self.status in FAILURES

    @property
    def signature(self) -> str | None:
        """How it was measured; scores of one task and seed compare only if it is the same."""
        return None if self.result is None else self.result.signature

    def score(self, metric: str) -> float | None:
        """Return the test score, None without a result."""
        return None if self.result is None else self.result.metrics.test[metric]

    def correct(self, number: int = 0) -> np.ndarray | None:
        """Return which test examples were right, (N,) bool; None where that is not known.

        All of a failure's are wrong, of which there are `number`.
        """
        if self.failed and number:
            return np.zeros(number, dtype=bool)
        probes = None if self.result is None else self.result.probes
        if self.result is None or probes is None or "correct" not in probes:
            return None
        return unpack(probes, num_examples(self.result.signature))


def parts_of(signature: str) -> dict[str, str]:
    """Return what a signature is made of; see `decoderlab.metrics.signature`.

    Example:
        >>> parts_of("generation:beam:3|n:500")
        {'generation': 'beam:3', 'n': '500'}
    """
    return dict(part.split(":", 1) for part in signature.split("|"))


def parts_without(signature: str, *names: str) -> frozenset[tuple[str, str]]:
    """Return what a signature is made of, without some parts, to be compared.

    Example:
        >>> sorted(parts_without("generation:greedy|n:500|data:718a", "data"))
        [('generation', 'greedy'), ('n', '500')]
    """
    return frozenset(part for part in parts_of(signature).items() if part[0] not in names)


def num_examples(signature: str) -> int:
    """Return of how many test examples a signature speaks.

    Example:
        >>> num_examples("generation:greedy|max_length:4|split:test|n:500|data:718a|v:1")
        500
    """
    return int(parts_of(signature)["n"])


def scores_in(rows: Iterable[Row], plan: Plan | None = None) -> dict[str, Score]:
    """Return what the scores of runs mean, by name, as their plan and their results say.

    Args:
        rows: the runs.
        plan: of their study; None where it is not at hand.
    """
    scores: dict[str, Any] = {}
    for row in rows:
        if row.result is not None:
            scores = row.result.scores | scores
    return recorded_scores(scores | (plan.scores if plan is not None else {}))


def read_rows(plan: Plan, output_dir: Path) -> tuple[Row, ...]:
    """Read the runs of a plan from their folders.

    Args:
        plan: of the study.
        output_dir: as in `run.output_dir`.
    """
    alike: dict[str, Any] = {}
    return tuple(_read(cell, output_dir, alike) for cell in track(plan.cells, "reading the runs"))


def _read(cell: Cell, output_dir: Path, alike: dict[str, Any]) -> Row:
    folder = RunFolder(output_dir / cell.folder)
    record = folder.status()
    status, reason, result = record["status"], record.get("reason", ""), None
    if status == "FINISHED":
        try:
            result = folder.result()
            if result is None:
                status, reason = "INVALID", "result.json is missing"
        except Invalid as error:
            status, reason = "INVALID", str(error)
    if result is None:
        return Row(cell, status, None, reason, float(folder.last_metrics().get("seconds", 0.0)))
    result = replace(  # the same in thousands of runs: kept once
        result,
        environment=_once(alike, result.environment, vars(result.environment)),
        equations=_once(alike, result.equations, result.equations),
        data=_once(alike, result.data, vars(result.data)),
    )
    seconds = result.train_seconds + result.evaluation_seconds
    return Row(cell, status, result, reason, seconds)


def _once(alike: dict[str, Any], value: T, record: Mapping[str, Any]) -> T:
    return alike.setdefault(json.dumps(record, sort_keys=True), value)


def results(study: str, output_dir: str | Path = "outputs") -> pd.DataFrame:
    """Return the runs of a study, a row each, in the order of its plan.

    Args:
        study: its name.
        output_dir: as in `run.output_dir`.

    Returns:
        Columns study, variant, task, seed, status; `factor_NAME` for each factor; `test_METRIC` and
        `validation_METRIC` (NaN without a result; a failure's worst score is the report's doing);
        parameters, flops_per_example, steps, best_step, train_seconds, evaluation_seconds,
        signature, run_id, folder, reason.

    Raises:
        ConfigError: if there is no such study.

    Example:
        >>> import decoderlab
        >>> decoderlab.results("none")
        Traceback (most recent call last):
        decoderlab.common.errors.ConfigError: there is no study 'none' in outputs/studies; ...
    """
    plan = read_plan(Path(output_dir), study)
    return frame(plan, read_rows(plan, Path(output_dir)))


def frame(plan: Plan, rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows as a data frame; see `results`."""
    factors = dict.fromkeys(key for row in rows for key in row.cell.factors if key != "task")
    there = {name for row in rows if row.result for name in row.result.metrics.test} | {plan.metric}
    metrics = [name for name in scores_in(rows, plan) if name in there]
    return pd.DataFrame([_record(plan, row, factors, metrics) for row in rows])


def _record(
    plan: Plan, row: Row, factors: Mapping[str, None], metrics: Sequence[str]
) -> dict[str, Any]:
    cell, result = row.cell, row.result
    scores = {} if result is None else vars(result.metrics)
    return {
        "study": plan.name,
        "variant": cell.variant,
        "task": cell.task,
        "seed": cell.seed,
        "status": row.status,
        **{f"factor_{name}": cell.factors.get(name, "") for name in factors},
        **{
            f"{split}_{name}": scores.get(split, {}).get(name, np.nan)
            for split in ("test", "validation")
            for name in metrics
        },
        "parameters": cell.parameters,
        "flops_per_example": result.flops_per_example if result else np.nan,
        "steps": result.steps if result else None,
        "best_step": result.best_step if result else None,
        "train_seconds": round(result.train_seconds, 3) if result else np.nan,
        "evaluation_seconds": round(result.evaluation_seconds, 3) if result else np.nan,
        "signature": row.signature or "",
        "run_id": cell.run_id,
        "folder": cell.folder,
        "reason": row.reason,
    }


def as_csv(table: pd.DataFrame) -> str:
    """Return a data frame as CSV in which no spreadsheet takes a text for a formula."""
    texts = table.copy()
    for name in texts.columns:
        if texts[name].dtype.kind not in "iuf":
            texts[name] = [_harmless(text) for text in texts[name]]
    for name in ("steps", "best_step"):
        texts[name] = texts[name].astype("Int64")
    return texts.to_csv(index=False, lineterminator="\n")


def _harmless(text: Any) -> Any:
    starts = tuple("=+-@\t\r")
    return f"'{text}" if isinstance(text, str) and text.startswith(starts) else text
