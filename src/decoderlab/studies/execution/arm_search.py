"""The search of one arm of a study that tunes: its trials, and how they did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from filelock import FileLock

from decoderlab.common.randomness import stream_seed
from decoderlab.config.study_settings import Tuning
from decoderlab.studies.execution.journal import JOURNAL, journaled


class ArmSearch:
    """The search of one arm, kept by Optuna: what was tried, and how it did.

    Args:
        study: Optuna's.
        tuning: settings of the search.
        lock: held while the search goes on, since two launches of a study share it.
    """

    def __init__(self, study: Any, tuning: Tuning, lock: FileLock) -> None:
        self.study, self.tuning, self.lock = study, tuning, lock
        self.journal = Path(lock.lock_file).with_name(JOURNAL)

    @property
    def num_asked(self) -> int:
        """Trials that there are."""
        return len(self._trials())

    def _trials(self) -> list[Any]:
        """Return the trials that have all of their settings.

        A launch that was killed, or found the disk full, may have left one without: it is passed
        over, and asked for again.
        """
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if self.tuning.space.keys() <= trial.params.keys()]

    def settings(self, wanted: int) -> list[dict[str, Any]]:
        """Return the settings of the first trials, asking for those that are not there yet.

        A trial depends on its number and, with `tpe`, on the results before it, so that a search
        that was interrupted goes on as it would have.
        """
        space = self.tuning.space
        with journaled(self.lock, self.journal):
            for number in range(self.num_asked, wanted):
                if self.tuning.sampler == "grid":
                    self.study.add_trial(_of_grid(space, number))
                    continue
                self.study.sampler = _sampler(self.tuning.sampler, number)
                self.study.ask(_distributions(space))
            trials = self._trials()[:wanted]
        return [{key: _value(space[key], trial.params[key]) for key in space} for trial in trials]

    def tell(self, scores: Sequence[float | None]) -> None:
        """Record the scores of the first trials; None for a failed trial without a worst score."""
        from optuna.trial import TrialState

        with journaled(self.lock, self.journal):
            for trial, score in zip(self._trials(), scores, strict=False):
                if trial.state.is_finished():
                    continue
                if score is None:
                    self.study.tell(trial.number, state=TrialState.FAIL)
                else:
                    self.study.tell(trial.number, score)


def _sampler(kind: str, number: int) -> Any:
    from optuna.samplers import RandomSampler, TPESampler

    seed = stream_seed(0, "tuning", number) % 2**32
    return RandomSampler(seed=seed) if kind == "random" else TPESampler(seed=seed)


def _of_grid(space: Mapping[str, Any], number: int) -> Any:
    """Return a trial with the combination of that number."""
    from optuna.trial import TrialState, create_trial

    combinations = list(product(*(range(len(values)) for values in space.values())))
    params = dict(zip(space, combinations[number], strict=True))
    return create_trial(
        state=TrialState.RUNNING, params=params, distributions=_distributions(space)
    )


def _distributions(space: Mapping[str, Any]) -> dict[str, Any]:
    """Return Optuna's form of a search space; values of a list stand for themselves by index."""
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
    """Return the value of a setting that was drawn; a number with four digits, as people write."""
    if isinstance(values, list):
        return values[drawn]
    if isinstance(drawn, int) or drawn == 0 or not math.isfinite(drawn):
        return drawn
    return float(f"{drawn:.4g}")
