"""A study's plan: every run it consists of, known before the first one begins."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from filelock import FileLock

from decoderlab.common.errors import ConfigError
from decoderlab.config.run_config import RunConfig, section
from decoderlab.config.run_identity import canonical
from decoderlab.config.study_settings import TUNING, Budget, Study
from decoderlab.records.run_folder import write_text

# What a study declares before its first run, and what would be moving the goal posts after it.
DECLARED = ("question", "metric", "minimum_effect", "baseline", "family", "published")


@dataclass(frozen=True)
class Cell:
    """One planned run.

    Args:
        run_id: of the run; cells with the same id are the same run.
        folder: of the run, relative to `run.output_dir`.
        variant: row of the table: the factors that are neither task nor seed.
        task: column of the table.
        seed: of the run.
        parameters: trained parameters.
        overrides: what makes this cell, as given on the command line.
        factors: what varies between the cells, by setting; a bundle by its name, as `variant`.
        flops: floating-point operations of a forward pass, an example.
        steps: updates to train for; None for a budget in seconds.
    """

    run_id: str
    folder: str
    variant: str
    task: str
    seed: int
    parameters: int
    overrides: tuple[str, ...]
    factors: dict[str, str] = field(default_factory=dict)
    flops: float = 0.0
    steps: int | None = None

    @property
    def title(self) -> str:
        """What a person calls this run."""
        return f"{self.task} · {self.variant} · seed {self.seed}"


class Chosen(TypedDict):
    """The best trial of a variant on a task: its settings, validation score and number."""

    settings: dict[str, Any]
    score: float
    trial: int


class TuningRecord(TypedDict):
    """What a plan says of the tuning before it: see `Tuning`, and what was chosen, by arm."""

    space: dict[str, Any]
    trials: int
    sampler: str
    seeds: list[int]
    metric: str
    runs: int
    chosen: dict[str, Chosen]


@dataclass(frozen=True)
class Plan:
    """All cells of a study.

    Args:
        study: the study's settings, its name filled in.
        cells: in the order in which they run, each run once.
        budget: what the variants are given alike.
        drift: what has changed and was accepted with `study.allow_drift`.
        tuning: the settings that were chosen, by row and column, and what they were chosen from.
        scores: what the scores of its tasks mean, by name; see `decoderlab.metrics.Score.record`.
    """

    study: Study
    cells: tuple[Cell, ...]
    budget: Budget
    drift: tuple[str, ...] = ()
    tuning: TuningRecord | None = None
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The study's name.

        Raises:
            ValueError: if its settings have none; they get a name when the plan is made.
        """
        if self.study.name is None:
            raise ValueError("the study of this plan has no name; make plans with make_plan")
        return self.study.name

    @property
    def metric(self) -> str:
        """The test metric of the study's table.

        Raises:
            ValueError: if its settings have none; its tasks fill it in.
        """
        if self.study.metric is None:
            raise ValueError("the study of this plan has no metric; make plans with make_plan")
        return self.study.metric

    def write(self, output_dir: Path, configs: Mapping[str, RunConfig]) -> None:
        """Write the plan into the study's folder: what is run and reported.

        A plan that was there before and differs stays beside it, and so do its configs, which jobs
        in the queue of a cluster may still want.

        Args:
            output_dir: as in `run.output_dir`.
            configs: the config of each run, by run id; a YAML that is edited from now on
                does not reach these runs.
        """
        path = plan_file(output_dir, self.name)
        record = {"study": asdict(self.study), "cells": [asdict(cell) for cell in self.cells]}
        record |= {"budget": asdict(self.budget), "drift": list(self.drift), "tuning": self.tuning}
        record["scores"] = self.scores
        text = json.dumps(record, indent=1, allow_nan=False) + "\n"
        jobs = {
            cell.run_id: {"cell": asdict(cell), "config": configs[cell.run_id].to_dict()}
            for cell in self.cells
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(".lock")):
            with contextlib.suppress(OSError, ValueError, KeyError):
                jobs = _read_jobs(path) | jobs
            lines = [canonical({"run_id": identity, **job}) for identity, job in jobs.items()]
            write_text(_jobs_file(path), "".join(f"{line}\n" for line in lines))
            if path.exists() and path.read_text() != text and self.kept:
                numbers = [int(older.stem[5:]) for older in path.parent.glob("plan-[0-9]*.json")]
                older = path.with_name(f"plan-{max(numbers, default=0) + 1:03d}.json")
                write_text(older, path.read_text())
            write_text(path, text)

    @property
    def kept(self) -> bool:
        """Whether older plans are: those of a tuning only grow, trial by trial."""
        return not self.name.endswith(TUNING)


def plan_file(output_dir: Path, name: str) -> Path:
    """Return the file of a study's plan."""
    return output_dir / "studies" / name / "plan.json"


def _jobs_file(plan: Path) -> Path:
    return plan.with_name("configs.jsonl")


