"""The settings of studies: of which runs they consist, and what is given alike to all variants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from decoderlab.common import require
from decoderlab.common.errors import ConfigError
from decoderlab.config.short_forms import from_short_form

MATCHES = ("updates", "parameters", "flops", "seconds")
# Of the pool: far more than any machine does at a time, and any run takes.
MAX_JOBS, MAX_SECONDS = 1025, 10**9


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the variants of a study are given alike; the baseline of the study sets the measure.

    Args:
        match: `updates`: each variant trains for as many updates as `training` says. `parameters`:
            besides, the width of each variant is solved for, so that the model has as many
            parameters as the baseline's. `flops`: the updates are solved for, so that training
            takes as many floating-point operations as the baseline's. `seconds`: each variant
            trains for `training.max_seconds`. Validations stay every `evaluation.every_steps`, so
            that a variant with more updates is validated more often.
        width: the setting that `parameters` changes, or several that get one number; a bridge that
            copies states needs `[encoder.hidden_size, decoder.hidden_size]`.
        tolerance: largest relative difference that is left in parameters or operations, 0 to 1.

    Raises:
        ValueError: for a value out of range, or widths that no setting of the decoder is among, or
            that are not of the encoder or decoder.
    """

    match: str
    width: str | list[str]
    tolerance: float

    def __post_init__(self) -> None:
        require.choice("match", self.match, MATCHES)
        require.ratio("tolerance", self.tolerance)
        of_decoder = [name for name in self.widths if name.startswith("decoder.")]
        others = [name for name in self.widths if not name.startswith(("decoder.", "encoder."))]
        if not of_decoder or others or len({*self.widths}) < len(self.widths):
            raise ValueError(
                f"width is {self.width!r}; name a setting of the decoder, decoder.NAME, or several "
                "of encoder and decoder: [encoder.NAME, decoder.NAME]"
            )

    @property
    def widths(self) -> list[str]:
        """The settings that `parameters` changes."""
        return [self.width] if isinstance(self.width, str) else self.width


