"""What a study's runs say: cells, comparisons, factors and verdicts, by the declared protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np

from decoderlab.config.study_settings import Published
from decoderlab.studies.analysis.factorial import Factorial, analyse
from decoderlab.studies.analysis.results import Row, num_examples, parts_of, scores_in
from decoderlab.studies.design.plan_file import Plan
from decoderlab.studies.statistics import (
    ALPHA,
    BOOTSTRAP_DRAWS,
    NONE,
    PILOT_SEEDS,
    Interval,
    Paired,
    Summary,
    across_datasets,
    crossed_bootstrap,
    detectable_effect,
    equivalence,
    exact_mcnemar,
    holm,
    outlying,
    paired,
    summarise,
    wilson,
)

# The spread that a cell without any is taken to have, when a seed is looked for that lies apart.
SPREAD = 0.01
MANY_CELLS = 200


@dataclass(frozen=True)
class Entry:
    """A cell of the table: one variant on one task, over seeds.

    Args:
        scores: by seed, failures with the worst score among them.
        summary: of the scores.
        pooled: Wilson's interval over all test examples, where every seed scores the same and there
            is no t interval; else NaN.
        solved: seeds with a perfect score, counted where that is an exact match of 1.
        planned, finished, failed: numbers of runs.
        completed: summary of the finished runs alone, None where no run failed.
        apart: seeds that lie far from the others of the cell.
        parameters, flops, steps: of the model and its training; None if they differ between runs.
        seconds: mean training time of the finished runs, NaN without any.
        mixed: whether the runs were not all measured in the same way.
    """

    scores: dict[int, float]
    summary: Summary
    pooled: Interval
    solved: int
    planned: int
    finished: int
    failed: int
    completed: Summary | None
    apart: tuple[int, ...]
    parameters: int | None
    flops: float | None
    steps: int | None
    seconds: float
    mixed: bool

    @property
    def interval(self) -> Interval:
        """The interval that belongs to the mean: pooled where that is the honest one."""
        if not math.isnan(self.pooled.low):
            return self.pooled
        return Interval(self.summary.low, self.summary.high)


@dataclass(frozen=True)
class Comparison:
    """One variant against another on one task, over the seeds that both have.

    Args:
        paired: the differences, variant minus other; None without a seed that both have, and where
            they were measured in different ways.
        p_holm: adjusted within the family.
        p_equivalent: of two one-sided tests against the minimum effect, adjusted over the family;
            NaN without one.
        crossed: interval over seeds and test examples alike; NaN where examples are not shared.
        detectable: smallest difference that so many seeds would find with power 0.8.
        p_models: McNemar's, where there is one seed: of the two trained models.
        lost: seeds that are no pairs because a failed run has no score.
        verdict: better, worse, no difference, tie, inconclusive, pilot, not comparable (measured in
            different ways) or not run.
    """

    variant: str
    task: str
    against: str
    paired: Paired | None
    p_holm: float = math.nan
    p_equivalent: float = math.nan
    crossed: Interval = NONE
    detectable: float = math.nan
    p_models: float = math.nan
    lost: int = 0
    verdict: str = "not run"


@dataclass(frozen=True)
class Verdict:
    """A published value beside ours.

    Args:
        published: as declared.
        mean, interval: ours, of the row or of its difference to the other.
        n: seeds.
        word: reproduced, direction agrees, contradicts, inconclusive or not run.
    """

    published: Published
    mean: float
    interval: Interval
    n: int
    word: str


class Analysis:
    """All that the views of a study show, computed when asked for.

    Args:
        plan: of the study.
        rows: its runs.
        configs: the resolved config of each run, by run id.
    """

    def __init__(
        self,
        plan: Plan,
        rows: Sequence[Row],
        configs: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.plan, self.rows, self.configs = plan, tuple(rows), dict(configs or {})
        self.metric: str = plan.study.metric
        self.scale = scores_in(rows, plan)[self.metric]
        self.baseline: str | None = plan.study.baseline
        self.margin: float | None = plan.study.minimum_effect
        self.sign = 1.0 if self.scale.better == "max" else -1.0
        self.variants = list(dict.fromkeys(row.cell.variant for row in rows))
        self.tasks = list(dict.fromkeys(row.cell.task for row in rows))
        self.by_cell: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            self.by_cell.setdefault((row.cell.variant, row.cell.task), []).append(row)

    @property
    def complete(self) -> bool:
        """Whether every planned run is finished."""
        return all(row.status == "FINISHED" for row in self.rows)

    @cached_property
    def entries(self) -> dict[tuple[str, str], Entry]:
        """The cells of the table, by variant and task."""
        return {key: self._entry(rows) for key, rows in self.by_cell.items()}

    def baselines(self, task: str) -> dict[str, float]:
        """Return what rules without trained weights score on a task, by their names."""
        for row in self.rows:
            if row.cell.task == task and row.result is not None:
                rules = row.result.data.baselines
                return {n: one[self.metric] for n, one in rules.items() if self.metric in one}
        return {}

    @cached_property
    def pilot(self) -> bool:
        """Whether every cell has too few seeds for any claim."""
        return max(entry.planned for entry in self.entries.values()) < PILOT_SEEDS

    @cached_property
    def worst(self) -> dict[str, float]:
        """What a failure scores on each task: the metric's worst, or what a run found worse."""
        if self.scale.worst is None:
            return {}
        found = {task: [self.scale.worst] for task in self.tasks}
        for row in self.rows:
            if row.result is not None:
                found[row.cell.task].append(row.score(self.metric))
        pick = min if self.sign > 0 else max
        return {task: pick(some) for task, some in found.items()}

    def score(self, row: Row) -> float | None:
        """Return a run's score, the worst one for a failure; None if it has none."""
        return self.worst.get(row.cell.task) if row.failed else row.score(self.metric)

    def _entry(self, rows: Sequence[Row]) -> Entry:
        metric = self.metric
        scores = {row.cell.seed: score for row in rows if (score := self.score(row)) is not None}
        finished = [row for row in rows if row.result is not None]
        of_finished = [row.score(metric) for row in finished]
        values = list(scores.values())
        failed = sum(row.failed for row in rows)
        seeds = list(scores)
        seconds = [row.result.train_seconds for row in finished]
        return Entry(
            scores=scores,
            summary=summarise(values, bounds=self.scale.bounds),
            pooled=self._pooled(values, finished),
            solved=sum(value == 1.0 for value in values) if metric == "exact_match" else 0,
            planned=len(rows),
            finished=len(finished),
            failed=failed,
            completed=summarise(of_finished, bounds=self.scale.bounds) if failed else None,
            apart=tuple(seeds[place] for place in outlying(values, SPREAD)),
            parameters=_one([row.cell.parameters for row in rows]),
            flops=_one([row.cell.flops for row in rows]),
            steps=_one([row.cell.steps for row in rows]),
            seconds=fmean(seconds) if seconds else math.nan,
            mixed=len({_without(row.signature, "data", "seed") for row in finished}) > 1,
        )

    def _pooled(self, values: Sequence[float], finished: Sequence[Row]) -> Interval:
        alike = len(values) > 1 and min(values) == max(values)
        if self.metric != "exact_match" or not alike or len(finished) < len(values):
            return NONE
        # Seeds that share their test examples are one sample of them, others have one each.
        signatures = [row.signature for row in finished]
        samples = {parts_of(one)["data"]: num_examples(one) for one in signatures}
        return wilson(sum(round(values[0] * n) for n in samples.values()), sum(samples.values()))

    @cached_property
    def comparisons(self) -> dict[tuple[str, str], Comparison]:
        """Each variant against the baseline, by variant and task; {} without a baseline."""
        if self.baseline not in self.variants:
            return {}
        keys = [key for key in self.by_cell if key[0] != self.baseline]
        made = {key: self.compare(key[0], self.baseline, key[1]) for key in keys}
        families: dict[str, list[tuple[str, str]]] = {}
        for key in made:
            families.setdefault(key[1] if self.by_task else "", []).append(key)
        for keys in families.values():
            raw = [made[key].paired.p if made[key].paired else math.nan for key in keys]
            equivalent = [made[key].p_equivalent for key in keys]
            # What has no p yet counts as well: the family is the one that was declared.
            adjusted = (holm(some, len(keys)) for some in (raw, equivalent))
            for key, p, p_equivalent in zip(keys, *adjusted, strict=True):
                found = replace(made[key], p_holm=p, p_equivalent=p_equivalent)
                made[key] = self._judged(found, len(keys))
        self._add_crossed(made)
        return made

    @property
    def draws(self) -> int:
        """Resamples of the crossed bootstrap; fewer where there are very many comparisons."""
        return BOOTSTRAP_DRAWS if len(self.by_cell) <= MANY_CELLS else BOOTSTRAP_DRAWS // 5

    @property
    def by_task(self) -> bool:
        """Whether a family of comparisons is a task, not the study."""
        return self.plan.study.family == "task"

    def compare(self, variant: str, against: str, task: str) -> Comparison:
        """Compare two variants over the seeds that both have."""
        pairs = self._pairs(variant, against, task)
        if mixed(pairs):
            return Comparison(variant, task, against, None, verdict="not comparable")
        lost = sum(None in map(self.score, pair) for pair in pairs)
        pairs = [pair for pair in pairs if None not in map(self.score, pair)]
        if all(row.result is None for pair in pairs for row in pair):
            return Comparison(variant, task, against, None, lost=lost)
        differences = [self.score(one) - self.score(other) for one, other in pairs]
        found = paired([self.sign * difference for difference in differences])
        if self.sign < 0:  # the table shows the metric as it is; wins stay wins
            mean, low, high = -found.mean, -found.high, -found.low
            found = replace(found, mean=mean, low=low, high=high, dz=-found.dz)
        equivalent = equivalence(differences, self.margin) if self.margin else math.nan
        p_models = math.nan
        if len(pairs) == 1:
            one, other = (row.correct() for row in pairs[0])
            if one is not None and other is not None:
                p_models = exact_mcnemar(one, other)
        return Comparison(
            variant, task, against, found, p_equivalent=equivalent, p_models=p_models, lost=lost
        )

    def _pairs(self, variant: str, against: str, task: str) -> list[tuple[Row, Row]]:
        """Return rows of the same seed of which each is finished, or failed."""
        others = {row.cell.seed: row for row in self.by_cell.get((against, task), [])}
        pairs = [
            (row, others[row.cell.seed])
            for row in self.by_cell.get((variant, task), [])
            if row.cell.seed in others
        ]
        return [pair for pair in pairs if all(row.failed or row.result for row in pair)]

    def _judged(self, comparison: Comparison, number: int) -> Comparison:
        """Return the comparison with its verdict; the protocol's words, and no others."""
        found = comparison.paired
        if found is None:
            return comparison
        needed = detectable_effect(found.n, number)
        if math.isfinite(needed):
            needed *= found.deviation
        comparison = replace(comparison, detectable=needed)
        if found.n < PILOT_SEEDS:
            return replace(comparison, verdict="pilot")
        if comparison.lost:
            return replace(comparison, verdict="inconclusive")
        if found.equal:
            return replace(comparison, verdict="tie")
        low, high = sorted((self.sign * found.low, self.sign * found.high))
        if found.low != found.low:  # the same difference in every seed
            low = high = self.sign * found.mean
        margin = self.margin or 0.0
        if comparison.p_holm < ALPHA and low >= margin and low > 0:
            return replace(comparison, verdict="better")
        if comparison.p_holm < ALPHA and high <= -margin and high < 0:
            return replace(comparison, verdict="worse")
        if comparison.p_equivalent < ALPHA:
            return replace(comparison, verdict="no difference")
        return replace(comparison, verdict="inconclusive")

    def _add_crossed(self, made: dict[tuple[str, str], Comparison]) -> None:
        """Add the intervals over seeds and examples; the same resamples serve all of one size."""
        if self.metric != "exact_match":
            return
        by_size: dict[int, dict[tuple[str, str], np.ndarray]] = {}
        for key, comparison in made.items():
            if comparison.paired is None or comparison.paired.n < 2:
                continue
            pairs = self._pairs(comparison.variant, comparison.against, comparison.task)
            signatures = {row.signature for pair in pairs for row in pair} - {None}
            # Seeds with data of their own share no examples.
            if len({_without(one, "seed") for one in signatures}) != 1:
                continue
            number = num_examples(next(iter(signatures)))
            bits = [[row.correct(number) for row in pair] for pair in pairs]
            if all(one is not None for pair in bits for one in pair):
                matrix = np.stack([one.astype(np.int8) - other for one, other in bits])
                by_size.setdefault(number, {})[key] = matrix
        for matrices in by_size.values():
            intervals = crossed_bootstrap(list(matrices.values()), draws=self.draws)
            for key, interval in zip(matrices, intervals, strict=True):
                made[key] = replace(made[key], crossed=interval)

    @cached_property
    def overall(self) -> dict[str, Paired]:
        """Each variant against the baseline over all tasks: the mean difference of a seed.

        Of several tasks with the same seeds. A t interval over seeds, which covers better at ten
        seeds than the stratified bootstrap does.
        """
        if self.baseline not in self.variants or len(self.tasks) < 2:
            return {}
        found = {}
        for variant in self.variants:
            by_seed: dict[int, list[float]] = {}
            for task in self.tasks:
                pairs = self._pairs(variant, self.baseline, task)
                if mixed(pairs):
                    continue
                for one, other in pairs:
                    if None not in (mine := self.score(one), theirs := self.score(other)):
                        by_seed.setdefault(one.cell.seed, []).append(mine - theirs)
            whole = [fmean(some) for some in by_seed.values() if len(some) == len(self.tasks)]
            if variant != self.baseline and len(whole) >= 2:
                found[variant] = paired(whole)
        return found

    @cached_property
    def over_tasks(self) -> dict[str, Any] | None:
        """Friedman's and Wilcoxon's tests, with five tasks or more that all variants did."""
        variants = [self.baseline, *(one for one in self.variants if one != self.baseline)]
        if self.baseline is None or len(self.tasks) < 5 or len(variants) < 3:
            return None
        entries = [[self.entries.get((one, task)) for task in self.tasks] for one in variants]
        if any(entry is None or entry.summary.n < PILOT_SEEDS for row in entries for entry in row):
            return None
        if any(one.verdict == "not comparable" for one in self.comparisons.values()):
            return None
        means = np.array([[entry.summary.mean for entry in row] for row in entries])
        found = across_datasets(means)
        return found | {"variants": dict(zip(variants[1:], found["p_holm"], strict=True))}

    @cached_property
    def grid(self) -> tuple[list[Row], dict[str, list[str]]]:
        """The rows of the grid, on all tasks, and its factors; see `factor_levels`."""
        return factor_levels(self.rows)

    @cached_property
    def factorials(self) -> dict[str, Factorial | str]:
        """The analysis of the factors on each task, or why there is none."""
        return {task: self._factorial(task) for task in self.tasks}

    def _factorial(self, task: str) -> Factorial | str:
        rows, levels = factor_levels([row for row in self.rows if row.cell.task == task])
        if not levels:
            return "no factor with two levels or more"
        by_seed: dict[int, set[str]] = {}
        scores: dict[tuple[str, ...], dict[int, float]] = {}
        for row in rows:
            if row.signature is not None:
                by_seed.setdefault(row.cell.seed, set()).add(row.signature)
            if (score := self.score(row)) is not None:
                key = tuple(row.cell.factors[name] for name in levels)
                scores.setdefault(key, {})[row.cell.seed] = score
        if any(len(signatures) > 1 for signatures in by_seed.values()):
            return "its cells were not measured in the same way"
        try:
            found = analyse(scores, levels)
        except ValueError as error:
            return f"not a full grid: {error}"
        return found or f"a pilot: fewer than {PILOT_SEEDS} seeds that all cells have"

    @cached_property
    def published(self) -> list[Verdict]:
        """The published values beside ours."""
        return [self._verdict(published) for published in self.plan.study.published or []]

    def _verdict(self, published: Published) -> Verdict:
        task = published.task or self.tasks[0]
        if published.against is None:
            entry = self.entries.get((published.row, task))
            if entry is None or entry.summary.n == 0:
                return Verdict(published, math.nan, NONE, 0, "not run")
            mean, interval, n = entry.summary.mean, entry.interval, entry.summary.n
            lost = entry.failed if self.scale.worst is None else 0
        else:
            comparison = self.compare(published.row, published.against, task)
            found, lost = comparison.paired, comparison.lost
            if found is None:
                return Verdict(published, math.nan, NONE, 0, "not run")
            mean, interval, n = found.mean, Interval(found.low, found.high), found.n
        word = "inconclusive" if lost else judge_published(published, interval)
        return Verdict(published, mean, interval, n, "pilot" if n < PILOT_SEEDS else word)


