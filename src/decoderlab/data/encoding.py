"""From examples to splits: tokens become ids, real values are standardised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from decoderlab.contract import ImageSpace
from decoderlab.data.batches import Images, Ragged, Split
from decoderlab.data.example import Example, text_of_example
from decoderlab.data.subwords import UNKNOWN
from decoderlab.data.task_data import Kind
from decoderlab.data.unknown_slots import slots_used, words_of_slots
from decoderlab.data.values import Values
from decoderlab.data.vocabulary import Vocabulary


class Splitting(Protocol):
    """What the encoding asks of a task; see `Task`, which has it."""

    append_eos: bool
    keeps_texts: bool

    def pieces(self, side: str, sequence: Any) -> Any:
        """Return the source or target of an example in tokens."""
        ...

    def target_text(self, tokens: Sequence[str]) -> str:
        """Join target tokens into a line of text."""
        ...


def vocabulary_of(sequences: list[Sequence[str] | np.ndarray]) -> Kind:
    """Return what stands for the vocabulary of sequences: of tokens, real values or images."""
    arrays = [sequence for sequence in sequences if isinstance(sequence, np.ndarray)]
    if not arrays:
        return Vocabulary.of(
            sequence for sequence in sequences if not isinstance(sequence, np.ndarray)
        )
    return ImageSpace(*arrays[0].shape) if arrays[0].ndim == 3 else Values.of(arrays)


def unknown_tokens(
    splits: Mapping[str, Split], source: Kind, target: Vocabulary | Values
) -> dict[str, int]:
    """Return how many tokens have no id in validation and test, by what they are.

    Where unknown words have slots, also how many tokens of each split have one.
    """
    without_id = {
        f"{name}_unknown_{side}_tokens": int(
            (getattr(splits[name], side).values == vocabulary.space.unk_id).sum()
        )
        for name in ("validation", "test")
        for side, vocabulary in (("source", source), ("target", target))
        if isinstance(vocabulary, Vocabulary)
    }
    return without_id | slots_used(splits, source, target)


def encoded_split(
    task: Splitting, name: str, examples: list[Example], source: Kind, target: Vocabulary | Values
) -> Split:
    """Return the examples of a split as the network gets them.

    Args:
        task: says how a text becomes tokens and back, and which texts are kept.
        name: of the split.
        examples: of it.
        source: the source vocabulary.
        target: the target vocabulary.

    Raises:
        ValueError: for real-valued targets of different lengths after sources of one length.
    """
    words = _words(task, examples, source)
    references, encoded = {}, {}  # the examples of a source share theirs
    for row, example in enumerate(examples):
        if several := example.references:
            if id(several) not in encoded:
                encoded[id(several)] = tuple(
                    tuple(_ids(task, "target", reference, target, words.get(row, ())))
                    for reference in several
                )
            references[row] = encoded[id(several)]
    sources = _sources(task, [example.source for example in examples], source, words)
    targets = _sequences(task, "target", [example.target for example in examples], target, words)
    if isinstance(target, Values):
        _check_lengths(sources, targets)
    if name == "train":
        return Split(sources, targets, references, words=words)
    kept = examples if task.keeps_texts else ()
    return Split(
        sources,
        targets,
        references,
        tuple(
            (
                text_of_example(example.source),
                tuple(map(text_of_example, example.references or (example.target,))),
            )
            for example in kept
        ),
        _unwritten(task, examples, targets, references, target),
        words,
    )


def _words(task: Splitting, examples: list[Example], source: Kind) -> dict[int, tuple[str, ...]]:
    """Return the words of the slots of those rows that have some."""
    if not isinstance(source, Vocabulary) or not source.unknown_slots:
        return {}
    pieces = (task.pieces("source", example.source) for example in examples)
    words = (words_of_slots(tokens, source) for tokens in pieces)
    return {row: several for row, several in enumerate(words) if several}


def _sources(
    task: Splitting, sources: list[Any], kind: Kind, words: Mapping[int, tuple[str, ...]]
) -> Ragged | Images:
    if isinstance(kind, ImageSpace):
        return Images(torch.from_numpy(np.stack(sources)))
    return _sequences(task, "source", sources, kind, words)


def _sequences(
    task: Splitting,
    side: str,
    sequences: list[Any],
    kind: Vocabulary | Values,
    words: Mapping[int, tuple[str, ...]],
) -> Ragged:
    if isinstance(kind, Values):
        return Ragged.of_values([kind.encode(sequence) for sequence in sequences])
    end = [kind.space.eos_id] if task.append_eos and side == "target" else []
    return Ragged.of(
        _ids(task, side, sequence, kind, words.get(row, ())) + end
        for row, sequence in enumerate(sequences)
    )


def _ids(
    task: Splitting, side: str, sequence: Any, kind: Vocabulary | Values, words: Sequence[str]
) -> Any:
    pieces = task.pieces(side, sequence)
    return kind.encode(pieces, words) if isinstance(kind, Vocabulary) else kind.encode(pieces)


def _check_lengths(sources: Ragged | Images, targets: Ragged) -> None:
    pairs = np.unique(np.stack([sources.lengths, targets.lengths]), axis=1)
    if len(np.unique(pairs[0])) < pairs.shape[1]:
        raise ValueError(
            "real-valued targets of different lengths follow sources of one length; give "
            "all of them one length, since they have no end of their own"
        )


def _unwritten(
    task: Splitting,
    examples: list[Example],
    targets: Ragged,
    references: Mapping[int, tuple[tuple[int, ...], ...]],
    target: Vocabulary | Values,
) -> dict[int, tuple[str, ...]]:
    """Return the right targets, as texts, of the rows in which a token of them has no id."""
    if isinstance(target, Values):
        return {}
    unk_id = target.space.unk_id
    rows = np.repeat(np.arange(len(examples)), targets.lengths.numpy())
    unknown = set(rows[targets.values.numpy() == unk_id].tolist())
    unknown |= {
        row
        for row, several in references.items()
        if any(unk_id in reference for reference in several)
    }
    return {
        row: tuple(
            _right_text(task, target)
            for target in examples[row].references or (examples[row].target,)
        )
        for row in sorted(unknown)
    }


def _right_text(task: Splitting, target: Any) -> str:
    pieces = task.pieces("target", target)
    if isinstance(target, str) and UNKNOWN in pieces:  # a word that has no pieces
        return target
    return task.target_text(pieces)
