"""Examples before they are encoded, and that no two splits share any."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "validation", "test")


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


def text_of_example(sequence: Sequence[str] | np.ndarray) -> str:
    """Return the source or target of an example of texts; raise ValueError if it is not a text."""
    if not isinstance(sequence, str):
        raise ValueError(f"{str(sequence)[:60]} is not a text; give this task's examples as texts")
    return sequence


def key_of(source: Sequence[str] | np.ndarray) -> Hashable:
    """Return what is equal for equal sources alone, and short for arrays."""
    if isinstance(source, np.ndarray):
        return hashlib.sha256(source.tobytes()).digest()
    return source if isinstance(source, str) else tuple(source)


def check_sequences(examples: dict[str, list[Example]]) -> dict[str, int]:
    """Raise ValueError for a source without a position, no target at all, or half a character.

    Returns:
        How many targets have no token, where some have none: they are learnt as empty.
    """
    empty = 0
    for name in SPLITS:
        for row, example in enumerate(examples[name]):
            if not len(example.source):
                raise ValueError(
                    f"example {row} of the {name} split has an empty source, which no encoder can "
                    "read; leave it out of the data"
                )
            empty += not len(example.target)
            for sequence in (example.source, example.target, *example.references):
                _check_characters(name, row, sequence)
    if empty == sum(len(examples[name]) for name in SPLITS):
        raise ValueError("all targets are empty, so there is nothing to learn; correct the data")
    return {"empty_targets": empty} if empty else {}


def _check_characters(name: str, row: int, sequence: Sequence[str] | np.ndarray) -> None:
    if isinstance(sequence, np.ndarray):
        return
    try:
        (sequence if isinstance(sequence, str) else "".join(sequence)).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        raise ValueError(
            f"example {row} of the {name} split holds {half}, half of a character, which no file "
            "can hold; correct the data"
        ) from error


def check_disjoint(examples: dict[str, list[Example]]) -> dict[str, int]:
    """Raise ValueError if two splits share a group.

    Where groups are not the sources themselves, sources can stand on both sides, as "hello" does in
    many conversations: returned is how many test examples have a source that training has too, and
    how many have one of validation, which chooses the update.
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
            f"{shown} is both in the {other} and the {name} split, and so with "
            f"{len(shared)} in all; what is tested must not be trained on: take them out of all "
            "splits but one, or let the task draw the splits"
        )
    if all(example.group is None for name in SPLITS for example in examples[name][:1]):
        return {}
    test = Counter(key_of(example.source) for example in examples["test"])
    counts = {}
    for name, split in (("training", "train"), ("validation", "validation")):
        seen = {key for example in examples[split] if (key := key_of(example.source)) in test}
        counts[f"test_sources_seen_in_{name}"] = sum(test[key] for key in seen)
    return counts
