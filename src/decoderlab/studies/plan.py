"""A study's plan: every run it consists of, known before the first one begins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from decoderlab.config import ConfigError
from decoderlab.records import write_json


@dataclass(frozen=True)
class Cell:
    """One planned run.

    Args:
        run_id: of the run; cells with the same one are the same run.
        folder: of the run, relative to `run.output_dir`.
        variant: row of the table: the factors that are neither task nor seed.
        task: column of the table.
        seed: of the run.
        parameters: trained parameters.
        overrides: what makes this cell, as given on the command line.
    """

    run_id: str
    folder: str
    variant: str
    task: str
    seed: int
    parameters: int
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """All cells of a study.

    Args:
        study: the study's settings, its name filled in.
        cells: in the order in which they run, each run once.
    """

    study: dict[str, Any]
    cells: tuple[Cell, ...]

    def write(self, output_dir: Path) -> None:
        """Write the plan into the study's folder; it is what the report is about."""
        record = {"study": self.study, "cells": [asdict(cell) for cell in self.cells]}
        write_json(plan_file(output_dir, self.study["name"]), record)


def plan_file(output_dir: Path, name: str) -> Path:
    """Return where the plan of a study lies."""
    return output_dir / "studies" / name / "plan.json"


def read_plan(output_dir: Path, name: str) -> Plan:
    """Read a study's plan.

    Raises:
        ConfigError: if there is none, naming the studies that there are.
    """
    path = plan_file(output_dir, name)
    try:
        record = json.loads(path.read_text())
        cells = tuple(
            Cell(**{**cell, "overrides": tuple(cell["overrides"])}) for cell in record["cells"]
        )
        return Plan(record["study"], cells)
    except FileNotFoundError as error:
        there = sorted(p.parent.name for p in path.parent.parent.glob("*/plan.json"))
        raise ConfigError(
            f"there is no study {name!r} in {output_dir / 'studies'}; there "
            + (f"are: {', '.join(there)}" if there else "are none yet")
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error}); launch the study again") from error


def factors(overrides: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the keys that differ between cells, in the order of the command line.

    Example:
        >>> factors([{"decoder": "a", "seed": "0"}, {"decoder": "b", "seed": "0"}])
        ['decoder']
    """
    keys = list(dict.fromkeys(key for cell in overrides for key in cell))
    return [key for key in keys if len({cell.get(key) for cell in overrides}) > 1]


def labels(
    cell: Mapping[str, str], varied: Sequence[str], choices: Mapping[str, str]
) -> tuple[str, str]:
    """Return the row and the column of a cell.

    The column is the task with whatever of it varies; the row is all else that varies but the
    seed, or the decoder's name where nothing else does.

    Example:
        >>> cell = {"decoder": "luong", "task": "echo", "task.max_length": "9", "seed": "1"}
        >>> labels(cell, list(cell), {"task": "echo", "decoder": "luong"})
        ('luong', 'echo max_length=9')
    """
    about_task = [key for key in varied if key.startswith("task.")]
    column = [choices["task"]] + [f"{key.removeprefix('task.')}={cell[key]}" for key in about_task]
    rest = [key for key in varied if key not in ("task", "seed", *about_task)]
    groups = ("decoder", "encoder")
    row = [cell[key] if key in groups else f"{key}={cell[key]}" for key in rest]
    return " ".join(row) or choices["decoder"], " ".join(column)