SAMPLERS = ("random", "tpe", "grid")


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A search for the best settings of every variant, before its evaluation seeds are run.

    Args:
        space: settings, each with a list of values or a range `{low: A, high: B}`, with `log: true`
            for logarithmic ones; a range between two integers is of integers.
        trials: settings tried for each variant on each task, at least 1.
        seeds: of the trials' runs; none of them is a seed of the study itself.
        sampler: `random`: every variant is tried with the very same settings. `tpe`: a
            tree-structured Parzen estimator, which follows each variant's own results. `grid`:
            every combination of the values, which are lists; `trials` is their number.

    Raises:
        ValueError: for an empty space, values that cannot be tuned, or a wrong number of trials for
            a grid.
    """

    space: dict[str, Any]
    trials: int
    seeds: list[int] | str
    sampler: str = "random"

    def __post_init__(self) -> None:
        require.between("tuning.trials", self.trials, 1, 100_000)
        require.choice("tuning.sampler", self.sampler, SAMPLERS)
        if not self.space:
            raise ValueError("tuning.space is empty; name at least one setting and its values")
        for key, values in self.space.items():
            _check_dimension(key, values)
        if self.sampler == "grid":
            self._check_grid()

    def _check_grid(self) -> None:
        ranges = [key for key, values in self.space.items() if not isinstance(values, list)]
        if ranges:
            raise ValueError(
                f"tuning.sampler is 'grid', but tuning.space.{ranges[0]} is a range; give a list "
                "of values, or take sampler random"
            )
        combinations = math.prod(map(len, self.space.values()))
        if self.trials != combinations:
            raise ValueError(
                f"tuning.trials is {self.trials}, but the grid of tuning.space has {combinations} "
                f"combinations; give trials: {combinations}, or take sampler random"
            )


def _check_dimension(key: str, values: Any) -> None:
    if key == "seed":
        raise ValueError("tuning.space has seed, which is not tuned; give tuning.seeds")
    if isinstance(values, list) and values:
        return
    if isinstance(values, dict) and {"low", "high"} <= set(values) <= {"low", "high", "log"}:
        low, high = values["low"], values["high"]
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (low, high))
        finite = numbers and math.isfinite(low) and math.isfinite(high)
        if finite and low < high and (low > 0 or not values.get("log")):
            return
    raise ValueError(
        f"tuning.space.{key} is {values!r}; give a list of values, or {{low: A, high: B}} with "
        "A below B, and above 0 with log: true"
    )


# The trials of a study's tuning are a study in its folder.
TUNING = "/tuning"
FAMILIES = ("task", "study")


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published value that a study is to reproduce, with the tolerance stated before.

    Args:
        row: of the table.
        value: what was published, in the study's metric; of the difference to the row `against`,
            where that is given.
        tolerance: how far from it counts as reproduced, above 0.
        source: where it was published.
        task: column of the table; null where there is only one column.
        against: another row; null for the value of the row itself.
        deviation: sample standard deviation of the published runs, or of their differences; null
            where none is published, so that the value counts as exact.
        runs: how many they are, 2 or more; with `deviation`, or null.

    Raises:
        ValueError: if only one of `deviation` and `runs` is given, or a value is out of
            range.
    """

    row: str
    value: float
    tolerance: float
    source: str
    task: str | None = None
    against: str | None = None
    deviation: float | None = None
    runs: int | None = None

    def __post_init__(self) -> None:
        require.positive("published.tolerance", self.tolerance)
        if (self.deviation is None) != (self.runs is None):
            given = "runs" if self.deviation is None else "deviation"
            raise ValueError(
                f"published.{given} is given alone; give both deviation and runs, or neither"
            )
        if self.deviation is not None and self.runs is not None:
            require.positive("published.deviation", self.deviation)
            require.at_least("published.runs", self.runs, 2)


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a sweep asks, of which runs it consists, and how its table is made.

    Every combination of a variant, the factors' values and a seed is a run. A setting given on the
    command line replaces the factor or seeds of that name.

    Args:
        name: its folder under `outputs/studies`; null lets a sweep be named after its contents.
        question: what the study asks, in a sentence.
        metric: the test metric of the table, which its tasks have; in a config, null is the
            task's own.
        minimum_effect: the smallest difference in that metric that anybody would care about, above
            0; a variant is called better only if its interval lies above it, and no different only
            by two one-sided tests against it. null: better means above 0, and equivalence is not
            tested.
        baseline: the row that the others are to be read against; null for none.
        family: which comparisons are corrected together: those of the whole `study`, or those on
            each `task`.
        retry: `failed` runs failed and diverged runs again; `none` leaves them as they are.
        on_failure: `continue` with the other runs when one fails or diverges; `stop`: the running
            ones save what they have, and the same command does the rest.
        seeds: a list, or `range(0,10)`; null for the seed of the config.
        factors: settings, each with a list of values: a grid. Or a name of your own, with the
            levels of the factor by name, each a bundle of settings; levels of `task` are the
            table's columns.
        variants: names, each with a bundle of settings: what varies together.
        references: names, each with a bundle of settings: rows that stand beside the named factors
            and variants, on each task, and are no part of their grid.
        exclude: combinations to leave out, each a mapping of a factor (or `variant`) to a value or
            a list of values.
        max_runs, max_hours: above so many runs still to do, or so long an estimate, a person is
            asked first; without a terminal, the sweep is refused.
        allow_changes: go on with runs made by other code, and with a plan that lacks runs of
            before; it is recorded.
        tuning: see `Tuning`; null for none.
        published: values to stand beside ours, each a mapping as in `Published`.

    Raises:
        ValueError: for a value out of range, or a name that is not allowed.
    """

    name: str | None
    question: str | None
    metric: str | None
    minimum_effect: float | None
    baseline: str | None
    family: str
    retry: str
    on_failure: str
    seeds: list[int] | str | None
    factors: dict[str, Any] | None
    variants: dict[str, Any] | None
    references: dict[str, Any] | None
    exclude: list[dict] | None
    max_runs: int
    max_hours: float
    allow_changes: bool
    tuning: Tuning | None
    published: list[Published] | None

    def __post_init__(self) -> None:
        # In a config both are mappings.
        if self.tuning is not None:
            object.__setattr__(self, "tuning", from_short_form("tuning", Tuning, self.tuning))
        if self.published is not None:
            published = [
                from_short_form(f"published[{index}]", Published, given)
                for index, given in enumerate(self.published)
            ]
            object.__setattr__(self, "published", published)
        require.choice("retry", self.retry, ("none", "failed"))
        require.choice("on_failure", self.on_failure, ("continue", "stop"))
        require.choice("family", self.family, FAMILIES)
        if self.minimum_effect is not None:
            require.positive("minimum_effect", self.minimum_effect)
        require.at_least("max_runs", self.max_runs, 1)
        require.positive("max_hours", self.max_hours)
        if self.name is not None:
            plain = self.name.removesuffix(TUNING)
            plain = plain.replace("-", "").replace("_", "").replace(".", "")
            if not plain.isalnum() or not plain.isascii() or self.name[0] in ".-":
                raise ValueError(
                    f"name is {self.name!r}; use letters, digits, '-', '_' and '.', "
                    "beginning with a letter or digit"
                )
            require.between("the length of name", len(self.name), 1, 80)


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """The settings of our pool of worker processes, `hydra.launcher`.

    Args:
        jobs: runs at a time; None where the machine says it.
        time_limit_seconds: of each run; None for none.

    Raises:
        ConfigError: for a number that cannot work.
    """

    jobs: int | None = None
    time_limit_seconds: float | None = None

    def __post_init__(self) -> None:
        _check_limit("jobs", self.jobs, int, MAX_JOBS)
        _check_limit("time_limit_seconds", self.time_limit_seconds, int | float, MAX_SECONDS)

    @classmethod
    def of_launcher(cls, launcher: Mapping[str, Any]) -> PoolSettings:
        """Return what a launcher says, which may be another than our pool."""
        return cls(**{field.name: launcher.get(field.name) for field in fields(cls)})


def _check_limit(name: str, value: Any, kinds: Any, limit: int) -> None:
    right = isinstance(value, kinds) and not isinstance(value, bool) and 0 < value < limit
    if value is not None and not right:
        raise ConfigError(
            f"hydra.launcher.{name} is {value!r}; it must be a number above 0 and below {limit:,}"
        )
