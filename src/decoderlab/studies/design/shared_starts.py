"""What the seeds of a row share: the weights of a run that they begin with, and fixed draws."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from decoderlab.common.number_ranges import ranges_text
from decoderlab.config.run_identity import encoder_weights, parent_id, seeds_of_draws
from decoderlab.config.run_sections import OWN_SEEDS
from decoderlab.studies.design.plan_file import StudyCell

NAMED = 3  # rows that a line names
WHAT = {"training.from_run": "the weights", "encoder.from_run": "the encoder"}
# Settings of training that fix a draw, and what is drawn.
DRAWS: dict[str, str] = dict(zip(OWN_SEEDS, ("initial weights", "order of examples"), strict=True))
Row = tuple[str, str]
T = TypeVar("T", str, int)


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
    shared = _shared(cells, settings, "from_run", _starts)
    return [_line(*start, rows) for start, rows in shared.items()]


def fixed_draws(
    cells: Iterable[StudyCell], settings: Mapping[str, str]
) -> dict[tuple[str, int], dict[Row, set[int]]]:
    """Return the rows in which several seeds have one draw, with these seeds.

    They stand by the setting that fixes the draw, and its value.

    Args:
        cells: of a study.
        settings: of its runs, as `shared_starts`.
    """
    if not any(f'"{name}"' in text for text in settings.values() for name in OWN_SEEDS):
        return {}
    # The run whose own seed is the fixed one has that draw too.
    return _shared(cells, settings, "seed", lambda given: seeds_of_draws(given).items())


def _shared(
    cells: Iterable[StudyCell],
    settings: Mapping[str, str],
    word: str,
    named: Callable[[Any], Iterable[tuple[str, T]]],
) -> dict[tuple[str, T], dict[Row, set[int]]]:
    """Return the rows in which several seeds name the same, with these seeds.

    Args:
        cells: of a study.
        settings: of its runs, as `shared_starts`.
        word: that a text has which names anything; others are not parsed.
        named: by settings, with the setting.
    """
    seeds: dict[tuple[str, T], dict[Row, set[int]]] = {}
    for cell in cells:
        text = settings.get(cell.run_id, "")
        try:
            keys = [*named(json.loads(text))] if f'{word}"' in text else []
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            continue  # which is said elsewhere
        for key in keys:
            of_row = seeds.setdefault(key, {})
            of_row.setdefault((cell.variant, cell.task), set()).add(cell.seed)
    several = {
        key: {row: own for row, own in rows.items() if len(own) > 1} for key, rows in seeds.items()
    }
    return {key: rows for key, rows in several.items() if rows}


def _starts(given: Any) -> list[tuple[str, str]]:
    """Return the settings that name a run to begin with, and the run's folder.

    Links are followed, since several may lead to one run; nothing is read there: whose text it is,
    is not known.
    """
    paths: list[Any] = [parent_id(given), encoder_weights(given)]
    return [
        (setting, os.path.realpath(os.path.expanduser(path)))
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
