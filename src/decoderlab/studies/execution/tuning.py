"""Equal tuning: every variant gets the same number of trials before its evaluation seeds are run.

Paper: Melis et al. 2018 (arXiv 1707.05589): with the same budget of tuning, differences between
architectures shrink or turn. Trials are judged on validation alone, with seeds that no evaluation
uses; the best setting of each variant on each task is then frozen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from decoderlab.common.errors import ConfigError, LaunchError
from decoderlab.common.progress import say
from decoderlab.config.run_config import RunConfig
from decoderlab.config.run_identity import sorted_json
from decoderlab.config.run_sections import OWN_SEEDS
from decoderlab.config.study_settings import TUNING, Tuning
from decoderlab.metrics.metric_score import MetricScore
from decoderlab.metrics.shipped import recorded_scores
from decoderlab.records.opened_run import finished, open_run
from decoderlab.records.run_folder import file_lock
from decoderlab.studies.design.composed_cells import Composer
from decoderlab.studies.design.grid import GridCell, as_sweep, as_value, swept_values
from decoderlab.studies.design.impossible_cells import UNFIT, why_unfit
from decoderlab.studies.design.plan_file import Chosen, StudyCell, TuningRecord, study_folder
from decoderlab.studies.design.preparation import Planned, make_plan
from decoderlab.studies.design.row_labels import varied_keys
from decoderlab.studies.execution.arm_search import ArmSearch
from decoderlab.studies.execution.journal import JOURNAL, journaled, open_journal
from decoderlab.studies.worst_score import worst_score
from decoderlab.training.assembly import build_task

Do = Callable[[Planned], Planned]
# Of the trials of each arm, by its name.
Settings = dict[str, list[dict[str, Any]]]
Scores = dict[str, list[float | None]]
CHOSEN_ON = ("train", "validation")
# Of training, what every variant has alike whatever is tuned.
ALIKE = ("max_steps", "max_epochs", "max_seconds", "batch_size")


@dataclass(frozen=True)
class Arm:
    """What is tuned by itself: a variant on a task.

    Args:
        name: what a person calls it.
        key: of its search: the same settings and data have the same key.
        cell: any of its cells; the seed in it does not count.
    """

    name: str
    key: str
    cell: GridCell


def with_settings(cell: GridCell, settings: Mapping[str, Any], seed: int | None) -> GridCell:
    """Return a cell with tuned settings, which its name does not show, and a seed if given."""
    tuned = {key: as_value(value) for key, value in settings.items()}
    seeded = {} if seed is None else {"seed": str(seed)}
    return replace(cell, given=cell.given | seeded | tuned, bundled=cell.bundled | set(tuned))


class Tuner:
    """Tunes every arm of a study.

    Args:
        cells: of the study, as they would run untuned.
        planned: their plan.
        compose: from overrides to a config.
        tuning: the study's settings of the search.

    Raises:
        ConfigError: for a search that would not be fair, or cannot work.
    """

    def __init__(
        self, cells: Sequence[GridCell], planned: Planned, compose: Composer, tuning: Tuning
    ) -> None:
        self.cells, self.compose, self.tuning = cells, compose, tuning
        self.budget = planned.plan.budget
        self.study_name, self.metric = planned.plan.name, planned.plan.metric
        self.score = recorded_scores(planned.plan.scores)[self.metric]
        self.failures: dict[str, list[int]] = {}  # runs of each trial that failed, by arm
        self.seeds = _seeds(self.tuning.seeds, compose)
        self._check({cell.seed for cell in planned.plan.cells})
        self._try_space()
        self.varied = [key for key in varied_keys([cell.named for cell in cells]) if key != "seed"]
        arms: dict[str, Arm] = {}
        for cell in cells:
            key = planned.run_ids.get(tuple(cell.overrides), " ".join(cell.overrides))
            arms.setdefault(self.name(cell), Arm(self.name(cell), key, cell))
        # Rows that are the same run have one search.
        of_key = {arm.key: arm for arm in reversed(arms.values())}
        self.searched = {name: of_key[arm.key].name for name, arm in arms.items()}
        self.arms = {name: arm for name, arm in arms.items() if self.searched[name] == name}
        self._check_data(planned)

    def name(self, cell: GridCell) -> str:
        """Return the name of a cell's arm."""
        return cell.text(self.varied) or "the study's one variant"

    @property
    def num_runs(self) -> int:
        """Runs that tuning takes."""
        return len(self.arms) * self.tuning.trials * len(self.seeds)

    def _check(self, evaluated: set[int]) -> None:
        both = sorted(set(self.seeds) & evaluated)
        if both:
            raise ConfigError(
                f"study.tuning.seeds has {', '.join(map(str, both))}, which the study evaluates "
                "with; take other seeds for tuning, such as range(1000,1003)"
            )
        fixed = {key for cell in self.cells for key in cell.given}
        for key in self.tuning.space:
            group, _, name = key.partition(".")
            if group not in ("training", "encoder", "decoder") or name in ALIKE:
                raise ConfigError(
                    f"study.tuning.space has {key}, which all variants share; tune settings "
                    f"of encoder, decoder and training, other than {', '.join(ALIKE)}"
                )
            if name in OWN_SEEDS:
                raise ConfigError(
                    f"study.tuning.space has {key}, but a seed that is chosen by its score is no "
                    "draw any more; leave it out"
                )
            if key in fixed:
                raise ConfigError(
                    f"study.tuning.space has {key}, which the study sets itself; leave it out of "
                    "one of them"
                )
            match = self.budget.match
            if match in ("parameters", "flops") and group != "training":
                raise ConfigError(
                    f"study.tuning.space has {key}, but budget.match is {match!r}, which a tuned "
                    "model would not satisfy; tune settings of training alone"
                )

    def _try_space(self) -> None:
        """Raise ConfigError for a setting of the space that some variant does not have."""
        space = self.tuning.space
        first = {
            key: values[0] if isinstance(values, list) else values["low"]
            for key, values in space.items()
        }
        variants = {cell.variant or cell.given.get("decoder"): cell for cell in self.cells}
        for cell in variants.values():
            try:
                RunConfig.from_composed(self.compose(cell.overrides).config)
            except UNFIT:
                continue  # of which the plan tells
            tried = with_settings(cell, first, None)
            try:
                RunConfig.from_composed(self.compose(tried.overrides).config)
            except UNFIT as error:
                raise ConfigError(f"study.tuning.space: {why_unfit(error, tried)}") from error

    def _check_data(self, planned: Planned) -> None:
        """Raise ConfigError where settings would be chosen on examples that are tested."""
        tested: dict[str, dict[str, RunConfig]] = {}
        for cell in planned.plan.cells:
            config = planned.configs[cell.run_id]
            tested.setdefault(cell.task, {})[sorted_json(config.task.to_dict())] = config
        columns = {cell.run_id: cell.task for cell in planned.plan.cells}
        first = {columns[arm.key]: arm for arm in self.arms.values() if arm.key in columns}
        for column, arm in first.items():
            for seed in self.seeds:
                composed = self.compose(with_settings(arm.cell, {}, seed).overrides).config
                config = RunConfig.from_composed(composed)
                for data, other in tested[column].items():
                    if data != sorted_json(config.task.to_dict()):
                        _check_apart(config, other)

    def tune(
        self, output_dir: Path, do: Do
    ) -> tuple[list[GridCell], TuningRecord, tuple[str, ...]]:
        """Run the trials; return the cells with the best settings, the record, accepted changes.

        Args:
            output_dir: as in `run.output_dir`.
            do: runs what is planned, and returns it with the changes that were accepted.

        Raises:
            ConfigError: if a trial cannot run.
            LaunchError: if a trial has not ended, or no trial of an arm has finished.
        """
        folder = study_folder(output_dir, f"{self.study_name}{TUNING}")
        searches = _searches(folder, list(self.arms.values()), self.tuning, self.metric, self.score)
        trials, at_once = self.tuning.trials, self.tuning.sampler != "tpe"
        # A search that was interrupted goes on where it was; a variant that was added begins.
        asked = trials if at_once else min(search.num_asked for search in searches.values())
        wanted = min(max(asked, 1), trials)
        settings, scores, changes = self._run_trials(searches, wanted, do)
        while wanted < trials:
            wanted += 1
            settings, scores, changes = self._run_trials(searches, wanted, do)
        chosen = {name: self._best(name, settings[name], scores[name]) for name in self.arms}
        tuned = [
            with_settings(cell, chosen[self.searched[self.name(cell)]]["settings"], None)
            for cell in self.cells
        ]
        record: TuningRecord = {
            "space": self.tuning.space,
            "trials": self.tuning.trials,
            "sampler": self.tuning.sampler,
            "seeds": self.seeds,
            "metric": f"validation {self.metric}",
            "runs": self.num_runs,
            "chosen": chosen,
        }
        return tuned, record, changes

    def _run_trials(
        self, searches: Mapping[str, ArmSearch], wanted: int, do: Do
    ) -> tuple[Settings, Scores, tuple[str, ...]]:
        """Run the first trials of each arm; return their settings, scores, accepted changes."""
        most = self.tuning.trials
        # Beside a variant that was added, the plan keeps the trials that the others have.
        settings = {
            name: search.settings(min(max(wanted, search.num_asked), most))
            for name, search in searches.items()
        }
        cells = [
            with_settings(arm.cell, trial, seed)
            for arm in self.arms.values()
            for trial in settings[arm.name]
            for seed in self.seeds
        ]
        planned = make_plan(cells, self.compose)
        planned.demand_possible()
        planned = planned.named(f"{self.study_name}{TUNING}")
        if planned.pending:
            number = f"{wanted} of {self.tuning.trials}"
            say(f"tuning: {number} trials for each of {len(self.arms)} variants")
        planned = do(planned)
        scores = self._scores(settings, planned)
        for name, search in searches.items():
            search.tell(scores[name])
        return settings, scores, planned.plan.accepted_changes

    def _scores(self, settings: Settings, planned: Planned) -> Scores:
        """Return the validation score of each trial, the mean over seeds, by arm.

        A run that failed counts with the worst score, or a worse one of a run of its arm; where the
        metric has none its trial has no score.
        """
        cells = {cell.run_id: cell for cell in planned.plan.cells}
        scores: Scores = {}
        for arm in self.arms.values():
            trials = [
                [
                    self._score(planned.output_dir, cells[planned.run_ids[tuple(cell.overrides)]])
                    for cell in (with_settings(arm.cell, tuned, seed) for seed in self.seeds)
                ]
                for tuned in settings[arm.name]
            ]
            known = [score for trial in trials for score in trial if score is not None]
            worst = worst_score(self.score, known)
            counted = [[worst if score is None else score for score in trial] for trial in trials]
            self.failures[arm.name] = [trial.count(None) for trial in trials]
            scores[arm.name] = [
                None if None in trial else fmean(score for score in trial if score is not None)
                for trial in counted
            ]
        return scores

    def _score(self, output_dir: Path, cell: StudyCell) -> float | None:
        """Return the validation score of a run; None if it failed."""
        folder = cell.run_folder(output_dir)
        if finished(folder, cell.run_id):
            return open_run(folder, cell.run_id).result.metrics.validation[self.metric]
        if folder.status()["status"] in ("FAILED", "DIVERGED"):
            return None
        raise LaunchError(
            f"a run of the tuning, {cell.title}, is not finished ({output_dir / cell.folder}); "
            "give the same command again"
        )

    def _best(
        self, name: str, settings: Sequence[Mapping[str, Any]], scores: Sequence[float | None]
    ) -> Chosen:
        """Return the best settings of an arm; of equals, the first of those that failed least."""
        ended = {number: score for number, score in enumerate(scores) if score is not None}
        if not ended:
            raise LaunchError(f"no trial of {name} has a score; decoderlab-status says why")
        sign = 1 if self.score.better == "max" else -1
        failures = self.failures[name]
        best = max(ended, key=lambda number: (sign * ended[number], -failures[number], -number))
        if failures[best]:
            say(
                f"note: {name}: {failures[best]} of the {len(self.seeds)} runs of the best trial "
                "failed; decoderlab-status says why"
            )
        return {"settings": dict(settings[best]), "score": ended[best], "trial": best}


