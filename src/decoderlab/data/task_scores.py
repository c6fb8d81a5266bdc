"""How the predictions of a task are scored: each of its metrics gets the inputs that it reads."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeGuard

import numpy as np
import torch
from torchmetrics import Metric

from decoderlab.contract import Batch, ImageSpace
from decoderlab.data.batches import as_ragged
from decoderlab.data.task_data import TaskData, of_tokens, of_values
from decoderlab.data.unknown_slots import by_slot
from decoderlab.data.values import Values
from decoderlab.metrics.metric_collection import BatchedMetrics
from decoderlab.metrics.metric_score import LOSS, MetricScore
from decoderlab.metrics.task_metric import (
    TaskMetric,
    add_examples,
    alone,
    computed,
    measured,
    reads,
    reads_source,
    require_metric,
)

BATCHED = ("tokens", "values")
COUNTED = 100_000  # training targets among which the most frequent one is sought
SHOWN = 64  # numbers of a real-valued source that are shown


class Scored(Protocol):
    """What the scores ask of a task; see `Task`, which has it."""

    @property
    def data(self) -> TaskData:
        """The data."""
        ...

    @property
    def metrics(self) -> Mapping[str, Any]:
        """What the task is measured by, by name."""
        ...

    def evaluation_batches(self, split: str) -> Iterable[Batch]:
        """Return all batches of one split."""
        ...

    def words_of(self, split: str | None, row: int) -> Sequence[str]:
        """Return the unknown words of an example that have a slot."""
        ...

    def text_of(self, generated: Sequence[Any], words: Sequence[str] = ()) -> str:
        """Return what a network generated as text, with the words of an example's slots."""
        ...

    def shown_source(self, split: str, row: int) -> str:
        """Return an example's source as readable text."""
        ...

    def accepted(self, split: str, row: int) -> tuple:
        """Return the targets of an example that count as right."""
        ...

    def reference_texts(self, split: str, row: int) -> Sequence[str]:
        """Return the texts of the targets that count as right."""
        ...


class Signed(Protocol):
    """A metric that says how a library computes its scores; see `TaskMetric`."""

    def signatures(self, references: Sequence[Sequence[str]]) -> dict[str, str]:
        """Return it, by the names of the scores."""
        ...


def prepared_metrics(task: Scored) -> list[Metric]:
    """Return fresh metrics of a task, which know what they need of its data.

    Raises:
        ValueError: for an object that is no metric, for targets that a metric cannot read, and if
            two metrics have a score of one name.
    """
    metrics, owners = [], {LOSS.name: "the loss"}
    target = "values" if isinstance(task.data.target_vocabulary, Values) else "tokens"
    for name, given in task.metrics.items():
        require_metric(f"metrics.{name}", given)
        metric = copy.deepcopy(given)
        getattr(metric, "prepare", lambda task: None)(task)
        if reads(metric) in BATCHED and reads(metric) != target:
            raise ValueError(
                f"metrics.{name} reads {reads(metric)}, but the targets of the task are {target}; "
                f"leave it out with +task.metrics.{name}=null"
            )
        for score in measured(metric):
            if score.name in owners:
                raise ValueError(
                    f"metrics.{name} has a score {score.name!r}, and so has {owners[score.name]}; "
                    "rename it, or leave it out"
                )
            owners[score.name] = f"metrics.{name}"
        metrics.append(metric)
    return metrics


def batched_metrics(task: Scored) -> BatchedMetrics:
    """Return those metrics that are fed batch by batch."""
    return BatchedMetrics([metric for metric in prepared_metrics(task) if reads(metric) in BATCHED])


def scores_of(task: Scored) -> dict[str, MetricScore]:
    """Return what all scores of a task's runs mean, by name; those of batches come first."""
    metrics = prepared_metrics(task)
    first = [metric for metric in metrics if reads(metric) in BATCHED]
    last = [metric for metric in metrics if reads(metric) not in BATCHED]
    scores = [[score for metric in some for score in measured(metric)] for some in (first, last)]
    return {score.name: score for score in (*scores[0], LOSS, *scores[1])}


def scores_at_end(
    task: Scored, split: str, predictions: Iterable[tuple[int, Sequence[Any]]], loss: float
) -> dict[str, float]:
    """Return the scores of whole texts and of the loss; see `Task.scores_beside`."""
    metrics = [metric for metric in prepared_metrics(task) if reads(metric) not in BATCHED]
    texts, references, rows = [], [], []
    if any(reads(metric) == "texts" for metric in metrics):
        for row, generated in sorted(predictions, key=lambda pair: pair[0]):
            texts.append(task.text_of(generated, task.words_of(split, row)))
            references.append(task.reference_texts(split, row))
            rows.append(row)
    sources = shown_sources(task, split, rows) if any(map(reads_source, metrics)) else []
    scores = {}
    for metric in map(alone, metrics):  # the texts of all processes are here already
        if reads(metric) == "texts":
            add_examples(metric, texts, references, sources)
        else:
            metric.update(loss)
        scores |= computed(metric)
    return scores


