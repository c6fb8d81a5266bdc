"""Echo: repeat a sequence of random integers as it is, reversed or sorted; or its first few."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from decoderlab.common import require
from decoderlab.common.randomness import numpy_generator
from decoderlab.data.example import Example
from decoderlab.data.splits import check_split_sizes, cut, distinct_draws
from decoderlab.data.task import Task
from decoderlab.data.task_scores import ids_of_texts
from decoderlab.data.unknown_slots import check_slots
from decoderlab.data.vocabulary import Vocabulary

ORDERS = {"given": list, "reversed": lambda values: values[::-1], "sorted": sorted}


class EchoTask(Task):
    """Random integers in, the same integers out, in the order asked for.

    Source: the echo tasks of the article series at machinelearningmastery.com (2017); order
        `reversed` with echo_first=3 is that of November 2017.
    Differs: a fixed training set instead of a fresh sequence per epoch, so that all variants and
        seeds learn from the same data; no source is in two splits. (With as many training
        examples as the training has updates of one example, each of them is fresh all the same.)

    Args:
        num_values: integers are drawn from 0 to num_values - 1, at least 2.
        min_length, max_length: length of the source in tokens, uniform between the two.
        order: of the target: `given`, as in the source; `reversed`; or `sorted`, the least first.
        echo_first: how many of the first integers to echo, at most min_length; None for all. The
            order is that of the integers echoed.
        pad_target: whether zeros fill the target to the length of the source, as in the article
            on attention (October 2017). Sources then have one length, and targets do not end in
            EOS.
        num_train, num_validation, num_test: examples per split, at least 1.
        test_min_length, test_max_length: length of the sources of the test split, longer than any
            in training: what was learnt of short sequences is tested on long ones, and the step
            is still chosen on short ones. None: as in training.
        unknown_share: how likely each integer of a source is one without an id, 0 to 1: one of
            num_values others, and in the test split of num_values that no source of training has.
            Not with order `sorted`, since nobody can know theirs.
        unknown_slots: how many of a source's integers without an id, from the left, have one of
            their own there and in its target, so that they can be written; see
            `decoderlab.data.unknown_slots`. 0 for none; it needs an unknown_share above 0.
        data_seed: seed of the data alone, so that the runs of all seeds share them.

    Raises:
        ValueError: for numbers out of range, or more examples than there are sequences.

    Example:
        >>> task = EchoTask(num_values=10, min_length=2, max_length=3, num_train=5,
        ...                 num_validation=2, num_test=2)
        >>> task.data.counts["train"], task.data.max_target_length
        (5, 4)
    """

    def __init__(
        self,
        *,
        num_values: int,
        min_length: int,
        max_length: int,
        num_train: int,
        num_validation: int,
        num_test: int,
        order: str = "given",
        echo_first: int | None = None,
        pad_target: bool = False,
        test_min_length: int | None = None,
        test_max_length: int | None = None,
        unknown_share: float = 0.0,
        unknown_slots: int = 0,
        data_seed: int = 0,
    ) -> None:
        super().__init__(append_eos=not pad_target)
        require.at_least("num_values", num_values, 2)
        require.at_least("min_length", min_length, 1)
        if max_length < min_length:
            raise ValueError(
                f"max_length is {max_length}, below min_length, which is {min_length}; take a "
                "larger max_length or a smaller min_length"
            )
        require.choice("order", order, tuple(ORDERS))
        if echo_first is not None and not 1 <= echo_first <= min_length:
            raise ValueError(
                f"echo_first is {echo_first}; it must be between 1 and min_length ({min_length}), "
                "or null to echo all"
            )
        if pad_target and min_length != max_length:
            raise ValueError(
                f"pad_target is true, but sources are {min_length} to {max_length} long; make "
                "min_length and max_length equal, or leave pad_target out"
            )
        require.between("unknown_share", unknown_share, 0, 1)
        if unknown_share and order == "sorted":
            raise ValueError(
                f"unknown_share is {unknown_share} with order 'sorted', but nobody can know the "
                "order of integers without an id; take another order, or leave unknown_share out"
            )
        nothing = "unknown_share is 0, so that no integer is unknown; give an unknown_share"
        check_slots(unknown_slots, None if unknown_share else nothing)
        self.unknown_share, self.unknown_slots = unknown_share, unknown_slots
        self.num_values, self.echo_first, self.pad_target = num_values, echo_first, pad_target
        self.order, self.data_seed = order, data_seed
        self.lengths = (min_length, max_length)
        self.num_examples = check_split_sizes(num_train, num_validation, num_test)
        self.test_lengths = self._longer(test_min_length, test_max_length)
        if self.test_lengths is None:
            names = "num_train + num_validation + num_test"
            self._check_possible(names, sum(self.num_examples), self.lengths)
        else:
            names = "num_train + num_validation"
            self._check_possible(names, num_train + num_validation, self.lengths)
            self._check_possible("num_test", num_test, self.test_lengths)

    def vocabularies(self, train: list[Example]) -> tuple[Vocabulary, Vocabulary]:
        """Return all values, whether or not they came up in training, but for unknown ones."""
        values = Vocabulary([str(value) for value in range(self.num_values)])
        return values, values

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Draw distinct sequences."""
        generator = numpy_generator(self.data_seed, "data", "echo")
        if self.test_lengths is None:
            rows = self._drawn(sum(self.num_examples), self.lengths, generator)
            splits = cut(rows, self.num_examples, generator)
            return splits | {"test": list(map(self._never_seen, splits["test"]))}, {}
        num_train, num_validation, num_test = self.num_examples
        rows = self._drawn(num_train + num_validation, self.lengths, generator)
        splits = cut(rows, (num_train, num_validation, 0), generator)
        apart = numpy_generator(self.data_seed, "data", "echo", "test")
        test = self._drawn(num_test, self.test_lengths, apart)
        return splits | {"test": list(map(self._never_seen, test))}, {}

    def baseline_predictions(self) -> dict[str, Sequence[Any]]:
        """Return the rules of all tasks, and what needs no learning of the order."""
        rules = super().baseline_predictions()
        if self.order != "given":
            rows = range(len(self.data.splits["test"]))
            sources = (self.decoded_source("test", row) for row in rows)
            targets = (self._target(source, "given") for source in sources)
            rules["the order given"] = ids_of_texts(self, targets)
        return rules

    def _longer(self, minimum: int | None, maximum: int | None) -> tuple[int, int] | None:
        """Return the lengths of the test split; None for those of training."""
        if minimum is None and maximum is None:
            return None
        if minimum is None or maximum is None:
            raise ValueError(
                f"test_min_length is {minimum} and test_max_length is {maximum}; give both, or "
                "neither to test the lengths of training"
            )
        if self.pad_target:
            raise ValueError(
                "pad_target is true, so that all targets have one length, but test_min_length is "
                f"{minimum}; leave one of the two out"
            )
        if minimum <= self.lengths[1]:
            raise ValueError(
                f"test_min_length is {minimum}; it must be above max_length ({self.lengths[1]}), "
                "or null to test the lengths of training"
            )
        require.at_least("test_max_length", maximum, minimum)
        return minimum, maximum

    def _check_possible(self, names: str, number: int, lengths: tuple[int, int]) -> None:
        """Raise ValueError if more than four fifths of the sequences there are would be drawn."""
        values = self.num_values * (2 if 0 < self.unknown_share < 1 else 1)
        possible = sum(values**length for length in range(lengths[0], lengths[1] + 1))
        if number > 0.8 * possible:
            raise ValueError(
                f"{names} is {number}, but there are only {possible} different sequences of "
                f"{lengths[0]} to {lengths[1]} integers; ask for at most {int(0.8 * possible)}, or "
                "make num_values or the lengths larger"
            )

    def _drawn(
        self, number: int, lengths: tuple[int, int], generator: np.random.Generator
    ) -> list[Example]:
        """Return examples of distinct sources, as long as is asked for."""

        def draw(size: int) -> list[tuple[int, ...]]:
            drawn = generator.integers(lengths[0], lengths[1] + 1, size=size)
            values = generator.integers(0, self.num_values, size=(size, lengths[1]))
            if self.unknown_share:
                unknown = generator.random(values.shape) < self.unknown_share
                values = values + self.num_values * unknown
            return [
                tuple(row[:length])
                for row, length in zip(values.tolist(), drawn.tolist(), strict=True)
            ]

        return [self._example(values) for values in distinct_draws(draw, number)]

    def _never_seen(self, example: Example) -> Example:
        """Return a test example, whose unknown integers are not those of training."""
        if not self.unknown_share:
            return example
        values = [int(token) for token in example.source]
        values = [value + self.num_values * (value >= self.num_values) for value in values]
        return self._example(values)

    def _example(self, values: Sequence[int]) -> Example:
        return Example([str(value) for value in values], self._target(values, self.order))

    def _target(self, values: Sequence[int | str], order: str) -> list[str]:
        echoed = ORDERS[order](values[: self.echo_first])
        zeros = [0] * (len(values) - len(echoed)) if self.pad_target else []
        return [str(value) for value in [*echoed, *zeros]]
