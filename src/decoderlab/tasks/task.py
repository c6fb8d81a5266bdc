"""The base of all tasks: splits, vocabularies, batches and how text becomes tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytorch_lightning as pl
import torch

from decoderlab.contract import ImageSpace, Space
from decoderlab.tasks.batches import EvaluationBatches, Images, Ragged, Split, TrainingBatches
from decoderlab.tasks.vocabulary import Vocabulary

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Example:
    """One example in tokens.

    Args:
        source: the source's tokens, at least one; or an image, (channels, height, width) float32.
        target: the target's tokens, without EOS.
        references: all targets that count as right; empty where `target` is the only one.
    """

    source: Sequence[str] | np.ndarray
    target: Sequence[str]
    references: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class TaskData:
    """What a task knows once its data are there.

    Args:
        source_vocabulary: from the training split; the size of the images, where sources are such.
        target_vocabulary: from the training split.
        splits: by name, see `SPLITS`.
        max_target_length: the longest target of any split, EOS included: generation stops there.
        counts: how many examples were read, kept and dropped, and why.
        fingerprint: sha256 over all ids of all splits; part of the run id.
    """

    source_vocabulary: Vocabulary | ImageSpace
    target_vocabulary: Vocabulary
    splits: dict[str, Split]
    max_target_length: int
    counts: dict[str, int] = field(default_factory=dict)
    fingerprint: str = ""

    @property
    def source_space(self) -> Space:
        """What an encoder is to read."""
        vocabulary = self.source_vocabulary
        return vocabulary if isinstance(vocabulary, ImageSpace) else vocabulary.space


class Task(pl.LightningDataModule):
    """A data set with vocabularies. Subclasses implement `examples`, and tell text from tokens.

    Args:
        append_eos: whether targets end in EOS; without it all targets have one length.
    """

    def __init__(self, *, append_eos: bool = True) -> None:
        super().__init__()
        self.append_eos = append_eos
        self.batch_size = 64
        self.evaluation_batch_size = 256
        self.seed = 0
        self._data: TaskData | None = None

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Return the examples of each split, and counts of what was dropped and why."""
        raise NotImplementedError(f"{type(self).__name__} must implement examples()")

    def vocabularies(self, train: list[Example]) -> tuple[Vocabulary | ImageSpace, Vocabulary]:
        """Return the source and target vocabularies; by default, all tokens seen in training.

        Where sources are images, their size stands for the vocabulary.
        """
        return (
            Vocabulary.of(example.source for example in train),
            Vocabulary.of(example.target for example in train),
        )

    def source_tokens(self, text: str) -> list[str]:
        """Split a line of source text into tokens; by default at white space."""
        return text.split()

    def target_text(self, tokens: Sequence[str]) -> str:
        """Join target tokens into a line of text; by default with spaces."""
        return " ".join(tokens)

    def source_text(self, tokens: Sequence[str]) -> str:
        """Join source tokens into a line of text; by default with spaces."""
        return " ".join(tokens)

    def shown_source(self, split: str, row: int) -> str:
        """Return an example's source as a person wants to see it; images by their number."""
        vocabulary = self.data.source_vocabulary
        if isinstance(vocabulary, ImageSpace):
            return f"image {row} of {split}"
        return self.source_text(vocabulary.decode(self.data.splits[split].source[row]))

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
        source_vocabulary, target_vocabulary = self.vocabularies(examples["train"])
        splits = {
            name: _split(rows, source_vocabulary, target_vocabulary, self.append_eos)
            for name, rows in examples.items()
        }
        counts = counts | {name: len(rows) for name, rows in splits.items()}
        unknown = target_vocabulary.space.unk_id
        for name in ("validation", "test"):
            if isinstance(source_vocabulary, Vocabulary):
                counts[f"{name}_unknown_source_tokens"] = int(
                    (splits[name].source.values == unknown).sum()
                )
            counts[f"{name}_unknown_target_tokens"] = int(
                (splits[name].target.values == unknown).sum()
            )
        return TaskData(
            source_vocabulary,
            target_vocabulary,
            splits,
            max(int(split.target.lengths.max()) for split in splits.values()),
            counts,
            _fingerprint(splits, source_vocabulary, target_vocabulary),
        )


def _split(
    examples: list[Example],
    source: Vocabulary | ImageSpace,
    target: Vocabulary,
    append_eos: bool,
) -> Split:
    end = [target.space.eos_id] if append_eos else []
    references = {
        row: tuple(tuple(target.encode(one)) for one in example.references)
        for row, example in enumerate(examples)
        if example.references
    }
    if isinstance(source, ImageSpace):
        sources = Images(torch.from_numpy(np.stack([example.source for example in examples])))
    else:
        sources = Ragged.of([source.encode(example.source) for example in examples])
    return Split(
        sources,
        Ragged.of([target.encode(example.target) + end for example in examples]),
        references,
    )


def _fingerprint(splits: dict[str, Split], *vocabularies: Vocabulary | ImageSpace) -> str:
    digest = hashlib.sha256()
    for name in SPLITS:
        digest.update(name.encode())
        splits[name].source.update_hash(digest)
        splits[name].target.update_hash(digest)
        digest.update(json.dumps(list(splits[name].references.items())).encode())
    for vocabulary in vocabularies:
        if isinstance(vocabulary, Vocabulary):
            digest.update(json.dumps(vocabulary.entries).encode())
    return digest.hexdigest()