def scores_of_rule(task: Scored, predictions: Sequence[Any]) -> dict[str, float]:
    """Return the test scores of what a rule predicts; those that are not known are left out.

    Args:
        task: with its data.
        predictions: see `Task.baseline_predictions`.
    """
    rows = range(len(predictions))
    metrics = batched_metrics(task).alone()  # the first of several processes does this
    sources = shown_sources(task, "test", rows) if metrics.reads_source else []
    if isinstance(task.data.target_vocabulary, Values):
        for batch in task.evaluation_batches("test"):
            some = batch.index.tolist()
            made = [np.asarray(predictions[row]) for row in some]
            read = [sources[row] for row in some] if sources else []
            metrics.update(torch.from_numpy(np.stack(made)), batch.target, read)
    else:
        predictions = scored_ids(task, "test", rows, predictions)
        metrics.update(predictions, [task.accepted("test", row) for row in rows], sources)
    at_end = scores_at_end(task, "test", zip(rows, predictions, strict=True), math.nan)
    return {k: v for k, v in (metrics.compute() | at_end).items() if not math.isnan(v)}


def shown_sources(task: Scored, split: str, rows: Iterable[int]) -> list[str]:
    """Return the sources of some examples, for a metric that reads them."""
    return [task.shown_source(split, row) for row in rows]


def shown_numbers(data: TaskData, split: str, row: int) -> str:
    """Return a source of real values as readable text, an image by its number."""
    if isinstance(data.source_vocabulary, ImageSpace):
        return f"image {row} of {split}"
    vocabulary, source = of_values(data.source_vocabulary), data.splits[split].source
    numbers = as_ragged(source)[row]
    if len(numbers) * vocabulary.space.size <= SHOWN:
        return vocabulary.text(numbers)
    return f"{vocabulary.text(numbers[:2])} ... ({len(numbers)} positions)"


def most_frequent_target(task: Scored) -> list[int]:
    """Return the most frequent target of training without EOS, of those without `<unk>`."""
    space = of_tokens(task.data.target_vocabulary).space
    targets = task.data.splits["train"].target.first(COUNTED)
    counted = Counter(tuple(ids) for ids in targets if space.unk_id not in ids)
    most = max(counted, key=counted.__getitem__, default=())
    return [token for token in most if token != space.eos_id]


def ids_of_texts(task: Scored, texts: Iterable[Sequence[str]]) -> list[list[int]]:
    """Return a rule's outputs as ids, without tokens that have none: nothing can write them.

    Args:
        task: with its data.
        texts: the tokens written for each test example, in their order.
    """
    vocabulary = of_tokens(task.data.target_vocabulary)
    read = (
        vocabulary.encode(tokens, task.words_of("test", row)) for row, tokens in enumerate(texts)
    )
    return [[token for token in ids if token != vocabulary.space.unk_id] for ids in read]


def scored_ids(
    task: Scored, split: str, rows: Iterable[int], generated: Iterable[Sequence[int]]
) -> list[list[int]]:
    """Return what was generated for some examples as targets have it: equal texts, equal ids.

    Args:
        task: with its data.
        split: whose examples they are.
        rows: of the examples.
        generated: ids without EOS, of each.
    """
    vocabulary = of_tokens(task.data.target_vocabulary)
    if not vocabulary.unknown_slots:
        return [list(ids) for ids in generated]
    pairs = zip(rows, generated, strict=True)
    return [by_slot(ids, task.words_of(split, row), vocabulary) for row, ids in pairs]


def written_texts(
    task: Scored, batches: Any, batch: Batch, generated: Iterable[Sequence[int]]
) -> list[str]:
    """Return what a network generated for a batch as texts.

    Args:
        task: with its data.
        batches: that the batch is of; those of a split have its name, others no words of slots.
        batch: its examples.
        generated: ids without EOS, of each.
    """
    split, pairs = getattr(batches, "name", None), zip(batch.index, generated, strict=True)
    return [task.text_of(ids, task.words_of(split, int(row))) for row, ids in pairs]


def library_signatures(task: Scored, split: str) -> dict[str, str]:
    """Return how libraries compute some of the scores on a split, by their names."""
    signed = [metric for metric in prepared_metrics(task) if _says_how(metric)]
    if not signed:
        return {}
    rows = range(len(task.data.splits[split]))
    references = [task.reference_texts(split, row) for row in rows]
    return {name: how for metric in signed for name, how in metric.signatures(references).items()}


def _says_how(metric: Metric) -> TypeGuard[Signed]:
    """Whether a metric has `signatures` of its own."""
    own = getattr(type(metric), "signatures", TaskMetric.signatures)
    return own is not TaskMetric.signatures


def prediction_record(
    task: Scored, split: str, row: int, prediction: Sequence[Any], correct: bool | None
) -> dict[str, Any]:
    """Return a prediction and what it is scored against, for JSON.

    Every score but loss and perplexity can be computed anew from such records. Where splitting a
    text at white space does not give its tokens, as of characters, they stand beside it.

    Args:
        task: with its data.
        split: whose example it is.
        row: number of the example.
        prediction: ids without EOS, or values.
        correct: whether it equals one of the references; None for values.
    """
    references, words = list(task.reference_texts(split, row)), task.words_of(split, row)
    record: dict[str, Any] = {
        "source": task.shown_source(split, row),
        "target": references[0],
        "references": references,
        "prediction": task.text_of(prediction, words),
        "correct": correct,
    }
    vocabulary = task.data.target_vocabulary
    if isinstance(vocabulary, Values):
        return record
    return record | _tokens(
        record,
        vocabulary.decode(prediction, words),
        [vocabulary.decode(ids, words) for ids in task.accepted(split, row)],
    )


def _tokens(
    record: Mapping[str, Any], predicted: list[str], accepted: list[list[str]]
) -> dict[str, Any]:
    """Return tokens, where they are not what stands between white space."""
    plain = record["prediction"].split() == predicted and all(
        text.split() == tokens for text, tokens in zip(record["references"], accepted, strict=True)
    )
    return {} if plain else {"tokens": predicted, "reference_tokens": accepted}