def _read_jobs(plan: Path) -> dict[str, dict[str, Any]]:
    records = map(json.loads, _jobs_file(plan).read_text().splitlines())
    return {record["run_id"]: record for record in records}


def read_configs(plan: Path, run_ids: Collection[str] | None = None) -> dict[str, RunConfig]:
    """Return the config of each run of a plan, and of those before it, by run id.

    Args:
        plan: from `plan_file`.
        run_ids: of the runs that are wanted; None for all.

    Raises:
        ValueError: if a config is wrong.
    """
    return {
        identity: RunConfig.from_dict(job["config"])
        for identity, job in _read_jobs(plan).items()
        if run_ids is None or identity in run_ids
    }


def read_job(plan: Path, identity: str) -> tuple[Cell, RunConfig]:
    """Return one run of a plan, or of an earlier plan, and its config.

    Args:
        plan: from `plan_file`.
        identity: the run id.
    """
    job = _read_jobs(plan)[identity]
    return _cell(job["cell"]), RunConfig.from_dict(job["config"])


def _settings(record: Mapping[str, Any]) -> tuple[Study, Budget]:
    """Return the settings in the record of a plan."""
    study = section("study", Study, record["study"])
    return study, section("budget", Budget, record["budget"])


def _cell(record: Mapping[str, Any]) -> Cell:
    return Cell(**{**record, "overrides": tuple(record["overrides"])})


def read_plan(output_dir: Path, name: str) -> Plan:
    """Read a study's plan.

    Raises:
        ConfigError: if there is none, naming the studies that there are.
    """
    path = plan_file(output_dir, name)
    try:
        record = json.loads(path.read_text())
        cells, drift = tuple(map(_cell, record["cells"])), tuple(record["drift"])
        study, budget = _settings(record)
        return Plan(study, cells, budget, drift, record["tuning"], record.get("scores", {}))
    except FileNotFoundError as error:
        root = output_dir / "studies"
        there = sorted(str(file.parent.relative_to(root)) for file in root.glob("**/plan.json"))
        raise ConfigError(
            f"there is no study {name!r} in {root}; there "
            + (f"are: {', '.join(there)}" if there else "are none yet")
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error}); launch the study again") from error


def amendments(output_dir: Path, name: str) -> list[str]:
    """Return how the plan of a study has changed since its first version, a line each time.

    Args:
        output_dir: as in `run.output_dir`.
        name: of the study.
    """
    path = plan_file(output_dir, name)
    lines = []
    try:
        plans = [*sorted(path.parent.glob("plan-[0-9]*.json")), path]
        records = [json.loads(plan.read_text()) for plan in plans]
        for older, before, after in zip(plans, records, records[1:], strict=False):
            had, has = ({cell["run_id"] for cell in plan["cells"]} for plan in (before, after))
            old, new = _settings(before)[0], _settings(after)[0]
            changed = [key for key in DECLARED if getattr(old, key) != getattr(new, key)]
            if had != has or changed:
                lines.append(
                    f"amended after {older.name}: {len(has - had)} runs added, {len(had - has)} "
                    f"left out{''.join(f', {key} changed' for key in changed)}; what was added "
                    "after a look at results is exploratory"
                )
    except (OSError, ValueError, KeyError, TypeError):
        pass  # an older plan is a note beside the report, not its source
    return lines


def factors(overrides: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the keys that differ between cells, in the order of the command line.

    Example:
        >>> factors([{"decoder": "a", "seed": "0"}, {"decoder": "b", "seed": "0"}])
        ['decoder']
    """
    keys = list(dict.fromkeys(key for cell in overrides for key in cell))
    return [key for key in keys if len({cell.get(key) for cell in overrides}) > 1]


def labels(
    cell: Mapping[str, str],
    varied: Sequence[str],
    choices: Mapping[str, str],
    named: Collection[str] = (),
) -> tuple[str, str]:
    """Return the row and the column of a cell.

    The column is the task with whatever of it varies; the row is the bundle's name and all else
    that varies but the seed, or the decoder's name where nothing else does. `named` are the
    factors whose values have names, which say enough alone.

    Example:
        >>> cell = {"decoder": "luong", "task": "echo", "task.max_length": "9", "seed": "1"}
        >>> labels(cell, list(cell), {"task": "echo", "decoder": "luong"})
        ('luong', 'echo max_length=9')
    """
    varied = [key for key in varied if key in cell]
    about_task = [key for key in varied if key.startswith("task.")]
    column = [choices["task"]] + [f"{key.removeprefix('task.')}={cell[key]}" for key in about_task]
    rest = [key for key in varied if key not in ("task", "seed", *about_task)]
    if "variant" in cell and "variant" not in rest:
        rest.insert(0, "variant")
    alone = {"variant", "decoder", "encoder", *named}
    row = [cell[key] if key in alone else f"{key}={cell[key]}" for key in rest]
    return " ".join(row) or choices["decoder"], " ".join(column)
