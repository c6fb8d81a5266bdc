"""What a study's plan and configs are checked by: their own sha256, each other, and their runs.

`plan.json` holds its own sha256, and that of every plan before it. Each line of `configs.jsonl`
holds one, and the digest of the plan that stands. While a plan is written, the old one and the new
one are both right, so that a launch that is killed leaves nothing damaged; then the new one alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from decoderlab.common.bounded_reading import json_lines
from decoderlab.common.errors import ConfigError, Invalid, Unreadable
from decoderlab.config.run_config import choices_of, section
from decoderlab.config.run_identity import digest_of, sorted_json
from decoderlab.config.scientific import scientific_of
from decoderlab.config.study_settings import Budget, Study
from decoderlab.records.run_folder import sealed
from decoderlab.studies.design.row_labels import possible_labels
from decoderlab.studies.design.study_cell_settings import alike, contradiction

FORMAT = 2
AGAIN = "give the command of the study again, which writes its plan again"
REPLACE = (
    "give the command of the study again with study.allow_changes=true, which writes its plan "
    "again and keeps this one beside it"
)
# Of a plan: what is digested, and of which kind it is.
CONTENT = {
    "study": dict,
    "cells": list,
    "budget": dict,
    "accepted_changes": list,
    "tuning": dict | None,
    "scores": dict,
    "older": dict,  # the sha256 of each plan before it, by the name of its file
}
# Of a cell.
FIELDS: dict[str, Any] = {
    "run_id": str,
    "folder": str,
    "variant": str,
    "task": str,
    "seed": int,
    "parameters": int,
    "overrides": list,
    "factors": dict,
    "flops": int | float,
    "steps": int | None,
}


def digest_of_plan(record: Mapping[str, Any]) -> str:
    """Return the sha256 of a plan, and of the plans before it."""
    return digest_of({name: record[name] for name in CONTENT})


def says(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a plan says, whatever was before it."""
    return {name: record[name] for name in CONTENT if name != "older"}


def check_plan(path: Path, record: Mapping[str, Any]) -> None:
    """Raise Invalid for the record of a plan that is not a plan of this version.

    Args:
        path: of its file, for messages.
        record: that the file holds.
    """
    if record.get("format") != FORMAT:
        what = f"is of format {record.get('format')!r:.20}; this version reads {FORMAT}"
        raise Invalid(path, what, REPLACE)
    for name, kind in CONTENT.items():
        if name not in record or not isinstance(record[name], kind):
            raise Invalid(path, f"is damaged: its {name} is {record.get(name)!r:.60}", REPLACE)
    for index, cell in enumerate(record["cells"]):
        check_study_cell(path, f"cells[{index}]", cell)
    ids = [cell["run_id"] for cell in record["cells"]]
    if len(set(ids)) < len(ids) or not ids:
        raise Invalid(path, "is damaged: it has no cells, or a run twice", REPLACE)
    for name in ("accepted_changes", "same_runs"):
        lines = record.get(name, [])
        if not (isinstance(lines, list) and all(isinstance(line, str) for line in lines)):
            raise Invalid(path, f"is damaged: its {name} are not a list of texts", REPLACE)


def check_study_cell(path: Path, where: str, cell: Any) -> None:
    """Raise Invalid for what is not a cell of a plan; the field is named.

    Args:
        path: of the file, for messages.
        where: in the file.
        cell: that stands there.
    """
    if not isinstance(cell, dict):
        raise Invalid(path, f"is damaged: {where} is {cell!r:.60}, which is not a cell", REPLACE)
    for name in dict.fromkeys([*FIELDS, *cell]):
        value = cell.get(name)
        right = name in FIELDS and name in cell and isinstance(value, FIELDS[name])
        if name == "overrides" and right:
            right = all(isinstance(text, str) for text in cell[name])
        elif name == "factors" and right:
            right = all(isinstance(text, str) for text in cell[name].values())
        elif isinstance(value, bool) or (isinstance(value, int | float) and not 0 <= value < 1e300):
            right = False
        if not right:
            raise Invalid(path, f"is damaged: {where}.{name} is {value!r:.60}", REPLACE)


