"""Making a plan: every cell composed, checked, counted and timed before the first run begins."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from decoderlab.common import require
from decoderlab.common.errors import ConfigError
from decoderlab.common.progress import track
from decoderlab.common.torch_settings import check_torch
from decoderlab.config.code_identity import looking_once
from decoderlab.config.messages import unread_note
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import digest_of, identity, sorted_json
from decoderlab.config.study_settings import Study
from decoderlab.data.task import Task
from decoderlab.data.task_data import data_cautions
from decoderlab.layers.equations import count
from decoderlab.records.folder_names import existing_folders, find_folder
from decoderlab.records.folder_owner import check_owner
from decoderlab.records.run_folder import RunFolder
from decoderlab.studies.attainable import PILOT_SEEDS, attainable
from decoderlab.studies.design.budget import Matcher
from decoderlab.studies.design.composed_cells import Composed, ConfigMaker
from decoderlab.studies.design.draft import Draft, TaskOfLast, by_task, twin_notes
from decoderlab.studies.design.grid import GridCell
from decoderlab.studies.design.impossible_cells import UNFIT, impossible, why_unfit
from decoderlab.studies.design.plan_file import Plan, StudyCell
from decoderlab.studies.design.planned_and_run import is_left_alone
from decoderlab.studies.design.row_labels import labels, varied_keys
from decoderlab.studies.design.timing import Timer
from decoderlab.training import cost
from decoderlab.training.assembly import build_networks, build_task
from decoderlab.training.earlier_data import checked_start
from decoderlab.training.module import EncoderDecoder
from decoderlab.training.prepared_run import check_machine, meta_networks
from decoderlab.training.target_room import check_target_room

SMALL_MODEL = 2_000_000  # parameters; below, counting on real tensors is faster than on meta ones


@dataclass
class Planned:
    """A plan with what is needed to run it.

    Args:
        plan: what is written.
        configs: of each run, by run id.
        pending: the cells that are still to be run.
        impossible: reasons, each with the cells that it keeps from running.
        notes: what a person should know: cells that are the same run, and so on.
        run_ids: of all cells, by their overrides: cells that are the same run among them.
        seconds: estimate of the computing that the pending cells take, in all; NaN if there is
            none.
        output_dir: of runs and studies.
    """

    plan: Plan
    configs: dict[str, RunConfig]
    pending: list[StudyCell]
    impossible: dict[str, list[str]]
    notes: list[str]
    run_ids: dict[tuple[str, ...], str]
    seconds: float
    output_dir: Path

    def named(self, name: str) -> Planned:
        """Return the same plan under another name."""
        study = replace(self.plan.study, name=name)
        configs = {
            identifier: replace(config, study=study) for identifier, config in self.configs.items()
        }
        return replace(self, plan=replace(self.plan, study=study), configs=configs)

    def check_seeds(self) -> list[str]:
        """Refuse two runs of one row, task and seed; say if the seeds are too few for a claim.

        Not of the trials of tuning, which are no rows.

        Raises:
            ConfigError: naming the row.
        """
        study = self.plan.study
        seeds: dict[tuple[str, str], set[int]] = {}
        for cell in self.plan.cells:
            known = seeds.setdefault((cell.variant, cell.task), set())
            if cell.seed in known:
                raise ConfigError(
                    f"two runs that differ are both called {cell.variant}, {cell.task}, seed "
                    f"{cell.seed}; give the variants or levels that they come from other names"
                )
            known.add(cell.seed)
        if study.baseline is None:
            return []
        families: dict[str, list[int]] = {}
        for (variant, task), own in seeds.items():
            both = own & seeds.get((study.baseline, task), set())
            if variant != study.baseline and both:
                family = task if study.family == "task" else "the study"
                families.setdefault(family, []).append(len(both))
        too_few: dict[str, list[str]] = {}
        for family, numbers in families.items():
            number, n = len(numbers), max(numbers)
            if n < PILOT_SEEDS:
                too_few.setdefault(f"fewer than {PILOT_SEEDS} seeds, a pilot", []).append(family)
            elif not attainable(n, number):
                why = (
                    f"with {n} seeds none of {number} comparisons can be certain after Holm's "
                    "correction; give more seeds or fewer rows"
                )
                too_few.setdefault(why, []).append(family)
        return [
            f"{of[0]}{f' and {len(of) - 1} more tasks' if of[1:] else ''}: {why}"
            for why, of in too_few.items()
        ]

    def demand_possible(self) -> None:
        """Raise ConfigError naming every cell that cannot run, with the reason."""
        if self.impossible:
            raise impossible(self.impossible, others_can=bool(self.plan.cells))


def make_plan(
    cells: Sequence[GridCell],
    compose: Callable[[Sequence[str]], Composed],
    default_name: str | None = None,
) -> Planned:
    """Compose and check every cell, count its model, and estimate the time.

    Args:
        cells: of the grid.
        compose: from overrides to a config.
        default_name: of the study, where its settings give none; None for a hash of its runs.

    Raises:
        ConfigError: if no cell can run.
    """
    torch.set_num_threads(1)  # many small models are counted and timed
    maker = _Maker(varied_keys([cell.named for cell in cells]), default_name)
    drafts = maker.composed(cells, compose)
    drafts = maker.each("counting the models", drafts, maker.measure)
    drafts = maker.matched(drafts)
    with looking_once():
        drafts = maker.each("naming the runs", drafts, maker.identify)
    maker.noted = None  # with its data
    if not drafts:
        raise impossible(maker.impossible)
    check_torch()  # after all classes of the user's were built once
    return maker.planned(drafts)


class _Maker:
    """The steps of `make_plan`, and what they find on the way.

    Args:
        varied: the settings that differ between cells.
        default_name: see `make_plan`.
    """

    def __init__(self, varied: Sequence[str], default_name: str | None) -> None:
        self.varied, self.default_name = varied, default_name
        self.impossible: dict[str, list[str]] = {}
        self.notes: list[str] = []
        self.cautions: dict[str, list[str]] = {}  # of the data, by column
        self.scores: dict[str, dict[str, Any]] = {}
        self.noted: Task | None = None  # the last of which scores and cautions were noted
        self.models: dict[str, tuple[int, float, str] | str] = {}
        self.unread: dict[str, list[str]] = {}  # rows by their weights that nothing reads
        self.timer = Timer()

    def refuse(self, cell: GridCell, error: Exception) -> None:
        """Note that a cell cannot run."""
        self.impossible.setdefault(why_unfit(error, cell), []).append(cell.text(self.varied))

    def composed(
        self, cells: Sequence[GridCell], compose: Callable[[Sequence[str]], Composed]
    ) -> list[Draft]:
        """Return the cells whose settings are right."""
        drafts, machine_checked, config_of = [], set(), ConfigMaker(compose)
        for cell in track(cells, "composing the runs"):
            try:
                config = config_of(cell.overrides)
                machine = (config.run, config.training.precision)
                if machine not in machine_checked:
                    check_machine(config, sweeping=True)
                    machine_checked.add(machine)
            except UNFIT as error:
                self.refuse(cell, error)
                continue
            row, column = labels(cell.named, self.varied, config.choices, cell.levels)
            drafts.append(Draft(cell, config, row, column))
        return drafts

    def each(
        self, what: str, drafts: Sequence[Draft], step: Callable[[Draft, Task], None]
    ) -> list[Draft]:
        """Take every draft through a step, task by task; return those that pass, in their order."""
        passed, task_of = [], TaskOfLast()
        for index in track(by_task(drafts), what):
            try:
                step(drafts[index], task_of(drafts[index].config))
            except ConfigError as error:
                self.refuse(drafts[index].grid_cell, error)
            else:
                passed.append(index)
        return [drafts[index] for index in sorted(passed)]

    def measure(self, draft: Draft, task: Task) -> None:
        """Count the model of a draft."""
        draft.parameters, draft.flops, unread = self._counted(draft.config, task)
        if unread and draft.row not in self.unread.setdefault(unread, []):
            self.unread[unread].append(draft.row)

    def model(self, config: RunConfig, task: Task) -> tuple[int, float]:
        """Return trained parameters, and operations an example, of a config's model.

        Raises:
            ConfigError: if it cannot be built, or cannot read a batch of its task.
        """
        return self._counted(config, task)[:2]

    def _counted(self, config: RunConfig, task: Task) -> tuple[int, float, str]:
        # How it is trained and generates is checked with it.
        built = (config.task, config.encoder, config.decoder, config.training.objective)
        key = sorted_json([*(part.to_dict() for part in built), asdict(config.evaluation)])
        if key not in self.models:
            try:
                self.models[key] = _count(config, task)
            except ConfigError as error:
                self.models[key] = str(error)
        known = self.models[key]
        if isinstance(known, str):
            raise ConfigError(known)
        return known

    def matched(self, drafts: list[Draft]) -> list[Draft]:
        """Give every variant the budget of the baseline, as `budget.match` says."""
        if not drafts or drafts[0].config.budget.match == "updates":
            return drafts
        matcher = Matcher(drafts, self.model)
        return self.each("matching the budgets", drafts, matcher.match)

    def identify(self, draft: Draft, task: Task) -> None:
        """Name the run of a draft."""
        known = identity(draft.config, task.data.fingerprint)
        checked_start(draft.config, task, known)
        draft.run_id = digest_of(known)
        if task is not self.noted:
            self.note(task, draft.column)
        batches = task.train_dataloader().batches_per_epoch
        draft.steps = draft.config.total_steps(batches)

    def note(self, task: Task, column: str) -> None:
        """Note what the scores of a task mean, and what is to be said of its data."""
        for name, score in task.scores.items():
            if self.scores.setdefault(name, score.record()) != score.record():
                raise ConfigError(
                    f"two tasks have a score {name!r} that means {self.scores[name]} and "
                    f"{score.record()}; rename it in one of them"
                )
        # Several draws of a task's data have much the same to be said of them.
        of_column = [self.cautions.get(column, []), data_cautions(task.data.counts)]
        self.cautions[column] = max(of_column, key=len)
        self.noted = task

    def planned(self, drafts: Sequence[Draft]) -> Planned:
        """Leave out what is the same run, look at what is on the disk, and time the rest."""
        study, budget = drafts[0].config.study, drafts[0].config.budget
        metrics = {draft.config.study.metric: draft.column for draft in drafts}
        if len(metrics) > 1:
            shown = ", ".join(f"{name} for {task}" for name, task in metrics.items())
            raise ConfigError(
                f"study.metric is not given, and each task would have its own: {shown}; give one "
                "that they share as study.metric=NAME, such as loss, or one task only"
            )
        output_dir = Path(drafts[0].config.run.output_dir)
        existing = existing_folders(output_dir)
        cells: dict[str, StudyCell] = {}
        pending: dict[str, Draft] = {}
        firsts: dict[str, Draft] = {}
        same, repeated = twin_notes(drafts)
        data = (f"{column}: {line}" for column, said in self.cautions.items() for line in said)
        self.notes += [*data, *same, *repeated]
        for draft in drafts:
            if firsts.setdefault(draft.run_id, draft) is not draft:
                continue
            folder = find_folder(draft.config, draft.run_id, existing)
            _check_owner(folder, draft)
            cells[draft.run_id] = draft.cell(folder.path.relative_to(output_dir), self.varied)
            if not is_left_alone(folder, study.retry):
                pending[draft.run_id] = draft
        self.notes += [unread_note(*each) for each in self.unread.items()]
        self.each("timing the models", list(pending.values()), self.timer.add)
        rows = {draft.row: firsts[draft.run_id].row for draft in drafts}
        self.check_baseline(study, cells.values(), rows.get(study.baseline or ""))
        self.check_published(study, cells.values())
        if study.name is None:
            digest = hashlib.sha256(" ".join(cells).encode()).hexdigest()
            study = replace(study, name=self.default_name or f"sweep-{digest[:8]}")
        configs = {run: replace(draft.config, study=study) for run, draft in firsts.items()}
        return Planned(
            plan=Plan(study, (*cells.values(),), budget, scores=self.scores, same_runs=(*same,)),
            configs=configs,
            pending=[cells[run] for run in pending],
            impossible=self.impossible,
            notes=self.notes,
            run_ids={tuple(draft.grid_cell.overrides): draft.run_id for draft in drafts},
            seconds=self.timer.seconds,
            output_dir=output_dir,
        )

    def check_baseline(
        self, study: Study, cells: Collection[StudyCell], same_as: str | None
    ) -> None:
        """Refuse a baseline that is no row, but for one of a study that may lose rows."""
        rows = {cell.variant for cell in cells}
        if study.baseline is None:
            return
        if study.baseline in rows:
            of_baseline = {cell.task for cell in cells if cell.variant == study.baseline}
            tasks = dict.fromkeys(cell.task for cell in cells)
            if lacking := ", ".join(task for task in tasks if task not in of_baseline):
                what = f"study.baseline is {study.baseline}, which has no run on {lacking}"
                self.notes.append(f"{what}: no row is compared there")
            return
        if same_as is not None:
            raise ConfigError(
                f"study.baseline is {study.baseline}, which is the same run as {same_as} with all "
                f"seeds, so that it is no row of its own; give study.baseline={same_as}"
            )
        what = f"study.baseline is {study.baseline}, which is none of the rows: "
        what += ", ".join(sorted(rows))
        meant = require.did_you_mean(study.baseline, rows)
        if meant or not (study.allow_changes or self.impossible):
            raise ConfigError(
                f"{what}; give one of them, or study.baseline=null{meant and '.'}{meant}"
            )
        self.notes.append(what)

    def check_published(self, study: Study, cells: Collection[StudyCell]) -> None:
        """Say which published values stand beside no row; refuse what is misspelt."""
        there = {"row": {cell.variant for cell in cells}, "task": {cell.task for cell in cells}}
        for index, value in enumerate(study.published or []):
            for key in ("row", "against", "task"):
                named, known = getattr(value, key), there["task" if key == "task" else "row"]
                if named is None or named in known:
                    continue
                note = (
                    f"study.published[{index}].{key} is {named}, which is none of "
                    f"{', '.join(sorted(known))}"
                )
                if meant := require.did_you_mean(named, known):
                    raise ConfigError(f"{note}.{meant}")
                self.notes.append(note)
            if value.task is None and len(there["task"]) > 1:
                raise ConfigError(
                    f"study.published[{index}] names no task, but there are "
                    f"{', '.join(sorted(there['task']))}; add task: NAME"
                )


def _check_owner(folder: RunFolder, draft: Draft) -> None:
    """Refuse a folder that has the name of a run, and the records of another."""

    def known() -> Mapping[str, Any]:
        return identity(draft.config, build_task(draft.config).data.fingerprint)

    check_owner(folder, draft.run_id, known)


def _count(config: RunConfig, task: Task) -> tuple[int, float, str]:
    """Return parameters, operations an example, and weights nothing reads; of real shapes."""
    networks = meta_networks(config, task)
    check_target_room(config, task, networks[1])
    parameters, data = count(*networks), task.data
    if parameters < SMALL_MODEL:
        networks = build_networks(config, data.source_space, data.target_space, data.alignment)
    model = EncoderDecoder(
        encoder=networks[0],
        decoder=networks[1],
        target_space=data.target_space,
        max_target_length=data.max_target_length,
    )
    try:
        split = data.splits["validation"]
        unread = [f"{name} ({n:,})" for name, n in cost.unread_weights(model, split).items()]
        return parameters, cost.flops_per_example(model, split), ", ".join(unread)
    except (Exception, SystemExit) as error:  # whatever somebody's module does
        raise ConfigError(
            f"the model cannot read a batch of its task ({type(error).__name__}: {error}); "
            "decoderlab-check says more about encoder and decoder"
        ) from error
