"""The checks of metrics; each is named after what it demands."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from decoderlab.data.per_example import check_outcomes
from decoderlab.data.task import Task
from decoderlab.data.task_data import TaskData
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import Vocabulary
from decoderlab.metrics import MetricScore
from decoderlab.metrics.task_metric import (
    add_examples,
    computed,
    reads,
    reads_source,
    require_metric,
)
from decoderlab.testing.differences import Seen, Skipped

NUM_EXAMPLES = 24
WORDS = tuple("the a cat dog sat ran on over mat hill big small red old".split())
CLOSE = 1e-9  # relative: sums in another order are not the same to the last bit

# Predictions, references and the texts of the sources.
Examples = tuple[Sequence[Any] | Tensor, Sequence[Any] | Tensor, list[str]]


@dataclass(frozen=True)
class MetricSubject:
    """A metric class with predictions and references for it."""

    make: Callable[..., Any]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def spaces(self) -> dict[str, Any]:
        """Nothing: a metric is made of its settings alone."""
        return {}

    def build(self) -> Any:
        """Return a new metric that knows its task."""
        metric = self.make(**self.settings)
        require_metric("the metric", metric)
        if hasattr(metric, "prepare"):
            metric.prepare(task_of(reads(metric)))
        return metric

    def measured(self, *pieces: Examples) -> dict[str, float]:
        """Return the numbers of a new metric over examples that are added in pieces."""
        return values_of(self.build(), *pieces)

    @property
    def once(self) -> bool:
        """Whether all examples are given at once, as texts and the loss are."""
        return reads(self.build()) in ("texts", "loss")

    def examples(self, seed: int = 1) -> Examples:
        """Return predictions, some of them right, their references, and sources."""
        kind, chance = reads(self.build()), random.Random(seed)
        if kind == "loss":
            return ([0.5 + seed], [None], [])
        sources = [_text(_drawn(random.Random(f"{seed} {row}"))) for row in range(NUM_EXAMPLES)]
        if kind == "values":
            generator = torch.Generator().manual_seed(seed)
            sizes = (NUM_EXAMPLES, 4, 2)
            predictions = torch.randn(*sizes, generator=generator)
            return predictions, torch.randn(*sizes, generator=generator), sources
        several = [
            tuple(_drawn(chance) for _ in range(chance.randint(1, 3))) for _ in range(NUM_EXAMPLES)
        ]
        predictions = [
            accepted[-1] if chance.random() < 0.3 else _changed(accepted[0], chance)
            for accepted in several
        ]
        if kind == "texts":
            predictions, several = _in_words(predictions, several)
        return predictions, several, sources

    def perfect(self) -> Examples:
        """Return predictions that are all right, by the last of their references."""
        _, references, sources = self.examples()
        kind = reads(self.build())
        if kind == "loss":
            return ([0.0], references, sources)
        if isinstance(references, Tensor):
            return (references.clone(), references, sources)
        return ([accepted[-1] for accepted in references], references, sources)


def task_of(kind: str) -> Task:
    """Return a task without examples, whose targets are tokens, or two numbers a position."""
    words = Vocabulary(WORDS)
    if kind != "values":
        task = Task()
        task.adopt(TaskData(words, words, {}, 8))
        return task
    task, values = Task(append_eos=False), Values([1.0, -2.0], [2.0, 0.5])
    task.adopt(TaskData(values, values, {}, 4, naive_error=np.array([1.5, 0.7])))
    return task


def values_of(metric: Any, *pieces: Examples) -> dict[str, float]:
    """Return a metric's numbers after examples were added, in pieces."""
    for predictions, references, sources in pieces:
        if reads(metric) == "loss":
            metric.update(predictions[0])
        else:
            add_examples(metric, predictions, references, sources)
    return computed(metric)


def names_and_scale_are_declared(subject: MetricSubject) -> None:
    """Each score has a name of its own, and numbers come by these names, within its bounds."""
    scores = subject.build().scores
    names = [score.name for score in scores]
    if not names or len(set(names)) != len(names):
        raise Seen(f"the scores are named {names}; each needs a name of its own")
    for name in names:
        if not name.isidentifier():
            raise Seen(f"a score is named {name!r}; take letters, digits and underscores")
    for examples in (*map(subject.examples, range(1, 4)), subject.perfect(), _hopeless(subject)):
        for score, value in _paired(subject, examples):
            if not score.low - 1e-9 <= value <= score.high + 1e-9:
                raise Seen(
                    f"{score.name} is {value:g}, declared is from {score.low:g} to {score.high:g}"
                )


