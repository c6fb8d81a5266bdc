"""Whether a run is the one that its cell of the plan speaks of, and how it stands."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decoderlab.common.errors import ConfigError, Invalid, Unreadable
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import departure, sorted_json
from decoderlab.records.manifest import MOVED, read_manifest
from decoderlab.records.opened_run import OpenedRun, finished, open_run
from decoderlab.records.planned_as import note_planned, planned_as
from decoderlab.records.run_folder import RunFolder
from decoderlab.records.run_result import RunResult
from decoderlab.studies.design.plan_file import Plan, StudyCell, as_planned
from decoderlab.studies.design.plan_history import planned_before
from decoderlab.studies.design.sealed_plan import AGAIN

ANOTHER_NAME = (
    "its plan or its older plans were edited or deleted: put them back, or give the study "
    "another name"
)
RETRY = "give the command of the study again with study.retry=failed, which tests the run again"


def is_left_alone(folder: RunFolder, retry: str) -> bool:
    """Whether a launch leaves a run as it is.

    Args:
        folder: of the run.
        retry: as in `study.retry`.
    """
    if folder.status()["status"] in ("FAILED", "DIVERGED"):
        return retry == "none"
    return finished(folder)


def standing(cell: StudyCell, plan: Plan, output_dir: Path) -> tuple[str, str, RunResult | None]:
    """Return the status of a planned run, the reason for it, and its result if it is finished.

    INVALID is a run that is finished, or a cell of the plan, of which something is damaged,
    missing or not what it says.

    Args:
        cell: of the plan.
        plan: of the study.
        output_dir: as in `run.output_dir`.
    """
    if cell.run_id in plan.invalid:
        return "INVALID", plan.invalid[cell.run_id], None
    try:
        folder = cell.run_folder(output_dir)
        record = folder.status()
        if (owner := record.get("run_id", cell.run_id)) != cell.run_id:
            what = f"has the records of run {str(owner)[:12]}; expected run {cell.run_id[:12]}"
            raise Invalid(folder.path, what, MOVED)
        if mismatch := _planned_otherwise(cell, plan, folder):
            raise Invalid(folder.path, f"is not the run of its cell: {mismatch}", ANOTHER_NAME)
        if record["status"] != "FINISHED":
            if mismatch := ended_otherwise(folder, record["status"]):
                raise Invalid(folder.status_file, mismatch, RETRY)
            return record["status"], record.get("reason", ""), None
        run = open_run(folder, cell.run_id)
        if mismatch := disagreement(cell, plan, run):
            raise Invalid(folder.path, f"is not the run of its cell: {mismatch}", AGAIN)
    except (ConfigError, Invalid) as error:
        return "INVALID", str(error), None
    return "FINISHED", "", run.result


def ended_otherwise(folder: RunFolder, status: str) -> str | None:
    """Return what is wrong with a status beside the manifest of a finished run, or None.

    The manifest is written last, and taken away where a run begins again.

    Args:
        folder: of the run.
        status: that it has.
    """
    try:
        if not folder.manifest.is_file() or folder.locked():
            return None
        read_manifest(folder)
        if folder.status()["status"] != status:  # it has just ended
            return None
    except (Invalid, OSError):
        return None
    return f"says {status}, but the run is finished: its manifest.json is intact"


def disagreement(cell: StudyCell, plan: Plan, run: OpenedRun) -> str | None:
    """Return in what a cell of a plan does not speak of a run, or None.

    The run's settings are those that its id is the sha256 of, so a plan that somebody has edited
    and sealed again is found out too, as far as it says what a setting is.

    Args:
        cell: of the plan.
        plan: of the study.
        run: which the cell names.
    """
    config, result = run.config, run.result
    if cell.seed != config.seed:
        return f"its cell says seed {cell.seed}, but it was run with seed {config.seed}"
    known = plan.settings.get(cell.run_id)
    if known is not None and known != sorted_json(config.scientific()):
        mismatch = departure(run.manifest.identity, json.loads(known)) if known else "no settings"
        if mismatch:
            return f"configs.jsonl has other settings of it: {mismatch}"
    if mismatch := _counts(cell, config, result):
        return mismatch
    if plan.metric not in result.metrics.test:
        return f"it has no score {plan.metric}, which the study's table is of"
    for name in result.scores.keys() & plan.scores.keys():
        if _meaning(result.scores[name]) != _meaning(plan.scores[name]):
            return (
                f"its score {name} is {result.scores[name]!r:.90}, but the plan says "
                f"{plan.scores[name]!r:.90}"
            )
    return None


def _meaning(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a score means; whether outcomes of examples are known changes none of it."""
    return {name: value for name, value in description.items() if name != "per_example"}


def _counts(cell: StudyCell, config: RunConfig, result: RunResult) -> str | None:
    """Return which number of a cell is not that of the run, or None."""
    if config.callbacks:  # which may freeze parameters, and stop early
        return None
    total = result.parameters.get("total")
    if cell.parameters != total:
        return f"its cell says {cell.parameters:,} parameters, but it has {total!r}"
    if not math.isclose(cell.flops, result.flops_per_example, rel_tol=1e-6):
        return f"its cell says {cell.flops:,.0f} operations, but it has {result.flops_per_example}"
    timed = config.training.max_seconds is not None
    if not timed and cell.steps != result.steps:
        return f"its cell says {cell.steps} updates, but it has {result.steps}"
    return None


def _planned_otherwise(cell: StudyCell, plan: Plan, folder: RunFolder) -> str | None:
    """Return in what a run was planned otherwise in this study, by its own word, or None.

    It may have been planned as an older plan says. Of the plans of tuning none is kept.
    """
    said = planned_as(folder).get(plan.name) if plan.kept else None
    if said is None:
        return None
    now = as_planned(cell, plan.study, plan.budget)
    if said == now or said in planned_before(plan.older).get(cell.run_id, []):
        return None
    return f"it was planned with other settings in this study: its {_first(said, now)}"


def _first(said: Any, now: Any, name: str = "") -> str:
    """Return the first setting that differs, with both values."""
    if isinstance(said, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*now, *said]):
            if said.get(key) != now.get(key):
                return _first(said.get(key), now.get(key), f"{name}.{key}".lstrip("."))
    return f"{name} was {said!r:.60}, and is now {now!r:.60}"


def note_all_planned(plan: Plan, output_dir: Path, run_ids: set[str]) -> None:
    """Let the folders of runs that there are already say what this study has planned them as.

    Args:
        plan: of the study.
        output_dir: as in `run.output_dir`.
        run_ids: of these runs.
    """
    for cell in plan.cells:
        folder = cell.run_folder(output_dir)
        if cell.run_id not in run_ids or not folder.path.is_dir():
            continue
        try:
            note_planned(folder, plan.name, as_planned(cell, plan.study, plan.budget))
        except (OSError, Unreadable):  # somebody else's folder; nothing depends on it
            continue
