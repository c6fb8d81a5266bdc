"""A study's plan: every run it consists of, known before the first one begins."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

from decoderlab.common.bounded_reading import read_json
from decoderlab.common.errors import ConfigError, Invalid, Missing
from decoderlab.common.safe_names import check_name, inside, refuse_links_out
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import digest_of
from decoderlab.config.study_settings import TUNING, Budget, Study
from decoderlab.metrics.shipped import recorded_scores
from decoderlab.records.planned_as import runs_of_studies
from decoderlab.records.run_folder import RunFolder, sealed
from decoderlab.studies.design import plan_history
from decoderlab.studies.design.missing_plan import missing_plan
from decoderlab.studies.design.plan_writing import jobs_file, write_plan
from decoderlab.studies.design.sealed_plan import (
    AGAIN,
    REPLACE,
    check_plan,
    digest_of_plan,
    invalid_cells,
    plan_settings,
    read_jobs,
    settings_of,
)

SHOWN = 3
LAUNCH_AGAIN = "give the command of the study again, which writes it again and reuses its runs"
MAX_LOOKS = 5  # at a plan that is just being written


@dataclass(frozen=True)
class StudyCell:
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

    def progress(self, line: Mapping[str, Any]) -> tuple[str, str]:
        """Return how many updates the run has done, and its loss, as texts.

        Args:
            line: the last one of its metrics; empty if there is none.
        """
        if "step" not in line:
            return "starting", ""
        of = f" of {self.steps:,}" if self.steps else ""
        name = "train/loss" if "train/loss" in line else "validation/loss"
        return f"{line['step']:,}{of}", f"{line[name]:.3f}" if name in line else ""

    def run_folder(self, output_dir: Path) -> RunFolder:
        """Return where the run's records are.

        Args:
            output_dir: as in `run.output_dir`.

        Raises:
            ConfigError: if that is not below it, or holds links that lead elsewhere.
        """
        path = inside(output_dir, self.folder, setting="the folder of a run")
        refuse_links_out(path)
        return RunFolder(path)


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
        accepted_changes: what has changed and was accepted with `study.allow_changes`.
        tuning: the settings that were chosen, by row and column, and what they were chosen from.
        scores: what the scores of its tasks mean, by name; see `metrics.MetricScore.record`.
        same_runs: which rows are the same runs as others, and stand in the table once.
        damage: what was changed in its files since they were written, as `read_plan` found it.
        invalid: what is wrong with cells of it, by run id, as `read_plan` found it.
        settings: what the result of each run depends on, by run id, as the study's folder has it.
        older: path and sha256 of each plan before it.
    """

    study: Study
    cells: tuple[StudyCell, ...]
    budget: Budget
    accepted_changes: tuple[str, ...] = ()
    tuning: TuningRecord | None = None
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    same_runs: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()
    invalid: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict, compare=False)
    older: tuple[tuple[str, str], ...] = field(default=(), compare=False)

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
        record |= {
            "budget": asdict(self.budget),
            "accepted_changes": list(self.accepted_changes),
            "tuning": self.tuning,
        }
        record |= {"scores": self.scores} | (
            {"same_runs": self.same_runs} if self.same_runs else {}
        )
        record = json.loads(json.dumps(record, allow_nan=False))
        write_plan(path, record, configs, keep=self.kept)

    @property
    def kept(self) -> bool:
        """Whether older plans are: those of a tuning only grow, trial by trial."""
        return not self.name.endswith(TUNING)


def as_planned(cell: StudyCell, study: Study, budget: Budget) -> dict[str, Any]:
    """Return as what a run is planned, as its own folder keeps it."""
    record = {"cell": asdict(cell), "study": asdict(study), "budget": asdict(budget)}
    return json.loads(json.dumps(record, allow_nan=False))


def plan_file(output_dir: Path, name: str) -> Path:
    """Return the file of a study's plan.

    Raises:
        ConfigError: for a name that leads elsewhere.
    """
    return study_folder(output_dir, name) / "plan.json"


def study_folder(output_dir: Path, name: str) -> Path:
    """Return the folder of a study, in which nothing leads out of it.

    Raises:
        ConfigError: for a name that leads elsewhere, or a link in the folder that does.
    """
    folder = inside(output_dir, "studies", name, setting="the name of a study")
    refuse_links_out(folder)
    return folder


def read_configs(plan: Path, run_ids: Collection[str] | None = None) -> dict[str, RunConfig]:
    """Return the config of each run of a plan, and of those before it, by run id.

    Args:
        plan: from `plan_file`.
        run_ids: of the runs that are wanted; None for all.

    Returns:
        The configs of which the lines are whole.

    Raises:
        ValueError: if a config is wrong.
    """
    return {
        identity: RunConfig.from_dict(job["config"])
        for identity, job in read_jobs(jobs_file(plan))[0].items()
        if run_ids is None or identity in run_ids
    }


def read_job(plan: Path, identity: str) -> tuple[StudyCell, RunConfig]:
    """Return one run of a plan, or of an earlier plan, and its config.

    Args:
        plan: from `plan_file`.
        identity: the run id.

    Raises:
        Invalid: if the plan's configs have no whole line of it; Unreadable if they cannot be read
            now.
    """
    job = read_jobs(jobs_file(plan), surely=True)[0].get(identity)
    if job is None:
        raise Invalid(jobs_file(plan), f"has no complete line of run {identity[:12]}", AGAIN)
    return _cell(job["cell"]), RunConfig.from_dict(job["config"])


