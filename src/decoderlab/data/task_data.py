"""The loaded data of a task, and what of them is recorded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from decoderlab.contract import ImageSpace, Space, TokenSpace, ValueSpace
from decoderlab.data.alignment import Alignment
from decoderlab.data.batches import Images, Ragged, Split
from decoderlab.data.example import SPLITS
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import MAX_SLOTS, Vocabulary

Kind = Vocabulary | Values | ImageSpace
FEW = 0.1  # unknown tokens, or seen sources, for each test example, of which nothing is said


def of_tokens(vocabulary: Kind) -> Vocabulary:
    """Return a vocabulary of tokens; raise ValueError for values and images."""
    if not isinstance(vocabulary, Vocabulary):
        raise ValueError(f"tokens are needed here, but there are {space_of(vocabulary).kind}")
    return vocabulary


def of_values(vocabulary: Kind) -> Values:
    """Return what stands for a vocabulary of values as such; raise ValueError for anything else."""
    if not isinstance(vocabulary, Values):
        raise ValueError(f"values are needed here, but there are {space_of(vocabulary).kind}")
    return vocabulary


def writable(vocabulary: Kind) -> Vocabulary | Values:
    """Return what stands for a target's vocabulary; raise ValueError for images."""
    if isinstance(vocabulary, ImageSpace):
        raise ValueError("the targets are images, which no decoder writes; give tokens or values")
    return vocabulary


def space_of(vocabulary: Kind) -> Space:
    """Return what stands at a position."""
    return vocabulary if isinstance(vocabulary, ImageSpace) else vocabulary.space


class _NoExamples(dict[str, Split]):
    """The splits of a run that was opened without its data."""

    def __missing__(self, name: str) -> Split:
        raise ValueError(
            f"the {name} split is not loaded: the run was opened without its data; open it with "
            "them: load_run(RUN)"
        )


@dataclass(frozen=True)
class TaskData:
    """What a task knows once its data are there.

    Args:
        source_vocabulary: from the training split; the size of the images, where sources are such.
        target_vocabulary: from the training split.
        splits: by name, see `SPLITS`.
        max_target_length: the longest target of any split, EOS included: generation stops there.
        counts: how many examples were read, kept and dropped, and why.
        fingerprint: sha256 over all ids and values of all splits, and over the texts that metrics
            get beside them; part of the run id.
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

    def copied(self) -> TaskData:
        """Return the same data with dictionaries of its own; the splits' arrays are shared."""
        return replace(
            self,
            splits=copy(self.splits),
            counts=dict(self.counts),
            baselines=deepcopy(self.baselines),
        )

    @property
    def source_space(self) -> Space:
        """What an encoder is to read."""
        return space_of(self.source_vocabulary)

    @property
    def target_space(self) -> TokenSpace | ValueSpace:
        """What a decoder is to write."""
        return self.target_vocabulary.space

    @property
    def alignment(self) -> Alignment | None:
        """Which target token each source token is; None where a side is not of tokens."""
        source, target = self.source_vocabulary, self.target_vocabulary
        if isinstance(source, Vocabulary) and isinstance(target, Vocabulary):
            return Alignment.of(source, target)
        return None

    def source_contents(self, split: str) -> Iterator[bytes | None]:
        """Yield the contents of each source of a split; None of one with an unknown token."""
        known = self.source_vocabulary
        unknown = known.space.unk_id if isinstance(known, Vocabulary) else None
        return self.splits[split].source_contents(unknown)

    def known_examples(self, split: str) -> Iterator[tuple[Hashable, Hashable]]:
        """Yield source and target of each example of a split, as other vocabularies have them too.

        Those with an unknown token are left out.
        """
        both = self.splits[split]
        for row in range(len(both)):
            words = both.words.get(row, ())
            source = _known(self.source_vocabulary, both.source, row, words)
            target = _known(self.target_vocabulary, both.target, row, words)
            if source is not None and target is not None:
                yield source, target

    def between(self) -> TaskData:
        """Return the same data; of windows of a series all of each split, whatever the stride."""
        return replace(self, splits={name: each.between() for name, each in self.splits.items()})

    def num_test_sources_in(self, other: TaskData, split: str = "train") -> int:
        """Return how many test sources stand in a split of data of one vocabulary."""
        seen = set(other.between().source_contents(split)) - {None}
        return sum(content in seen for content in self.source_contents("test"))

    def examples_apart(
        self, other: TaskData, splits: Sequence[str]
    ) -> set[tuple[Hashable, Hashable]]:
        """Return the examples in some splits of other data that this training split has not."""
        whole = other.between()  # a file may begin between two windows
        examples = {example for name in splits for example in whole.known_examples(name)}
        return examples.difference(self.known_examples("train"))

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
            writable(_of_description(record["target"])),
            _NoExamples(train=Split(Ragged.of([]), Ragged.of([]))),
            record["max_target_length"],
            fingerprint=record["fingerprint"],
        )


