"""The plan of a run in its own folder: `planned.json`, written by the launching process.

It is the run's own word about its place in a study. A plan that somebody edits, with everything
that it is checked by in the study's folder, does not agree with it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from decoderlab.common.bounded_reading import read_json
from decoderlab.common.errors import Invalid, Missing, Unreadable
from decoderlab.records.run_folder import RunFolder, sealed, write_json


def planned_as(folder: RunFolder) -> dict[str, Any]:
    """Return the plan of a run in each study, by the study's name; {} if no study has it.

    Raises:
        Invalid: if the file is damaged.
    """
    try:
        record = read_json(folder.planned)
    except Missing:
        return {}
    if sealed(record) != record or not isinstance(record.get("studies"), dict):
        raise Invalid(folder.planned, "does not agree with its own sha256")
    return record["studies"]


def note_planned(folder: RunFolder, study: str, planned: Mapping[str, Any]) -> None:
    """Write the plan of a run in a study, unless it is recorded already.

    Args:
        folder: of the run.
        study: its name.
        planned: see `decoderlab.studies.design.plan_file.as_planned`.

    Raises:
        Unreadable: if what is recorded cannot be read now.
    """
    try:
        before = planned_as(folder)
    except Unreadable:  # what other studies have planned is not to be forgotten
        raise
    except Invalid:
        before = {}
    if before.get(study) != planned:
        write_json(folder.planned, sealed({"studies": before | {study: planned}}))


def runs_of_studies(runs: Path, without: Collection[str] = ()) -> dict[str, dict[str, str]]:
    """Return the runs that say that they were planned, by study and id: the names of their folders.

    Args:
        runs: the folder of all runs.
        without: names of folders that are not looked into.
    """
    by_study: dict[str, dict[str, str]] = {}
    try:
        with os.scandir(runs) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return by_study
    for name in names:
        if name in without:
            continue
        try:
            studies = planned_as(RunFolder(runs / name))
        except Invalid:
            continue
        for study, planned in studies.items():
            cell = planned.get("cell") if isinstance(planned, dict) else None
            if isinstance(cell, dict):
                by_study.setdefault(study, {})[str(cell.get("run_id"))] = name
    return by_study