def read_study_cells(plan: Path) -> list[StudyCell]:
    """Return the runs of a plan, and of those before it, of which the lines are whole.

    Args:
        plan: from `plan_file`.
    """
    return [_cell(job["cell"]) for job in read_jobs(jobs_file(plan))[0].values()]


def job_digest(cell: StudyCell, config: RunConfig) -> str:
    """Return the sha256 of all that a job is told: what is done later is what was planned."""
    return digest_of({"cell": asdict(cell), "config": config.to_dict()})


def _cell(record: Mapping[str, Any]) -> StudyCell:
    check_name(record["folder"], "the folder of a run")
    return StudyCell(**{**record, "overrides": tuple(record["overrides"])})


def read_plan(
    output_dir: Path, name: str, runs: Mapping[str, Mapping[str, str]] | None = None
) -> Plan:
    """Read a study's plan; what of it was changed since it was written stands in the plan.

    Args:
        output_dir: as in `run.output_dir`.
        name: of the study.
        runs: that say that they were planned, see `runs_of_studies`; None to look for them.

    Raises:
        ConfigError: if there is none, naming the studies that there are.
        Invalid: if nothing of it can be used.
    """
    path = plan_file(output_dir, name)
    record, (jobs, damage) = _read_record(path, output_dir, name), read_jobs(jobs_file(path))
    for _ in range(MAX_LOOKS):  # another plan may have been written between the two
        if (again := _read_record(path, output_dir, name)) == record:
            break
        record, (jobs, damage) = again, read_jobs(jobs_file(path))
    try:
        invalid, older = invalid_cells(record, jobs), record["older"]
    except (ConfigError, ValueError, TypeError, LookupError) as error:
        raise Invalid(path, f"is damaged: {error}", REPLACE) from error
    if sealed(record) != record:
        damage.insert(0, f"{path} does not agree with its own sha256: it was changed")
    else:
        digest = digest_of_plan(record)
        if any(digest not in job["plans"] for job in jobs.values()):
            damage.insert(0, f"{path} is not the plan that its configs.jsonl was written with")
    damage += plan_history.damaged_older(path, older)
    # A row that was edited stands where it was planned.
    edited = {identity: jobs[identity]["cell"] for identity in invalid if identity in jobs}
    known = [edited.get(cell["run_id"], cell) for cell in record["cells"]]
    try:
        study, budget = plan_settings(record)
        plan = Plan(
            study=study,
            cells=tuple(map(_cell, known)),
            budget=budget,
            accepted_changes=tuple(record["accepted_changes"]),
            tuning=record["tuning"],
            scores=record["scores"],
            same_runs=tuple(record.get("same_runs", ())),
            invalid=invalid,
            settings={identity: settings_of(job["config"]) for identity, job in jobs.items()},
            older=tuple((str(path.with_name(file)), str(older[file])) for file in sorted(older)),
        )
        if study.name != name:
            raise ValueError(f"study.name is {study.name!r:.60}, in the folder of {name!r}")
        if plan.metric not in recorded_scores(plan.scores):
            raise ValueError(f"study.metric is {plan.metric!r:.60}, which none of its scores is")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Invalid(path, f"is damaged: {error}", REPLACE) from error
    return replace(plan, damage=(*damage, *_left_out(plan, output_dir, runs)))


def study_names(root: Path) -> list[str]:
    """Return the names of the studies in a folder, of those too whose plan is missing.

    A link is none, whatever it leads to.
    """
    beside = {"plan.json", "configs.jsonl"}
    return sorted(
        os.path.relpath(where, root)
        for where, folders, names in os.walk(root)
        if beside & {*folders, *names}
    )


def _read_record(path: Path, output_dir: Path, name: str) -> dict[str, Any]:
    try:
        record = read_json(path)
    except Missing as error:
        root = output_dir / "studies"
        there = study_names(root)
        if name in there:
            what = "is missing: it was deleted, or its launch was killed before it was written"
            raise Missing(path, what, LAUNCH_AGAIN) from error
        raise missing_plan(root, name, there) from error
    except Invalid as error:
        raise error.advised(REPLACE) from error
    check_plan(path, record)
    return record


def _left_out(
    plan: Plan, output_dir: Path, runs: Mapping[str, Mapping[str, str]] | None
) -> list[str]:
    """Return what runs there are that say that this study planned them, and no plan of it says so.

    Trials of tuning are let be: of their plans none is kept.
    """
    if not plan.kept:
        return []
    if runs is None:
        folders = {Path(cell.folder).name for cell in plan.cells}
        runs = runs_of_studies(output_dir / "runs", folders)
    known = {cell.run_id for cell in plan.cells} | plan_history.planned_before(plan.older).keys()
    lost = sorted(where for run_id, where in runs.get(plan.name, {}).items() if run_id not in known)
    if not lost:
        return []
    return [
        f"{len(lost)} runs were planned in this study, but are in no plan of it "
        f"({', '.join(lost[:SHOWN])}{', ...' if len(lost) > SHOWN else ''}): its plan or its older "
        "plans were edited or deleted; put them back, give the study another name, or delete the "
        "folders of these runs"
    ]


def amendments(output_dir: Path, name: str) -> list[str]:
    """Return how the plan of a study has changed since its first version, a line each time.

    Args:
        output_dir: as in `run.output_dir`.
        name: of the study.
    """
    return list(plan_history.amended(plan_file(output_dir, name)))
