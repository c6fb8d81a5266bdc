"""The base of all tasks: splits, vocabularies, batches, metrics, and how text becomes tokens."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torchmetrics import Metric

from decoderlab.contract import ImageSpace, Space, TokenSpace, ValueSpace
from decoderlab.data.batches import EvaluationBatches, Images, Ragged, Split, TrainingBatches
from decoderlab.data.metrics import SequenceMetrics, ValueMetrics
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import Vocabulary

SPLITS = ("train", "validation", "test")
COUNTED = 100_000  # training targets among which the most frequent one is sought
SHOWN = 64  # numbers of a real-valued source that are shown

Kind = Vocabulary | Values | ImageSpace


@dataclass(frozen=True, slots=True)
class Example:
    """One example, in tokens or numbers.

    Args:
        source: the source's tokens, at least one; or real values, (length, F) in the data's units;
            or an image, (channels, height, width) float32.
        target: the target's tokens, without EOS; or real values, (length, F).
        references: all targets that count as right; empty where `target` is the only one.
        group: what must not stand in two splits, as a conversation or a person; None for the
            source itself.
    """

    source: Sequence[str] | np.ndarray
    target: Sequence[str] | np.ndarray
    references: Sequence[Sequence[str]] = ()
    group: Hashable = None


@dataclass(frozen=True)
class TaskData:
    """What a task knows once its data are there.

    Args:
        source_vocabulary: from the training split; the size of the images, where sources are such.
        target_vocabulary: from the training split.
        splits: by name, see `SPLITS`.
        max_target_length: the longest target of any split, EOS included: generation stops there.
        counts: how many examples were read, kept and dropped, and why.
        fingerprint: sha256 over all ids, values and kept texts of all splits; part of the run id.
        naive_error: see `Task.naive_error`.
        baselines: see `Task.baselines`, once that was called.
    """

    source_vocabulary: Kind
    target_vocabulary: Vocabulary | Values
    splits: dict[str, Split]
    max_target_length: int
    counts: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""
    naive_error: np.ndarray | None = None
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def source_space(self) -> Space:
        """What an encoder is to read."""
        vocabulary = self.source_vocabulary
        return vocabulary if isinstance(vocabulary, ImageSpace) else vocabulary.space

    @property
    def target_space(self) -> TokenSpace | ValueSpace:
        """What a decoder is to write."""
        return self.target_vocabulary.space

    def record(self) -> dict[str, Any]:
        """Return what is needed to predict without the data, for JSON; see `recorded`."""
        return {
            "source": _described(self.source_vocabulary),
            "target": _described(self.target_vocabulary),
            "max_target_length": self.max_target_length,
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def recorded(cls, record: Mapping[str, Any]) -> TaskData:
        """Return data without examples from what `record` returned."""
        return cls(
            _of_description(record["source"]),
            _of_description(record["target"]),
            {"train": Split(Ragged.of([]), Ragged.of([]))},
            record["max_target_length"],
            fingerprint=record["fingerprint"],
        )


def counts_text(counts: Mapping[str, int]) -> str:
    """Return the counts of a task's data that are not 0 as a line of text.

    Example:
        >>> counts_text({"train": 2000, "dropped_empty": 0, "dropped_too_long": 3})
        'train 2,000, dropped too long 3'
    """
    return ", ".join(f"{name.replace('_', ' ')} {one:,}" for name, one in counts.items() if one)


class Task(pl.LightningDataModule):
    """A data set with vocabularies. Subclasses implement `examples`, and tell text from tokens.

    Args:
        append_eos: whether targets end in EOS; without it all targets have one length. Real-valued
            targets never do.
    """

    # What a step is selected by and a table shows, where the config leaves it open.
    metric = "exact_match"
    # What the sources are: tokens, values or images.
    reads = "tokens"
    # How many positions every source has; None where they differ.
    source_length: int | None = None
    # The names of what `further_scores` returns.
    further: tuple[str, ...] = ()
    # Whether the texts of validation and test are kept with the data, to be scored as they are.
    keeps_texts = False

    def __init__(self, *, append_eos: bool = True) -> None:
        super().__init__()
        self.append_eos = append_eos
        self.batch_size = 64
        self.evaluation_batch_size = 256
        self.seed = 0
        self._data: TaskData | None = None

    @classmethod
    def reads_with(cls, settings: Mapping[str, Any]) -> str:
        """Return what `reads` is with these settings."""
        return cls.reads

    @classmethod
    def fills(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return what null stands for in a config with this task, by dotted name of the setting.

        Args:
            settings: of the task.
        """
        return {
            "evaluation.select": cls.metric,
            "study.metric": cls.metric,
            "decoder.head.distribution": "categorical",
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
            _vocabulary([example.source for example in train]),
            _vocabulary([example.target for example in train]),
        )

    def source_vocabulary(self, train: list[Example]) -> Kind:
        """Return the source vocabulary alone, whatever the targets of the examples are."""
        return self.vocabularies([replace(one, target="") for one in train])[0]

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

    def further_scores(
        self, predictions: Sequence[str], references: Sequence[Sequence[str]], loss: float
    ) -> dict[str, float]:
        """Return scores beside those of `measure`; none by default.

        Args:
            predictions: texts of what was generated.
            references: texts of the targets that count as right, of each.
            loss: teacher-forced, in nats per target token; NaN for a baseline, which has none.

        Returns:
            By their names in `decoderlab.data.metrics.SCALES`; NaN for what cannot be told.
        """
        return {}

    def signatures(self, split: str = "test") -> dict[str, str]:
        """Return how a library says that it computes some of `further_scores`; none by default."""
        return {}

    def baseline_predictions(self) -> dict[str, Sequence[Any]]:
        """Return what rules without trained weights predict for the test split, by their names.

        Returns:
            Ids without EOS, or standardised values, of each test example. By default the most
            frequent training target, whatever the source.
        """
        if isinstance(self.data.target_vocabulary, Values):
            return {}
        train, test = self.data.splits["train"], self.data.splits["test"]
        targets = (tuple(train.target[row]) for row in range(min(len(train), COUNTED)))
        most = [one for one in Counter(targets).most_common(1)[0][0] if one != self._eos_id]
        return {"the most frequent target": [most] * len(test)}

    def naive_error(self) -> np.ndarray | None:
        """Return what scales the error of real values, (F,) in their units; None for nothing.

        Asked once, after `examples`.
        """
        return None

    def target_length(self, source_length: int) -> int:
        """Return how many positions of real values to generate for a source."""
        return self.data.max_target_length

    def shown_source(self, split: str, row: int) -> str:
        """Return an example's source as a person wants to see it; images by their number."""
        vocabulary = self.data.source_vocabulary
        if isinstance(vocabulary, ImageSpace):
            return f"image {row} of {split}"
        source = self.data.splits[split].source[row]
        if isinstance(vocabulary, Vocabulary):
            return self.source_text(vocabulary.decode(source))
        if len(source) * vocabulary.space.size <= SHOWN:
            return vocabulary.text(source)
        return f"{vocabulary.text(source[:2])} ... ({len(source)} positions)"

    # What follows is the same for all tasks.

    def text_of(self, generated: Sequence[Any]) -> str:
        """Return what a network generated as text: ids without EOS, or values."""
        vocabulary = self.data.target_vocabulary
        if isinstance(vocabulary, Values):
            return vocabulary.text(generated)
        return self.target_text(vocabulary.decode(generated))

    def accepted(self, split: str, row: int) -> tuple:
        """Return the targets of an example that count as right, ids without EOS or values."""
        examples = self.data.splits[split]
        if isinstance(self.data.target_vocabulary, Values):
            return (examples.target[row],)
        return examples.accepted(row, self._eos_id)

    def measure(self) -> Metric:
        """Return what measures predictions."""
        vocabulary = self.data.target_vocabulary
        if isinstance(vocabulary, Values):
            return ValueMetrics(deviation=vocabulary.deviation, naive_error=self.data.naive_error)
        return SequenceMetrics(targets_end=self.append_eos)

    @property
    def score_names(self) -> list[str]:
        """The names of all scores of a run."""
        return [*self.measure().scores, "loss", *self.further]

    def scores_beside(
        self, split: str, predictions: Iterable[tuple[int, Sequence[Any]]], loss: float
    ) -> dict[str, float]:
        """Return `further_scores` of predictions, given as (row of the split, what was generated).

        Args:
            split: whose examples they are.
            predictions: of some or all examples.
            loss: see `further_scores`.
        """
        if not self.further:
            return {}
        texts, references = [], []
        for row, generated in sorted(predictions, key=lambda one: one[0]):
            texts.append(self.text_of(generated))
            references.append(self.reference_texts(split, row))
        return self.further_scores(texts, references, loss)

    def reference_texts(self, split: str, row: int) -> Sequence[str]:
        """Return the targets that count as right: as the data have them, where that is kept."""
        if kept := self.data.splits[split].texts:
            return kept[row][1]
        return [self.text_of(one) for one in self.accepted(split, row)]

    def baselines(self) -> dict[str, dict[str, float]]:
        """Return the test scores of rules without trained weights, by their names."""
        if not self.data.baselines:
            for name, predictions in self.baseline_predictions().items():
                self.data.baselines[name] = self._scores(predictions)
        return self.data.baselines

    def _scores(self, predictions: Sequence[Any]) -> dict[str, float]:
        rows, metrics = range(len(predictions)), self.measure()
        metrics.distributed_available_fn = lambda: False  # the first rank does this alone
        if isinstance(metrics, ValueMetrics):
            for batch in self.evaluation_batches("test"):
                found = [np.asarray(predictions[row]) for row in batch.index.tolist()]
                metrics.update(torch.from_numpy(np.stack(found)), batch.target)
        else:
            metrics.update(predictions, [self.accepted("test", row) for row in rows])
        beside = self.scores_beside("test", zip(rows, predictions, strict=True), math.nan)
        return {k: v for k, v in (metrics.compute() | beside).items() if not math.isnan(v)}

    @property
    def _eos_id(self) -> int:
        return self.data.target_vocabulary.space.eos_id

    @property
    def data(self) -> TaskData:
        """The data; made or read at the first use."""
        if self._data is None:
            self._data = self._load()
        return self._data

    def adopt(self, data: TaskData) -> None:
        """Take data that are there already: another run's, or vocabularies alone."""
        self._data = data

    def setup(self, stage: str) -> None:
        """Load the data (Lightning's hook)."""
        _ = self.data

    def train_dataloader(self) -> TrainingBatches:
        """Return the stream of training batches, from the trainer's step on."""
        return TrainingBatches(
            self.data.splits["train"],
            batch_size=self.batch_size,
            seed=self.seed,
            first_step=lambda: self.trainer.global_step if self.trainer else 0,
        )

    def val_dataloader(self) -> EvaluationBatches:
        """Return the batches of the validation split."""
        return self._divided("validation")

    def test_dataloader(self) -> EvaluationBatches:
        """Return the batches of the test split."""
        return self._divided("test")

    def evaluation_batches(self, split: str) -> EvaluationBatches:
        """Return all batches of one split, in a fixed order."""
        return EvaluationBatches(self.data.splits[split], batch_size=self.evaluation_batch_size)

    def _divided(self, split: str) -> EvaluationBatches:
        """Return this process's batches of one split."""
        rank, world_size = (
            (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        )
        return EvaluationBatches(
            self.data.splits[split],
            batch_size=self.evaluation_batch_size,
            rank=rank,
            world_size=world_size,
        )

    def _load(self) -> TaskData:
        examples, counts = self.examples()
        for name in SPLITS:
            if not examples[name]:
                raise ValueError(
                    f"the {name} split is empty ({counts}); give the task more data or another "
                    "share to that split"
                )
        counts |= _check_disjoint(examples)
        source_vocabulary, target_vocabulary = self.vocabularies(examples["train"])
        splits = {
            name: self._split(name, examples.pop(name), source_vocabulary, target_vocabulary)
            for name in SPLITS
        }
        counts |= {name: len(rows) for name, rows in splits.items()}
        for name in ("validation", "test"):
            for side, vocabulary in (("source", source_vocabulary), ("target", target_vocabulary)):
                if isinstance(vocabulary, Vocabulary):
                    ids = getattr(splits[name], side).values
                    unknown = int((ids == vocabulary.space.unk_id).sum())
                    counts[f"{name}_unknown_{side}_tokens"] = unknown
        return TaskData(
            source_vocabulary,
            target_vocabulary,
            splits,
            max(int(split.target.lengths.max()) for split in splits.values()),
            counts,
            _fingerprint(splits, source_vocabulary, target_vocabulary),
            self.naive_error(),
        )

    def _split(
        self, name: str, examples: list[Example], source: Kind, target: Vocabulary | Values
    ) -> Split:
        references, encoded = {}, {}  # the examples of a source share theirs
        for row, example in enumerate(examples):
            if several := example.references:
                if id(several) not in encoded:
                    encoded[id(several)] = tuple(
                        tuple(target.encode(self.pieces("target", one))) for one in several
                    )
                references[row] = encoded[id(several)]
        sources = self._stored("source", [example.source for example in examples], source)
        targets = self._stored("target", [example.target for example in examples], target)
        if isinstance(target, Values):
            pairs = np.unique(np.stack([sources.lengths, targets.lengths]), axis=1)
            if len(np.unique(pairs[0])) < pairs.shape[1]:
                raise ValueError(
                    "real-valued targets of different lengths follow sources of one length; give "
                    "all of them one length, since they have no end of their own"
                )
        texts = examples if self.keeps_texts and name != "train" else ()
        of_rows = tuple((one.source, tuple(one.references or (one.target,))) for one in texts)
        return Split(sources, targets, references, of_rows)

    def _stored(self, side: str, sequences: list[Any], kind: Kind) -> Ragged | Images:
        match kind:
            case ImageSpace():
                return Images(torch.from_numpy(np.stack(sequences)))
            case Values():
                return Ragged.of_values([kind.encode(one) for one in sequences])
        end = [kind.space.eos_id] if self.append_eos and side == "target" else []
        return Ragged.of(kind.encode(self.pieces(side, one)) + end for one in sequences)


def _check_disjoint(examples: dict[str, list[Example]]) -> dict[str, int]:
    """Raise ValueError if two splits share a group.

    Where groups are not the sources themselves, sources can stand on both sides, as "hello" does in
    many conversations: returned is how many test examples have a source that training has too.
    """
    held_out: dict[Hashable, str] = {}
    shared: dict[Hashable, tuple[str, str]] = {}
    for name in ("test", "validation", "train"):
        for example in examples[name]:
            key = example.group
            if key is None:
                key = key_of(example.source)
            other = held_out.get(key, name) if name == "train" else held_out.setdefault(key, name)
            if other != name:
                shared.setdefault(key, (other, name))
    if shared:
        key, (other, name) = next(iter(shared.items()))
        shown = "a source" if isinstance(key, bytes) else repr(str(key)[:60])
        raise ValueError(
            f"{shown} stands both in the {other} and the {name} split, and so with "
            f"{len(shared)} in all; what is tested must not be trained on: take them out of all "
            "splits but one, or let the task draw the splits"
        )
    if all(example.group is None for name in SPLITS for example in examples[name][:1]):
        return {}
    test = Counter(key_of(example.source) for example in examples["test"])
    seen = {key for example in examples["train"] if (key := key_of(example.source)) in test}
    return {"test_sources_seen_in_training": sum(test[key] for key in seen)}


def key_of(source: Sequence[str] | np.ndarray) -> Hashable:
    """Return what is equal for equal sources alone, and short for arrays."""
    if isinstance(source, np.ndarray):
        return hashlib.sha256(source.tobytes()).digest()
    return source if isinstance(source, str) else tuple(source)


def _vocabulary(sequences: list[Sequence[str] | np.ndarray]) -> Kind:
    first = sequences[0]
    if not isinstance(first, np.ndarray):
        return Vocabulary.of(sequences)
    return ImageSpace(*first.shape) if first.ndim == 3 else Values.of(sequences)


def _described(vocabulary: Kind) -> Any:
    match vocabulary:
        case ImageSpace():
            return {"images": asdict(vocabulary)}
        case Values():
            scale = {"mean": vocabulary.mean.tolist(), "deviation": vocabulary.deviation.tolist()}
            return {"values": scale}
    return vocabulary.entries


def _of_description(description: Any) -> Kind:
    match description:
        case {"images": size}:
            return ImageSpace(**size)
        case {"values": scale}:
            return Values(**scale)
    return Vocabulary(description)


def _dumped(references: Mapping[int, Any]) -> Iterator[bytes]:
    """Yield `list(references.items())` as JSON, in pieces; rows that share a value dump it once."""
    dumped: dict[int, str] = {}
    yield b"["
    for place, (row, several) in enumerate(references.items()):
        if id(several) not in dumped:
            dumped[id(several)] = json.dumps(several)
        yield f"{', ' if place else ''}[{row}, {dumped[id(several)]}]".encode()
    yield b"]"


def _fingerprint(splits: dict[str, Split], *vocabularies: Kind) -> str:
    digest = hashlib.sha256()
    for name in SPLITS:
        digest.update(name.encode())
        splits[name].source.update_hash(digest)
        splits[name].target.update_hash(digest)
        for piece in _dumped(splits[name].references):
            digest.update(piece)
        if splits[name].texts:
            digest.update(json.dumps(splits[name].texts).encode())
    for vocabulary in vocabularies:
        if not isinstance(vocabulary, ImageSpace):
            digest.update(json.dumps(_described(vocabulary)).encode())
    return digest.hexdigest()
