"""Seeds of a row that begin with the weights of one run, so that they are not independent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from decoderlab.common.number_ranges import ranges_text
from decoderlab.studies.design.plan_file import StudyCell

NAMED = 3  # rows that a line names
WHAT = {"training.from_run": "the weights", "encoder.from_run": "the encoder"}
Row = tuple[str, str]


def shared_starts(cells: Iterable[StudyCell], settings: Mapping[str, str]) -> list[str]:
    """Return which seeds of a row begin with one run, and what that means, a line for each run.

    Args:
        cells: of a study.
        settings: of its runs, by run id, as `Plan.settings`; of others nothing is said.
    """
    seeds: dict[tuple[str, str], dict[Row, set[int]]] = {}
    for cell in cells:
        text = settings.get(cell.run_id, "")
        for start in _starts(json.loads(text)) if '"from_run"' in text else ():
            of_row = seeds.setdefault(start, {})
            of_row.setdefault((cell.variant, cell.task), set()).add(cell.seed)
    shared = {
        start: {row: own for row, own in rows.items() if len(own) > 1}
        for start, rows in seeds.items()
    }
    return [_line(*start, rows) for start, rows in shared.items() if rows]


def _starts(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the settings that name a run to begin with, and the run's folder."""
    found = []
    for setting in WHAT:
        path = settings.get(setting.partition(".")[0], {}).get("from_run")
        if isinstance(path, str):
            found.append((setting, os.path.realpath(os.path.expanduser(path))))
    return found


def _line(setting: str, path: str, rows: Mapping[Row, set[int]]) -> str:
    names = [f"{variant} on {task}" for variant, task in rows]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    seeds = ranges_text(set().union(*rows.values()))
    return (
        f"{', '.join(names[:NAMED])}{more}: the seeds {seeds} begin with {WHAT[setting]} of one "
        f"run ({setting}: {os.path.basename(path)}), so that they are not independent: intervals "
        "and verdicts are about that run, and not about others like it; give each seed a run of "
        "its own"
    )
