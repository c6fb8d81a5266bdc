"""Splits held as flat tensors, and batches made by one index operation each."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from decoderlab.common.randomness import numpy_generator
from decoderlab.contract import Batch


@dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths in one flat tensor: memory in proportion to the data.

    Args:
        values: (total,) int32 ids or (total, F) float32, all sequences one after the other; or what
            they are windows of.
        lengths: (N,) int64.
        starts: (N,) int64, where each sequence begins in `values`.
        of_a_series: whether they are windows of one series.
    """

    values: Tensor
    lengths: Tensor
    starts: Tensor
    of_a_series: bool = False

    @classmethod
    def of(cls, sequences: Iterable[Iterable[int]]) -> Ragged:
        """Store sequences of ids; they are taken one at a time, and need not be in memory."""
        values, lengths = array("i"), array("q")
        for sequence in sequences:
            before = len(values)
            values.extend(sequence)
            lengths.append(len(values) - before)
        return cls._of(np.array(values, dtype=np.int32), np.array(lengths, dtype=np.int64))

    @classmethod
    def of_values(cls, sequences: Sequence[np.ndarray]) -> Ragged:
        """Store sequences of real values, (length, F) each."""
        lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
        return cls._of(np.ascontiguousarray(np.concatenate(sequences), dtype=np.float32), lengths)

    @classmethod
    def windows(cls, series: np.ndarray, starts: np.ndarray, length: int) -> Ragged:
        """Store windows of one length in a series (steps, F), which is kept once."""
        lengths = np.full(len(starts), length, dtype=np.int64)
        values = np.ascontiguousarray(series, dtype=np.float32)
        first = torch.from_numpy(np.asarray(starts, dtype=np.int64))
        return cls(torch.from_numpy(values), torch.from_numpy(lengths), first, of_a_series=True)

    @classmethod
    def _of(cls, values: np.ndarray, lengths: np.ndarray) -> Ragged:
        starts = np.cumsum(lengths) - lengths
        return cls(torch.from_numpy(values), torch.from_numpy(lengths), torch.from_numpy(starts))

    def __len__(self) -> int:
        return len(self.lengths)

    def row(self, row: int) -> Tensor:
        """Return one sequence: its ids (length,), or its values (length, F)."""
        start = int(self.starts[row])
        return self.values[start : start + int(self.lengths[row])]

    def __getitem__(self, row: int) -> list:
        """Return one sequence: its ids, or its positions as lists of F numbers."""
        return self.row(row).tolist()

    def first(self, number: int) -> list[list]:
        """Return the first sequences, at most `number`; faster than one by one."""
        starts, lengths = self.starts[:number], self.lengths[:number]
        ends = (starts + lengths).tolist()
        values = self.values[: max(ends, default=0)].tolist()
        return [values[start:end] for start, end in zip(starts.tolist(), ends, strict=True)]

    def between(self) -> Ragged:
        """Return all windows of a series from the first one to the last, whatever the stride."""
        first, last = int(self.starts.min()), int(self.starts.max())
        starts = torch.arange(first, last + 1)
        return Ragged(self.values, self.lengths[:1].expand(len(starts)), starts, of_a_series=True)

    def take(self, index: Tensor, pad_id: int) -> tuple[Tensor, Tensor]:
        """Return the rows `index` (B,), padded to the longest, and their lengths.

        Ids are (B, longest) int64, padded with `pad_id`; values (B, longest, F), with zeros.

        Example:
            >>> Ragged.of([[5, 6], [7]]).take(torch.tensor([1, 0]), pad_id=0)
            (tensor([[7, 0],
                    [5, 6]]), tensor([1, 2]))
        """
        lengths = self.lengths[index]
        positions = torch.arange(int(lengths.max()) if len(lengths) else 0)
        offsets = self.starts[index].unsqueeze(1) + positions
        real = positions < lengths.unsqueeze(1)
        whole = bool(real.all())
        taken = self.values[offsets if whole else offsets.clamp_(max=len(self.values) - 1)]
        if taken.is_floating_point():
            return (taken if whole else taken.masked_fill_(~real.unsqueeze(2), 0.0)), lengths
        taken = taken.long()
        return (taken if whole else taken.masked_fill_(~real, pad_id)), lengths

    def update_hash(self, digest: hashlib._Hash) -> None:
        """Feed the contents to a hash."""
        digest.update(self.lengths.numpy().data)
        digest.update(self.values.numpy().data)
        if not torch.equal(self.starts, self.lengths.cumsum(0) - self.lengths):
            digest.update(self.starts.numpy().data)


@dataclass(frozen=True)
class Images:
    """Images of one size, with the interface of `Ragged`; each counts as one position.

    Args:
        values: (N, channels, height, width) float32.
    """

    values: Tensor

    def __len__(self) -> int:
        return len(self.values)

    @property
    def lengths(self) -> Tensor:
        """(N,) int64 ones."""
        return torch.ones(len(self), dtype=torch.int64)

    def take(self, index: Tensor, pad_id: int) -> tuple[Tensor, Tensor]:
        """Return the images `index` (B,), and their lengths."""
        return self.values[index], self.lengths[index]

    def update_hash(self, digest: hashlib._Hash) -> None:
        """Feed the contents to a hash."""
        digest.update(np.ascontiguousarray(self.values.numpy()).data)


def as_ragged(rows: Ragged | Images) -> Ragged:
    """Return sequences as such; raise ValueError for images."""
    if isinstance(rows, Images):
        raise ValueError("the examples are images, but sequences are needed here")
    return rows


