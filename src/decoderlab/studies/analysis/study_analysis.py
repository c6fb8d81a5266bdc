"""What a study's runs say, by the declared protocol: entries, comparisons, factors, verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from statistics import fmean
from typing import Any

import numpy as np

from decoderlab.common.number_ranges import ranges_text
from decoderlab.config.run_config import RunConfig
from decoderlab.config.study_settings import Published
from decoderlab.records.run_result import DataSummary
from decoderlab.studies.analysis.comparisons import (
    Comparison,
    Pairs,
    crossed_estimate,
    measured_differently,
    p_of_models,
    pair_runs,
    unpaired_seeds,
    with_verdict,
)
from decoderlab.studies.analysis.entries import Entry, entry_of
from decoderlab.studies.analysis.factor_levels import factor_levels
from decoderlab.studies.analysis.factorial import Factorial, analyse
from decoderlab.studies.analysis.published_verdicts import PublishedVerdict, judge_published
from decoderlab.studies.analysis.results import RunRow, scores_in, ways_of_measuring
from decoderlab.studies.attainable import PILOT_SEEDS, attainable
from decoderlab.studies.design.plan_file import Plan
from decoderlab.studies.models_and_datasets import across_datasets
from decoderlab.studies.statistics import NONE, Paired, difference_bounds, holm, over_seeds, paired
from decoderlab.studies.worst_score import worst_score


class Analysis:
    """All that a study's reports show, computed when asked for.

    Args:
        plan: of the study.
        rows: its runs.
        configs: the resolved config of each run, by run id.
    """

    def __init__(
        self,
        plan: Plan,
        rows: Sequence[RunRow],
        configs: Mapping[str, RunConfig] | None = None,
    ) -> None:
        self.plan, self.rows, self.configs = plan, tuple(rows), dict(configs or {})
        self.metric = plan.metric
        self.scale = scores_in(rows, plan)[self.metric]
        self.bounds = difference_bounds(self.scale.bounds)
        self.baseline: str | None = plan.study.baseline
        self.margin: float | None = plan.study.minimum_effect
        self.sign = 1.0 if self.scale.better == "max" else -1.0
        self.variants = list(dict.fromkeys(row.cell.variant for row in rows))
        self.tasks = list(dict.fromkeys(row.cell.task for row in rows))
        self.by_cell: dict[tuple[str, str], list[RunRow]] = {}
        for row in rows:
            self.by_cell.setdefault((row.cell.variant, row.cell.task), []).append(row)

    @property
    def complete(self) -> bool:
        """Whether every planned run is finished, and nothing of the study is damaged."""
        finished = all(row.status == "FINISHED" for row in self.rows)
        return finished and not self.plan.damage

    @cached_property
    def entries(self) -> dict[tuple[str, str], Entry]:
        """The cells of the table, by variant and task."""
        entries = {}
        for key, rows in self.by_cell.items():
            scores = {row.cell.seed: self.score(row) for row in rows}
            scores = {seed: score for seed, score in scores.items() if score is not None}
            entries[key] = entry_of(rows, scores, self.scale)
        return entries

    def data_of(self, task: str) -> dict[str, DataSummary]:
        """Return the data that the runs on a task had, by their fingerprints; mostly one."""
        results = [row.result for row in self.rows if row.cell.task == task and row.result]
        return {result.data.fingerprint: result.data for result in results}

    def baselines(self, task: str) -> dict[str, float]:
        """Return what rules without trained weights score on a task, by their names.

        Where runs had different data, the mean over these.
        """
        scores: dict[str, list[float]] = {}
        for data in self.data_of(task).values():
            for name, known in data.baselines.items():
                if self.metric in known:
                    scores.setdefault(name, []).append(known[self.metric])
        return {name: fmean(several) for name, several in scores.items()}

    @cached_property
    def pilot(self) -> bool:
        """Whether every cell has too few seeds for any claim."""
        return max(entry.planned for entry in self.entries.values()) < PILOT_SEEDS

    @cached_property
    def worst(self) -> dict[str, float]:
        """What a failure scores on each task: the metric's worst, or a worse score of a run."""
        scores: dict[str, list[float]] = {task: [] for task in self.tasks}
        for row in self.rows:
            if row.result is not None:
                scores[row.cell.task].append(row.result.metrics.test[self.metric])
        worst = {task: worst_score(self.scale, some) for task, some in scores.items()}
        return {task: score for task, score in worst.items() if score is not None}

    def ranked(self, task: str) -> dict[str, Entry]:
        """Return the rows on a task that have a mean over all runs that ended, by variant.

        A row of which failed runs have no score is none: its mean is that of the others.
        """
        entries = {variant: self.entries.get((variant, task)) for variant in self.variants}
        return {
            variant: entry
            for variant, entry in entries.items()
            if entry and entry.finished and not (entry.failed and self.scale.worst is None)
        }

    def score(self, row: RunRow) -> float | None:
        """Return a run's score, the worst for a failure; None if it has none."""
        return self.worst.get(row.cell.task) if row.failed else row.score(self.metric)

    @cached_property
    def comparisons(self) -> dict[tuple[str, str], Comparison]:
        """Each variant against the baseline, by variant and task, where both are planned."""
        baseline = self.baseline
        if baseline is None:
            return {}
        keys = [
            (variant, task)
            for variant, task in self.by_cell
            if variant != baseline and (baseline, task) in self.by_cell
        ]
        made = {key: self.compare(key[0], baseline, key[1]) for key in keys}
        families: dict[str, list[tuple[str, str]]] = {}
        for key in made:
            families.setdefault(key[1] if self.by_task else "", []).append(key)
        for keys in families.values():
            paired_by_seed = [made[key].paired for key in keys]
            raw = [math.nan if each is None else each.p for each in paired_by_seed]
            equivalent = [made[key].p_equivalent for key in keys]
            # What has no p yet counts as well: the family is as it was declared.
            adjusted = (holm(some, len(keys)) for some in (raw, equivalent))
            for key, p, p_equivalent in zip(keys, *adjusted, strict=True):
                comparison = replace(made[key], p_holm=p, p_equivalent=p_equivalent)
                fall = (self._fall(key), self._fall((baseline, key[1])))
                made[key] = with_verdict(comparison, len(keys), self.sign, self.margin or 0.0, fall)
        return made

    def _fall(self, key: tuple[str, str]) -> float:
        """By how much a run is worse than its entry's mean when it collapses."""
        mean, worst = self.entries[key].summary.mean, self.worst.get(key[1])
        return math.inf if worst is None else abs(mean - worst)

    @property
    def by_task(self) -> bool:
        """Whether a family of comparisons is a task, not the study."""
        return self.plan.study.family == "task"

    def compare(self, variant: str, against: str, task: str) -> Comparison:
        """Compare two variants over the seeds that both have."""
        pairs = self._pairs(variant, against, task)
        if measured_differently(pairs):
            return Comparison(variant, task, against, None, verdict="not comparable")
        scored = self._scored(pairs)
        lost = len(pairs) - len(scored)
        pairs, differences = [pair for pair, _ in scored], [value for _, value in scored]
        if all(row.result is None for pair in pairs for row in pair):
            return Comparison(variant, task, against, None, lost=lost)
        # Failures without a worst score are lost, and have no outcomes either.
        both = None if lost else crossed_estimate(pairs, self.scale)
        estimate = over_seeds(differences) if both is None else both
        difference = paired([self.sign * value for value in differences], self.bounds)
        if self.sign < 0:  # the table shows the metric as it is; wins stay wins
            mean, low, high = -difference.mean, -difference.high, -difference.low
            difference = replace(difference, mean=mean, low=low, high=high, dz=-difference.dz)
        return Comparison(
            variant,
            task,
            against,
            difference,
            p_equivalent=estimate.equivalence(self.margin) if self.margin else math.nan,
            estimate=estimate,
            crossed=both is not None,
            bounds=self.bounds,
            p_models=p_of_models(pairs, self.scale),
            lost=lost,
            failed=sum(any(row.failed for row in pair) for pair in pairs),
            unpaired=unpaired_seeds(self.by_cell[variant, task], self.by_cell[against, task]),
            unequal=self._unequal((variant, against), task),
        )

    def _unequal(self, variants: Iterable[str], task: str) -> bool:
        """Whether variants had different budgets in any seed, where they should have one.

        Between seeds budgets may differ: where the data follow the seed, so does an epoch.
        """
        all_rows = [self.by_cell[name, task] for name in variants]
        if self.plan.budget.match != "flops" and all(
            any(map(self._is_budget, rows[0].cell.factors)) for rows in all_rows
        ):
            return False  # the study asks for it; a row outside of the grid is no level of it
        by_seed: dict[int, list[RunRow]] = {}
        for row in chain(*all_rows):
            by_seed.setdefault(row.cell.seed, []).append(row)
        return any(map(self._differ_in_budget, by_seed.values()))

    def _differ_in_budget(self, rows: Sequence[RunRow]) -> bool:
        """Whether runs of one seed had different budgets."""
        budget = self.plan.budget
        if budget.match == "flops":  # each within the tolerance of what the baseline has
            totals = [row.cell.flops * (row.cell.steps or 0) for row in rows]
            return max(totals) * (1 - budget.tolerance) > min(totals) * (1 + budget.tolerance)
        given = {
            (row.cell.steps, self._seconds.get((row.cell.variant, row.cell.task))) for row in rows
        }
        return len(given) > 1

    def _is_budget(self, factor: str) -> bool:
        """Whether a factor sets nothing but the budget, by its name or in each named level."""
        levels = (self.plan.study.factors or {}).get(factor)
        named = levels.values() if isinstance(levels, Mapping) else [{factor: None}]
        settings = [name for level in named if isinstance(level, Mapping) for name in level]
        return bool(settings) and all(name.startswith("training.max_") for name in settings)

    @cached_property
    def _seconds(self) -> dict[tuple[str, str], float | None]:
        """Return the budget in seconds of each variant and task whose config is at hand."""
        return {
            (row.cell.variant, row.cell.task): self.configs[row.cell.run_id].training.max_seconds
            for row in self.rows
            if row.cell.run_id in self.configs
        }

    def differences(self, variant: str, against: str, task: str) -> dict[int, float]:
        """Return the difference of two variants by seed; {} if they were measured differently."""
        pairs = self._pairs(variant, against, task)
        if measured_differently(pairs):
            return {}
        return {pair[0].cell.seed: value for pair, value in self._scored(pairs)}

    def _pairs(self, variant: str, against: str, task: str) -> list[tuple[RunRow, RunRow]]:
        rows, others = (self.by_cell.get((name, task), []) for name in (variant, against))
        return pair_runs(rows, others)

    def _scored(self, pairs: Pairs) -> list[tuple[tuple[RunRow, RunRow], float]]:
        """Return the pairs of which both runs have a score, with the difference of the scores."""
        scored = []
        for pair in pairs:
            mine, theirs = map(self.score, pair)
            if mine is not None and theirs is not None:
                scored.append((pair, mine - theirs))
        return scored

    @cached_property
    def overall(self) -> dict[str, Paired]:
        """Each variant against the baseline over all tasks: the mean difference of a seed.

        Of several tasks with the same seeds. A t interval over seeds, which covers better at ten
        seeds than the stratified bootstrap does. Nothing of a variant of which nothing is claimed
        on some task, since its budget was another one or its runs without a score are left out.
        """
        if self.baseline not in self.variants or len(self.tasks) < 2:
            return {}
        overall = {}
        for variant in self.variants:
            by_seed: dict[int, list[float]] = {}
            for task in self.tasks:
                pairs = self._pairs(variant, self.baseline, task)
                if measured_differently(pairs) or self._claims_nothing((variant, task)):
                    continue
                for (row, _), difference in self._scored(pairs):
                    by_seed.setdefault(row.cell.seed, []).append(difference)
            whole = [fmean(some) for some in by_seed.values() if len(some) == len(self.tasks)]
            if variant != self.baseline and len(whole) >= 2:
                overall[variant] = paired(whole, self.bounds)
        return overall

    def _claims_nothing(self, key: tuple[str, str]) -> bool:
        """Whether a variant and task is not judged, by its budget or by runs without a score."""
        comparison = self.comparisons.get(key)
        return comparison is not None and (comparison.unequal or comparison.lost > 0)

    @cached_property
    def over_tasks(self) -> dict[str, Any] | None:
        """Friedman's test, with five tasks or more that all variants did, and Wilcoxon's.

        The latter only where so few tasks could show anything at all.
        """
        variants = [self.baseline, *(name for name in self.variants if name != self.baseline)]
        if self.baseline is None or len(self.tasks) < 5 or len(variants) < 3:
            return None
        cells = [(name, task) for name in variants for task in self.tasks]
        entries = [self.entries[cell] for cell in cells if cell in self.entries]
        if len(entries) < len(cells) or any(each.summary.n < PILOT_SEEDS for each in entries):
            return None
        if any(each.verdict == "not comparable" for each in self.comparisons.values()):
            return None
        if any(map(self._claims_nothing, self.comparisons)):
            return None
        means = np.array([entry.summary.mean for entry in entries])
        tests = across_datasets(means.reshape(len(variants), len(self.tasks)))
        # Wilcoxon's p is 2 / 2^tasks at least.
        certain = attainable(len(self.tasks), len(variants) - 1)
        by_variant = dict(zip(variants[1:], tests["p_holm"], strict=True)) if certain else {}
        return tests | {"variants": by_variant}

    @cached_property
    def grid(self) -> tuple[list[RunRow], dict[str, list[str]]]:
        """The rows of the grid, on all tasks, and its factors; see `factor_levels`."""
        return factor_levels(self.rows)

    @cached_property
    def factorials(self) -> dict[str, Factorial | str]:
        """The analysis of the factors on each task, or why there is none."""
        return {task: self._factorial(task) for task in self.tasks}

    @cached_property
    def withheld(self) -> dict[str, str]:
        """Why nothing is claimed of the factors on a task, whatever their scores, by task."""
        reasons = {}
        for task in self.tasks:
            rows, levels = factor_levels([row for row in self.rows if row.cell.task == task])
            lost = sorted({row.cell.seed for row in rows if row.failed and self.score(row) is None})
            if levels and self._unequal(dict.fromkeys(row.cell.variant for row in rows), task):
                reasons[task] = "its cells had different budgets"
            elif levels and lost:
                reasons[task] = (
                    f"{self.scale.label} has no worst score for runs that failed or diverged "
                    f"(seeds {ranges_text(lost)})"
                )
        return reasons

    def _factorial(self, task: str) -> Factorial | str:
        rows, levels = factor_levels([row for row in self.rows if row.cell.task == task])
        if not levels:
            return "no factor with two levels or more"
        if task in self.withheld:
            return self.withheld[task]
        by_seed: dict[int, set[str]] = {}
        scores: dict[tuple[str, ...], dict[int, float]] = {}
        for row, way in zip(rows, ways_of_measuring(rows), strict=True):
            if way is not None:
                by_seed.setdefault(row.cell.seed, set()).add(way)
            if (score := self.score(row)) is not None:
                key = tuple(row.cell.factors[name] for name in levels)
                scores.setdefault(key, {})[row.cell.seed] = score
        if any(len(signatures) > 1 for signatures in by_seed.values()):
            return "its cells were not measured in the same way"
        try:
            factorial = analyse(scores, levels, self.bounds)
        except ValueError as error:
            return f"not a full grid: {error}"
        return factorial or f"a pilot: fewer than {PILOT_SEEDS} seeds that all cells have"

    @cached_property
    def published(self) -> list[PublishedVerdict]:
        """The published values beside ours."""
        return [self._verdict(published) for published in self.plan.study.published or []]

    def _verdict(self, published: Published) -> PublishedVerdict:
        task = published.task or self.tasks[0]
        if published.against is None:
            entry = self.entries.get((published.row, task))
            if entry is None or entry.summary.n == 0:
                return PublishedVerdict(published, math.nan, NONE, 0, "not run")
            estimate, interval, n = entry.estimate, entry.interval, entry.summary.n
            lost, unequal = entry.failed if self.scale.worst is None else 0, False
        else:
            comparison = self.compare(published.row, published.against, task)
            difference, lost, unequal = comparison.paired, comparison.lost, comparison.unequal
            if difference is None:
                return PublishedVerdict(published, math.nan, NONE, 0, comparison.verdict)
            estimate, interval, n = comparison.estimate, comparison.interval, difference.n
        word = "inconclusive" if lost else judge_published(published, estimate, interval)
        word = "unequal budget" if unequal else word
        word = "pilot" if n < PILOT_SEEDS else word
        return PublishedVerdict(published, estimate.mean, interval, n, word)