def the_worst_value_is_within_the_bounds(subject: MetricSubject) -> None:
    """What a run that failed scores is possible, and beats neither chance nor what is right."""
    for score in subject.build().scores:
        if score.worst is None:
            continue
        if not score.low <= score.worst <= score.high:
            raise Seen(f"the worst value of {score.name} is {score.worst}, out of its bounds")
        values = subject.measured(subject.examples()), subject.measured(subject.perfect())
        for value in (measured[score.name] for measured in values):
            if score.improves(score.worst, value):
                raise Seen(
                    f"the worst value of {score.name} is {score.worst}, better than {value:g}, "
                    "which examples of which some are right get"
                )


def what_is_right_scores_best(subject: MetricSubject) -> None:
    """Right predictions have the best value that there is, where references matter."""
    perfect, asked = subject.perfect(), False
    if reads(subject.build()) != "loss" and not _references_matter(subject):
        raise Skipped("references do not matter")
    for score, value in _paired(subject, perfect):
        best = score.best
        asked = True
        if abs(best) < float("inf") and abs(value - best) > 1e-6 * max(1.0, abs(best)):
            raise Seen(f"{score.name} of right predictions is {value:g}, the best is {best:g}")
        for seed in (1, 2, 3):
            other = subject.measured(subject.examples(seed))[score.name]
            if score.improves(other, value):
                raise Seen(
                    f"{score.name} of predictions that are partly wrong is {other:g}, better than "
                    f"{value:g}, of right ones, since better is {score.better}"
                )
    if not asked:
        raise Skipped("there are no scores")


def examples_in_pieces_are_examples_at_once(subject: MetricSubject) -> None:
    """Batches of any size give what all examples at once give."""
    if subject.once:
        raise Skipped("it is given all examples at once")
    examples = subject.examples()
    expected = subject.measured(examples)
    for size in (1, 5, 16):
        pieces = _pieces(examples, size)
        _check_equal(subject.measured(*pieces), expected, f"in batches of {size}")


def the_order_of_the_examples_has_no_influence(subject: MetricSubject) -> None:
    """Examples in another order give the same."""
    if reads(subject.build()) == "loss":
        raise Skipped("it is given the loss alone")
    examples = subject.examples()
    expected = subject.measured(examples)
    order = list(range(NUM_EXAMPLES))
    for seed in (1, 2):
        random.Random(seed).shuffle(order)
        _check_equal(subject.measured(_taken(examples, order)), expected, "in another order")


def a_score_per_example_is_the_mean_of_outcomes(subject: MetricSubject) -> None:
    """Of a single example it is 0 or 1, and of all examples the mean of these."""
    names = [score.name for score in subject.build().scores if score.per_example]
    if not names:
        raise Skipped("no score says that it is the mean of a 0/1 outcome of each example")
    for examples in (*map(subject.examples, range(1, 4)), subject.perfect(), _hopeless(subject)):
        whole = subject.measured(examples)
        outcomes = [subject.measured(piece) for piece in _pieces(examples, 1)]
        for name in names:
            try:
                check_outcomes(name, [values[name] for values in outcomes], whole[name])
            except ValueError as error:
                raise Seen(str(error)) from error


def after_a_reset_nothing_is_left(subject: MetricSubject) -> None:
    """`reset` forgets everything that was added."""
    metric, examples = subject.build(), subject.examples()
    expected = subject.measured(examples)
    for earlier in (subject.perfect(), subject.examples(seed=2)):
        values_of(metric, earlier)
        metric.reset()
        _check_equal(values_of(metric, examples), expected, "after a reset")
        metric.reset()


def numbers_may_be_asked_for_again(subject: MetricSubject) -> None:
    """`compute` changes nothing, and what is added later counts."""
    metric, examples = subject.build(), subject.examples()
    expected = values_of(metric, examples)
    _check_equal(computed(metric), expected, "asked for again")
    if subject.once:
        return
    later = subject.examples(seed=2)
    result = values_of(metric, later)
    _check_equal(result, subject.measured(examples, later), "added after numbers were asked for")


