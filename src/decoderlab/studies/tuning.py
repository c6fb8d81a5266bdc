"""Equal tuning: every variant gets the same number of trials before its evaluation seeds are run.

Paper: Melis et al. 2018 (arXiv 1707.05589): with the same budget of tuning, differences between
architectures shrink or turn. Trials are judged on validation alone, with seeds that no evaluation
uses; the best setting of each variant on each task is then frozen.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from decoderlab.config import ConfigError, canonical
from decoderlab.metrics import DIRECTIONS
from decoderlab.progress import say
from decoderlab.randomness import stream_seed
from decoderlab.records import RunFolder
from decoderlab.studies.compose import Composer
from decoderlab.studies.grid import GridCell, as_sweep, as_value
from decoderlab.studies.plan import Cell, factors
from decoderlab.studies.planning import Planned, make_plan
from decoderlab.studies.report import WORST

Do = Callable[[Planned], None]


@dataclass(frozen=True)
class Arm:
    """What is tuned by itself: a variant on a task.

    Args:
        name: what a person calls it.
        key: of its search: the same settings and data have the same one.
        cell: any of its cells; the seed in it does not count.
    """

    name: str
    key: str
    cell: GridCell


def with_settings(cell: GridCell, settings: Mapping[str, Any], seed: str) -> GridCell:
    """Return a cell with tuned settings, which its name does not show."""
    tuned = {key: as_value(value) for key, value in settings.items()}
    given = cell.given | {"seed": seed} | tuned
    return replace(cell, given=given, bundled=cell.bundled | set(tuned))


class Tuner:
    """Tunes every arm of a study.

    Args:
        cells: of the study, as they would run untuned.
        planned: their plan.
        compose: from overrides to a config.

    Raises:
        ConfigError: for a search that would not be fair, or cannot work.
    """

    def __init__(self, cells: Sequence[GridCell], planned: Planned, compose: Composer) -> None:
        self.cells, self.compose = cells, compose
        self.study, self.budget = planned.plan.study, planned.plan.budget
        self.tuning = self.study["tuning"]
        seeds = compose.parse([f"seed={as_sweep('study.tuning.seeds', self.tuning['seeds'])}"])[0]
        swept = seeds.is_sweep_override()
        self.seeds = (
            list(seeds.sweep_string_iterator()) if swept else [seeds.get_value_element_as_str()]
        )
        self._check()
        self.varied = [key for key in factors([cell.named for cell in cells]) if key != "seed"]
        identities = {cell.overrides: cell.run_id for cell in planned.plan.cells}
        self.arms: dict[str, Arm] = {}
        for cell in cells:
            # Of cells that are the same run only one is planned.
            key = identities.get(tuple(cell.overrides), " ".join(cell.overrides))
            self.arms.setdefault(self.name(cell), Arm(self.name(cell), key, cell))

    def name(self, cell: GridCell) -> str:
        """Return the name of a cell's arm."""
        return cell.text(self.varied) or "the study's one variant"

    @property
    def num_runs(self) -> int:
        """Runs that tuning takes."""
        return len(self.arms) * self.tuning["trials"] * len(self.seeds)

    def _check(self) -> None:
        both = sorted(set(self.seeds) & {cell.given.get("seed", "0") for cell in self.cells})
        if both:
            raise ConfigError(
                f"study.tuning.seeds has {', '.join(both)}, which the study evaluates with; take "
                "other seeds for tuning, such as range(1000,1003)"
            )
        fixed = {key for cell in self.cells for key in cell.given}
        for key in self.tuning["space"]:
            if key in fixed:
                raise ConfigError(
                    f"study.tuning.space has {key}, which the study sets itself; leave it out of "
                    "one of them"
                )
            match = self.budget["match"]
            if match in ("parameters", "flops") and not key.startswith("training."):
                raise ConfigError(
                    f"study.tuning.space has {key}, but budget.match is {match!r}, which a tuned "
                    "model would not keep to; tune settings of training alone"
                )

    def trial_cells(self, settings: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[GridCell]:
        """Return the cells of trials, by arm."""
        return [
            with_settings(arm.cell, one, seed)
            for arm in self.arms.values()
            for one in settings[arm.name]
            for seed in self.seeds
        ]

    def tune(self, output_dir: Path, do: Do) -> tuple[list[GridCell], dict[str, Any]]:
        """Run the trials, and return the study's cells with the best settings, and the record.

        Args:
            output_dir: as in `run.output_dir`.
            do: runs what is planned.

        Raises:
            ConfigError: if a trial cannot run, or no trial of an arm has finished.
        """
        folder = output_dir / "studies" / self.study["name"] / "tuning"
        searches = _searches(folder, list(self.arms.values()), self.study)
        trials, at_once = self.tuning["trials"], self.tuning["sampler"] == "random"
        for wanted in [trials] if at_once else range(1, trials + 1):
            settings = {name: search.settings(wanted) for name, search in searches.items()}
            planned = make_plan(self.trial_cells(settings), self.compose)
            planned.demand_possible()
            name = f"{self.study['name']}/tuning"
            planned = planned.named(name)
            if planned.pending:
                say(f"tuning: {wanted} of {trials} trials for each of {len(self.arms)} variants")
                do(planned)
            self._tell(searches, settings, planned)
        chosen = {name: search.best() for name, search in searches.items()}
        cells = [
            with_settings(cell, chosen[self.name(cell)]["settings"], cell.given.get("seed", "0"))
            for cell in self.cells
        ]
        kept = ("space", "trials", "sampler")
        record = {key: self.tuning[key] for key in kept} | {
            "seeds": [int(seed) for seed in self.seeds],
            "metric": f"validation {self.study['metric']}",
            "runs": self.num_runs,
            "chosen": chosen,
        }
        return cells, record

    def _tell(
        self,
        searches: Mapping[str, Search],
        settings: Mapping[str, Sequence[Mapping[str, Any]]],
        planned: Planned,
    ) -> None:
        """Hand the validation scores of finished trials to the searches."""
        by_cell = {cell.overrides: cell for cell in planned.plan.cells}
        for arm in self.arms.values():
            for number, one in enumerate(settings[arm.name]):
                cells = [
                    by_cell.get(tuple(with_settings(arm.cell, one, seed).overrides))
                    for seed in self.seeds
                ]
                if None not in cells:  # a trial that repeats another one has no cells of its own
                    scores = [self._score(planned.output_dir, cell) for cell in cells]
                    searches[arm.name].tell(number, scores)
        for search in searches.values():
            search.settle_repeats()

    def _score(self, output_dir: Path, cell: Cell) -> float | None:
        """Return the validation score of a run; the worst for a failed one, None without any."""
        folder, metric = RunFolder(output_dir / cell.folder), self.study["metric"]
        if folder.finished():
            return folder.result()["metrics"]["validation"][metric]
        if folder.status()["status"] in ("FAILED", "DIVERGED"):
            return WORST.get(metric)
        raise ConfigError(
            f"a run of the tuning, {cell.title}, is not finished ({output_dir / cell.folder}); "
            "give the same command again"
        )


class Search:
    """The search of one arm, kept by Optuna: what was tried, and how it did.

    Args:
        study: Optuna's.
        tuning: settings of the search.
    """

    def __init__(self, study: Any, tuning: Mapping[str, Any]) -> None:
        self.study, self.tuning = study, tuning

    def settings(self, wanted: int) -> list[dict[str, Any]]:
        """Return the settings of the first trials, asking for those that are not there yet.

        A trial depends on its number and, with `tpe`, on the results before it, so that a search
        that was interrupted goes on as it would have.
        """
        for number in range(len(self.study.get_trials(deepcopy=False)), wanted):
            self.study.sampler = _sampler(self.tuning["sampler"], number)
            self.study.ask(_distributions(self.tuning["space"]))
        trials = self.study.get_trials(deepcopy=False)[:wanted]
        space = self.tuning["space"]
        return [{key: _value(space[key], trial.params[key]) for key in space} for trial in trials]

    def tell(self, number: int, scores: Sequence[float | None]) -> None:
        """Record the scores of a trial, one for each seed; None for one without a worst value."""
        trial = self.study.get_trials(deepcopy=False)[number]
        if trial.state.is_finished():
            return
        if None in scores:
            self.study.tell(number, state=_failed())
        else:
            self.study.tell(number, fmean(scores))

    def settle_repeats(self) -> None:
        """Give a trial that repeats an earlier one the score of that."""
        known = {}
        for trial in self.study.get_trials(deepcopy=False):
            key = canonical(trial.params)
            if trial.state.is_finished():
                known.setdefault(key, trial.value)
            elif key in known and known[key] is not None:
                self.study.tell(trial.number, known[key])

    def best(self) -> dict[str, Any]:
        """Return the best settings, their score, and the number of their trial."""
        try:
            best = self.study.best_trial
        except ValueError as error:
            raise ConfigError(
                "no trial of the tuning has finished; see decoderlab-status"
            ) from error
        space = self.tuning["space"]
        return {
            "settings": {key: _value(space[key], best.params[key]) for key in space},
            "score": best.value,
            "trial": best.number,
        }


def _searches(folder: Path, arms: Sequence[Arm], study: Mapping[str, Any]) -> dict[str, Search]:
    """Open the searches of all arms, in one journal on the disk."""
    optuna = _optuna()
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    tuning, metric = study["tuning"], study["metric"]
    about = canonical([tuning[key] for key in ("space", "sampler", "seeds")] + [metric])
    direction = "maximize" if DIRECTIONS[metric] == "max" else "minimize"
    made, there = {}, optuna.get_all_study_names(storage)
    for arm in arms:
        name = hashlib.sha256(f"{arm.key} {about}".encode()).hexdigest()[:16]
        if name not in there:
            optuna.create_study(storage=storage, study_name=name, direction=direction)
        opened = optuna.load_study(storage=storage, study_name=name)
        made[arm.name] = Search(opened, tuning)
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


def _failed() -> Any:
    from optuna.trial import TrialState

    return TrialState.FAIL


def _sampler(kind: str, number: int) -> Any:
    from optuna.samplers import RandomSampler, TPESampler

    seed = stream_seed(0, "tuning", number) % 2**32
    return RandomSampler(seed=seed) if kind == "random" else TPESampler(seed=seed)


def _distributions(space: Mapping[str, Any]) -> dict[str, Any]:
    """Return Optuna's form of a search space; values of a list stand for themselves by place."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    made: dict[str, Any] = {}
    for key, values in space.items():
        if isinstance(values, list):
            made[key] = CategoricalDistribution(range(len(values)))
            continue
        low, high, log = values["low"], values["high"], bool(values.get("log"))
        whole = isinstance(low, int) and isinstance(high, int)
        made[key] = (IntDistribution if whole else FloatDistribution)(low, high, log=log)
    return made


def _value(values: Any, drawn: Any) -> Any:
    """Return the value of a setting that was drawn; with four digits, as one would write it."""
    if isinstance(values, list):
        return values[drawn]
    if isinstance(drawn, int) or drawn == 0 or not math.isfinite(drawn):
        return drawn
    return float(f"{drawn:.4g}")
