"""The base of all tasks: a Lightning data module that knows how text becomes tokens and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl

from decoderlab.common.process import without_collection
from decoderlab.data.batches import (
    BatchStream,
    EvaluationBatches,
    Split,
    TrainingBatches,
    as_ragged,
)
from decoderlab.data.encoding import encoded_split, unknown_tokens, vocabulary_of
from decoderlab.data.example import SPLITS, Example, check_disjoint, check_sequences
from decoderlab.data.task_data import Kind, TaskData, fingerprint_of, of_tokens, writable
from decoderlab.data.task_scores import (
    batched_metrics,
    library_signatures,
    most_frequent_target,
    scores_at_end,
    scores_of,
    scores_of_rule,
    shown_numbers,
)
from decoderlab.data.unknown_slots import check_learnt, with_slots
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import Vocabulary
from decoderlab.metrics.metric_collection import BatchedMetrics
from decoderlab.metrics.metric_score import MetricScore
from decoderlab.metrics.sequences import SequenceMetrics
from decoderlab.metrics.value_errors import ValueErrors

# What each kind of target is measured by, as in conf/metric; a config adds others.
OWN_METRICS = {"tokens": ("sequence", SequenceMetrics), "values": ("values", ValueErrors)}


class Task(pl.LightningDataModule):
    """A data set with vocabularies. Subclasses implement `examples`, and how text is tokenised.

    Args:
        append_eos: whether targets end in EOS; without it all targets have one length. Real-valued
            targets never do.
    """

    # Another task can have a task as a part of it (`common.part_building`); then it has no metrics.
    INJECTED: ClassVar[tuple[str, ...]] = ()
    OPTIONAL: ClassVar[tuple[str, ...]] = ("metrics",)
    GROUP: ClassVar[str] = "task"
    # What a step is selected by and a table shows, where the config leaves it open.
    metric = "exact_match"
    # What sources and targets are: tokens or values; sources may be images.
    reads = writes = "tokens"
    # How many positions every source has; None where they differ.
    source_length: int | None = None
    # Whether the texts of validation and test are kept with the data, to be scored as they are.
    keeps_texts = False
    # How many unknown words of a source have an id, see `decoderlab.data.unknown_slots`.
    unknown_slots = 0

    def __init__(self, *, append_eos: bool = True) -> None:
        super().__init__()
        self.append_eos = append_eos
        self.batch_size = 64
        self.evaluation_batch_size = 256
        self.seed = 0
        self.group_by_target_length = False
        self._data: TaskData | None = None
        self._metrics: Mapping[str, Any] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Task:
        return self  # which a copy of a model shares, as weight averaging makes one

    @classmethod
    def reads_with(cls, settings: Mapping[str, Any]) -> str:
        """Return what `reads` is with these settings."""
        return cls.reads

    @classmethod
    def writes_with(cls, settings: Mapping[str, Any]) -> str:
        """Return what `writes` is with these settings."""
        return cls.writes

    @classmethod
    def own_metrics(cls, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the metrics that every such task has, by name, as a config has them.

        Args:
            settings: of the task.
        """
        name, kind = OWN_METRICS[cls.writes_with(settings)]
        return {name: {"_target_": f"decoderlab.metrics.{kind.__name__}"}}

    @classmethod
    def fills(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of settings that are null with this task, by dotted name.

        Args:
            settings: of the task.
        """
        heads = {"tokens": "categorical", "values": "point"}
        return {
            "evaluation.select": cls.metric,
            "study.metric": cls.metric,
            "decoder.head.distribution": heads[cls.writes_with(settings)],
        }

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Return the examples of each split, and counts of what was dropped and why."""
        raise NotImplementedError(f"{type(self).__name__} must implement examples()")

    def vocabularies(self, train: list[Example]) -> tuple[Kind, Vocabulary | Values]:
        """Return the source and target vocabularies; by default, all tokens seen in training.

        Where sources are images, their size stands for the vocabulary; for real values, their mean
        and deviation in training do.
        """
        return (
            vocabulary_of([example.source for example in train]),
            writable(vocabulary_of([example.target for example in train])),
        )

    def source_vocabulary(self, train: list[Example]) -> Kind:
        """Return the source vocabulary alone, whatever the targets of the examples are."""
        return self.vocabularies([replace(example, target="") for example in train])[0]

    def pieces(self, side: str, sequence: Any) -> Any:
        """Return the source or target of an example in tokens; it is that already by default.

        Args:
            side: `source` or `target`.
            sequence: as it stands in an `Example`. A task of many texts keeps them whole there.
        """
        return sequence

    def source_tokens(self, text: str) -> Sequence[str]:
        """Split a line of source text into tokens; by default at white space."""
        return text.split()

    def target_text(self, tokens: Sequence[str]) -> str:
        """Join target tokens into a line of text; by default with spaces."""
        return " ".join(tokens)

    def source_text(self, tokens: Sequence[str]) -> str:
        """Join source tokens into a line of text; by default with spaces."""
        return " ".join(tokens)

    def signatures(self, split: str = "test") -> dict[str, str]:
        """Return how libraries compute some of the scores on a split, by the scores' names."""
        return library_signatures(self, split)

    def baseline_predictions(self) -> dict[str, Sequence[Any]]:
        """Return what rules without trained weights predict for the test split, by their names.

        Returns:
            Ids without EOS, or standardised values, of each test example. By default the most
            frequent training target that can be written, whatever the source.
        """
        if isinstance(self.data.target_vocabulary, Values):
            return {}
        most = most_frequent_target(self)
        return {"the most frequent target": [most] * len(self.data.splits["test"])}

    def naive_error(self) -> np.ndarray | None:
        """Return what scales the error of real values, (F,) in their units; None for nothing.

        Asked once, after `examples`.
        """
        return None

    def target_length(self, source_length: int) -> int:
        """Return how many positions of real values to generate for a source."""
        return self.data.max_target_length

    def shown_source(self, split: str, row: int) -> str:
        """Return an example's source as readable text; images by their number."""
        if isinstance(self.data.source_vocabulary, Vocabulary):
            return self.source_text(self.decoded_source(split, row))
        return shown_numbers(self.data, split, row)

    # What follows is the same for all tasks.

    def decoded_source(self, split: str, row: int) -> list[str]:
        """Return the tokens of an example's source."""
        ids = as_ragged(self.data.splits[split].source)[row]
        return of_tokens(self.data.source_vocabulary).decode(ids, self.words_of(split, row))

    def words_of(self, split: str | None, row: int) -> Sequence[str]:
        """Return the unknown words of an example that have a slot; none where no split is named."""
        return () if split is None else self.data.splits[split].words.get(row, ())

    def text_of(self, generated: Sequence[Any], words: Sequence[str] = ()) -> str:
        """Return what a network generated as text: ids without EOS, or values.

        The words are those of the example's slots.
        """
        vocabulary = self.data.target_vocabulary
        if isinstance(vocabulary, Values):
            return vocabulary.text(generated)
        return self.target_text(vocabulary.written(generated, words))

    def accepted(self, split: str, row: int) -> tuple:
        """Return the targets of an example that count as right, ids without EOS or values."""
        examples = self.data.splits[split]
        if isinstance(self.data.target_vocabulary, Values):
            return (examples.target[row],)
        return examples.accepted(row, self._eos_id)

    @property
    def metrics(self) -> Mapping[str, Any]:
        """What the task is measured by, by name, see `decoderlab.metrics`; what a config has."""
        if self._metrics is None:
            name, kind = OWN_METRICS[self.writes]
            self._metrics = {name: kind()}
        return self._metrics

    @metrics.setter
    def metrics(self, metrics: Mapping[str, Any]) -> None:
        self._metrics = dict(metrics)

    def measure(self) -> BatchedMetrics:
        """Return what measures predictions batch by batch."""
        return batched_metrics(self)

    @property
    def scores(self) -> dict[str, MetricScore]:
        """What all scores of a run mean, by name."""
        return scores_of(self)

    def scores_beside(
        self, split: str, predictions: Iterable[tuple[int, Sequence[Any]]], loss: float
    ) -> dict[str, float]:
        """Return the scores beside those of `measure`: of whole texts, and of the loss.

        Args:
            split: whose examples they are.
            predictions: of some or all examples, as (row of the split, what was generated).
            loss: teacher-forced, in nats per target token; NaN for a baseline, which has none.
        """
        return scores_at_end(self, split, predictions, loss)

    def reference_texts(self, split: str, row: int) -> Sequence[str]:
        """Return the targets that count as right, tokens without an id included."""
        examples = self.data.splits[split]
        if examples.texts:
            return examples.texts[row][1]
        if row in examples.unwritten:
            return examples.unwritten[row]
        targets = self.accepted(split, row)
        return [self.text_of(target, self.words_of(split, row)) for target in targets]

    def baselines(self) -> dict[str, dict[str, float]]:
        """Return the test scores of rules without trained weights, by their names."""
        if not self.data.baselines:
            with without_collection():
                for name, predictions in self.baseline_predictions().items():
                    self.data.baselines[name] = scores_of_rule(self, predictions)
        return self.data.baselines

    @property
    def _eos_id(self) -> int:
        return of_tokens(self.data.target_vocabulary).space.eos_id

    @property
    def data(self) -> TaskData:
        """The data; made or read at the first use."""
        if self._data is None:
            with without_collection():
                self._data = self._load()
        return self._data

    def adopt_settings(
        self,
        *,
        batch_size: int,
        evaluation_batch_size: int,
        seed: int,
        metrics: Mapping[str, Any] | None = None,
        group_by_target_length: bool = False,
    ) -> None:
        """Take the settings of a run that every task has, beside those of its constructor.

        Args:
            batch_size: examples of a training batch, at least 1.
            evaluation_batch_size: examples to generate for at a time, at least 1.
            seed: of the run, by which training batches are drawn.
            metrics: what the task is measured by, by name; None for those of its kind of targets.
            group_by_target_length: of training batches, see `TrainingBatches`.
        """
        self.batch_size, self.evaluation_batch_size = batch_size, evaluation_batch_size
        self.seed, self.group_by_target_length = seed, group_by_target_length
        if metrics is not None:
            self.metrics = metrics

    def adopt(self, data: TaskData) -> None:
        """Take existing data: another run's, or vocabularies alone."""
        self._data = data

    def setup(self, stage: str) -> None:
        """Load the data (Lightning's hook)."""
        _ = self.data

    def train_dataloader(self) -> BatchStream:
        """Return the stream of training batches, from the trainer's step on."""
        return TrainingBatches(
            self.data.splits["train"],
            batch_size=self.batch_size,
            seed=self.seed,
            first_step=self.first_batch,
            group_by_target_length=self.group_by_target_length,
        )

    def first_batch(self) -> int:
        """Return how many batches the trainer has learned from, where a stream of them begins."""
        if self.trainer is None:
            return 0
        return self.trainer.global_step * self.trainer.accumulate_grad_batches

    def evenly_trained(self, train: list[Example]) -> list[Example]:
        """Return the training examples that batches are drawn from, for a task with this as a part.

        Raises:
            ValueError: if they are not drawn alike.
        """
        if type(self).train_dataloader is not Task.train_dataloader:
            raise ValueError(
                f"{type(self).__name__} has a train_dataloader of its own, which the task that has "
                "it as a part does not use; give it evenly_trained too, or take another task"
            )
        return train

    def val_dataloader(self) -> EvaluationBatches:
        """Return the batches of the validation split."""
        return self._divided("validation")

    def test_dataloader(self) -> EvaluationBatches:
        """Return the batches of the test split."""
        return self._divided("test")

    def predict_dataloader(self) -> EvaluationBatches:
        """Return the batches of the test split."""
        return self._divided("test")

    def evaluation_batches(self, split: str) -> EvaluationBatches:
        """Return all batches of one split, in a fixed order."""
        return EvaluationBatches(
            self.data.splits[split], batch_size=self.evaluation_batch_size, name=split
        )

    def _divided(self, split: str) -> EvaluationBatches:
        """Return this process's batches of one split."""
        rank, world_size = (
            (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        )
        return EvaluationBatches(
            self.data.splits[split],
            batch_size=self.evaluation_batch_size,
            name=split,
            rank=rank,
            world_size=world_size,
        )

    def _load(self) -> TaskData:
        examples, counts = self.examples()
        for name in SPLITS:
            if not examples[name]:
                raise ValueError(
                    f"the {name} split is empty ({counts}); give the task more data, or that "
                    "split a larger share, or rows of its own"
                )
        counts |= check_sequences(examples) | check_disjoint(examples)
        source, target = self.vocabularies(examples["train"])
        source, target = with_slots(self.unknown_slots, source, target)
        splits = {
            name: self.encode_split(name, examples.pop(name), source, target) for name in SPLITS
        }
        counts |= {name: len(rows) for name, rows in splits.items()}
        counts |= unknown_tokens(splits, source, target)
        check_learnt(self.unknown_slots, counts)
        return TaskData(
            source,
            target,
            splits,
            max(int(split.target.lengths.max()) for split in splits.values()),
            counts,
            fingerprint_of(splits, source, target),
            self.naive_error(),
        )

    def encode_split(
        self, name: str, examples: list[Example], source: Kind, target: Vocabulary | Values
    ) -> Split:
        """Return the examples of a split as the network gets them; see `encoded_split`."""
        return encoded_split(self, name, examples, source, target)
