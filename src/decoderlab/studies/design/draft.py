"""A cell on its way into the plan, and the task of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from decoderlab.common.errors import ConfigError
from decoderlab.common.number_ranges import ranges_text
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import sorted_json
from decoderlab.data.task import Task
from decoderlab.studies.design.grid import GridCell
from decoderlab.studies.design.plan_file import StudyCell
from decoderlab.training.assembly import build_task

# What a task, built with its scores, depends on, beside the seed.
BUILT_OF = ("task", "training", "evaluation", "run", "study")


@dataclass
class Draft:
    """A cell on its way into the plan.

    Args:
        grid_cell: what makes it.
        config: of the run.
        row, column: where it stands in the table.
        parameters, flops: of its model, once measured.
        run_id, steps: once its budget is known.
    """

    grid_cell: GridCell
    config: RunConfig
    row: str
    column: str
    parameters: int = 0
    flops: float = 0.0
    run_id: str = ""
    steps: int | None = None

    def cell(self, folder: Path, varied: Sequence[str]) -> StudyCell:
        """Return the cell of the plan."""
        named = self.grid_cell.named
        return StudyCell(
            run_id=self.run_id,
            folder=str(folder),
            variant=self.row,
            task=self.column,
            seed=self.config.seed,
            parameters=self.parameters,
            overrides=tuple(self.grid_cell.overrides),
            factors={key: named[key] for key in varied if key != "seed" and key in named},
            flops=self.flops,
            steps=self.steps,
        )


def twin_notes(drafts: Sequence[Draft]) -> tuple[list[str], list[str]]:
    """Return which cells of the table are the same runs as others before them, and are repeated.

    Args:
        drafts: with their run ids.

    Raises:
        ConfigError: for two cells that are the same run with some of their seeds only: there their
            difference is 0 by construction, and no draw of it.
    """
    firsts: dict[str, str] = {}
    seeds: dict[str, set[int]] = {}
    twins: dict[tuple[str, str], set[int]] = {}
    for draft in drafts:
        name = f"{draft.row}, {draft.column}"
        seeds.setdefault(name, set()).add(draft.config.seed)
        if draft.run_id in firsts:
            twins.setdefault((name, firsts[draft.run_id]), set()).add(draft.config.seed)
        else:
            firsts[draft.run_id] = name
    same, repeated = [], []
    for (name, first), shared in twins.items():
        if name != first and shared != seeds[name]:
            both = f"{name} and {first} are the same run with seed {ranges_text(shared)}, and"
            if shared == seeds[name] & seeds[first]:
                raise ConfigError(
                    f"{both} {first} has no other seeds of {name}; leave one of the two out with "
                    "all its seeds"
                )
            raise ConfigError(
                f"{both} others with seed {ranges_text(seeds[name] & seeds[first] - shared)}: a "
                "value that follows the seed meets one that is fixed. Fix it to a value that no "
                f"seed of the study gives, or leave seed {ranges_text(shared)} out of the study's "
                "seeds"
            )
        once = f"planned once (seed {ranges_text(shared)})"
        if name == first:
            repeated.append(f"{name} is given more than once: {once}")
        else:
            same.append(f"{name} is the same run as {first}: {once}")
    return same, repeated


def by_task(drafts: Sequence[Draft]) -> list[int]:
    """Return the indices of drafts, so that those whose tasks are the same follow each other.

    But for the seed, see `TaskOfLast`; and so do those that read the same data.
    """
    texts: dict[tuple[int, ...], tuple[str, str]] = {}  # what cells share is often one object
    groups: dict[str, dict[str, list[int]]] = {}
    for index, draft in enumerate(drafts):
        parts = tuple(id(getattr(draft.config, name)) for name in BUILT_OF)
        if parts not in texts:
            record = draft.config.to_dict()
            whole = sorted_json([record[name] for name in BUILT_OF])
            texts[parts] = sorted_json(draft.config.task.to_dict()), whole
        task, whole = texts[parts]
        groups.setdefault(task, {}).setdefault(whole, []).append(index)
    return [index for of_task in groups.values() for group in of_task.values() for index in group]


class TaskOfLast:
    """Builds the task of a config; the one before where all that it depends on is the same.

    But for the seed, which says in what order a task shows its examples.
    """

    def __init__(self) -> None:
        self._made: tuple[tuple, Task] | None = None

    def __call__(self, config: RunConfig) -> Task:
        """Return it, with its data."""
        key = tuple(getattr(config, name) for name in BUILT_OF)
        if self._made is None or self._made[0] != key:
            self._made = None  # whatever is raised now
            self._made = key, build_task(config)
        return self._made[1]