def judge_published(published: Published, interval: Interval) -> str:
    """Return whether an interval of ours reproduces a published value.

    `reproduced`: the interval lies within the tolerance that was stated beforehand; `direction
    agrees`: it does not, but ours is a difference that is certainly on the same side of 0;
    `contradicts`: it lies on the other side of 0 or, where the value is no difference, or one of 0,
    outside the tolerance altogether; else `inconclusive`.

    Example:
        >>> value = Published(row="a", value=0.9, tolerance=0.05, source="somebody")
        >>> ours = [Interval(0.88, 0.93), Interval(0.8, 0.9), Interval(0.0, 0.1)]
        >>> [judge_published(value, one) for one in ours]
        ['reproduced', 'inconclusive', 'contradicts']
    """
    low, high = interval
    floor, ceiling = published.value - published.tolerance, published.value + published.tolerance
    if math.isnan(low):
        return "inconclusive"
    if floor <= low and high <= ceiling:
        return "reproduced"
    if published.against is not None and published.value:
        if low > 0 or high < 0:
            return "direction agrees" if (low > 0) == (published.value > 0) else "contradicts"
        return "inconclusive"
    return "contradicts" if high < floor or low > ceiling else "inconclusive"


def mixed(pairs: Sequence[tuple[Row, Row]]) -> bool:
    """Whether a pair was not measured in the same way; a failure was not measured at all."""
    signatures = [[row.signature for row in pair] for pair in pairs]
    return any(None not in pair and pair[0] != pair[1] for pair in signatures)


def factor_levels(rows: Sequence[Row]) -> tuple[list[Row], dict[str, list[str]]]:
    """Return the rows of the grid, and the factors that span it with their levels, two or more.

    References stand beside the grid: they have a name, the others none. Where there are none, all
    that varies spans it.
    """
    names = dict.fromkeys(
        name for row in rows for name in row.cell.factors if name.split(".")[0] != "task"
    )
    if len(names) > 1 and any("variant" not in row.cell.factors for row in rows):
        names.pop("variant", None)
        rows = [row for row in rows if "variant" not in row.cell.factors]
    inside = [row for row in rows if all(name in row.cell.factors for name in names)]
    levels = {name: list(dict.fromkeys(row.cell.factors[name] for row in inside)) for name in names}
    return inside, {name: some for name, some in levels.items() if len(some) > 1}


def _one(values: Sequence[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else None


def _without(signature: str, *names: str) -> frozenset[tuple[str, str]]:
    return frozenset(part for part in parts_of(signature).items() if part[0] not in names)
