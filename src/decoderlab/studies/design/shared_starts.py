"""Seeds of a row that begin with the weights of one run, so that they are not independent."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from decoderlab.common.number_ranges import ranges_text
from decoderlab.config.run_identity import encoder_weights, parent_id
from decoderlab.studies.design.plan_file import StudyCell

NAMED = 3  # rows that a line names
WHAT = {"training.from_run": "the weights", "encoder.from_run": "the encoder"}
Row = tuple[str, str]


def shared_starts(cells: Iterable[StudyCell], settings: Mapping[str, str]) -> list[str]:
    """Return which seeds of a row begin with one run, and what that means, a line for each run.

    In settings, as in a config, such a run is named by its folder.

    Args:
        cells: of a study.
        settings: of its runs, by run id, as `Plan.settings`; of others nothing is said.
    """
    seeds: dict[tuple[str, str], dict[Row, set[int]]] = {}
    for cell in cells:
        for start in _starts(settings.get(cell.run_id, "")):
            of_row = seeds.setdefault(start, {})
            of_row.setdefault((cell.variant, cell.task), set()).add(cell.seed)
    shared = {
        start: {row: own for row, own in rows.items() if len(own) > 1}
        for start, rows in seeds.items()
    }
    return [_line(*start, rows) for start, rows in shared.items() if rows]


def _starts(text: str) -> list[tuple[str, str]]:
    """Return the settings that name a run to begin with, and the run's folder.

    Nothing is looked at there: whose text it is, is not known.
    """
    if '"from_run"' not in text:
        return []
    try:
        settings = json.loads(text)
        paths: list[Any] = [parent_id(settings), encoder_weights(settings)]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return []  # which is said elsewhere
    return [
        (setting, os.path.normpath(os.path.expanduser(path)))
        for setting, path in zip(WHAT, paths, strict=True)
        if isinstance(path, str) and path
    ]


def _line(setting: str, path: str, rows: Mapping[Row, set[int]]) -> str:
    names = [f"{variant} on {task}" for variant, task in rows]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    seeds, run = ranges_text(set().union(*rows.values())), os.path.basename(path)
    return (
        f"{', '.join(names[:NAMED])}{more}: the seeds {seeds} begin with {WHAT[setting]} of one "
        f"run ({setting}: {run:.100}), so that they are not independent: intervals and verdicts "
        "are about that run, and not about others like it; give each seed a run of its own"
    )
