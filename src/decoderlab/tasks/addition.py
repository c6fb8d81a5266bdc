"""Addition: read '12+345', write '357'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from math import comb
from typing import Any

from decoderlab.common import require
from decoderlab.common.randomness import numpy_generator
from decoderlab.data.example import Example
from decoderlab.data.splits import check_possible, check_split_sizes, cut, distinct_draws
from decoderlab.data.task import Task
from decoderlab.data.task_data import of_tokens
from decoderlab.data.vocabulary import Vocabulary

PADDINGS = ("none", "right", "left")
NUMBERS = ("by_length", "by_value")


class AdditionTask(Task):
    """Sums of a few integers, character by character.

    Source: padding `right` with numbers `by_length` are the conventions of Keras's addition_rnn
        example (2015); padding `left` with numbers `by_value` those of "Learn to Add Numbers with
        an Encoder-Decoder LSTM" at machinelearningmastery.com (2017).
    Differs: sums that differ only in the order of their terms count as one and stay in one split
        (as in Keras's example); numbers by value are drawn from 0 (the article: 1 to 10).
        Reading the source backwards, as both do or suggest, is `encoder.reverse_source=true`.

    Args:
        num_terms: integers to add, at least 2.
        num_digits: digits of the largest integer, 1 to 15.
        num_train, num_validation, num_test: examples per split, at least 1.
        padding: `none`: no padding, sums end in EOS; `right` or `left`: spaces fill source and
            target to one length on that side, they are tokens like any other, and there is no EOS.
        numbers: `by_length` draws the number of digits uniformly and then the digits (many short
            integers; leading zeros vanish); `by_value` draws the integer uniformly.
        test_num_digits: digits of the largest integer of the test, above `num_digits`: each of its
            integers is longer than any of training. None to test the lengths of training.
        data_seed: seed of the data alone, so that the runs of all seeds share them.

    Raises:
        ValueError: for numbers out of range, or more examples than there are sums.

    Example:
        >>> task = AdditionTask(num_terms=2, num_digits=2, num_train=9, num_validation=2,
        ...                     num_test=2, padding="right")
        >>> rows = task.examples()[0]["train"]
        >>> {len(row.source) for row in rows}, {len(row.target) for row in rows}
        ({5}, {3})
    """

    def __init__(
        self,
        *,
        num_terms: int,
        num_digits: int,
        num_train: int,
        num_validation: int,
        num_test: int,
        padding: str = "none",
        numbers: str = "by_length",
        test_num_digits: int | None = None,
        data_seed: int = 0,
    ) -> None:
        super().__init__(append_eos=padding == "none")
        require.at_least("num_terms", num_terms, 2)
        require.between("num_digits", num_digits, 1, 15)
        require.choice("padding", padding, PADDINGS)
        require.choice("numbers", numbers, NUMBERS)
        self.num_terms, self.num_digits, self.padding = num_terms, num_digits, padding
        self.numbers, self.data_seed = numbers, data_seed
        self.num_examples = check_split_sizes(num_train, num_validation, num_test)
        self.test_num_digits = self._longer(test_num_digits)
        check_possible(self.num_examples, comb(10**num_digits + num_terms - 1, num_terms), "sums")

    def _longer(self, test_num_digits: int | None) -> int | None:
        """Return the digits of the test, checked; None for those of training."""
        if test_num_digits is None:
            return None
        if self.padding != "none":
            raise ValueError(
                f"padding is {self.padding!r}, so that all sums have one length, but "
                f"test_num_digits is {test_num_digits}; leave one of the two out"
            )
        require.between("test_num_digits", test_num_digits, self.num_digits + 1, 15)
        return test_num_digits

    def vocabularies(self, train: list[Example]) -> tuple[Vocabulary, Vocabulary]:
        """Return digits and plus sign, and the space where it pads."""
        digits, pad = list("0123456789"), [] if self.padding == "none" else [" "]
        return Vocabulary([*digits, "+", *pad]), Vocabulary([*digits, *pad])

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Draw distinct sums."""
        generator = numpy_generator(self.data_seed, "data", "addition")

        def draw(number: int) -> list[tuple[int, ...]]:
            shape = (number, self.num_terms)
            if self.numbers == "by_value":
                terms = generator.integers(0, 10**self.num_digits, size=shape)
            else:
                lengths = generator.integers(1, self.num_digits + 1, size=shape)
                terms = generator.integers(0, 10**lengths)
            return list(map(tuple, terms.tolist()))

        splits = cut(self._sums(draw, sum(self.num_examples)), self.num_examples, generator)
        if self.test_num_digits is not None:
            splits["test"] = self._longer_sums(self.test_num_digits)
        return splits, {}

    def _longer_sums(self, num_digits: int) -> list[Example]:
        """Draw sums of integers that are all longer than any of training."""
        generator = numpy_generator(self.data_seed, "data", "addition", "test")

        def draw(number: int) -> list[tuple[int, ...]]:
            shape = (number, self.num_terms)
            if self.numbers == "by_value":
                terms = generator.integers(10**self.num_digits, 10**num_digits, size=shape)
            else:
                lengths = generator.integers(self.num_digits + 1, num_digits + 1, size=shape)
                terms = generator.integers(10 ** (lengths - 1), 10**lengths)
            return list(map(tuple, terms.tolist()))

        return self._sums(draw, self.num_examples[2])

    def _sums(self, draw: Callable[[int], list[tuple]], number: int) -> list[Example]:
        """Return different sums, whatever the order of their terms."""
        return [
            Example(self.source_tokens("+".join(map(str, terms))), self._padded_sum(sum(terms)))
            for terms in distinct_draws(draw, number, key=lambda terms: tuple(sorted(terms)))
        ]

    def baseline_predictions(self) -> dict[str, Sequence[Any]]:
        """Return what rules predict: those of all tasks, and each digit's sum without carrying."""
        vocabulary, sums = of_tokens(self.data.target_vocabulary), []
        for row in range(len(self.data.splits["test"])):
            text = self.source_text(self.decoded_source("test", row))
            columns = zip_longest(*(term[::-1] for term in text.split("+")), fillvalue="0")
            digits = "".join(str(sum(map(int, column)) % 10) for column in columns)[::-1]
            sums.append(vocabulary.encode(self._padded_sum(int(digits))))
        return super().baseline_predictions() | {"without carrying": sums}

    def source_tokens(self, text: str) -> list[str]:
        """Split into characters, padded where the task pads."""
        return self._padded(text.replace(" ", ""), self.num_terms * (self.num_digits + 1) - 1)

    def target_text(self, tokens: Sequence[str]) -> str:
        """Join the characters; padding vanishes."""
        return "".join(tokens).strip()

    source_text = target_text

    def _padded_sum(self, number: int) -> list[str]:
        longest = len(str(self.num_terms * (10**self.num_digits - 1)))
        return self._padded(str(number), longest)

    def _padded(self, text: str, length: int) -> list[str]:
        if self.padding == "right":
            text = text.ljust(length)
        elif self.padding == "left":
            text = text.rjust(length)
        return list(text)