def _known(
    vocabulary: Kind, rows: Ragged | Images, row: int, words: Sequence[str]
) -> Hashable | None:
    """Return one side of an example as it was read; None where that is not known."""
    if isinstance(rows, Images):
        return rows.values[row].numpy().tobytes()
    if isinstance(vocabulary, Values):
        return vocabulary.text(rows.row(row).numpy())
    ids, known = rows[row], of_tokens(vocabulary)
    return None if known.space.unk_id in ids else tuple(known.decode(ids, words))


def counts_text(counts: Mapping[str, int]) -> str:
    """Return the counts of a task's data that are not 0 as a line of text.

    Example:
        >>> counts_text({"train": 2000, "dropped_empty": 0, "dropped_too_long": 3})
        'train 2,000, dropped too long 3'
    """
    return ", ".join(
        f"{name.replace('_', ' ')} {number:,}" for name, number in counts.items() if number
    )


def unknown_targets(counts: Mapping[str, int]) -> str:
    """Return that many test targets have tokens that no output has; empty where few have.

    Args:
        counts: of a task's data.

    Example:
        >>> unknown_targets({"test": 40, "test_unknown_target_tokens": 40})[:50]
        'its 40 test targets have 40 tokens that no target '
        >>> unknown_targets({"test": 40, "test_unknown_target_tokens": 3})
        ''
    """
    tokens, targets = counts.get("test_unknown_target_tokens", 0), counts.get("test", 0)
    if tokens <= targets * FEW:
        return ""
    return (
        f"its {targets:,} test targets have {tokens:,} tokens that no target of training has, and "
        "where one stands no output is right; smaller tokens help, such as characters or digits "
        "with spaces between (task.tokens, for files of your own)"
    )


def data_cautions(counts: Mapping[str, int]) -> list[str]:
    """Return what a reader of test scores must know of the data; see `unknown_targets`.

    Args:
        counts: of a task's data.

    Example:
        >>> data_cautions({"test": 40, "test_sources_seen_in_training": 30})[0][:54]
        'of its 40 test examples 30 have a source that training'
    """
    cautions = [unknown_targets(counts)]
    for name, what in (("training", ""), ("validation", ", which chooses the update,")):
        seen, number = counts.get(f"test_sources_seen_in_{name}", 0), counts.get("test", 0)
        if seen > number * FEW:
            cautions.append(
                f"of its {number:,} test examples {seen:,} have a source that {name}{what} has "
                "too, in another group: their scores are not those of new sources"
            )
    return [caution for caution in cautions if caution]


def fingerprint_of(splits: Mapping[str, Split], *vocabularies: Kind) -> str:
    """Return the sha256 of all that training and scores can depend on in the data."""
    digest = hashlib.sha256()
    for name in SPLITS:
        digest.update(name.encode())
        splits[name].source.update_hash(digest)
        splits[name].target.update_hash(digest)
        for piece in dumped_references(splits[name].references):
            digest.update(piece)
        if splits[name].texts:
            digest.update(json.dumps(splits[name].texts).encode())
        elif splits[name].unwritten:  # which metrics get where no texts are kept
            for piece in dumped_references(splits[name].unwritten):
                digest.update(piece)
        if splits[name].words:
            digest.update(json.dumps(list(splits[name].words.items())).encode())
    for vocabulary in vocabularies:
        if not isinstance(vocabulary, ImageSpace):
            digest.update(json.dumps(_described(vocabulary)).encode())
    return digest.hexdigest()


def dumped_references(references: Mapping[int, Any]) -> Iterator[bytes]:
    """Yield `list(references.items())` as JSON, in pieces; rows that share a value dump it once."""
    dumped: dict[int, str] = {}
    yield b"["
    for index, (row, several) in enumerate(references.items()):
        if id(several) not in dumped:
            dumped[id(several)] = json.dumps(several)
        yield f"{', ' if index else ''}[{row}, {dumped[id(several)]}]".encode()
    yield b"]"


def _described(vocabulary: Kind) -> Any:
    match vocabulary:
        case ImageSpace():
            return {"images": asdict(vocabulary)}
        case Values():
            scale = {"mean": vocabulary.mean.tolist(), "deviation": vocabulary.deviation.tolist()}
            return {"values": scale}
    if vocabulary.unknown_slots:
        return {"tokens": vocabulary.entries, "unknown_slots": vocabulary.unknown_slots}
    return vocabulary.entries


def _of_description(description: Any) -> Kind:
    match description:
        case {"images": size}:
            return ImageSpace(**size)
        case {"values": scale}:
            return Values(**scale)
        case {"tokens": entries, "unknown_slots": int(number)} if 0 < number <= MAX_SLOTS:
            return Vocabulary(entries, number)
        case dict():
            raise ValueError(f"no vocabulary has {', '.join(map(str, description)):.200}")
    return Vocabulary(description)
