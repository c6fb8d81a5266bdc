"""What the seeds of a row share: the weights of a run that they begin with, and fixed draws."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from decoderlab.common.number_ranges import ranges_text
from decoderlab.config.run_identity import OWN_SEEDS, encoder_weights, own_seeds, parent_id
from decoderlab.studies.design.plan_file import StudyCell

NAMED = 3  # rows that a line names
WHAT = {"training.from_run": "the weights", "encoder.from_run": "the encoder"}
# Settings of training that fix a draw, and what is drawn.
DRAWS: dict[str, str] = dict(zip(OWN_SEEDS, ("initial weights", "order of examples"), strict=True))
Row = tuple[str, str]


def dependent_seeds(cells: Iterable[StudyCell], settings: Mapping[str, str]) -> list[str]:
    """Return which seeds of a row have the same weights or draws, and what that means.

    Args:
        cells: of a study.
        settings: of its runs, by run id, as `Plan.settings`; of others nothing is said.
    """
    cells = list(cells)
    fixed = [
        f"{_named(rows)}: the seeds {ranges_text(set().union(*rows.values()))} have one draw of "
        f"the {DRAWS[name]} (training.{name}={seed}), so that they are not independent: intervals "
        "and verdicts are about that draw, and not about others like it; leave the setting out, "
        f"or give training.{name}=${{seed}}"
        for (name, seed), rows in fixed_draws(cells, settings).items()
    ]
    return [*shared_starts(cells, settings), *fixed]


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


def fixed_draws(
    cells: Iterable[StudyCell], settings: Mapping[str, str]
) -> dict[tuple[str, int], dict[Row, set[int]]]:
    """Return the rows in which several seeds have one draw, with these seeds.

    They stand by the setting that fixes the draw, and its value.

    Args:
        cells: of a study.
        settings: of its runs, as `shared_starts`.
    """
    drawn: dict[tuple[str, int], dict[Row, set[int]]] = {}
    for cell in cells:
        for name, seed in _own_seeds(settings.get(cell.run_id, "")).items():
            of_row = drawn.setdefault((name, seed), {})
            of_row.setdefault((cell.variant, cell.task), set()).add(cell.seed)
    several = {
        draw: {row: seeds for row, seeds in rows.items() if len(seeds) > 1}
        for draw, rows in drawn.items()
    }
    return {draw: rows for draw, rows in several.items() if rows}


def _own_seeds(text: str) -> dict[str, int]:
    """Return the seeds that settings of a run give to single draws."""
    if not any(f'"{name}"' in text for name in DRAWS):
        return {}
    try:
        return own_seeds(json.loads(text))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return {}  # which is said elsewhere


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
    seeds, run = ranges_text(set().union(*rows.values())), os.path.basename(path)
    return (
        f"{_named(rows)}: the seeds {seeds} begin with {WHAT[setting]} of one "
        f"run ({setting}: {run:.100}), so that they are not independent: intervals and verdicts "
        "are about that run, and not about others like it; give each seed a run of its own"
    )


def _named(rows: Iterable[Row]) -> str:
    names = [f"{variant} on {task}" for variant, task in rows]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