@dataclass(frozen=True)
class Split:
    """The examples of one split.

    Args:
        source, target: one row an example; a target ends in EOS where the task has one.
        references: of the rows with several targets that count as right, all of them, without EOS.
        texts: source and right targets of each row as the data have them, where a task keeps them.
        unwritten: of the rows with a token that has no id, the right targets as texts; only of
            validation and test.
        words: of the rows with an unknown word that has a slot, the words of its slots.
    """

    source: Ragged | Images
    target: Ragged
    references: dict[int, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    texts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    unwritten: dict[int, tuple[str, ...]] = field(default_factory=dict)
    words: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.source)

    def between(self) -> Split:
        """Return the same; of windows of a series all of them, whatever the stride."""
        if isinstance(self.source, Images) or not (self.source.of_a_series and len(self)):
            return self
        return Split(self.source.between(), self.target.between())

    def batch(self, index: Tensor, pad_id: int = 0) -> Batch:
        """Return the examples `index` (B,) as a batch."""
        source, source_lengths = self.source.take(index, pad_id)
        target, _ = self.target.take(index, pad_id)
        return Batch(source, source_lengths, target, index)

    def accepted(self, row: int, eos_id: int) -> tuple[tuple[int, ...], ...]:
        """Return the targets that count as right for one example, without EOS."""
        if row in self.references:
            return self.references[row]
        return (tuple(token for token in self.target[row] if token != eos_id),)

    def source_contents(self, unknown: int | None) -> Iterator[bytes | None]:
        """Yield the contents of each source; None of one of which not all is known.

        Args:
            unknown: the id of all tokens that have none of their own; None of values and images.
        """
        for row in range(len(self)):
            if isinstance(self.source, Images):
                yield self.source.values[row].numpy().tobytes()
                continue
            values = self.source.row(row)
            whole = unknown is None or not bool((values == unknown).any())
            words = repr(self.words.get(row, ())).encode()
            yield values.numpy().tobytes() + words if whole else None


def by_length(lengths: np.ndarray, batch_size: int, order: np.ndarray) -> list[np.ndarray]:
    """Cut `order` into batches in which all sources have one length.

    Example:
        >>> by_length(np.array([2, 3, 2, 2]), 2, np.array([3, 1, 0, 2]))
        [array([3, 0]), array([2]), array([1])]
    """
    order = order[np.argsort(lengths[order], kind="stable")]
    edges = np.flatnonzero(np.diff(lengths[order])) + 1
    return [
        group[start : start + batch_size]
        for group in np.split(order, edges)
        for start in range(0, len(group), batch_size)
    ]


@contextmanager
def left_alone(batch: Batch) -> Iterator[None]:
    """Raise ValueError where a block changes the source or the target of a batch in place."""
    tensors = {"source": batch.source, "target": batch.target}
    before = {name: tensor._version for name, tensor in tensors.items()}
    yield
    for name, version in before.items():
        if tensors[name]._version != version:
            raise ValueError(
                f"the encoder, the decoder or the objective changes the {name} in place, which "
                "others read too; work on a copy"
            )


def copied(batch: Batch) -> Batch:
    """Return a batch whose source and target may be changed in place."""
    return batch._replace(source=batch.source.clone(), target=batch.target.clone())


class BatchStream(Protocol):
    """An endless stream of training batches; an epoch is `batches_per_epoch` of them."""

    batches_per_epoch: int

    def __iter__(self) -> Iterator[Batch]:
        """Begin at the step that the trainer has come to."""
        ...


class TrainingBatches:
    """The endless stream of training batches; the batch of a step is a function of (seed, step).

    Each epoch is a new shuffle, drawn from the stream (seed, order, epoch), so that a run which
    is resumed at any step sees exactly what it would have seen.

    Args:
        split: the training examples.
        batch_size: examples a batch at most; the last batch of each length is smaller.
        seed: the run's seed.
        first_step: called when iteration begins; the number of batches to pass over.
        group_by_target_length: whether the shuffled examples of a source length are sorted by the
            lengths of their targets before they are cut into batches, so that little is padded.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        seed: int,
        first_step: Callable[[], int],
        group_by_target_length: bool = False,
    ) -> None:
        self.split, self.batch_size, self.seed = split, batch_size, seed
        self.first_step = first_step
        self.lengths = split.source.lengths.numpy()
        self.target_lengths = split.target.lengths.numpy() if group_by_target_length else None
        _, counts = np.unique(self.lengths, return_counts=True)
        self.batches_per_epoch = int(np.ceil(counts / batch_size).sum())

    def epoch(self, number: int) -> list[np.ndarray]:
        """Return the batches of one epoch as arrays of row numbers."""
        generator = numpy_generator(self.seed, "order", number)
        order = generator.permutation(len(self.split))
        if self.target_lengths is not None:
            order = order[np.argsort(self.target_lengths[order], kind="stable")]
        batches = by_length(self.lengths, self.batch_size, order)
        return [batches[index] for index in generator.permutation(len(batches))]

    def __iter__(self) -> Iterator[Batch]:
        epoch, skipped = divmod(self.first_step(), self.batches_per_epoch)
        while True:
            for index in self.epoch(epoch)[skipped:]:
                yield self.split.batch(torch.from_numpy(index))
            epoch, skipped = epoch + 1, 0


class EvaluationBatches:
    """All examples of a split once, in batches of one source length, in a fixed order.

    Args:
        split: the examples.
        batch_size: examples a batch at most.
        name: of the split.
        rank, world_size: of the processes that divide the batches; each gets equally many, the
            last of some without an example.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        name: str | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.split, self.name = split, name
        lengths = split.source.lengths.numpy()
        indices = by_length(lengths, batch_size, np.arange(len(split)))
        indices += [np.arange(0)] * (-len(indices) % world_size)
        self.indices = indices[rank::world_size]

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Batch]:
        for index in self.indices:
            yield self.split.batch(torch.from_numpy(index))