def what_a_metric_is_given_stays_as_it_is(subject: MetricSubject) -> None:
    """Predictions, references and sources are not changed in place, and may be afterwards."""
    examples, metric = subject.examples(), subject.build()
    kept = copy.deepcopy(examples)
    if reads(metric) != "loss":
        metric.update(*(examples if reads_source(metric) else examples[:2]))  # no copies
    for example, other in zip(examples, kept, strict=True):
        if isinstance(example, Tensor) and isinstance(other, Tensor):
            same = torch.equal(example, other)
        else:
            same = example == other
        if not same:
            raise Seen("predictions, references or sources are changed in place; work on a copy")


def two_metrics_share_nothing(subject: MetricSubject) -> None:
    """What is added to one does not count in another of the same class."""
    metric, other = subject.build(), subject.build()
    values_of(metric, subject.examples(seed=2))
    result = values_of(other, subject.examples())
    _check_equal(result, subject.measured(subject.examples()), "beside another metric")


def a_metric_refuses_unknown_settings(subject: MetricSubject) -> None:
    """A misspelt setting raises an error."""
    try:
        subject.make(**subject.settings, no_such_setting=1)
    except (TypeError, ValueError):
        return
    raise Seen("the constructor swallows a setting that it does not know; take no **kwargs")


def _paired(subject: MetricSubject, examples: Examples) -> Iterable[tuple[MetricScore, float]]:
    metric = subject.build()
    values = values_of(metric, examples)
    for score in metric.scores:
        if values[score.name] != values[score.name]:
            raise Seen(f"{score.name} is not a number")
        yield score, values[score.name]


def _references_matter(subject: MetricSubject) -> bool:
    predictions, references, sources = subject.examples()
    other = subject.examples(seed=2)[1]
    values = (subject.measured((predictions, given, sources)) for given in (references, other))
    return next(values) != next(values)


def _hopeless(subject: MetricSubject) -> Examples:
    """Return predictions of which nothing is right: empty ones, or far away."""
    predictions, references, sources = subject.examples()
    kind = reads(subject.build())
    if kind == "loss":
        return ([50.0], references, sources)
    if isinstance(predictions, Tensor):
        return (predictions + 1e3, references, sources)
    return (["" if kind == "texts" else ()] * NUM_EXAMPLES, references, sources)


def _check_equal(values: Mapping[str, float], expected: Mapping[str, float], how: str) -> None:
    for name, value in expected.items():
        gap = abs(values[name] - value)
        if not gap <= CLOSE * max(1.0, abs(value)):
            raise Seen(f"{name} is {values[name]:.6g} {how}, and {value:.6g} otherwise")


def _taken(examples: Examples, order: Sequence[int]) -> Examples:
    """Return some examples, in an order."""
    predictions, references, sources = examples
    return _rows(predictions, order), _rows(references, order), _rows(sources, order)


def _rows(values: Any, order: Sequence[int]) -> Any:
    return values[list(order)] if isinstance(values, Tensor) else [values[row] for row in order]


def _pieces(examples: Examples, size: int) -> list[Examples]:
    """Return examples in pieces of a size; the last may be smaller."""
    rows = range(NUM_EXAMPLES)
    return [_taken(examples, rows[start : start + size]) for start in rows[::size]]


def _drawn(chance: random.Random) -> tuple[int, ...]:
    """Return a reference: ids of words, long enough for runs of four."""
    return tuple(chance.randrange(4, 4 + len(WORDS)) for _ in range(chance.randint(5, 9)))


def _changed(ids: tuple[int, ...], chance: random.Random) -> tuple[int, ...]:
    """Return a prediction that is partly right: some ids are others, some are missing."""
    ids = tuple(token if chance.random() < 0.7 else _drawn(chance)[0] for token in ids)
    return ids[: chance.randint(4, len(ids))]


def _in_words(predictions: Sequence[Any], references: Sequence[Any]) -> tuple[list, list]:
    return list(map(_text, predictions)), [list(map(_text, accepted)) for accepted in references]


def _text(ids: Sequence[int]) -> str:
    return " ".join(WORDS[token - 4] for token in ids)


METRIC_CHECKS = (
    names_and_scale_are_declared,
    a_metric_refuses_unknown_settings,
    the_worst_value_is_within_the_bounds,
    what_is_right_scores_best,
    examples_in_pieces_are_examples_at_once,
    the_order_of_the_examples_has_no_influence,
    a_score_per_example_is_the_mean_of_outcomes,
    after_a_reset_nothing_is_left,
    numbers_may_be_asked_for_again,
    what_a_metric_is_given_stays_as_it_is,
    two_metrics_share_nothing,
)
