"""How examples are drawn, grouped and cut into disjoint splits."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from decoderlab.common import require
from decoderlab.common.randomness import numpy_generator
from decoderlab.data.example import SPLITS, Example

Source = TypeVar("Source", bound=Sequence[str])

BLOCK = 4096  # values drawn at a time; part of what a seed means
TRIES = 100  # blocks without anything new after which the search ends


def distinct_draws(
    draw: Callable[[int], list[tuple]],
    number: int,
    key: Callable[[tuple], Hashable] = lambda value: value,
) -> list[tuple]:
    """Draw until there are `number` values with different keys; return them as they came.

    Args:
        draw: from a number of values to that many, drawn at random.
        number: of values wanted.
        key: values with equal keys count as one, the first of them.

    Raises:
        ValueError: if hundreds of thousands of draws in a row bring nothing new.
    """
    seen: dict[Hashable, tuple] = {}
    in_vain = 0
    while len(seen) < number and in_vain < TRIES:
        before = len(seen)
        for value in draw(BLOCK):
            seen.setdefault(key(value), value)
        in_vain = 0 if len(seen) > before else in_vain + 1
    if len(seen) < number:
        raise ValueError(
            f"{number} different examples are needed, but no more than {len(seen)} were drawn; ask "
            "for fewer, or make the task larger"
        )
    return list(seen.values())[:number]


def check_possible(sizes: tuple[int, int, int], possible: int, what: str) -> None:
    """Raise ValueError if the splits ask for more than four fifths of what there is to draw."""
    if sum(sizes) > 0.8 * possible:
        raise ValueError(
            f"num_train + num_validation + num_test is {sum(sizes)}, but there are only {possible} "
            f"different {what}; ask for at most {int(0.8 * possible)}, or make the task larger"
        )


def cut(
    rows: list[Example], sizes: tuple[int, int, int], generator: np.random.Generator
) -> dict[str, list[Example]]:
    """Cut examples into the three splits, after shuffling them.

    Distinct values come in an order of their own: the likely ones, such as short sums, are used up
    early, so that without the shuffle the test split would have none of them.
    """
    rows = [rows[index] for index in generator.permutation(len(rows))]
    edges = np.cumsum([0, *sizes])
    return {name: rows[edges[i] : edges[i + 1]] for i, name in enumerate(SPLITS)}


def check_split_sizes(num_train: int, num_validation: int, num_test: int) -> tuple[int, int, int]:
    """Return the sizes; raise ValueError if one is below 1."""
    require.at_least("num_train", num_train, 1)
    require.at_least("num_validation", num_validation, 1)
    require.at_least("num_test", num_test, 1)
    return num_train, num_validation, num_test


def split_by_group(
    groups: Mapping[Hashable, Mapping[str, Sequence[str]]],
    *,
    num_validation: int,
    num_test: int,
    data_seed: int,
) -> dict[str, list[Example]]:
    """Split pairs so that no group stands in two splits; see `examples_of` for what they become.

    Args:
        groups: of each group the sources, with the targets of each.
        num_validation: groups to validate on, at least 1.
        num_test: groups to test on, at least 1.
        data_seed: seed of the shuffle.

    Raises:
        ValueError: if there are fewer groups than asked for.
    """
    _check_enough(num_validation + num_test + 1, len(groups), "groups")
    names = list(groups)
    order = numpy_generator(data_seed, "data", "split").permutation(len(names)).tolist()
    edges = {"validation": (0, num_validation), "test": (num_validation, num_validation + num_test)}
    edges["train"] = (num_validation + num_test, len(names))
    return {
        split: [
            example
            for index in order[first:last]
            for source, targets in groups[names[index]].items()
            for example in examples_of(split, source, targets, names[index])
        ]
        for split, (first, last) in edges.items()
    }


def examples_of(
    split: str, source: Sequence[str], targets: Sequence[Sequence[str]], group: Hashable = None
) -> list[Example]:
    """Return the examples of a source with its targets, of which each counts as right.

    In training, each target is an example. For validation and test there is one example, and the
    first target gives the teacher-forced loss.
    """
    references = tuple(targets) if len(targets) > 1 else ()
    shown = targets if split == "train" else targets[:1]
    return [Example(source, target, references, group) for target in shown]


def _check_enough(needed: int, there: int, what: str) -> None:
    if needed > there:
        raise ValueError(
            f"the three splits need {needed} different {what} but the data have {there}; "
            "make the splits smaller"
        )


def split_by_source(
    targets: Mapping[Source, Sequence[Sequence[str]]],
    *,
    num_validation: int,
    num_test: int,
    data_seed: int,
    num_train: int | None = None,
) -> dict[str, list[Example]]:
    """Split pairs so that no source stands in two splits; see `examples_of` for what they become.

    Args:
        targets: all targets of each source.
        num_validation: sources to validate on, at least 1.
        num_test: sources to test on, at least 1.
        data_seed: seed of the shuffle.
        num_train: sources to train on, None for all that the other two leave.

    Raises:
        ValueError: if there are fewer sources than asked for.
    """
    held_out = num_validation + num_test
    _check_enough(held_out + (num_train or 1), len(targets), "sources")
    sources = list(targets)
    order = numpy_generator(data_seed, "data", "split").permutation(len(sources)).tolist()
    # The held-out sources come first, so that they stay the same when num_train changes.
    last = len(sources) if num_train is None else held_out + num_train
    chosen = [sources[index] for index in order[:last]]
    parts = {"validation": chosen[:num_validation], "test": chosen[num_validation:held_out]}
    parts["train"] = chosen[held_out:]
    return {
        split: [
            example for source in part for example in examples_of(split, source, targets[source])
        ]
        for split, part in parts.items()
    }
