"""A task of one's own: brackets, and those that close what was left open."""

from __future__ import annotations

from collections.abc import Sequence

from decoderlab.common.randomness import numpy_generator
from decoderlab.data.example import Example
from decoderlab.data.splits import check_split_sizes, cut, distinct_draws
from decoderlab.data.task import Task
from decoderlab.data.vocabulary import Vocabulary

PAIRS = {"(": ")", "[": "]", "{": "}"}


class DyckTask(Task):
    """Close the brackets that a source leaves open, the innermost first: `{ ( ) [` wants `] }`.

    Source: prefixes of Dyck words, generated. What they ask of a memory is the subject of Suzgun
        et al. 2019 (https://arxiv.org/abs/1911.03329).
    Differs: the paper predicts at each position which brackets may follow.

    Args:
        max_length: brackets of a source, at least 4. Each length from 1 on is as likely.
        num_train, num_validation, num_test: examples per split, at least 1.
        data_seed: seed of the data alone, so that the runs of all seeds share them.

    Raises:
        ValueError: for numbers out of range.
    """

    def __init__(
        self,
        *,
        max_length: int,
        num_train: int,
        num_validation: int,
        num_test: int,
        data_seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_examples = check_split_sizes(num_train, num_validation, num_test)
        if max_length < 4 or sum(self.num_examples) > 3 ** (max_length - 1):
            raise ValueError(
                f"max_length is {max_length}; it must be at least 4, and larger for "
                f"{sum(self.num_examples)} different examples"
            )
        self.max_length, self.data_seed = max_length, data_seed

    def vocabularies(self, train: list[Example]) -> tuple[Vocabulary, Vocabulary]:
        """Return all brackets, and those that close."""
        return Vocabulary([*PAIRS, *PAIRS.values()]), Vocabulary([*PAIRS.values()])

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Draw different sources that leave something open."""
        generator = numpy_generator(self.data_seed, "data", "dyck")

        def draw(number: int) -> list[tuple]:
            lengths = generator.integers(1, self.max_length + 1, size=number)
            kinds = generator.integers(len(PAIRS), size=(number, self.max_length))
            closes = generator.random((number, self.max_length)) < 0.5
            rows = zip(lengths, kinds, closes, strict=True)
            drawn = [brackets(kind[:length], close[:length]) for length, kind, close in rows]
            return [(source, target) for source, target in drawn if target]

        rows = [Example(*pair) for pair in distinct_draws(draw, sum(self.num_examples))]
        return cut(rows, self.num_examples, generator), {}


def brackets(kinds: Sequence[int], closes: Sequence[bool]) -> tuple[tuple, tuple]:
    """Return brackets of these kinds, of which some close the last open one, and what closes them.

    Example:
        >>> brackets([2, 0, 0, 1], [False, False, True, False])
        (('{', '(', ')', '['), (']', '}'))
    """
    source, closing = [], []
    for kind, close in zip(kinds, closes, strict=True):
        if close and closing:
            source.append(closing.pop())
        else:
            opening = list(PAIRS)[kind]
            source.append(opening)
            closing.append(PAIRS[opening])
    return tuple(source), tuple(reversed(closing))
