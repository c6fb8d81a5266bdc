"""Echo: repeat a sequence of random integers, or its first few."""

from __future__ import annotations

from decoderlab import checks
from decoderlab.randomness import numpy_generator
from decoderlab.tasks.sampling import check_possible, check_split_sizes, cut, distinct
from decoderlab.tasks.task import Example, Task
from decoderlab.tasks.vocabulary import Vocabulary


class EchoTask(Task):
    """Random integers in, the same integers out.

    Source: the echo tasks of the article series at machinelearningmastery.com (2017).
    Differs: a fixed training set instead of a fresh sequence per epoch, so that all variants and
        seeds learn from the same data; no source is in two splits. (With as many training
        examples as the training has updates of one example, each of them is fresh all the same.)

    Args:
        num_values: integers are drawn from 0 to num_values - 1, at least 2.
        min_length, max_length: length of the source in tokens, uniform between the two.
        echo_first: how many of the first integers to echo, at most min_length; None for all.
        pad_target: whether zeros fill the target to the length of the source, as in the article
            on attention (October 2017). Sources then have one length, and targets do not end in
            EOS.
        num_train, num_validation, num_test: examples per split, at least 1.
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
        echo_first: int | None = None,
        pad_target: bool = False,
        data_seed: int = 0,
    ) -> None:
        super().__init__(append_eos=not pad_target)
        checks.at_least("num_values", num_values, 2)
        checks.at_least("min_length", min_length, 1)
        checks.at_least("max_length", max_length, min_length)
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
        self.pad_target = pad_target
        self.num_examples = check_split_sizes(num_train, num_validation, num_test)
        possible = sum(num_values**length for length in range(min_length, max_length + 1))
        check_possible(self.num_examples, possible, "sequences")
        self.num_values, self.echo_first, self.data_seed = num_values, echo_first, data_seed
        self.min_length, self.max_length = min_length, max_length

    def vocabularies(self, train: list[Example]) -> tuple[Vocabulary, Vocabulary]:
        """Return all values, whether or not they came up in training."""
        values = Vocabulary([str(value) for value in range(self.num_values)])
        return values, values

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Draw distinct sequences."""
        generator = numpy_generator(self.data_seed, "data", "echo")

        def draw(number: int) -> list[tuple[int, ...]]:
            lengths = generator.integers(self.min_length, self.max_length + 1, size=number)
            values = generator.integers(0, self.num_values, size=(number, self.max_length))
            return [
                tuple(row[:length])
                for row, length in zip(values.tolist(), lengths.tolist(), strict=True)
            ]

        rows = []
        for values in distinct(draw, sum(self.num_examples)):
            tokens = [str(value) for value in values]
            echoed = tokens[: self.echo_first]
            zeros = ["0"] * (len(tokens) - len(echoed)) if self.pad_target else []
            rows.append(Example(tokens, echoed + zeros))
        return cut(rows, self.num_examples, generator), {}
