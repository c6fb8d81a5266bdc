"""Spelling: a misspelt word to the right one, and a right one to itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from decoderlab.common import require
from decoderlab.common.randomness import numpy_generator
from decoderlab.data.pairs import Pair, PairsTask
from decoderlab.data.reading import package_file


class SpellingTask(PairsTask):
    """Letters of a word in, letters of the right word out.

    Source: the dictionary of codespell (CC BY-SA 3.0; from Wikipedia's list of common misspellings
        and from source code), read as a file from the package `codespell`; that package's own code
        is GPL and is never imported.
    Differs: of its 64,980 lines, those with several corrections are left out
        (`dropped_several_corrections`). Right words are added, to be left as they are
        (`identity_pairs`), so that a model must also learn what not to change. All misspellings of
        a word and the word itself are one group: no right word is in two splits. Other forms of
        it can be: "algorithm" and "algorithms" are two words.

    Args:
        num_validation, num_test: right words, of 14,302 without a limit of length, at least 1. Each
            has 4.1 misspellings on average.
        identity_share: of the right words that are pairs with themselves, 0 to 1.
        max_length: of a word, misspelt or right, in letters; None for no limit.
        data_seed: seed of the split and of the right words drawn, so that the runs of all seeds
            share them.

    Raises:
        ValueError: if the package is not installed, or settings are out of range.
    """

    def __init__(
        self,
        *,
        num_validation: int,
        num_test: int,
        identity_share: float = 1.0,
        max_length: int | None = None,
        data_seed: int = 0,
    ) -> None:
        require.at_least("num_validation", num_validation, 1)
        require.at_least("num_test", num_test, 1)
        require.between("identity_share", identity_share, 0, 1)
        if max_length is not None:
            require.at_least("max_length", max_length, 1)
        super().__init__(
            tokens="character",
            max_source_length=max_length,
            max_target_length=max_length,
            data_seed=data_seed,
        )
        self.num_held_out = num_validation, num_test
        self.identity_share = identity_share

    def held_out(self, number: int) -> tuple[int, int]:
        """Return how many right words are for validation and for test."""
        return self.num_held_out

    def pairs(self, counts: dict[str, int]) -> Iterator[Pair]:
        """Read the dictionary."""
        path = package_file("codespell", "codespell_lib/data/dictionary.txt")
        pairs, of_file = parse_codespell(path.read_text(encoding="utf-8"))
        counts |= of_file
        words = sorted({right for _, right in pairs})
        draws = numpy_generator(self.data_seed, "data", "identity").random(len(words))
        kept = [word for word, draw in zip(words, draws, strict=True) if draw < self.identity_share]
        counts["identity_pairs"] = len(kept)
        for wrong, right in pairs:
            yield Pair(wrong, right, right)
        for word in kept:
            yield Pair(word, word, word)

    def baseline_predictions(self) -> dict[str, Sequence[Sequence[int]]]:
        """Return the most frequent target, and every word as it is."""
        words = (self.decoded_source("test", row) for row in range(len(self.data.splits["test"])))
        return super().baseline_predictions() | {"leaving every word as it is": self.copied(words)}


def parse_codespell(text: str) -> tuple[list[tuple[str, str]], dict[str, int]]:
    r"""Return the misspelt and the right word of each line with one correction, and counts.

    Raises:
        ValueError: for a line of another format.

    Example:
        >>> parse_codespell("abandonned->abandoned\naas->ass, as,\n")
        ([('abandonned', 'abandoned')], {'lines': 2, 'dropped_several_corrections': 1})
    """
    pairs: list[tuple[str, str]] = []
    counts = {"lines": 0, "dropped_several_corrections": 0}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        counts["lines"] += 1
        wrong, arrow, right = (part.strip() for part in line.partition("->"))
        if not (wrong and arrow and right):
            raise ValueError(
                f"line {number} of codespell's dictionary is {line!r}, not 'wrong->right'; this "
                "version of the package has another format, so install codespell 2.4"
            )
        if "," in right:  # one after each of several corrections
            counts["dropped_several_corrections"] += 1
        else:
            pairs.append((wrong, right))
    return pairs, counts