def _check_apart(tuned: RunConfig, evaluated: RunConfig) -> None:
    """Raise ConfigError if what is tested stands in the data that settings are chosen on."""
    chosen_on, own = build_task(tuned).data, build_task(evaluated).data
    if chosen_on.fingerprint == own.fingerprint:
        return
    known = own.examples_apart(chosen_on, CHOSEN_ON)
    number = sum(example in known for example in own.known_examples("test"))
    if number:
        raise ConfigError(
            f"study.tuning would choose settings with seed {tuned.seed} on {number:,} of the "
            f"{len(own.splits['test']):,} test examples of seed {evaluated.seed}, whose data are "
            "divided otherwise; give all seeds one task.data_seed, or settings that were tuned in "
            "a study on other data"
        )


def _seeds(given: Any, compose: Composer) -> list[int]:
    """Return the seeds of a list or a range."""
    (override,) = compose.parse([f"seed={as_sweep('study.tuning.seeds', given)}"])
    swept = override.is_sweep_override()
    texts = swept_values(override) if swept else [override.get_value_element_as_str()]
    try:
        return [int(text) for text in texts]
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"study.tuning.seeds is {given!r}; give a list of whole numbers, or range(1000,1003)"
        ) from error


def _searches(
    folder: Path, arms: Sequence[Arm], tuning: Tuning, metric: str, score: MetricScore
) -> dict[str, ArmSearch]:
    """Open the searches of all arms, in one journal on the disk."""
    optuna = _optuna()
    folder.mkdir(parents=True, exist_ok=True)
    about = sorted_json([tuning.space, tuning.sampler, tuning.seeds, metric])
    direction = "maximize" if score.better == "max" else "minimize"
    made, lock, journal = {}, file_lock(folder / ".lock"), folder / JOURNAL
    with journaled(lock, journal):
        storage = open_journal(journal)
        there = optuna.get_all_study_names(storage)
        for arm in arms:
            name = hashlib.sha256(f"{arm.key} {about}".encode()).hexdigest()[:16]
            if name not in there:
                made_here = optuna.create_study(
                    storage=storage, study_name=name, direction=direction
                )
                made_here.set_user_attr("variant", arm.name)  # what its dashboard shows of it
            opened = optuna.load_study(storage=storage, study_name=name)
            made[arm.name] = ArmSearch(opened, tuning, lock)
    return made


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "study.tuning needs Optuna, which is not installed; pip install 'decoderlab[tuning]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
