"""What the rows and columns of a study's table are called."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from decoderlab.config.run_config import Choices
from decoderlab.config.study_settings import Study


def varied_keys(overrides: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the keys that differ between cells, in the order of the command line.

    Example:
        >>> varied_keys([{"decoder": "a", "seed": "0"}, {"decoder": "b", "seed": "0"}])
        ['decoder']
    """
    keys = list(dict.fromkeys(key for cell in overrides for key in cell))
    return [key for key in keys if len({cell.get(key) for cell in overrides}) > 1]


def labels(
    cell: Mapping[str, str],
    varied: Sequence[str],
    choices: Choices,
    named: Collection[str] = (),
) -> tuple[str, str]:
    """Return the row and the column of a cell.

    The column is the task with whatever of it varies; the row is the bundle's name and all else
    that varies but the seed, or the decoder's name where nothing else does. `named` are the
    factors whose values have names, which say enough alone; also of tasks.

    Example:
        >>> cell = {"decoder": "luong", "task": "echo", "task.max_length": "9", "seed": "1"}
        >>> labels(cell, list(cell), Choices(task="echo", decoder="luong"))
        ('luong', 'echo max_length=9')
        >>> labels({"task": "longer"}, ["task"], Choices(task="echo", decoder="luong"), ["task"])
        ('luong', 'longer')
    """
    varied = [key for key in varied if key in cell]
    about_task = [key for key in varied if key.startswith("task.")]
    task = cell["task"] if "task" in named and "task" in varied else choices.task
    column = [task] + [f"{key.removeprefix('task.')}={cell[key]}" for key in about_task]
    rest = [key for key in varied if key not in ("task", "seed", *about_task)]
    if "variant" in cell and "variant" not in rest:
        rest.insert(0, "variant")
    alone = {"variant", "decoder", "encoder", *named}
    row = [cell[key] if key in alone else f"{key}={cell[key]}" for key in rest]
    return " ".join(row) or choices.decoder, " ".join(column)


def possible_labels(
    cell: Mapping[str, Any], study: Study, choices: Choices
) -> set[tuple[str, str]]:
    """Return the rows and columns in which a cell of a plan can stand.

    Args:
        cell: as in the plan; its factors are what varies between the cells.
        study: settings of the study.
        choices: names of task, encoder and decoder.
    """
    declared = study.factors or {}
    named = [name for name, levels in declared.items() if isinstance(levels, Mapping)]
    # A study of one variant does not count it among its factors.
    wholes: list[dict[str, str]] = [dict(cell["factors"])]
    if "variant" not in cell["factors"]:
        bundles = [*(study.variants or {}), *(study.references or {})]
        wholes += [{"variant": str(name), **cell["factors"]} for name in bundles]
    return {labels(whole, list(cell["factors"]), choices, named) for whole in wholes}