def job_line(job: Mapping[str, Any], plans: Sequence[str], before: Sequence[str]) -> dict[str, Any]:
    """Return what a line of `configs.jsonl` holds.

    Args:
        job: `run_id`, `cell` and `config` of a run.
        plans: from `digest_of_plan`: of the plan that stands, and of the one to be written.
        before: the plans of the line that it replaces; what was not right does not become so.
    """
    stands, new = plans
    return sealed({**job, "plans": list(dict.fromkeys([*({stands} & {*before} - {""}), new]))})


def read_jobs(path: Path, *, surely: bool = False) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the whole lines of `configs.jsonl` by run id, and what is wrong with the others.

    Args:
        path: of the file.
        surely: whether a file that cannot be read now is an error, and has not lost its lines.

    Raises:
        Unreadable: if it cannot be read now, with `surely`.
    """
    jobs: dict[str, dict[str, Any]] = {}
    defects = []
    for number, line in _lines(path):
        try:
            if isinstance(line, Invalid):
                raise line
            _check_line(path, number, line)
        except Invalid as error:
            if surely and isinstance(error, Unreadable):
                raise
            defects.append(f"{error.path} {error.what}")
        else:
            jobs[line["run_id"]] = line
    return jobs, defects


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | Invalid]]:
    try:
        yield from enumerate(json_lines(path), start=1)
    except Invalid as error:
        yield 0, error


def _check_line(path: Path, number: int, line: dict[str, Any]) -> None:
    if sealed(line) != line:
        raise Invalid(path, f"line {number} does not agree with its own sha256")
    kinds = {"run_id": str, "cell": dict, "config": dict, "plans": list}
    if any(not isinstance(line.get(name), kind) for name, kind in kinds.items()):
        raise Invalid(path, f"line {number} is not a run of a plan")
    check_study_cell(path, f"line {number}: cell", line["cell"])
    if line["run_id"] != line["cell"]["run_id"]:
        raise Invalid(path, f"line {number} has the cell of another run")


def plan_settings(record: Mapping[str, Any]) -> tuple[Study, Budget]:
    """Return the settings in the record of a plan.

    Raises:
        ConfigError: for anything missing, unknown, of the wrong type or out of range.
    """
    study = section("study", Study, record["study"])
    return study, section("budget", Budget, record["budget"])


def invalid_cells(
    record: Mapping[str, Any], jobs: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Return what is wrong with the cells of a plan, by run id.

    Args:
        record: of the plan, see `check_plan`.
        jobs: from `read_jobs`.

    Raises:
        ConfigError: for settings of the plan that are none.
    """
    plan, shared, invalid = digest_of_plan(record), alike(record["cells"]), {}
    settings = plan_settings(record)
    for cell in record["cells"]:
        job = jobs.get(cell["run_id"])
        if job is None:
            invalid[cell["run_id"]] = f"configs.jsonl has no complete line of this run; {AGAIN}"
        elif plan not in job["plans"] and (mismatch := _difference(cell, job["cell"])):
            invalid[cell["run_id"]] = f"{mismatch}; {AGAIN}"
        elif mismatch := _misnamed(cell, settings, job["config"], shared):
            invalid[cell["run_id"]] = f"{mismatch}; {AGAIN}"
    return invalid


def _misnamed(
    cell: Mapping[str, Any],
    settings: tuple[Study, Budget],
    config: Mapping[str, Any],
    shared: set[str],
) -> str | None:
    """Return in what a cell does not say what its config says, or None."""
    try:
        names = possible_labels(cell, settings[0], choices_of(config))
        if (cell["variant"], cell["task"]) not in names:
            what = f"its cell is called {cell['variant']} on {cell['task']}"
            return f"{what}, which its settings are not called"
        return contradiction(cell, *settings, config, shared)
    except (ConfigError, LookupError, TypeError, AttributeError, ValueError) as error:
        return f"its config is not the config of a run ({type(error).__name__}: {error!s:.60})"


def settings_of(config: Mapping[str, Any]) -> str:
    """Return the one text of what the result of a config depends on; empty for no config."""
    try:
        return sorted_json(scientific_of(config))
    except (LookupError, TypeError, AttributeError, ValueError):
        return ""


def _difference(cell: Mapping[str, Any], known: Mapping[str, Any]) -> str | None:
    for name in FIELDS:
        if cell[name] != known[name]:
            return (
                f"plan.json says {name} {cell[name]!r:.60}, where configs.jsonl says "
                f"{known[name]!r:.60}"
            )
    return None
